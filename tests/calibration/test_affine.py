"""Temperature, tau normalisation and logit adjustment against their formulas and brute force."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from lt_fast import ClassCounts
from lt_fast.calibration import (
    LogitAdjustment,
    TauNormalization,
    TemperatureScaling,
    VectorScaling,
    load_calibrator,
)
from lt_fast.errors import DataError

COUNTS = ClassCounts([60, 30, 10])
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS.counts))


def _logits(strength=3.0):
    noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    return strength * (F.one_hot(LABELS, 3).float() + noise)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_the_temperature_minimises_the_likelihood(scale):
    logits = _logits()
    found = TemperatureScaling(COUNTS, scale=scale).fit(logits, LABELS)
    loss = F.cross_entropy(found.transform(logits), LABELS)
    for other in (0.97, 1.03):
        assert loss <= F.cross_entropy(scale * logits / (found.temperature * other), LABELS)
    assert torch.equal(found.transform(logits).argmax(1), logits.argmax(1))
    assert found.temperature == pytest.approx(scale * TemperatureScaling(COUNTS).fit(logits, LABELS).temperature)


@pytest.mark.parametrize("strength", [0.2, 3.0, 40.0])
def test_the_temperature_is_that_of_a_scalar_search(strength):
    logits = _logits(strength)
    found = TemperatureScaling(COUNTS).fit(logits.numpy(), LABELS.numpy())
    assert found.temperature == pytest.approx(reference.temperature(logits.tolist(), LABELS.tolist()), rel=1e-5)


def test_a_network_that_is_always_right_gets_a_bounded_temperature():
    with pytest.warns(UserWarning, match="at its bound") as said:
        found = TemperatureScaling(COUNTS).fit(10.0 * F.one_hot(LABELS, 3).float() - 4, LABELS)
    assert torch.isfinite(found.factor).all()
    assert found.temperature == pytest.approx(math.exp(-12))
    assert len(said) == 1
    assert str(said[0].message) == (
        "temperature is at its bound, 6.14e-06: smaller ones would fit these samples better still, as where all are "
        "predicted right; fit on more samples, which the network was not trained on"
    )
    assert said[0].filename == __file__


@pytest.mark.parametrize("calibrator", [TemperatureScaling, VectorScaling])
def test_logits_that_contradict_the_labels_are_told_of(calibrator):
    wrong = 3.0 * F.one_hot((LABELS + 1) % 3, 3).float()
    with pytest.warns(
        UserWarning, match=r"^temperature is at its bound, 1\.63e\+05: larger ones .* of its row$"
    ) as said:
        found = calibrator(COUNTS).fit(wrong, LABELS)
    assert said[0].filename == __file__
    assert torch.isfinite(found.transform(wrong)).all()


def test_vector_scaling_tells_of_samples_that_are_all_predicted_right():
    with pytest.warns(UserWarning, match=r"^temperature is at its bound, 6\.14e-06: smaller ones"):
        found = VectorScaling(COUNTS).fit(10.0 * F.one_hot(LABELS, 3).float() - 4, LABELS)
    assert found.converged


def test_equal_logits_keep_their_temperature():
    assert TemperatureScaling(COUNTS).fit(torch.full((100, 3), 0.3), LABELS).temperature == 1


def test_tau_is_chosen_at_each_fit():
    first, second = torch.eye(3, 4), torch.tensor([[4.0, 0, 0, 0], [1.0, 0, 0, 0], [0.1, 0, 0, 0]])
    logits = _logits()
    longer = logits @ torch.diag(torch.tensor([4.0, 1.0, 0.1]))
    used = TauNormalization(COUNTS).fit(logits, LABELS, weight=first)
    fresh = TauNormalization(COUNTS).fit(longer, LABELS, weight=second)
    assert fresh.tau > used.tau == 0
    assert used.fit(longer, LABELS, weight=second).tau == fresh.tau
    assert torch.equal(used(longer), fresh(longer))


def test_a_state_of_another_kind_is_no_temperature():
    state = LogitAdjustment(COUNTS).fit().state_dict()
    with pytest.raises(DataError, match="state must hold one factor for all classes and offsets of 0, got others"):
        TemperatureScaling(COUNTS).load_state_dict(state)
    plain = LogitAdjustment([5, 5, 5], tau=0).fit().state_dict()
    assert TemperatureScaling(COUNTS).load_state_dict(plain).temperature == 1


def test_odd_arrays_are_refused():
    fitted = TemperatureScaling(COUNTS).fit(_logits(), LABELS)
    masked = np.ma.masked_greater(_logits().numpy(), 1)
    with pytest.raises(ValueError, match=r"logits must have no masked entry, got \d+, the first at position"):
        fitted(masked)
    with pytest.raises(ValueError, match=r"logits must have rows of one length, got \[\[1.0, 2.0\], \[3.0\]\]"):
        fitted([[1.0, 2.0], [3.0]])
    with pytest.raises(TypeError, match=r"logits must be a dense tensor, got layout .*; use logits.to_dense\(\)"):
        fitted(_logits().to_sparse())
    with pytest.raises(TypeError, match=r"logits must be floats, got dtype torch.int64; pass logits.float\(\)"):
        fitted(_logits().long())
    with pytest.raises(ValueError, match=r"labels must have no masked entry, got 60, the first at position 0"):
        fitted.fit(_logits(), np.ma.masked_less(LABELS.numpy(), 1))
    for folder in (None, 5):
        with pytest.raises(TypeError, match=f"folder must be a path, got {folder}"):
            load_calibrator(folder)


def test_a_validation_set_may_lack_classes():
    some = LABELS < 2
    assert TemperatureScaling(COUNTS).fit(_logits()[some], LABELS[some]).temperature > 0


def test_tau_normalises_the_rows():
    head = nn.Linear(4, 3)
    features = torch.randn(100, 4, generator=torch.Generator().manual_seed(2))
    rows = head.weight.detach()
    for tau in (0.0, 0.5, 1.0):
        found = TauNormalization(COUNTS, tau=tau).fit(features, LABELS, head=head)
        with torch.no_grad():
            calibrated = found.transform(head(features))
        wanted = features @ (rows / rows.norm(dim=1, keepdim=True) ** tau).T
        common = rows.norm(dim=1).log().mean().exp() ** tau
        torch.testing.assert_close(calibrated, wanted * common)


def test_tau_is_chosen_by_the_mean_recall():
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.diag(torch.tensor([4.0, 2.0, 1.0])))
    features = _logits(1.0)
    found = TauNormalization(COUNTS).fit(features, LABELS, head=head)

    def recall(tau):
        answers = (features @ (head.weight.detach() / torch.tensor([[4.0], [2.0], [1.0]]) ** tau).T).argmax(1)
        return np.mean([(answers[label == LABELS] == label).float().mean() for label in range(3)])

    assert recall(found.tau) == max(recall(tau) for tau in np.arange(0, 2.01, 0.05))
    assert recall(0) < recall(found.tau)
    with torch.no_grad():
        head.weight[1] = 0
    with pytest.raises(ValueError, match="head must have rows longer than 0, got 0 for class 1"):
        TauNormalization(COUNTS, tau=1).fit(features, LABELS, head=head)


def test_tau_normalises_logits_whose_weight_is_known():
    head = nn.Linear(4, 3)
    features = torch.randn(100, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = head(features)
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    for tau in (0.7, None):
        wanted = TauNormalization(COUNTS, tau=tau).fit(features, LABELS, head=head)
        found = TauNormalization(COUNTS, tau=tau).fit(logits, LABELS, weight=weight, bias=bias)
        assert found.tau == wanted.tau
        torch.testing.assert_close(found(logits), wanted(logits))
    unbiased = TauNormalization(COUNTS, tau=0.7).fit(logits, LABELS, weight=weight.astype(np.float64))
    torch.testing.assert_close(unbiased.offset, torch.zeros(3))


def test_what_tau_normalisation_lacks_is_named():
    def fit(**known):
        TauNormalization(COUNTS, tau=1).fit(_logits(), LABELS, **known)

    weight = torch.ones(3, 4)
    with pytest.raises(ValueError, match="head or weight must be given, got neither; logits alone do not tell"):
        fit()
    with pytest.raises(ValueError, match="head and weight must not both be given"):
        fit(weight=weight, head=nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"weight must have one row per class \(3\), got 4; try weight.T"):
        fit(weight=weight.T)
    with pytest.raises(ValueError, match=r"bias must have shape \(3,\), got \(4,\)"):
        fit(weight=weight, bias=torch.zeros(4))
    with pytest.raises(ValueError, match="bias must not be given without weight"):
        fit(bias=torch.zeros(3))
    with pytest.raises(DataError, match="bias must be finite, got nan for class 1"):
        fit(weight=weight, bias=[0.0, np.nan, 0.0])


def test_adjustment_needs_no_samples():
    logits = _logits()
    found = LogitAdjustment(COUNTS, tau=2.0).fit()
    assert torch.equal(found(logits), LogitAdjustment(COUNTS, tau=2.0).fit(logits, LABELS)(logits))
    with pytest.raises(ValueError, match="labels must"):
        LogitAdjustment(COUNTS).fit(logits, [0])


def test_adjustment_subtracts_the_log_prior():
    logits = _logits()
    found = LogitAdjustment(COUNTS, tau=2.0, scale=3.0).fit(logits, LABELS)
    wanted = 3 * logits - 2 * torch.from_numpy(np.log(COUNTS.prior)).float()
    torch.testing.assert_close(found.transform(logits), wanted)
    empty = LogitAdjustment(ClassCounts([5, 5, 0])).fit(logits[:60], LABELS[:60])
    assert empty.offset[2] == 0


def test_settings_out_of_range_and_wrong_folders(tmp_path):
    with pytest.raises(ValueError, match="tau must"):
        LogitAdjustment(COUNTS, tau=-1)
    with pytest.raises(ValueError, match="scale must"):
        TemperatureScaling(COUNTS, scale=0)
    LogitAdjustment(COUNTS).fit(_logits(), LABELS).save(tmp_path)
    with pytest.raises(DataError, match="must hold a 'temperature' calibrator, got 'logit_adjustment'"):
        TemperatureScaling.load(tmp_path)
    loaded = LogitAdjustment.load(tmp_path)
    assert (loaded.tau, loaded.counts.counts.tolist()) == (1.0, [60, 30, 10])
