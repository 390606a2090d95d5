"""Layer-wise rates: first layer, last layer, and the groups of an optimizer."""

import pytest
import torch
from torch import nn

from lt_fast import models
from lt_fast.experiment.layer_rates import Layerwise, rates_by_layer


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))


def test_rates_fall_off_evenly_towards_the_image():
    model = network()
    rates = rates_by_layer(model, 0.01)
    found = [[rates[id(each)] for each in layer.parameters()] for layer in (model[0], model[2], model[4])]
    assert found == [[pytest.approx(0.01)] * 2, [pytest.approx(0.1)] * 2, [1.0] * 2]


def test_experts_side_by_side_are_one_layer():
    model = models.digits_net(3, experts=2)
    rates = rates_by_layer(model, 0.1)
    pairs = zip(model.experts[0].parameters(), model.experts[1].parameters(), strict=True)
    assert all(rates[id(one)] == rates[id(other)] < 1 for one, other in pairs)
    assert {rates[id(each)] for each in model.head.parameters()} == {1.0}


def test_a_single_layer_has_the_whole_rate():
    assert set(rates_by_layer(nn.Linear(2, 2), 0.1).values()) == {1.0}


def test_the_optimizer_has_a_group_for_every_rate():
    model = network()
    optimizer = Layerwise(lambda groups: torch.optim.SGD(groups, lr=1.0), rates_by_layer(model, 0.01))(
        [*model.parameters(), extra := nn.Parameter(torch.zeros(1))]
    )
    scales = [group["lr_scale"] for group in optimizer.param_groups]
    assert scales == [pytest.approx(0.01), pytest.approx(0.1), 1.0]
    assert any(extra is each for each in optimizer.param_groups[-1]["params"])
