"""Calibrators of many classes: nothing of size N x C is made, and what is learned is the same."""

import re

import pytest
import torch
from torch import nn

from forked import run
from lt_fast import calibration
from lt_fast.calibration import outputs
from lt_fast.errors import DataError

COUNTS = [40, 20, 8, 4]


@pytest.fixture
def problem():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(72, 6, generator=draw)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))
    head = nn.Linear(6, 4)
    with torch.no_grad():
        head.weight.copy_(torch.randn(4, 6, generator=draw))
        features += 0.5 * head.weight[labels]  # logits that say something: the best temperature is not at its bound
    return features, labels, head


@pytest.mark.parametrize(
    "make",
    [
        lambda: calibration.MarginCalibration(COUNTS, epochs=3, batch_size=16),
        lambda: calibration.TemperatureScaling(COUNTS, scale=2.0),
        lambda: calibration.VectorScaling(COUNTS),
        lambda: calibration.TauNormalization(COUNTS),
        lambda: calibration.LogitAdjustment(COUNTS),
    ],
)
def test_logits_that_are_not_kept_teach_the_same(problem, make, monkeypatch):
    features, labels, head = problem
    kept = make().fit(features, labels, head=head).transform(head(features).detach())
    monkeypatch.setattr(outputs, "MOST_KEPT", 0)
    monkeypatch.setattr(outputs, "_BLOCK", 40)
    again = make().fit(features, labels, head=head).transform(head(features).detach())
    torch.testing.assert_close(again, kept, rtol=1e-5, atol=1e-6)


def test_a_logit_that_is_not_finite_is_found_by_its_row(problem, monkeypatch):
    features, labels, head = problem
    features[50] = 3e38
    with torch.no_grad():
        head.weight.mul_(100)
    monkeypatch.setattr(outputs, "MOST_KEPT", 0)
    monkeypatch.setattr(outputs, "_BLOCK", 160)
    with pytest.raises(DataError, match=r"logits must be finite, got NaN or infinity in row 10 .*counted from row 40"):
        calibration.TemperatureScaling(COUNTS).fit(features, labels, head=head)
    with pytest.raises(DataError, match=r"logits must be finite, .*counted from the first of a batch"):
        calibration.MarginCalibration(COUNTS, batch_size=16).fit(features, labels, head=head)


def test_collected_batches_leave_gradients_and_precision_as_they_were():
    model = nn.Sequential()
    model.add_module("head", nn.Linear(3, 2))
    model.train()
    batches = [(torch.ones(2, 3), torch.tensor([0, 1]))] * 2
    for found in calibration.collected_batches(model, batches, amp=True, keep_logits=False):
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert not model.training
        assert found.logits.shape == (0, 2)
        assert found.logits.untyped_storage().nbytes() == 0
    assert model.training


FITTED = """
import re
from pathlib import Path

import torch
from torch import nn

from lt_fast.calibration import MarginCalibration


def peak():
    return int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])


torch.set_num_threads(1)
rows, classes = 4096, 20_000
labels = torch.arange(rows)
features, head = torch.randn(rows, 4), nn.Linear(4, classes)
counts = [1] * rows + [0] * (classes - rows)
calibrator = MarginCalibration(counts, epochs=1, batch_size=128, empty="ignore")
few = MarginCalibration([1] * 8, epochs=1)  # what the first fit of a process imports and keeps
few.fit(features[:8], labels[:8], head=nn.Linear(4, 8))
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
calibrator.fit(features, labels, head=head)
print((peak() - before) // 1024)
"""


def test_memory_of_a_fit_does_not_grow_with_rows_times_classes():
    done = run(["-c", FITTED])
    assert done.returncode == 0, done.stderr
    assert int(re.findall("[0-9]+", done.stdout)[-1]) < 200  # MiB; the logits alone would take 312
