"""Numbers computed once in float64 from the papers' formulas, for the class counts of CIFAR-10-LT at ratio 100."""

import pytest
import torch

from lt_fast import ops
from lt_fast.ops import reference

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
TARGET = torch.tensor([9, 3])


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


def logits():
    row = [-0.1, 0.05, 0.3, -0.25, 0, 0.15, -0.05, 0.1, 0.4]
    return vector([[0.2, *row], [0.6, *row]])


def ldam_margins():
    power = vector(COUNTS) ** -0.25
    return 0.5 * power / power.max()


def effective_number_weights(beta=0.9999):
    raw = (1 - beta) / (1 - beta ** vector(COUNTS))
    return raw * len(COUNTS) / raw.sum()


def marc_weights(gamma=1.2):
    raw = (1 / vector(COUNTS)) ** gamma
    return raw * len(COUNTS) / raw.sum()


LDAM = {"margin": ldam_margins(), "scale": 30.0}
MAXIMUM = {"margin_rule": "maximum", "max_margin": 1.29, "gamma": 1.528}
MM = {**MAXIMUM, "scale": 19.0}
MM_LDAM = {**MAXIMUM, "margin": ldam_margins(), "scale": 26.0}


@pytest.fixture(params=[ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def loss(request):
    return request.param


def test_the_vectors_themselves():
    assert ldam_margins()[[0, 1, 8]].tolist() == pytest.approx([0.158114, 0.179697, 0.440497], abs=5e-7)
    assert effective_number_weights()[[0, 9]].tolist() == pytest.approx([0.050611, 3.992724], abs=5e-7)
    assert marc_weights()[[0, 9]].tolist() == pytest.approx([0.018275, 4.59045], abs=5e-6)


@pytest.mark.parametrize(
    ("options", "plain", "weighted"),
    [
        (LDAM, 14.013666576951557, 12.243899850305755),
        (MM, 5.354441990487288, 1.5069830626895506),
        (MM_LDAM, 9.518058728942565, 5.006819480785782),
    ],
    ids=["ldam", "mm", "mm_ldam"],
)
def test_margin_losses(loss, options, plain, weighted):
    assert float(loss(logits(), TARGET, **options)) == pytest.approx(plain, rel=1e-13)
    options = {**options, "weight": effective_number_weights(), "normalization": "weights"}
    assert float(loss(logits(), TARGET, **options)) == pytest.approx(weighted, rel=1e-13)


def test_ldam_row_by_row(loss):
    each = loss(logits(), TARGET, reduction="none", **LDAM)
    assert each.tolist() == pytest.approx([12.06212111, 15.96521205], abs=5e-9)


def test_balanced_softmax(loss):
    each = loss(5 * logits(), TARGET, bias=vector(COUNTS).log(), reduction="none")
    assert each.tolist() == pytest.approx([4.18289284, 3.1358537], abs=5e-9)


def test_inverse_frequency_weights_under_both_means(loss):
    options = {"weight": marc_weights(), "scale": 5.0}
    assert float(loss(logits(), TARGET, normalization="weights", **options)) == pytest.approx(1.1314276096499896)
    assert float(loss(logits(), TARGET, normalization="batch", **options)) == pytest.approx(2.662127654206969)


@pytest.mark.parametrize(
    ("rule", "lam", "n_a", "n_b", "factor", "options"),
    [
        ("unimix", 0.3, 5000, 50, 0.3099009901, {}),
        ("unimix", 0.9, 50, 5000, 0.8900990099, {}),
        ("cp_mix", 0.4, 5000, 50, 0.00990099, {"tau": 1.0}),
        ("cp_mix", 0.4, 50, 5000, 0.99009901, {"tau": 1.0}),
        ("cp_mix", 0.4, 50, 5000, 0.4, {"tau": 0.0}),
        ("mam", 0.25, 5000, 50, 0.164528471, {}),
        ("mam", 0.5, 5000, 50, 0.329056942, {}),
        ("mam", 0.9, 5000, 50, 0.791886117, {}),
        ("mam", 0.25, 50, 5000, 0.506414588, {}),
        ("mam", 0.75, 50, 5000, 0.835471529, {}),
        ("mam", 0.3, 50, 5000, 0.3, {"omega": 0.0}),
        ("mam", 0.3, 700, 700, 0.3, {"omega": 2.0}),
        ("mam", 0.0, 50, 5000, 0.0, {}),
        ("mam", 1.0, 50, 5000, 1.0, {}),
        ("mam", 0.25, 50, 5000, 0.164528471, {"omega": -0.25}),
        ("mam", 0.5, 50, 5000, 0.75, {"omega": 400.0}),
        ("mam", 0.5, 5000, 50, 0.25, {"omega": 400.0}),
        ("mam", 0.0, 50, 5000, 0.0, {"omega": 400.0}),
        ("mam", 1.0, 5000, 50, 1.0, {"omega": 400.0}),
        ("mam", 1.0, 50, 5000, 1.0, {"omega": -1e30}),
        ("mam", 0.3, 700, 700, 0.3, {"omega": 1e30}),
        ("remix", 0.3, 5000, 50, 0.0, {}),
        ("remix", 0.7, 5000, 50, 0.7, {}),
        ("remix", 0.7, 50, 5000, 1.0, {}),
        ("remix", 0.3, 50, 5000, 0.3, {}),
        ("remix", 0.3, 100, 50, 0.3, {}),
        ("remix", 0.3, 150, 50, 0.0, {}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_label_factors(*, loss, dtype, rule, lam, n_a, n_b, factor, options):
    # With label a certain and label b hopeless by exactly 8, the loss is 8 (1 - factor), up to exp(-8).
    scores = torch.tensor([[8.0, 0.0]], dtype=dtype)
    options = {"target_b": torch.tensor([1]), "lam": lam, "label_rule": rule, "class_counts": [n_a, n_b], **options}
    value = float(loss(scores, torch.tensor([0]), **options))
    exact = torch.nn.functional.softplus(torch.tensor(-8.0, dtype=torch.float64))
    assert 1 - (value - float(exact)) / 8 == pytest.approx(factor, abs=1e-9 if dtype == torch.float64 else 2e-7)
