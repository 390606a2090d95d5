"""The op at the bounds of what is documented: label rules where conditions tie, scores as large as the dtype goes."""

import itertools

import pytest
import torch
from cases import LABEL_RULES, loss_and_gradient
from torch import Tensor
from torch.nn import functional as F

import reference as from_papers
from lt_fast import ops
from lt_fast.ops import reference

LOSSES = pytest.mark.parametrize(
    "loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"]
)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


# --- label rules ------------------------------------------------------------------------------------------------------

COUNTS = (100.0, 100.0, 300.0, 110.0, 1.0, 1e6)
PAIRS = [(a, b) for a in range(6) for b in range(6) if a != b]
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0)


def label_factors(loss, dtype: torch.dtype, *, graph: bool, **options) -> list[float]:
    """The factor f of every pair for every lam: with a logit of 40 at the second label alone, the loss is 40 f."""
    rows = list(itertools.product(PAIRS, LAMS))
    target, target_b = (torch.tensor([pair[at] for pair, _ in rows]) for at in range(2))
    logits = 40.0 * F.one_hot(target_b, 6).to(dtype)
    lam = torch.tensor([lam for _, lam in rows], dtype=dtype)
    options |= {"target_b": target_b, "lam": lam, "class_counts": torch.tensor(COUNTS)}
    if not graph:
        return (loss(logits, target, reduction="none", **options) / 40).tolist()
    _, gradient = loss_and_gradient(loss, logits.requires_grad_(), target, {**options, "reduction": "sum"})
    return (-gradient.gather(1, target[:, None])[:, 0]).tolist()


@LOSSES
@pytest.mark.parametrize("graph", [False, True])  # the call with and without a graph
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_remix_where_its_conditions_tie(loss, graph, dtype):
    for kappa, tau in itertools.product((1.0, 1.1, 3.0), (0.0, 0.25, 0.5, 0.75, 1.0)):
        found = label_factors(loss, dtype, graph=graph, label_rule="remix", kappa=kappa, tau=tau)
        rows = itertools.product(PAIRS, LAMS)
        exact = [from_papers.remix_label_factor(lam, COUNTS[a], COUNTS[b], kappa, tau) for (a, b), lam in rows]
        assert found == pytest.approx(exact, abs=1e-6), (kappa, tau)


@LOSSES
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rule", "options"),
    [("mixup", {}), ("unimix", {})]
    + [("mam", {"omega": omega}) for omega in (0.0, 0.25, 1.0, -2.0)]
    + [("cp_mix", {"tau": tau}) for tau in (0.0, 0.5, 1.0)],
)
def test_the_other_rules_at_their_bounds(loss, graph, dtype, rule, options):
    exact_of = {
        "mixup": lambda lam, _a, _b: lam,
        "unimix": from_papers.unimix_label_factor,
        "mam": lambda lam, a, b: from_papers.mam_label_factor(lam, a, b, options["omega"]),
        "cp_mix": lambda lam, a, b: from_papers.cp_mix_label_factor(lam, a, b, options["tau"]),
    }[rule]
    found = label_factors(loss, dtype, graph=graph, label_rule=rule, **options)
    exact = [exact_of(lam, COUNTS[a], COUNTS[b]) for (a, b), lam in itertools.product(PAIRS, LAMS)]
    assert found == pytest.approx(exact, abs=1e-6)


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [10, 20, 30, 40, 60, 70, 80, 90])
def test_unimix_does_not_wrap_because_a_factor_was_rounded(loss, dtype, share):
    # lam + n_b / (n_a + n_b) is 1; 0.6 as float32 is more than 0.6.
    logits = torch.tensor([[0.0, 40.0]], dtype=dtype)
    counts = torch.tensor([100.0 - share, share])
    options = {"target_b": torch.tensor([1]), "label_rule": "unimix", "class_counts": counts}
    found = loss(logits, torch.tensor([0]), lam=(100 - share) / 100, **options)
    assert float(found) == pytest.approx(40, rel=1e-6)


@LOSSES
@pytest.mark.parametrize("rule", LABEL_RULES)
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_factor_of_exactly_0_or_1_leaves_one_label(loss, rule, lam):
    logits = torch.tensor([[1.0, -torch.inf, 0.5]]) if lam == 1 else torch.tensor([[-torch.inf, 1.0, 0.5]])
    options = {"target_b": torch.tensor([1]), "lam": lam, "label_rule": rule, "class_counts": [5.0, 5.0, 5.0]}
    options |= {"tau": 0.0}
    found = loss(logits, torch.tensor([0]), **options)
    alone = F.cross_entropy(logits, torch.tensor([0 if lam == 1 else 1]))
    wraps = rule == "unimix"  # half of the label is then that of -inf
    assert found.isinf() if wraps else torch.allclose(found, alone)


# --- classes taken out, and scores as large as the dtype goes ---------------------------------------------------------

LARGE = {
    torch.float32: (1.0, 1e5, 1e7, 1e10, 1e20, 1e30, 1e36),
    torch.float64: (1.0, 1e5, 1e10, 1e20, 1e30, 1e200),
    torch.float16: (1.0, 1e3),
    torch.bfloat16: (1.0, 1e5, 1e10, 1e30),
}
SIZES = [(dtype, size) for dtype, sizes in LARGE.items() for size in sizes]
MAXIMUM = {"margin_rule": "maximum", "max_margin": 0.8, "gamma": 1.5}
RULES = [
    {},
    {"scale": 30.0},
    {"margin": torch.linspace(0, 0.5, 12)},
    MAXIMUM,
    MAXIMUM | {"compat": "batch_first_label"},
    {"focal_gamma": 2.0},
    {"lam": 0.25},
    {"lam": 0.25, "label_rule": "mam"},
]


def logits_of(dtype: torch.dtype, size: float, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(size) % 1000 + classes)
    logits = torch.randn(40, classes, generator=generator, dtype=torch.float64) * size
    logits[::3, :-1] = torch.randn(14, classes - 1, generator=generator, dtype=torch.float64)  # of the usual size
    logits[:, -1] = logits.abs().amax() * 1.5  # the class to be taken out has the largest score of the row
    return logits.to(dtype)


def exact_of(logits: Tensor, target: Tensor, bias: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """The reference in double without the last class, which the bias takes out."""
    kept = logits.detach().double()[:, :-1].requires_grad_()
    vectors = {name: v.double()[:-1] if name in ("margin", "class_counts") else v for name, v in options.items()}
    gap = {"margin_rule", "max_margin", "gamma", "compat"} & set(options)
    if gap:  # the rule reads the largest other logit, and that is the one taken out: no margin is left
        vectors = {name: v for name, v in vectors.items() if name not in gap}
    loss = reference.mixed_margin_loss(kept, target, bias=bias.double()[:-1], reduction="none", **vectors)
    (gradient,) = torch.autograd.grad(loss.sum(), kept)
    return loss.detach(), F.pad(gradient, (0, 1))


@LOSSES
@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_a_class_taken_out_by_the_bias_does_not_count(loss, dtype, size):
    for rule in RULES:
        if size > 100 or "margin_rule" not in rule:  # near the class taken out the maximum rule has a margin
            check_taken_out(loss, rule, dtype, size)


def check_taken_out(loss, rule: dict, dtype: torch.dtype, size: float, classes: int = 12) -> None:
    logits = logits_of(dtype, size, classes)
    target = torch.arange(40) % (classes - 1)
    options = dict(rule) | {"class_counts": torch.arange(1.0, classes + 1)}
    if "lam" in rule:
        options["target_b"] = target.flip(0)
    bias = torch.linspace(-2, 2, classes)
    bias[-1] = -torch.inf
    exact_loss, exact_gradient = exact_of(logits, target, bias, options)
    leaf = logits.clone().requires_grad_()
    each = loss(leaf, target, bias=bias, reduction="none", **options)
    (gradient,) = torch.autograd.grad(loss(leaf, target, bias=bias, reduction="sum", **options), leaf)

    assert each.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[:, -1] == 0).all()
    # Plain torch rounds scores of this size in the logits' dtype; the fused op rounds only what is left of them.
    rounding = 2e-6 if loss is ops.mixed_margin_loss else float(torch.finfo(each.dtype).eps) * 30
    slack = 0.0 if loss is ops.mixed_margin_loss else float(logits[:, :-1].abs().max()) * 30 * rounding
    assert ((each - exact_loss).abs() <= rounding * exact_loss + slack + 1e-6).all()
    if loss is ops.mixed_margin_loss:
        unit = max(float(torch.finfo(dtype).eps), 4e-6)
        assert ((gradient.double() - exact_gradient).abs().amax(1) <= unit * 40).all()


@LOSSES
@pytest.mark.parametrize("mask", [-1e9, -1e30, float(torch.finfo(torch.float32).min)])
@pytest.mark.parametrize("size", [1e8, 1e10, 1e20, 1e30])
def test_a_bias_that_is_minus_infinity_but_for_its_name(loss, mask, size):
    if -mask < 100 * size:
        mask = float(torch.finfo(torch.float32).min)
    logits = logits_of(torch.float32, size, 9)
    bias, target = torch.zeros(9), torch.arange(40) % 8
    bias[-1] = mask
    leaf = logits.clone().requires_grad_()
    each, gradient = loss_and_gradient(loss, leaf, target, {"bias": bias, "reduction": "none"})
    exact = F.cross_entropy(logits[:, :-1].double(), target, reduction="none")
    assert torch.allclose(each.double(), exact, rtol=2e-6, atol=1e-5)
    assert gradient.isfinite().all()


@LOSSES
@pytest.mark.parametrize("classes", [9, 300])
def test_the_leading_class_decides_whatever_the_bias(loss, classes):
    # All scores are 1e10 below the logit that is taken out, and a few hundred apart.
    logits = 100 * torch.randn(20, classes, generator=torch.Generator().manual_seed(0))
    logits[:, 3] = 1e10
    bias, target = torch.zeros(classes), torch.arange(20) % 3
    bias[3] = -torch.inf
    kept = torch.arange(classes) != 3
    exact = F.cross_entropy(logits[:, kept].double(), target, reduction="none")
    assert torch.allclose(loss(logits, target, bias=bias, reduction="none").double(), exact, rtol=2e-6, atol=1e-5)


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_labels_of_which_only_they_are_left(loss, dtype):
    logits = torch.tensor([[1.0, 3.0, 1e30]], dtype=dtype)
    bias = torch.tensor([0.0, 0.0, -torch.inf])
    found = loss(logits, torch.tensor([0]), target_b=torch.tensor([1]), lam=0.25, bias=bias)
    exact = 0.25 * F.cross_entropy(logits[:, :2], torch.tensor([0])) + 0.75 * F.cross_entropy(
        logits[:, :2], torch.tensor([1])
    )
    assert torch.allclose(found, exact)


@LOSSES
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("focal_gamma", [0.5, 1.0, 2.0])
def test_a_row_without_doubt_costs_nothing_under_modulation(loss, dtype, focal_gamma):
    # Smoothing alone makes the loss infinite; (1 - p)^gamma is 0, and 0 is the limit of the product.
    logits = torch.full((2, 4), -torch.inf, dtype=dtype)
    logits[:, 1] = 2.0
    target = torch.tensor([1, 1])
    options = {"label_smoothing": 0.1, "focal_gamma": focal_gamma}
    value, gradient = loss_and_gradient(loss, logits.requires_grad_(), target, options)
    assert value == 0
    assert (gradient == 0).all()


@LOSSES
@pytest.mark.parametrize("options", [{}, {"focal_gamma": 2.0}, {"label_smoothing": 0.1}], ids=str)
def test_an_impossible_label_has_an_infinite_loss_and_a_gradient(loss, options):
    logits = torch.tensor([[-torch.inf, 1.0, 2.0]], requires_grad=True)
    value, gradient = loss_and_gradient(loss, logits, torch.tensor([0]), options)
    leaf = logits.detach().clone().requires_grad_()
    plain = F.cross_entropy(leaf, torch.tensor([0]), label_smoothing=options.get("label_smoothing", 0.0))
    assert value.isinf()
    assert torch.allclose(gradient, torch.autograd.grad(plain, leaf)[0])


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_margin_beyond_the_dtype_is_an_infinite_loss(loss, dtype):
    # exp(gamma * (margin - max_margin)) is the margin: 1000 is more than a double's exponent.
    logits = torch.tensor([[1.0, 0.0, -1.0]], dtype=dtype, requires_grad=True)
    options = {"margin": torch.full((3,), 1000.0), "margin_rule": "maximum", "max_margin": 0.0, "gamma": 1.0}
    value, gradient = loss_and_gradient(loss, logits, torch.tensor([0]), options)
    assert value == torch.inf
    assert torch.allclose(gradient, torch.tensor([[-1.0, 0.7311, 0.2689]], dtype=dtype), atol=1e-4)


@pytest.mark.parametrize("scale", [5e-324, 1e-45, 1e-38])
def test_a_scale_that_float32_does_not_hold_is_refused(scale):
    with pytest.raises(ValueError, match=r"scale must be at least 1\.2e-38, as float32 is, got "):
        ops.mixed_margin_loss(torch.zeros(2, 3), torch.tensor([0, 1]), scale=scale)


@LOSSES
@pytest.mark.parametrize("scale", [2e-38, 1e-20, 1e20, 3e38])
def test_the_smallest_and_the_largest_scale(loss, scale):
    logits = torch.tensor([[1.0, -torch.inf, 0.0], [0.0, 0.0, 0.0]]) / scale
    found = loss(logits, torch.tensor([2, 1]), scale=scale, reduction="none")
    assert torch.allclose(found, torch.tensor([1.3132617, 1.0986123]))
