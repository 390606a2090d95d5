"""Soft targets, labels to be ignored and labels per position: every loss beside the reference, and beside torch's."""

import copy
import doctest
import inspect
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.data import Mixup
from torch.autograd.gradcheck import GradcheckError
from torch.nn import functional as F
from torchvision.transforms import v2

import reference
from lt_fast import ClassCounts
from lt_fast.experiment.build import make_criterion
from lt_fast.losses import LOSSES, CrossEntropyLoss, EqualizationLoss, LDAMLoss, Loss, SeesawLoss, targets, two_labels
from lt_fast.losses.targets import TargetForm

pytestmark = [
    pytest.mark.filterwarnings("ignore:logits of .* must be cosines:UserWarning"),
    pytest.mark.filterwarnings("ignore:logits of .* look like probabilities:UserWarning"),
]
COUNTS = [500, 120, 40, 9, 1]
WEIGHT = [0.2, 0.5, 1.0, 1.4, 2.0]
CLASSES = len(COUNTS)
OF_EXPERTS = {"ace", "sade", "ride"}
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))
every_plain_loss = pytest.mark.parametrize("name", sorted(LOSSES.keys() - OF_EXPERTS))
every_general_loss = pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"seesaw"}))
REDUCTIONS = ("mean", "sum", "none")
RARE = {"threshold": 0.05, "gamma": 0.6}  # of the equalization loss: half of the classes are dropped here


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64) * 2 - 1


def labels(*shape, seed=1):
    return torch.randint(CLASSES, shape, generator=generator(seed))


def logits_of(name, rows=6):
    return draw(rows, 3, CLASSES) if name in OF_EXPERTS else draw(rows, CLASSES)


def mixture(rows=6, smoothing=0.0, seed=1):
    """Soft targets as timm makes them: two smoothed labels, one of them for the first row."""
    first, second = labels(rows, seed=seed), labels(rows, seed=seed + 1)
    second[0] = first[0]
    lam = torch.rand(rows, 1, generator=generator(seed), dtype=torch.float64)
    one_hot = lam * F.one_hot(first, CLASSES) + (1 - lam) * F.one_hot(second, CLASSES)
    return (1 - smoothing) * one_hot + smoothing / CLASSES


def made(name, **options):
    own = RARE if name == "equalization" else {}
    return LOSSES[name](COUNTS, **own, **options)


def expected_of(name, logits, target, **options):
    own = RARE if name == "equalization" else {}
    return getattr(reference, f"{name}_loss")(logits, target, COUNTS, **own, **options)


def weighted(name):
    return {"weight": WEIGHT} if "weight" in inspect.signature(LOSSES[name]).parameters else {}


def compare(criterion, expected, logits, tolerance=1e-9):
    """Values and gradients of two functions of the logits."""
    found, exact = (logits.clone().requires_grad_() for _ in range(2))
    losses = criterion(found), expected(exact)
    torch.testing.assert_close(*losses, rtol=tolerance, atol=tolerance)
    for loss in losses:
        loss.sum().backward()
    torch.testing.assert_close(found.grad, exact.grad, rtol=tolerance, atol=tolerance)


# --- soft targets -----------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize(("rule", "normalization"), [("mixup", "expected"), ("mixup", "weights"), ("mam", "batch")])
def test_soft_targets_of_two_labels(name, rule, normalization):
    options = {"label_rule": rule, "normalization": normalization, **weighted(name)}
    soft = mixture()
    criterion = made(name, **options)
    compare(
        lambda logits: criterion(logits, soft),
        lambda logits: expected_of(name, logits, soft, **options),
        logits_of(name),
    )


@every_general_loss
@pytest.mark.parametrize(
    ("rule", "normalization", "reduction", "dtype"),
    [
        ("mixup", "expected", "mean", torch.float32),
        ("mixup", "weights", "mean", torch.float64),
        ("mam", "batch", "none", torch.float64),
    ],
)
def test_soft_targets_of_many_labels(name, rule, normalization, reduction, dtype):
    """``sum_c soft_c weight_c loss(logits, c)``, here with the smoothed labels of timm's Mixup."""
    options = {"label_rule": rule, "normalization": normalization, "reduction": reduction, **weighted(name)}
    soft, logits = mixture(smoothing=0.1), logits_of(name).to(dtype)
    criterion = made(name, **options)
    found, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    losses = criterion(found, soft), expected_of(name, exact, soft, **options)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=tolerance, atol=tolerance)
    for loss in losses:
        loss.sum().backward()
    largest = max(1.0, float(exact.grad.abs().max()))
    torch.testing.assert_close(found.grad.double(), exact.grad, rtol=0, atol=2 * tolerance * largest)


@every_general_loss
def test_the_general_formula_is_that_of_two_labels(name):
    """A share that rounds to nothing takes the row of two labels the general way."""
    soft = mixture()
    nearly = soft.clone()
    nearly[:] = torch.where(soft > 0, soft, 1e-30)
    logits, options = logits_of(name), weighted(name)
    compare(lambda z: made(name, **options)(z, soft), lambda z: made(name, **options)(z, nearly), logits)


@every_general_loss
def test_gradcheck_of_soft_targets(name):
    soft = mixture(rows=3, smoothing=0.1)
    criterion = made(name, **({"diversity": 0.0} if name == "ride" else {}))
    inputs = (lambda z: copy.deepcopy(criterion)(z, soft), logits_of(name, 3).requires_grad_())
    if name == "maximum_margin":  # the margin is a constant for the gradient
        with pytest.raises(GradcheckError):
            torch.autograd.gradcheck(*inputs)
    else:
        assert torch.autograd.gradcheck(*inputs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.2}])
def test_cross_entropy_of_soft_targets_is_torchs(reduction, smoothing, options):
    soft = mixture(smoothing=smoothing)
    of_torch = {key: torch.tensor(it, dtype=torch.float64) if key == "weight" else it for key, it in options.items()}
    criterion = CrossEntropyLoss(COUNTS, reduction=reduction, normalization="batch", **options)
    compare(
        lambda z: criterion(z, soft), lambda z: F.cross_entropy(z, soft, reduction=reduction, **of_torch), draw(6, 5)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_soft_targets_of_every_dtype(dtype):
    soft, logits = mixture(smoothing=0.1), draw(6, 5).float()
    for rows in (soft, mixture()):
        expected = F.cross_entropy(logits, rows.to(dtype).float())
        torch.testing.assert_close(CrossEntropyLoss(COUNTS)(logits, rows.to(dtype)), expected, rtol=1e-6, atol=1e-6)
    half = logits.to(dtype).requires_grad_()
    loss = LDAMLoss(COUNTS)(half, soft)
    loss.backward()
    assert (loss.dtype, half.grad.dtype) == (torch.float32, dtype)


@pytest.mark.parametrize("name", ["cross_entropy", "ldam", "maximum_margin", "equalization", "focal"])
def test_random_rows_of_many_classes_in_float32(name):
    counts = np.geomspace(1000, 1, 70).astype(int).tolist()
    logits = draw(40, 70, seed=3).float()
    soft = torch.rand(40, 70, generator=generator(4), dtype=torch.float64) ** 8
    soft = soft / soft.sum(1, keepdim=True)
    criterion = LOSSES[name](counts)
    found, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    losses = [copy.deepcopy(criterion)(z, soft) for z in (found, exact)]
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-6, atol=1e-6)
    for loss in losses:
        loss.backward()
    assert (found.grad.double() - exact.grad).abs().max() <= 2e-6 * exact.grad.abs().max() + 1e-9


@pytest.mark.parametrize("name", ["cross_entropy", "ldam", "maximum_margin", "equalization"])
@pytest.mark.parametrize("size", [1e-3, 30.0, 1e4])
def test_large_and_infinite_logits_of_soft_targets(name, size):
    soft = mixture(smoothing=0.1)
    logits = (size * draw(6, 5)).float()
    exact = made(name, reduction="none")(logits.double(), soft)
    torch.testing.assert_close(made(name, reduction="none")(logits, soft).double(), exact, rtol=2e-6, atol=2e-6)
    soft = F.one_hot(labels(6).clamp(max=3), CLASSES) * 0.5 + F.one_hot(torch.tensor([0, 1, 2] * 2), CLASSES) * 0.3
    soft[:, 3] += 0.2  # the last class has no share, and is impossible
    logits[:, 4] = -torch.inf
    logits.requires_grad_()
    loss = made(name)(logits, soft)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_timms_mixup():
    x, target = torch.rand(8, 3, 8, 8), labels(8)
    np.random.seed(0)  # noqa: NPY002  (timm reads the global generator)
    logits = draw(8, CLASSES).float()
    for mode, smoothing, cutmix in itertools.product(("batch", "elem", "pair"), (0.0, 0.1), (0.0, 1.0)):
        mix = Mixup(0.8, cutmix, mode=mode, label_smoothing=smoothing, num_classes=CLASSES)
        _, soft = mix(x.clone(), target)
        expected = F.cross_entropy(logits, soft)
        torch.testing.assert_close(CrossEntropyLoss(COUNTS)(logits, soft), expected, rtol=1e-6, atol=1e-6)
        for name in ("ldam", "balanced_softmax", "lade"):
            exact = expected_of(name, logits.double(), soft, label_rule="mam")
            found = made(name, label_rule="mam")(logits, soft)
            torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=1e-6)
        if smoothing:
            with pytest.raises(ValueError, match=r"at most two labels in every row, got 5 .*\(label_smoothing=0\)"):
                SeesawLoss(COUNTS)(logits, soft)
        else:
            torch.testing.assert_close(LDAMLoss(COUNTS)(logits, soft), LDAMLoss(COUNTS)(logits, *two_labels(soft)))


@pytest.mark.parametrize("mixer", [v2.MixUp, v2.CutMix])
def test_torchvisions_mixup(mixer):
    torch.manual_seed(0)  # torchvision reads the global generator
    _, soft = mixer(num_classes=CLASSES)(torch.rand(8, 3, 8, 8), labels(8))
    logits = draw(8, CLASSES).float()
    torch.testing.assert_close(CrossEntropyLoss(COUNTS)(logits, soft), F.cross_entropy(logits, soft))
    target, target_b, lam = two_labels(soft)
    assert torch.equal(target.sort().values, labels(8).sort().values) or (lam <= 1).all()
    rebuilt = lam[:, None] * F.one_hot(target, 5) + (1 - lam)[:, None] * F.one_hot(target_b, 5)
    torch.testing.assert_close(rebuilt, soft)
    for name in sorted(LOSSES.keys() - OF_EXPERTS):
        found = made(name, label_rule="mam")(logits, soft)
        assert torch.equal(found, made(name, label_rule="mam")(logits, target, target_b, lam)), name


def test_one_label_stays_one_under_every_rule():
    """A second label of share 0 would get one from the rules that add the class sizes."""
    target, logits = labels(6), draw(6, 5)
    for rule in ("mixup", "mam", "remix", "unimix", "cp_mix"):
        for criterion in (LDAMLoss(COUNTS, label_rule=rule), SeesawLoss(COUNTS, label_rule=rule)):
            one_hot = F.one_hot(target, CLASSES).double()
            torch.testing.assert_close(criterion(logits, one_hot), criterion(logits, target))
        smoothed = 0.9 * one_hot + 0.1 / CLASSES
        plain, ruled = (LDAMLoss(COUNTS, label_rule=it)(logits, smoothed) for it in ("mixup", rule))
        torch.testing.assert_close(ruled, plain)


def test_two_classes_are_two_labels():
    soft = torch.tensor([[0.7, 0.3], [0.5, 0.5]], dtype=torch.float64)
    logits = draw(2, 2)
    for rule in ("mixup", "mam"):
        criterion = LDAMLoss([50, 5], label_rule=rule)
        exact = criterion(logits, torch.tensor([0, 0]), torch.tensor([1, 1]), soft[:, 0])
        torch.testing.assert_close(criterion(logits, soft), exact)
        torch.testing.assert_close(
            torch.vmap(lambda z, criterion=criterion: criterion(z, soft))(logits[None]), exact[None]
        )


# --- ignored labels ---------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize(
    ("mixed", "normalization", "reduction"),
    [(False, "expected", "mean"), (False, "batch", "sum"), (True, "weights", "mean"), (True, "batch", "none")],
)
def test_ignored_labels(name, mixed, normalization, reduction):
    options = {"normalization": normalization, "reduction": reduction, **weighted(name)}
    target, target_b = labels(6), labels(6, seed=2)
    target[1] = target[4] = target_b[4] = -100
    keywords = {}
    if mixed:
        target_b[5] = -100
        keywords = {"target_b": target_b, "lam": torch.linspace(0, 1, 6, dtype=torch.float64), "label_rule": "mam"}
    criterion = made(name, **options, **({"label_rule": "mam"} if mixed else {}))
    of_call = [keywords.get("target_b"), keywords.get("lam")]
    compare(
        lambda logits: criterion(logits, target, *of_call),
        lambda logits: expected_of(name, logits, target, **options, **keywords),
        logits_of(name),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignored", [-100, -1, 255, 2, 0])
def test_ignored_labels_are_torchs(reduction, weight, ignored):
    target = labels(8)
    target[2] = target[5] = ignored
    of_torch = {"reduction": reduction, "ignore_index": ignored}
    criterion = CrossEntropyLoss(COUNTS, weight=weight, normalization="weights", **of_torch)
    exact = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    compare(lambda z: criterion(z, target), lambda z: F.cross_entropy(z, target, exact, **of_torch), draw(8, 5))
    leaf = draw(8, 5).requires_grad_()
    if reduction != "none":
        loss, gradient = criterion.loss_and_gradient(leaf, target)
        criterion(leaf, target).backward()
        assert torch.equal(gradient, leaf.grad)
        assert torch.equal(loss, criterion(leaf, target))
        assert not gradient[target == ignored].any()


@every_loss
def test_the_mean_is_over_the_others(name):
    logits, target = logits_of(name, 8), labels(8)
    target[1::3] = -100
    kept = target != -100
    found = made(name)(logits, target)
    if name == "equalization":  # what is dropped follows from the number of the row
        assert found.isfinite()
        return
    torch.testing.assert_close(found, made(name)(logits[kept], target[kept]))


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_batch_of_ignored_labels_is_an_empty_one(name, reduction):
    logits = logits_of(name).requires_grad_()
    loss = made(name, reduction=reduction)(logits, torch.full((6,), -100))
    loss.sum().backward()
    assert not loss.any()
    assert not logits.grad.any()
    if reduction == "mean":
        assert made(name, normalization="weights")(logits, torch.full((6,), -100)).isnan()  # as torch, 0 / 0


def test_no_label_is_ignored_on_request():
    target = torch.tensor([0, -100, 2])
    with pytest.raises(ValueError, match=r"target must lie in \[0, 5\), got -100 at position 1"):
        CrossEntropyLoss(COUNTS, ignore_index=None)(draw(3, 5), target)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 5\), got -1 at position 1"):
        CrossEntropyLoss(COUNTS)(draw(3, 5), target.clamp(min=-1))


def test_a_runs_loss_looks_for_no_ignored_label():
    config = {"loss": {"name": "ldam"}, "reweight": None, "seed": 0, "batch_size": 8, "learning_rate": 0.1, "epochs": 1}
    criterion = make_criterion(config, ClassCounts(COUNTS))
    assert criterion.target_form == TargetForm(ignore_index=None)


# --- a label per position ---------------------------------------------------------------------------------------------

SHAPES = {"image": (2, 3, 2), "sequence": (2, 4), "volume": (2, 2, 1, 2)}


def placed(rows_last, class_dim):
    return rows_last.movedim(-1, class_dim).contiguous() if class_dim == 1 else rows_last


@every_plain_loss
@pytest.mark.parametrize(
    ("class_dim", "kind", "reduction"),
    [(1, "labels", "mean"), (-1, "ignored", "none"), (1, "soft", "none"), (-1, "mixed", "mean")],
)
def test_a_label_per_position(name, class_dim, kind, reduction):
    shape = SHAPES["image"]
    logits, target, of_call, keywords = placed(draw(*shape, CLASSES), class_dim), labels(*shape), [], {}
    if kind == "ignored":
        target[0, 1] = -100
    if kind == "soft":
        target = placed(mixture(12).reshape(*shape, CLASSES), class_dim)
    if kind == "mixed":
        of_call = [labels(*shape, seed=5), torch.tensor([0.3, 0.8])]
        keywords = {"target_b": of_call[0].flatten(), "lam": of_call[1].repeat_interleave(6)}
    criterion = made(name, class_dim=class_dim, reduction=reduction)

    def expected(z):
        rows, rows_of_target = reference.rows_of_positions(z, target, class_dim)
        loss = expected_of(name, rows, rows_of_target, reduction=reduction, **keywords)
        return loss.reshape(shape) if reduction == "none" else loss

    compare(lambda z: criterion(z, target, *of_call), expected, logits)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["labels", "ignored", "soft"])
def test_positions_are_torchs(reduction, shape, kind):
    logits, target = placed(draw(*shape, CLASSES), 1), labels(*shape)
    if kind == "ignored":
        target[:, 0] = -100
    if kind == "soft":
        rows = torch.Size(shape).numel()
        target = placed(mixture(rows, smoothing=0.1).reshape(*shape, CLASSES), 1)
    criterion = CrossEntropyLoss(COUNTS, reduction=reduction, normalization="batch")
    compare(lambda z: criterion(z, target), lambda z: F.cross_entropy(z, target, reduction=reduction), logits)
    last = CrossEntropyLoss(COUNTS, reduction=reduction, normalization="batch", class_dim=-1)
    moved = target.movedim(1, -1) if kind == "soft" else target
    assert torch.equal(last(logits.movedim(1, -1), moved), criterion(logits, target))
    if reduction != "none":
        loss, gradient = criterion.loss_and_gradient(logits, target)
        leaf = logits.clone().requires_grad_()
        criterion(leaf, target).backward()
        assert torch.equal(gradient, leaf.grad)
        assert loss == criterion(logits, target)


def test_where_the_sizes_leave_it_open_the_option_decides():
    logits, target = draw(2, 5, 5), labels(2, 5)
    first, last = (CrossEntropyLoss(COUNTS, class_dim=dim)(logits, target) for dim in (1, -1))
    torch.testing.assert_close(first, F.cross_entropy(logits, target))
    torch.testing.assert_close(last, F.cross_entropy(logits.mT, target))


@pytest.mark.parametrize("lam", [0.3, torch.tensor(0.3), [0.3, 0.8], np.array([0.3, 0.8]), torch.rand(2, 3, 2)])
def test_factors_of_positions(lam):
    logits, target, target_b = draw(2, 5, 3, 2), labels(2, 3, 2), labels(2, 3, 2, seed=5)
    full = torch.as_tensor(lam).double()
    full = full[:, None, None] if full.dim() == 1 else full
    each = CrossEntropyLoss(COUNTS, reduction="none")(logits, target, target_b, lam)
    a, b = (F.cross_entropy(logits, it, reduction="none") for it in (target, target_b))
    torch.testing.assert_close(each, full * a + (1 - full) * b, rtol=1e-6, atol=1e-6)


def test_channels_last_images_and_an_empty_batch():
    images = placed(draw(2, 4, 4, CLASSES), 1).to(memory_format=torch.channels_last).requires_grad_()
    target = labels(2, 4, 4)
    torch.testing.assert_close(CrossEntropyLoss(COUNTS)(images, target), F.cross_entropy(images, target))
    for name in sorted(LOSSES.keys() - OF_EXPERTS):
        empty = torch.zeros(0, 5, 2, requires_grad=True)
        loss = made(name)(empty, torch.zeros(0, 2, dtype=torch.int64))
        loss.backward()
        assert loss == 0
        soft = made(name)(torch.zeros(0, 5, requires_grad=True), torch.zeros(0, 5))
        assert soft == 0
        assert made(name)(torch.zeros(0, 5, 2), torch.zeros(0, 5, 2)) == 0


# --- the plain path, traces and transforms ----------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch):
    """Calls whose targets were looked at for another form."""
    calls, rows = [], TargetForm.rows

    def counted(self, *arguments, **keywords):
        calls.append(arguments)
        return rows(self, *arguments, **keywords)

    monkeypatch.setattr(TargetForm, "rows", counted)
    return calls


def test_labels_of_rows_are_not_looked_at(looked_at):
    logits, target = draw(6, 5).float().requires_grad_(), labels(6)
    criterion = LDAMLoss(COUNTS, label_rule="mam")
    criterion(logits, target).backward()
    criterion(logits, target, labels(6, seed=2), 0.3).backward()
    criterion.loss_and_gradient(logits, target)
    assert not looked_at
    criterion(logits, target.where(target != target[0], -100))
    assert len(looked_at) == 1
    LDAMLoss(COUNTS, ignore_index=3)(logits, target)  # a class: the op would take it
    assert len(looked_at) == 2


FORMS = {
    "labels": lambda: (draw(6, 5), labels(6)),
    "ignored": lambda: (draw(6, 5), torch.tensor([0, -100, 3, 2, -100, 1])),
    "all ignored": lambda: (draw(6, 5), torch.full((6,), -100)),
    "soft": lambda: (draw(6, 5), mixture(smoothing=0.1)),
    "positions": lambda: (draw(2, 5, 3), labels(2, 3)),
    "soft positions": lambda: (draw(2, 5, 3), placed(mixture().reshape(2, 3, 5), 1)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["maximum_margin", "lade", "equalization"])
def test_forms_compile_without_a_graph_break(name, form):
    logits, target = FORMS[form]()
    criterion = made(name, label_rule="mam")
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
    compare(lambda z: compiled(z, target), lambda z: criterion(z, target), logits)


@pytest.mark.parametrize("lam", [0.3, torch.tensor(0.3), [0.3, 0.7], torch.rand(2, 3)])
def test_factors_of_positions_compile(lam):
    logits, criterion = draw(2, 5, 3), LDAMLoss(COUNTS)
    torch._dynamo.reset()
    mixed = (labels(2, 3), labels(2, 3, seed=5), lam)
    compiled = torch.compile(lambda z: criterion(z, *mixed), fullgraph=True, backend="aot_eager")
    compare(compiled, lambda z: criterion(z, *mixed), logits)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
def test_forms_in_float32_on_every_device(form, device):
    logits, target = FORMS[form]()
    for name in ("ldam", "maximum_margin", "lade", "equalization"):
        exact = made(name, label_rule="mam")(logits, target)
        found = made(name, label_rule="mam").to(device)(logits.float().to(device), target.to(device))
        torch.testing.assert_close(found.double().cpu(), exact, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["cross_entropy", "ldam", "focal"])
def test_forms_under_transforms(name, form):
    logits, target = FORMS[form]()
    criterion = made(name)
    leaf = logits.clone().requires_grad_()
    loss = criterion(leaf, target)
    loss.backward()
    torch.testing.assert_close(torch.func.grad(lambda z: criterion(z, target))(logits), leaf.grad)
    torch.testing.assert_close(torch.vmap(criterion)(logits[None], target[None])[0], loss.detach())


def test_soft_targets_that_cannot_be_looked_at():
    """A loss without a general formula needs two labels, which it cannot see in a trace."""
    criterion, logits, soft = SeesawLoss(COUNTS), draw(6, 5), mixture()
    with pytest.raises(
        TypeError, match=r"cannot be seen .* criterion\(logits, \*lt_fast.losses.two_labels\(target\)\)"
    ):
        torch.vmap(criterion)(logits[None], soft[None])
    by_two = torch.vmap(lambda z, rows: criterion(z, *two_labels(rows)))(logits[None], soft[None])
    torch.testing.assert_close(by_two[0], criterion(logits, soft))


# --- errors -----------------------------------------------------------------------------------------------------------


def soft_with(row):
    soft = mixture()
    soft[2] = torch.tensor(row, dtype=torch.float64)
    return soft


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            soft_with([1, 0, 1, 0, 0]),
            "got 2 in row 2; for several labels of one image use a binary loss, such as lt_fast.losses.MultiLabel",
        ),
        (soft_with([0, 0, 0, 0, 0]), "got 0 in row 2; leave rows without a label out: keep = target.sum(1) > 0, then"),
        (soft_with([70, 30, 0, 0, 0]), "got 100 in row 2; divide it by its sum over the classes"),
        (soft_with([1.5, -0.5, 0, 0, 0]), "target must be >= 0 in every class, got -0.5 in row 2"),
        (soft_with([torch.nan, 0, 0, 0, 0]), "target must be >= 0 in every class, got nan in row 2"),
        (mixture().requires_grad_(), "target must not require a gradient: only the logits have one"),
        (mixture().to("meta"), "target must be on the logits' device cpu, got meta"),
        (mixture()[:4], "must have the logits' shape (6, 5), got (4, 5); logits have 6 rows and target has 4"),
        (torch.ones(6, 7), "shape (6, 5), got (6, 7); make them with num_classes=5, or the network with 7 outputs"),
    ],
)
def test_soft_targets_that_are_no_distributions(target, message):
    for name in ("ldam", "seesaw", "lade"):
        with pytest.raises(ValueError, match=re.escape(message)):
            made(name)(draw(6, 5), target)


def test_soft_targets_hold_both_labels():
    soft = mixture()
    with pytest.raises(ValueError, match=r"soft targets must have the logits' shape \(6, 5\), got \(6, 4\)"):
        CrossEntropyLoss(COUNTS)(draw(6, 5), soft[:, :4])
    for of_call, name in (((labels(6), 0.5), "target_b"), ((None, 0.5), "lam")):
        with pytest.raises(ValueError, match=rf"{name} must be left out with soft targets \(6, 5\), which hold both"):
            CrossEntropyLoss(COUNTS)(draw(6, 5), soft, *of_call)
    with pytest.raises(ValueError, match="compat must be None for soft targets, got 'batch_first_label'"):
        made("maximum_margin", compat="batch_first_label")(draw(6, 5), soft)
    three = torch.tensor([[0.5, 0.3, 0.2, 0.0, 0.0]])
    with pytest.raises(
        ValueError, match=r"target must mix at most two labels, beside a uniform share, for label_rule="
    ):
        LDAMLoss(COUNTS, label_rule="mam")(draw(1, 5), three)
    assert LDAMLoss(COUNTS)(draw(1, 5), three).isfinite()
    with pytest.raises(
        ValueError, match=r"soft targets of SeesawLoss must have at most two labels in every row, got 3"
    ):
        SeesawLoss(COUNTS)(draw(1, 5), three)


@pytest.mark.parametrize(
    ("logits", "target", "options", "message"),
    [
        ((2, 7, 5), (2, 7), {}, "the classes are in dimension -1 of these logits: make the loss with class_dim=-1"),
        ((2, 5, 7), (2, 7), {"class_dim": -1}, "in dimension 1 of these logits: make the loss with class_dim=1"),
        ((2, 5, 7), (2, 5, 7), {}, "got (2, 5, 7); for one-hot labels use target.argmax(1)"),
        ((2, 5, 7), (2,), {}, "got (2,); for one label per sample pass logits of shape (N, C), such as logits.flatten"),
        ((2, 7, 5), (2,), {"class_dim": -1}, "such as logits.flatten(1, -2).mean(1)"),
        (
            (2, 5, 7),
            (2, 8),
            {},
            "target must have one label per position, shape (2, 7) for logits (2, 5, 7), or be soft",
        ),
        ((2, 5, 1), (2,), {}, "logits must have shape (N, C), got (2, 5, 1); use logits.flatten(1)"),
        ((2, 7, 3), (2, 3), {}, "class_counts must have shape (C,) = (7,), got (5,)"),
    ],
)
def test_targets_of_another_shape(logits, target, options, message):
    for name in ("ldam", "seesaw"):
        with pytest.raises(ValueError, match=re.escape(message)):
            made(name, **options)(draw(*logits), labels(*target).clamp(max=1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("length", [7, 5])
def test_soft_targets_along_another_dimension(length, smoothing):
    last = mixture(2 * length, smoothing).reshape(2, length, CLASSES)
    for dim, soft in ((1, last), (-1, last.movedim(-1, 1))):
        with pytest.raises(ValueError, match=rf"over the classes, dimension {dim} of .*loss with class_dim={-dim}"):
            made("ldam", class_dim=dim)(torch.zeros_like(soft), soft)
        assert made("ldam", class_dim=-dim)(torch.zeros_like(soft), soft).isfinite()


@pytest.mark.parametrize("target", [mixture(), labels(6)])
def test_targets_without_strides(target):
    with pytest.raises(TypeError, match=r"target must be a dense tensor, got layout .*; use target.to_dense\(\)"):
        LDAMLoss(COUNTS)(draw(6, 5), target.to_sparse())
    with pytest.raises(TypeError, match=r"logits must be a dense tensor, got layout .*; use logits.to_dense\(\)"):
        LDAMLoss(COUNTS)(draw(6, 5).to_sparse(), target)
    assert LDAMLoss(COUNTS)(draw(6, 5), target.to_sparse().to_dense()).isfinite()


def test_the_advice_for_ignored_labels_works():
    wrong = labels(2, 7).index_fill(1, torch.tensor([3]), 255)
    with pytest.raises(ValueError, match=r"if 255 marks rows .*; a loss of logits does it with ignore_index=255"):
        LDAMLoss(COUNTS)(draw(2, 5, 7), wrong)
    assert LDAMLoss(COUNTS, ignore_index=255)(draw(2, 5, 7), wrong).isfinite()


@pytest.mark.parametrize("lam", [[0.3, 0.7], np.array([0.7, 0.3])[::-1], np.array([0.3, 0.7], ">f8")])
def test_factors_of_positions_keep_their_digits(lam):
    logits, target, target_b = draw(2, 5, 3), labels(2, 3), labels(2, 3, seed=5)
    exact = torch.tensor([0.3, 0.7], dtype=torch.float64)
    assert torch.equal(*(LDAMLoss(COUNTS)(logits, target, target_b, each) for each in (lam, exact)))
    with pytest.raises(TypeError, match=r"lam must be a number or N numbers, got \['a', 'b'\]"):
        LDAMLoss(COUNTS)(logits, target, target_b, ["a", "b"])


def test_the_advice_for_positions_works():
    target = labels(2, 7)
    pooled = draw(2, 5, 7).flatten(2).mean(2), draw(2, 7, 5).flatten(1, -2).mean(1)
    assert all(LDAMLoss(COUNTS)(rows, target[:, 0]).isfinite() for rows in pooled)
    one_hot = F.one_hot(target, 5).movedim(-1, 1)
    assert torch.equal(one_hot.argmax(1), target)


@pytest.mark.parametrize(
    ("target_b", "lam", "message"),
    [
        (labels(2), 0.5, "target_b must have the shape of target, (2, 7), got (2,)"),
        (
            labels(2, 7),
            torch.rand(7),
            "lam must be a number, or have one entry per sample, (2,), or per position, (2, 7)",
        ),
        (labels(2, 7), None, "lam must be given together with target_b, got None"),
        (labels(2, 7), 1.5, "lam must lie in [0, 1], got 1.5"),
    ],
)
def test_mixed_labels_of_positions(target_b, lam, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LDAMLoss(COUNTS)(draw(2, 5, 7), labels(2, 7), target_b, lam)


@pytest.mark.parametrize("name", sorted(OF_EXPERTS))
def test_losses_of_experts_have_no_positions(name):
    with pytest.raises(
        ValueError, match=r"must be \(N, E, C\) of E experts, got shape \(2, 3, 5, 7\); for a label per"
    ):
        made(name)(draw(2, 3, 5, 7), labels(2, 7))


@pytest.mark.parametrize("name", sorted(OF_EXPERTS))
def test_soft_targets_and_lists_of_experts(name):
    logits, soft = draw(6, 3, 5), mixture()
    with pytest.raises(ValueError, match=r"got \(6, 3, 5\); all experts have one target, such as target\[:, 0\]"):
        made(name)(logits, soft[:, None].expand(6, 3, 5))
    with pytest.raises(TypeError, match=r"logits .*must be a tensor.*, got list; pass (torch.stack\(logits, 1\)|one)"):
        made(name)(list(logits.unbind(1)), soft)
    assert made(name)(torch.stack(list(logits.unbind(1)), 1), soft).isfinite()


@every_loss
def test_options_of_targets(name):
    for wrong in (0, 2, "last", None, True, 1.0):
        with pytest.raises(ValueError, match="class_dim must be 1 or -1, got "):
            LOSSES[name](COUNTS, class_dim=wrong)
    for wrong in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match=r"ignore_index must fit into int64, got .*; None ignores no label"):
            LOSSES[name](COUNTS, ignore_index=wrong)
    for wrong in (1.5, "none", True):
        with pytest.raises(TypeError, match=r"ignore_index must be an integer, got .*; None ignores no label"):
            LOSSES[name](COUNTS, ignore_index=wrong)
    with pytest.raises(AttributeError, match=r"make a new one, \w+\(counts, ignore_index=...\)"):
        LOSSES[name](COUNTS).ignore_index = 255
    with pytest.raises(AttributeError, match="it follows from the options ignore_index and class_dim"):
        LOSSES[name](COUNTS).target_form = TargetForm(-1)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([[0.5, 0.5]], TypeError, "target must be a tensor of floats, got list"),
        (
            torch.tensor([[0, 1]]),
            TypeError,
            r"target must be a tensor of floats, got torch.int64; use target.float\(\)",
        ),
        (torch.rand(3), ValueError, r"target must have shape \(N, C\) with C >= 2, got \(3,\)"),
        (torch.ones(3, 1), ValueError, r"target must have shape \(N, C\) with C >= 2, got \(3, 1\)"),
        (
            mixture(smoothing=0.1),
            ValueError,
            r"at most two labels in every row, got 5 in row 0; pass it to the loss as",
        ),
        (torch.tensor([[1.0, 1.0, 0.0]]), ValueError, "got 2 in row 0; for several labels of one image use a binary"),
        (torch.zeros(1, 3), ValueError, "target must sum to 1 over the classes, got 0 in row 0; leave rows"),
        (torch.tensor([[0.3, 0.3, 0.0]]), ValueError, "got 0.6 in row 0; divide it by its sum"),
        (torch.tensor([[torch.nan, 0.0]]), ValueError, "target must be >= 0 in every class, got nan in row 0"),
        (torch.tensor([[1.5, -0.5, 0.0]]), ValueError, "target must be >= 0 in every class, got -0.5 in row 0"),
        (torch.eye(2).requires_grad_(), ValueError, "target must not require a gradient"),
        (torch.eye(2).to_sparse(), TypeError, "target must be a dense tensor"),
    ],
)
def test_two_labels_refuses(target, error, message):
    with pytest.raises(error, match=message):
        two_labels(target)


class MarginSquaredLoss(Loss):
    """A loss of a user's own reads every form, too."""

    def __init__(self, counts, **shared):
        super().__init__(counts, margin=np.full(len(counts), 0.25), scale=4.0, **shared)


def test_a_users_loss_reads_every_form():
    for logits, target in (form() for form in FORMS.values()):
        assert MarginSquaredLoss(COUNTS)(logits, target).isfinite()
    assert EqualizationLoss(COUNTS, threshold=1.0, gamma=1.0)(draw(6, 5), mixture(smoothing=0.1)).isfinite()


def test_the_docstring_example_runs():
    result = doctest.testmod(targets)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_page_runs_and_says_what_it_says(capsys):
    page = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
    names = {}
    with torch.random.fork_rng():
        exec(compile("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)), "targets.md", "exec"), names)
    assert capsys.readouterr().out == "torch.Size([2, 7])\n"
    torch.testing.assert_close(names["same"], names["criterion"](names["cosines"], names["soft"]))
    torch.testing.assert_close(names["loss"], names["border"])
    kept = names["target"] >= 0
    exact = LOSSES["balanced_softmax"]([500, 50, 5])(names["cosines"][kept], names["target"][kept])
    torch.testing.assert_close(names["loss"], exact)
