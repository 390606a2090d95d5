"""The calibrated head in a model: the same numbers as ``transform``, and the model untouched."""

import copy

import pytest
import torch
from torch import nn

from lt_fast import calibration, models
from lt_fast.calibration import MarginCalibration
from lt_fast.models.initialization import build

COUNTS = [20, 8, 4]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))


def trained(head="linear"):
    model = models.digits_net(3, head=head).eval()
    x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.features(x)
    calibrator = MarginCalibration(COUNTS, scale=30.0 if head == "cosine" else 1.0).fit(
        features, LABELS, head=model.head
    )
    return model, x, calibrator


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_a_calibrated_model_gives_transformed_logits(head):
    model, x, calibrator = trained(head)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        plain = model(x)
        calibrated = calibrator.apply(model)
        torch.testing.assert_close(calibrated(x), calibrator.transform(plain))
        assert not torch.allclose(calibrated(x), plain)
        assert torch.equal(calibrated.features(x), model.features(x))
        assert torch.equal(model(x), plain)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(calibrated.head.weight, model.head.weight)


def test_row_lengths_of_every_head():
    model, _, calibrator = trained()
    torch.testing.assert_close(calibration.weight_norm(model.head), model.head.weight.detach().norm(dim=1))
    assert calibration.weight_norm(trained("cosine")[0].head).tolist() == [1.0, 1.0, 1.0]
    stacked = calibration.weight_norm(calibrator.apply(model).head)
    torch.testing.assert_close(stacked, calibrator.omega.abs() * model.head.weight.detach().norm(dim=1))
    assert not calibration.weight_norm(model.head).requires_grad


def test_calibrating_twice_works():
    model, x, calibrator = trained()
    once = calibrator.apply(model)
    with torch.no_grad():
        again = MarginCalibration(COUNTS).fit(once.features(x), LABELS, head=once.head)
        torch.testing.assert_close(again.apply(once)(x), again.transform(once(x)))


def test_factors_travel_with_the_model_but_are_not_trained():
    model, x, calibrator = trained()
    calibrated = calibrator.apply(model)
    assert {"head.factor", "head.offset", "head.inner.weight"} <= set(calibrated.state_dict())
    assert not {"head.factor", "head.offset"} & {name for name, _ in calibrated.named_parameters()}
    assert calibrated.double()(x.double()).dtype == torch.float64


def test_another_name_of_the_head():
    model = build(lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(64, 16), nn.Linear(16, 3))), seed=0)
    x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        calibrator = MarginCalibration(COUNTS).fit(model[1][0](model[0](x)), LABELS, head=model[1][1])
        calibrated = calibrator.apply(model, head="1.1")
        torch.testing.assert_close(calibrated(x), calibrator.transform(model(x)))


def test_a_head_that_is_not_there_or_does_not_fit():
    model, _, calibrator = trained()
    with pytest.raises(ValueError, match=r"head must name a module of DigitsNet, got 'fc'; its last ones are: .*head"):
        calibrator.apply(model, head="fc")
    with pytest.raises(ValueError, match="head must name a module of DigitsNet, got ''"):
        calibrator.apply(model, head="")
    with pytest.raises(ValueError, match="model must have 3 classes, as the calibrator has, got 5 in 'head'"):
        calibrator.apply(models.digits_net(5))
