"""Predictions by captured forward passes: the method's own, with the capture replaced by a plain call on the CPU."""

import pytest
import torch
from torch import nn

from lt_fast.experiment.captured import CapturedPrediction, in_large_batches
from lt_fast.methods import Method
from methods.problem import training_data

CPU = torch.device("cpu")


class Scaled(Method):
    logit_scale = 3.0


class PlainCapture:
    def __init__(self):
        self.captures, self.replays = 0, 0

    def __call__(self, function):
        self.captures += 1
        output = torch.empty_like(function())

        def replay():
            self.replays += 1
            output.copy_(function())

        return replay, output


def method():
    network = nn.Linear(4, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) / 7)
    return Scaled(network)


def batches(*rows):
    return [torch.full((count, 4), float(at)) for at, count in enumerate(rows)]


@torch.no_grad()
def test_graphs_of_full_batches_give_the_method_s_numbers_in_every_epoch():
    capture, plain = PlainCapture(), method()
    captured = CapturedPrediction(plain, CPU, capture=capture)
    for _ in range(2):
        for x in batches(8, 8, 8, 3):
            assert torch.equal(captured.predict(x), plain.predict(x))
        plain.model.weight.mul_(0.5)
    assert (capture.captures, capture.replays) == (1, 2 + 3)  # the first batch is eager, and so are the short ones


@torch.no_grad()
def test_another_layout_has_a_graph_of_its_own():
    capture, plain = PlainCapture(), method()
    captured = CapturedPrediction(plain, CPU, capture=capture)
    rows = torch.arange(16.0).view(4, 4)
    for x in (rows, rows, rows.T, rows.T):
        assert torch.equal(captured.predict(x), plain.predict(x))
    assert capture.captures == 2


@torch.no_grad()
def test_what_cannot_be_captured_is_told_once_and_computed():
    def failing(function):
        raise RuntimeError("operation not permitted")

    plain = method()
    captured = CapturedPrediction(plain, CPU, capture=failing)
    with pytest.warns(
        UserWarning, match="^evaluation is not captured as a CUDA graph: operation not permitted$"
    ) as told:
        found = [captured.predict(x) for x in batches(8, 8, 8, 3)]
    assert len(told) == 1
    assert all(torch.equal(one, plain.predict(x)) for one, x in zip(found, batches(8, 8, 8, 3), strict=True))


def test_its_mode_is_that_of_the_method():
    plain = method()
    CapturedPrediction(plain, CPU).eval()
    assert not plain.training


def test_large_batches_are_of_evaluation_alone():
    data = training_data()
    large = in_large_batches(data)
    assert (large.batch_size, large.evaluation_batch) == (data.batch_size, 4 * data.evaluation_batch)
    assert len(large.plain_loader()) == -(-len(data.source) // large.evaluation_batch)
