"""Against float64: the same numbers, one rounding apart, also where a plain softmax loses them."""

import math

import pytest
import torch
from cases import Case, distance, loss_and_gradient, make, needs_library

from lt_fast import ops
from lt_fast.ops import reference

TOLERANCE = 2e-6


def compare(case, dtype=torch.float32):
    """Distances of loss and gradient from the float64 reference on the same rounded numbers."""
    logits, options = case.arguments(dtype)
    exact_logits, exact_options = case.exact(dtype)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    exact = loss_and_gradient(reference.mixed_margin_loss, exact_logits, case.target, exact_options)
    return distance(loss, exact[0]), distance(gradient, exact[1])


@pytest.mark.parametrize("classes", [2, 3, 10, 16, 17, 100, 365, 1000, 8142])
@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_cosine_and_wide_scores_at_scale_30(classes, spread):
    case = make(32, classes, spread=spread, margin=True, weight=True, scale=30.0, normalization="batch", seed=classes)
    loss, gradient = compare(case)
    assert loss < TOLERANCE
    assert gradient < TOLERANCE


@needs_library
def test_logits_of_ten_thousand():
    case = make(16, 50, spread=1.0, margin=True)
    case.logits = (1e4 + 3 * case.logits).float().double()
    for scale in (1.0, 30.0):
        case.options["scale"] = scale
        loss, gradient = compare(case)
        assert loss < TOLERANCE
        assert gradient < TOLERANCE
    case.logits = make(16, 50, spread=1e4).logits.float().double()
    loss, gradient = compare(case)
    assert max(loss, gradient) < TOLERANCE


@needs_library
def test_well_classified_rows_keep_their_small_loss_and_gradient():
    # Loss and target gradient are about 1e-11 here; 1 - p in float32 would give 0.
    logits = torch.full((1, 100), -0.5)
    logits[0, 7] = 0.5
    target = torch.tensor([7])
    rest = 99 * math.exp(-30.0)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits.requires_grad_(), target, {"scale": 30.0})
    assert abs(float(loss) / math.log1p(rest) - 1) < TOLERANCE
    assert abs(float(gradient[0, 7]) / (-30 * rest / (1 + rest)) - 1) < TOLERANCE
    assert abs(float(gradient.sum())) < 1e-6 * float(gradient.abs().sum())


def test_a_margin_wider_than_any_exponent():
    # The label leads by 100 and its margin takes 300: exp(-300) alone would be lost.
    logits = torch.zeros(1, 5)
    logits[0, 2] = 100
    target = torch.tensor([2])
    margin = torch.full((5,), 300.0)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits.requires_grad_(), target, {"margin": margin})
    assert float(loss) == pytest.approx(200 + math.log(4), rel=TOLERANCE)
    assert gradient[0].tolist() == pytest.approx([0.25, 0.25, -1, 0.25, 0.25], rel=TOLERANCE)


@needs_library
@pytest.mark.parametrize("rule", ["mixup", "unimix", "cp_mix"])
def test_where_the_two_labels_pull_against_each_other(rule):
    # At the optimum of a mixed row p_a = f and the gradient is 0; here all but. Float32 would keep three digits of it.
    lead = math.log(0.3 / 0.7) + 1e-4 * torch.arange(1, 9, dtype=torch.float64)
    logits = torch.stack([lead, torch.zeros(8), torch.full((8,), -25.0), torch.full((8,), -26.0)], 1)
    counts = torch.tensor([70.0, 30.0, 1.0, 1.0]) if rule == "cp_mix" else torch.tensor([10.0, 10.0, 1.0, 1.0])
    lam = {"mixup": 0.3, "unimix": 0.8, "cp_mix": 0.3}[rule]
    options = {"target_b": torch.ones(8, dtype=torch.int64), "lam": torch.full((8,), lam), "label_rule": rule}
    case = Case(logits, torch.zeros(8, dtype=torch.int64), options | {"class_counts": counts, "reduction": "sum"})
    for row in range(8):
        one = Case(logits[row : row + 1], case.target[:1], dict(case.options))
        one.options |= {"target_b": options["target_b"][:1], "lam": options["lam"][:1]}
        loss, gradient = compare(one)
        assert loss < TOLERANCE
        assert gradient < TOLERANCE


@needs_library
def test_a_label_factor_close_to_0_counts_with_all_its_digits():
    # unimix: f = lam + 1/2 - 1 is 2^-24 here, and the first label costs 1e8 times what the second one does.
    logits = torch.tensor([[-20.0, 20.0, 0.0]], dtype=torch.float64)
    counts, lam = torch.full((3,), 7.0), torch.tensor([0.5 + 2.0**-24])
    options = {"target_b": torch.tensor([1]), "lam": lam, "label_rule": "unimix", "class_counts": counts}
    loss, gradient = compare(Case(logits, torch.tensor([0]), options))
    assert loss < TOLERANCE
    assert gradient < TOLERANCE


@needs_library
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_a_margin_that_takes_the_label_s_lead_away(level):
    # scale * (z_y - z_other) and scale * margin are 15 and leave 1e-3.
    logits = torch.tensor([[level + 0.5, level, level - 3]], dtype=torch.float64)
    case = Case(logits, torch.tensor([0]), {"margin": torch.tensor([0.5 - 2.0**-15, 0, 0]), "scale": 30.0})
    loss, gradient = compare(case)
    assert loss < TOLERANCE
    assert gradient < TOLERANCE


@needs_library
@pytest.mark.parametrize("classes", [3, 40, 1000])
def test_a_bias_against_the_logits(classes):
    # Scores of a few units are what scale * logit and bias leave of numbers in the thousands.
    case = make(1, classes, spread=100.0, seed=classes)
    case.options |= {"scale": 30.0, "bias": (-30 * case.logits[0] + torch.linspace(-2, 2, classes)).float()}
    loss, gradient = compare(case)
    assert loss < TOLERANCE
    assert gradient < TOLERANCE


@needs_library
@pytest.mark.parametrize("classes", [8142, 300_001])
def test_long_rows_of_equal_logits_lose_no_digits_in_their_sum(classes):
    logits = torch.full((1, classes), -0.3, dtype=torch.float64)
    logits[0, 0] = 0.1
    loss, gradient = compare(Case(logits, torch.tensor([1]), {"scale": 30.0}))
    assert loss < TOLERANCE
    assert gradient < TOLERANCE


@needs_library
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing_at_its_optimum_is_accurate_to_the_smoothing(smoothing):
    # Here every entry of the gradient is a difference of two nearly equal numbers, each rounded to float32.
    classes = 10
    best = torch.full((1, classes), smoothing / classes, dtype=torch.float64)
    best[0, 3] += 1 - smoothing
    case = Case(best.log().float().double(), torch.tensor([3]), {"label_smoothing": smoothing})
    logits, options = case.arguments(torch.float32)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    exact = loss_and_gradient(reference.mixed_margin_loss, case.logits.requires_grad_(), case.target, options)
    assert distance(loss, exact[0]) < TOLERANCE
    assert float((gradient - exact[1]).abs().max()) < TOLERANCE * smoothing


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("classes", [2, 3, 40])
def test_rows_of_minus_infinity_but_one(classes, mixed):
    logits = torch.full((3, classes), -torch.inf, dtype=torch.float64)
    logits[:, 1] = torch.tensor([0.0, 5.0, -1e4], dtype=torch.float64)
    labels = torch.tensor([1, 1, 1])
    options = {"target_b": labels, "lam": torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)} if mixed else {}
    case = Case(logits, labels, options | {"margin": torch.full((classes,), 0.5, dtype=torch.float64), "scale": 30.0})
    found, options = case.arguments(torch.float32)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, found, labels, options)
    assert float(loss) == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_label_at_minus_infinity_costs_infinity_unless_its_factor_is_0():
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, 2.0]], requires_grad=True)
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert ops.mixed_margin_loss(logits, zero) == torch.inf
    for loss in (ops.mixed_margin_loss, reference.mixed_margin_loss):
        value, gradient = loss_and_gradient(loss, logits, zero, {"target_b": one, "lam": 0.0})
        alone, alone_gradient = loss_and_gradient(loss, logits, one, {})
        assert float(value) == pytest.approx(float(alone), rel=TOLERANCE)
        assert distance(gradient, alone_gradient) < TOLERANCE


@needs_library
@pytest.mark.parametrize("normalization", ["expected", "weights"])
@pytest.mark.parametrize("size", [3e38, 1e38, 1e-38, 1e-44])
def test_weights_at_the_ends_of_float32_divide_out(size, normalization):
    case = make(9, 6, margin=True, scale=5.0, normalization=normalization)
    logits, options = case.arguments(torch.float32)
    exact = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, {**options, "weight": torch.ones(6)})
    found = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, {**options, "weight": torch.full((6,), size)})
    assert all(distance(one, other) < 1e-6 for one, other in zip(found, exact, strict=True))


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_lam_0_and_1_are_the_plain_loss_of_one_label(lam):
    case = make(20, 30, margin=True, scale=30.0)
    logits, options = case.arguments(torch.float32)
    options["lam"] = torch.full((20,), lam)
    mixed = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    label = case.target if lam == 1 else options["target_b"]
    del options["target_b"], options["lam"], options["label_rule"]
    alone = loss_and_gradient(ops.mixed_margin_loss, logits, label, options)
    assert distance(mixed[0], alone[0]) < TOLERANCE
    assert distance(mixed[1], alone[1]) < TOLERANCE


def test_equal_labels_are_one_label():
    case = make(20, 30, margin=True, scale=30.0, weight=True, normalization="weights")
    logits, options = case.arguments(torch.float32)
    options["target_b"] = case.target
    mixed = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    del options["target_b"], options["lam"], options["label_rule"]
    alone = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    assert distance(mixed[0], alone[0]) < TOLERANCE
    assert distance(mixed[1], alone[1]) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("classes", [2, 10, 37, 1000])
def test_half_types_are_float32_arithmetic_rounded_once(dtype, reduction, classes):
    case = make(24, classes, spread=3.0, margin=True, bias=True, weight=True, reduction=reduction, seed=classes)
    case.logits = case.logits.to(dtype).double()
    case.logits[0, 0] = 5e-8  # a subnormal number in float16
    half, options = case.arguments(dtype)
    single, _ = case.arguments(torch.float32)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, half, case.target, options)
    exact, exact_gradient = loss_and_gradient(ops.mixed_margin_loss, single, case.target, options)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    assert distance(loss, exact) < 1e-6
    # The two paths round their float32 gradients differently in the last place, which can tip a rounding to half.
    spacing = (
        torch.finfo(dtype).eps * exact_gradient.abs() + torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    )
    off = (gradient.float() - exact_gradient).abs() / spacing
    assert float(off.max()) <= 0.51


@needs_library
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_number_is_read_and_written_right(dtype):
    # Two equal scores: the gradient is half of grad_output and its negative, to be rounded to nearest, ties to even.
    pattern = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    finite = pattern[pattern.isfinite()]
    logits = finite[:, None].repeat(1, 2).requires_grad_()
    loss = ops.mixed_margin_loss(logits, torch.zeros(len(finite), dtype=torch.int64), reduction="none")
    assert loss.unique().tolist() == pytest.approx([math.log(2)])
    outer = finite.float()
    (gradient,) = torch.autograd.grad(loss, logits, outer)
    normal = torch.finfo(torch.float32).smallest_normal  # bfloat16 reaches below; float32's subnormal numbers become 0
    half = torch.where((outer / 2).abs() < normal, 0.0, outer / 2).to(dtype)
    assert torch.equal(gradient, torch.stack([-half, half], 1))


def test_margins_that_bfloat16_cannot_tell_apart_stay_apart():
    logits = torch.zeros(1, 4, dtype=torch.bfloat16)
    target = torch.tensor([0])
    values = [float(ops.mixed_margin_loss(logits, target, margin=[m] * 4, scale=30.0)) for m in (0.4995, 0.5)]
    assert values[1] - values[0] == pytest.approx(0.015, rel=1e-3)


def test_no_value_is_lost_in_many_random_rows():
    for seed, (rows, classes, spread) in enumerate([(20_000, 2, 100.0), (20_000, 7, 30.0), (4_000, 50, 1e4)]):
        case = make(rows, classes, seed=seed, spread=spread, margin=True, scale=30.0, label_rule="mam")
        logits, options = case.arguments(torch.float32)
        options["reduction"] = "none"
        loss = ops.mixed_margin_loss(logits, case.target, **options)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert bool(loss.isfinite().all())
        assert bool(gradient.isfinite().all())
        assert float(loss.detach().min()) >= 0


@pytest.mark.parametrize("where", [0, 3, 5])
def test_nan_logits_make_the_loss_nan_and_nothing_raises(where):
    logits = torch.zeros(4, 6)
    logits[1, where] = torch.nan
    target, target_b = torch.tensor([0, 0, 1, 2]), torch.tensor([3, 3, 4, 5])
    for loss in (ops.mixed_margin_loss, reference.mixed_margin_loss):
        for options in ({}, {"target_b": target_b, "lam": 0.4}, {"focal_gamma": 2.0, "label_smoothing": 0.1}):
            value, gradient = loss_and_gradient(loss, logits.requires_grad_(), target, options)
            assert bool(value.isnan())
            assert bool(gradient[1].isnan().any())
            assert bool(gradient[[0, 2, 3]].isfinite().all())
            each = loss(logits, target, reduction="none", **options)
            assert each.isnan().tolist() == [False, True, False, False]


def test_rows_without_a_finite_logit_are_nan():
    logits = torch.tensor([[-torch.inf] * 3, [torch.inf, torch.inf, 0], [0, 1, torch.inf]])
    each = ops.mixed_margin_loss(logits, torch.tensor([0, 0, 2]), reduction="none")
    assert each.isnan().all()
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0, 2]), reduction="none")
    assert torch.equal(each.isnan(), plain.isnan())


def test_a_bias_of_minus_infinity_takes_a_class_out():
    logits = torch.tensor([[0.5, 1e4, -0.3, 0.1], [0.5, -2.0, -0.3, 0.1]], requires_grad=True)
    bias = torch.tensor([0.0, -torch.inf, 1.0, -1.0])
    target = torch.tensor([0, 2])
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, target, {"bias": bias})
    kept = torch.tensor([0, 2, 3])
    scores = logits.detach()[:, kept].double() + bias[kept].double()
    exact = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1]))
    assert float(loss) == pytest.approx(float(exact), rel=TOLERANCE)  # the removed 1e4 costs no digits
    assert gradient[:, 1].tolist() == [0, 0]
