"""Shifted batch norm: statistics by hand, nothing else moves, and a calibrator that carries them."""

import copy

import pytest
import torch
from torch import nn

from lt_fast.calibration import LabelAwareSmoothing, collect, shifted_statistics, with_statistics
from lt_fast.models.initialization import build

COUNTS = [6, 3, 3]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm1d(4), nn.Dropout(0.5), build(lambda: nn.Linear(4, 3), seed=0)

    def forward(self, x):
        return self.head(self.drop(self.norm(x)))


def network():
    model = Net()
    model.norm.running_mean.fill_(5.0)
    return model


def images():
    return 2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0)) + 1


def test_statistics_move_by_the_layer_s_momentum_and_nothing_else_does():
    model, x = network().train(), images()
    before = copy.deepcopy(model.state_dict())
    found = shifted_statistics(model, [(x[:6], LABELS[:6]), (x[6:], LABELS[6:])])
    assert set(found) == {"norm.running_mean", "norm.running_var"}
    mean, var = torch.full((4,), 5.0), torch.ones(4)
    for part in (x[:6], x[6:]):
        mean, var = 0.9 * mean + 0.1 * part.mean(0), 0.9 * var + 0.1 * part.var(0)
    torch.testing.assert_close(found["norm.running_mean"], mean)
    torch.testing.assert_close(found["norm.running_var"], var)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    changed = with_statistics(model, found)
    torch.testing.assert_close(changed.norm.running_mean, mean)
    assert torch.equal(model.norm.running_mean, torch.full((4,), 5.0))


def test_a_network_without_batch_norm_has_none():
    assert shifted_statistics(build(lambda: nn.Linear(4, 3), seed=0), [(images(), LABELS)]) == {}


def test_the_calibrator_carries_the_statistics(tmp_path):
    model, x = network(), images()
    calibrator = LabelAwareSmoothing(COUNTS, epochs=2, batch_size=4)
    assert calibrator.adapted(model) is model
    calibrator.shift(model, [(x, LABELS)] * 3)
    features, _, labels = collect(calibrator.adapted(model), [(x, LABELS)])
    calibrator.fit(features, labels, head=model.head)
    with torch.no_grad():
        calibrated = calibrator.apply(model).eval()(x)
        torch.testing.assert_close(calibrated, calibrator.transform(features))
    calibrator.save(tmp_path)
    loaded = LabelAwareSmoothing.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.apply(model).eval()(x), calibrated)
    assert torch.equal(model.norm.running_mean, torch.full((4,), 5.0))
    with pytest.raises(ValueError, match=r"model must have norm.running_.* of shape \(4,\), as was fitted, got none"):
        loaded.adapted(nn.Linear(4, 3))
