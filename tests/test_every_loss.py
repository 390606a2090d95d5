"""What holds for every entry of ``LOSSES``: a new loss is tested by its line in the registry."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.gradcheck import GradcheckError

import lt_fast.losses
import reference
from lt_fast import ClassCounts, ops
from lt_fast.errors import UsageError
from lt_fast.losses import LOSSES, Loss

# The formulas hold for any logits; which of them are warned about is tested in tests/losses/test_first_logits.py.
pytestmark = [
    pytest.mark.filterwarnings("ignore:logits of .* must be cosines:UserWarning"),
    pytest.mark.filterwarnings("ignore:logits of .* look like probabilities:UserWarning"),
]
COUNTS = [500, 120, 40, 9, 1]
WEIGHT = [0.2, 0.5, 1.0, 1.4, 2.0]
OF_EXPERTS = ("ace", "sade")  # of several experts' logits, (N, E, C): tests/losses/test_experts.py
every_loss = pytest.mark.parametrize("name", sorted(set(LOSSES) - set(OF_EXPERTS)))
NORMALIZATIONS = ("expected", "weights", "batch")
MIXES = ("one label", "mixup", "mam")
# Losses that hold a part which follows from the logits constant, so that finite differences see another slope; their
# gradients are compared with the reference's, which detaches that part, too.
HELD_CONSTANT = ("maximum_margin", "seesaw")

# Relative error allowed for a loss, and for a gradient relative to its largest element. Half types: the logits are
# given, the arithmetic is float32, and the gradient is rounded once to the logits' dtype.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-6, 2e-6),
    torch.bfloat16: (2e-6, 2**-8),
    torch.float16: (2e-6, 2**-10),
}


def draw(shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(rows=7, classes=5, seed=0, mix="one label"):
    """Logits of the size of cosines and the targets of a loss: (logits, target, keywords)."""
    generator = torch.Generator().manual_seed(seed + 1)
    labels = torch.randint(classes, (2, rows), generator=generator)
    keywords = {}
    if mix != "one label":
        lam = torch.rand(rows, generator=generator, dtype=torch.float64)
        keywords = {"target_b": labels[1], "lam": lam.float(), "label_rule": mix}
    return draw((rows, classes), seed), labels[0], keywords


def called(name, logits, target, class_counts=COUNTS, **keywords):
    """The loss of one call; ``target_b`` and ``lam`` are of the call, all other keywords of the constructor."""
    of_call = [keywords.pop(key, None) for key in ("target_b", "lam")]
    return LOSSES[name](class_counts, **keywords)(logits, target, *of_call)


def fresh(criterion):
    """Call a copy each time: a loss that draws counts its draws, and here every call is to be the first."""

    def call(*inputs):
        return copy.deepcopy(criterion)(*inputs)

    return call


def takes_weight(name):
    return "weight" in inspect.signature(LOSSES[name]).parameters


def oracle(name, logits, target, counts=COUNTS, **keywords):
    """The reference's value and gradient on the very numbers in ``logits``, in float64."""
    exact = logits.detach().double().requires_grad_()
    loss = getattr(reference, f"{name}_loss")(exact, target, counts, **keywords)
    loss.sum().backward()
    return loss.detach(), exact.grad


def check(name, logits, target, counts=COUNTS, **keywords):
    """Compare value and gradient with the reference."""
    logits = logits.detach().requires_grad_()
    loss = called(name, logits, target, counts, **keywords)
    loss.sum().backward()
    expected, gradient = oracle(name, logits, target, counts, **keywords)
    of_loss, of_gradient = TOLERANCE[logits.dtype]
    torch.testing.assert_close(loss.double(), expected, rtol=of_loss, atol=of_loss)
    assert logits.grad.dtype == logits.dtype
    # Where p is almost 1, p - 1 cancels: in the reference, and in the plain-torch twin in the logits' own arithmetic.
    arithmetic = torch.float64 if ops.backend() != "reference" else loss.dtype
    cancelled = 300 * torch.finfo(arithmetic).eps
    bound = of_gradient * gradient.abs().max() + cancelled
    assert (logits.grad.double() - gradient).abs().max() <= bound
    return loss


@every_loss
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_value_and_gradient_equal_the_reference(name, mix, normalization, dtype):
    logits, target, keywords = batch(mix=mix)
    loss = check(name, logits.to(dtype), target, normalization=normalization, **keywords)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.shape == ()


@every_loss
@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
def test_the_module_works_where_it_is_moved_to(name, device):
    logits, target, keywords = batch(mix="mam")
    labels = (target, keywords["target_b"], keywords["lam"])
    expected = LOSSES[name](COUNTS, label_rule="mam")(logits.float(), *labels)
    moved = LOSSES[name](COUNTS, label_rule="mam").to(device)
    loss = moved(logits.float().to(device), *(label.to(device) for label in labels))
    assert loss.device.type == device
    torch.testing.assert_close(loss.cpu(), expected, rtol=2e-6, atol=0)


@every_loss
@pytest.mark.parametrize(
    ("options", "factor_of"),
    [
        ({"label_rule": "remix", "kappa": 2.0, "tau": 0.8}, reference.remix_label_factor),
        ({"label_rule": "cp_mix", "tau": 0.2}, reference.cp_mix_label_factor),
        ({"label_rule": "unimix"}, reference.unimix_label_factor),
    ],
)
def test_every_label_rule_has_its_options(name, options, factor_of):
    of_factor = {key: value for key, value in options.items() if key != "label_rule"}
    if name == "logit_adjusted" and "tau" in options:  # its own tau is another: that of the rule stays 0.5
        options, of_factor = {key: options[key] for key in options if key != "tau"}, {**of_factor, "tau": 0.5}
    logits, target, keywords = batch(mix="mixup", seed=2)
    target_b, lam = keywords["target_b"], keywords["lam"].double()
    factors = [
        factor_of(float(share), COUNTS[a], COUNTS[b], **of_factor)
        for share, a, b in zip(lam, target.tolist(), target_b.tolist(), strict=True)
    ]
    by_rule = called(name, logits, target, target_b=target_b, lam=lam, **options)
    by_factor = called(name, logits, target, target_b=target_b, lam=torch.tensor(factors, dtype=torch.float64))
    torch.testing.assert_close(by_rule, by_factor)


@every_loss
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_reductions(name, mix, reduction):
    logits, target, keywords = batch(mix=mix, seed=3)
    loss = check(name, logits.float(), target, reduction=reduction, **keywords)
    assert loss.shape == (() if reduction == "sum" else (7,))


@every_loss
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_class_weights(name, normalization):
    if not takes_weight(name):
        with pytest.raises(TypeError, match="weight"):
            LOSSES[name](COUNTS, weight=WEIGHT)
        return
    for mix in MIXES:
        logits, target, keywords = batch(mix=mix, seed=5)
        check(name, logits.float(), target, weight=WEIGHT, normalization=normalization, **keywords)


@every_loss
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 9),
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=70),
    seed=st.integers(0, 2**32 - 1),
    mix=st.sampled_from(MIXES),
    omega=st.floats(0, 2),
)
def test_any_shape_and_any_counts(name, *, rows, counts, seed, mix, omega):
    logits, target, keywords = batch(rows, len(counts), seed, mix)
    check(name, logits, target, counts, omega=omega, **keywords)


@every_loss
@pytest.mark.parametrize("view", ["transposed", "strided", "expanded"])
def test_any_strides(name, view):
    logits, target, keywords = batch(rows=6, mix="mam")
    views = {
        "transposed": logits.T.contiguous().T,
        "strided": torch.stack([logits, -logits], -1)[..., 0],
        "expanded": logits[:1].expand(6, 5),
    }
    check(name, views[view], target, **keywords)


@every_loss
def test_gradcheck(name):
    logits, target, keywords = batch(rows=4, mix="mam")
    criterion = fresh(LOSSES[name](COUNTS, label_rule="mam"))
    labels = (target, keywords["target_b"], keywords["lam"])
    inputs = (lambda z: criterion(z, *labels), logits.requires_grad_())
    if name in HELD_CONSTANT:
        with pytest.raises(GradcheckError):
            torch.autograd.gradcheck(*inputs)
    else:
        assert torch.autograd.gradcheck(*inputs)


@every_loss
def test_counts_in_any_form_are_the_same(name):
    logits, target, keywords = batch(mix="mam")
    keyed = dict(reversed(list(enumerate(COUNTS))))
    losses = [called(name, logits, target, counts, **keywords) for counts in (COUNTS, ClassCounts(COUNTS), keyed)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
    assert not list(LOSSES[name](COUNTS).parameters())


@every_loss
def test_the_signature_shows_own_and_shared_options(name):
    of_module, of_base = (inspect.signature(made).parameters for made in (LOSSES[name], Loss))
    assert next(iter(of_module)) == "counts"
    assert all(option.kind is option.KEYWORD_ONLY for option in list(of_module.values())[1:])
    own = {"class_balanced": ["weight"], "logit_adjusted": ["tau"]}.get(name, [])
    shared = (
        "weight",
        "label_rule",
        "omega",
        "kappa",
        "tau",
        "normalization",
        "reduction",
        "ignore_index",
        "class_dim",
    )
    for option in (*shared, "empty"):
        assert option in own or of_module[option] == of_base[option]
    with pytest.raises(TypeError, match="unexpected keyword argument 'sclae'"):
        LOSSES[name](COUNTS, sclae=1.0)
    assert list(inspect.signature(LOSSES[name].forward).parameters)[1:] == ["logits", "target_a", "target_b", "lam"]


@every_loss
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_the_gradient_without_a_graph_is_that_of_the_graph(name, mode):
    logits, target, keywords = batch(mix="mam")
    criterion, leaf = LOSSES[name](COUNTS, label_rule="mam"), logits.float().requires_grad_()
    labels = (target, keywords["target_b"], keywords["lam"])
    with mode():
        loss, gradient = fresh(criterion.loss_and_gradient)(leaf, *labels)
    exact = fresh(criterion)(leaf, *labels)
    exact.backward()
    torch.testing.assert_close(loss, exact.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-6, atol=1e-8)
    assert not loss.requires_grad
    assert not gradient.requires_grad
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum' for "):
        LOSSES[name](COUNTS, reduction="none").loss_and_gradient(logits, target)
    with torch.inference_mode():
        if type(criterion).forward is Loss.forward:
            torch.testing.assert_close(criterion.loss_and_gradient(leaf, *labels), (loss, gradient))
        else:
            with pytest.raises(RuntimeError, match=r"must be called outside torch\.inference_mode"):
                criterion.loss_and_gradient(leaf, *labels)


@every_loss
def test_a_module_may_be_made_anywhere(name):
    logits, target, _ = batch()
    with torch.inference_mode():
        criterion = LOSSES[name](COUNTS).float()
    half = logits.half().requires_grad_()
    criterion(half, target).backward()
    assert torch.isfinite(half.grad).all()
    with torch.device("meta"):
        criterion = LOSSES[name](COUNTS)
    assert all(buffer.is_meta for buffer in criterion.vectors.buffers())
    rows = criterion.vectors.to_empty(device="cpu").rows
    assert torch.equal(criterion.options.by_name(rows)["class_counts"], torch.tensor(COUNTS).float())
    by_reversed = {"weight": np.array(WEIGHT[::-1])[::-1]} if takes_weight(name) else {}
    expected = LOSSES[name](COUNTS, **({"weight": WEIGHT} if by_reversed else {}))(logits.float(), target)
    assert torch.equal(LOSSES[name](COUNTS, **by_reversed)(logits.float(), target), expected)


@every_loss
def test_one_factor_for_all_is_a_number(name):
    logits, target, keywords = batch(mix="mixup")
    target_b = keywords["target_b"]
    criterion = fresh(LOSSES[name](COUNTS))
    by_number = criterion(logits, target, target_b, 0.25)
    torch.testing.assert_close(by_number, criterion(logits, target, target_b, torch.full((7,), 0.25)))
    torch.testing.assert_close(criterion(logits, target, target_b, 1.0), criterion(logits, target))
    torch.testing.assert_close(criterion(logits, target, target_b, 0.0), criterion(logits, target_b))


@every_loss
def test_the_same_bits_again_and_no_global_generator(name):
    logits, target, keywords = batch(mix="mam")
    before = torch.random.get_rng_state()
    first, second = (called(name, logits, target, **keywords) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_loss
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda criterion: pickle.loads(pickle.dumps(criterion))])
def test_copies_give_the_same_loss(name, copied):
    logits, target, keywords = batch(mix="mam")
    criterion = LOSSES[name](COUNTS, label_rule="mam", omega=0.5)
    labels = (target, keywords["target_b"], keywords["lam"])
    assert torch.equal(copied(criterion)(logits, *labels), criterion(logits, *labels))


@every_loss
@pytest.mark.parametrize("convert", ["bfloat16", "half", "double"])
def test_converting_the_module_changes_nothing(name, convert):
    logits, target, _ = batch()
    expected = LOSSES[name](COUNTS)(logits.float(), target)
    assert torch.equal(getattr(LOSSES[name](COUNTS), convert)()(logits.float(), target), expected)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_compiles_without_a_graph_break(name, dtype):
    logits, target, keywords = batch(mix="mam")
    logits, labels = logits.to(dtype), (target, keywords["target_b"], keywords["lam"])
    criterion = LOSSES[name](COUNTS, label_rule="mam")
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
    values, gradients = [], []
    for call in (criterion, compiled):
        leaf = logits.clone().requires_grad_()
        value = call(leaf, *labels)
        value.backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@every_loss
def test_under_autocast_it_takes_half_logits(name):
    _, target, _ = batch()
    features, head = draw((7, 3), 9).float(), draw((5, 3), 10).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = features @ head.T
        loss = LOSSES[name](COUNTS)(logits, target)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(head.grad).all()


@every_loss
def test_confident_and_huge_logits_stay_finite(name):
    _, target, _ = batch()
    for scale in (1e-3, 1.0, 30.0, 1e4):
        for sign in (1, -1):
            logits = sign * scale * torch.nn.functional.one_hot(target, 5).float()
            check(name, logits, target)


@every_loss
def test_an_empty_batch_costs_nothing(name):
    for mixed in (False, True):
        logits, target = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.int64)
        labels = (target, target, torch.zeros(0)) if mixed else (target,)
        loss = LOSSES[name](COUNTS)(logits, *labels)
        assert loss.item() == 0
        loss.backward()
        assert logits.grad.shape == (0, 5)


@every_loss
def test_one_class_is_no_choice(name):
    with pytest.raises(ValueError, match=r"logits must have at least 2 classes, got shape \(2, 1\)"):
        LOSSES[name]([7])(torch.zeros(2, 1), torch.tensor([0, 0]))


@every_loss
def test_nan_logits_give_a_nan_loss(name):
    logits, target, _ = batch()
    logits[3, 1] = math.nan
    assert math.isnan(LOSSES[name](COUNTS)(logits, target).item())


@every_loss
def test_an_ignored_empty_class_changes_no_other(name):
    with pytest.raises(ValueError, match=r"class_counts must be >= 1 in every class, got 0 for class '2' \(index 2\)"):
        LOSSES[name]([50, 5, 0, 2])
    logits, target, keywords = batch(classes=4, mix="mam", seed=6)
    target, keywords["target_b"] = target.clamp(max=1), keywords["target_b"].clamp(max=1)
    loss = called(name, logits.requires_grad_(), target, [50, 5, 0, 2], empty="ignore", **keywords)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    # A class that no softmax term reaches is as good as none.
    without = logits.detach()[:, [0, 1, 3]]
    unreachable = logits.detach().clone()
    unreachable[:, 2] = -1e9
    torch.testing.assert_close(
        called(name, unreachable, target, [50, 5, 0, 2], empty="ignore", **keywords),
        called(name, without, target, [50, 5, 2], **keywords),
    )


@every_loss
def test_a_sample_of_an_ignored_class_is_no_nan(name):
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = LOSSES[name]([5, 0, 2], empty="ignore")(logits, torch.tensor([1, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


GOOD = {"logits": torch.zeros(3, 5), "target": torch.tensor([0, 4, 2]), "class_counts": COUNTS}


@every_loss
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"class_counts": [5, 4, 3]}, ValueError, ["class_counts", "5", "3"]),
        ({"class_counts": [5, 4, math.nan, 1, 1]}, ValueError, ["counts", "integers", "nan", "class 2"]),
        ({"class_counts": [5, 4, -1, 1, 1]}, ValueError, ["counts", ">= 0", "-1", "class 2"]),
        ({"target": torch.tensor([0.0, 1.0, 2.0])}, TypeError, ["target", "int", "float32"]),
        ({"target": torch.tensor([0, 5, 2])}, ValueError, ["target", "[0, 5)", "5"]),
        ({"target": torch.tensor([0, -1, 2])}, ValueError, ["target", "[0, 5)", "-1"]),
        ({"target": torch.tensor([0, 1])}, ValueError, ["target", "3", "2"]),
        ({"target_b": torch.tensor([0, 7, 2]), "lam": 0.5}, ValueError, ["target_b", "[0, 5)", "7"]),
        ({"target_b": torch.tensor([0, 1, 2])}, ValueError, ["lam", "target_b"]),
        ({"lam": 0.5}, ValueError, ["lam", "target_b"]),
        ({"target_b": torch.tensor([0, 1, 2]), "lam": 1.5}, ValueError, ["lam", "[0, 1]", "1.5"]),
        ({"target_b": torch.tensor([0, 1, 2]), "lam": math.nan}, ValueError, ["lam", "[0, 1]", "nan"]),
        ({"logits": torch.zeros(3, 5, dtype=torch.int64)}, TypeError, ["logits", "int64"]),
        ({"logits": torch.zeros(5)}, ValueError, ["logits", "(5,)"]),
        ({"label_rule": "mixpu"}, ValueError, ["label_rule", "'mixpu'", "mixup"]),
        ({"omega": math.nan, "label_rule": "mam"}, ValueError, ["omega", "nan"]),
        ({"normalization": "weight"}, ValueError, ["normalization", "'weight'", "weights"]),
        ({"reduction": "avg"}, ValueError, ["reduction", "'avg'", "mean"]),
        ({"empty": "skip"}, ValueError, ["empty", "'skip'", "ignore"]),
    ],
)
def test_wrong_input_is_named(name, changes, error, words):
    arguments = {**GOOD, **changes}
    with pytest.raises(error) as raised:
        called(name, **arguments)
    for word in words:
        assert word in str(raised.value)


@every_loss
def test_an_option_of_a_wrong_type_is_named(name):
    options = inspect.signature(LOSSES[name]).parameters
    numbers = [key for key, option in options.items() if type(option.default) is float]
    assert {"omega"} <= set(numbers)
    for key in numbers:
        for wrong in ("a half", [0.5], True, None):
            with pytest.raises((TypeError, ValueError), match=f"{key} must be"):
                called(name, **GOOD, **{key: wrong})
    if takes_weight(name):
        for wrong in ("inverse", ["a"] * 5):
            with pytest.raises(TypeError, match="weight must be a vector of C numbers, got "):
                called(name, **GOOD, weight=wrong)
        with pytest.raises(ValueError, match="weight must be in the order of the classes, got entries for 'a'"):
            called(name, **GOOD, weight={"a": 1})


@every_loss
def test_the_docstrings_say_what_they_must(name):
    text, of_base = inspect.getdoc(LOSSES[name]), inspect.getdoc(Loss)
    for word in ("Source:", "Formula:", "Equals", "see ``Loss``", "Shape", "Raises"):
        assert word in text
    shared = set(inspect.signature(Loss).parameters)
    for parameter in inspect.signature(LOSSES[name]).parameters:
        assert f"{parameter}:" in (of_base if parameter in shared else text), f"{parameter} is not documented"


def test_the_options_of_all_losses_are_documented_once():
    text = inspect.getdoc(Loss)
    for word in (
        "Shape:",
        "Raises:",
        "logits (N, C)",
        "label_rule:",
        "weight:",
        "omega:",
        "normalization:",
        "class_dim:",
        "empty:",
    ):
        assert word in text
    for criterion in LOSSES.values():
        for option in ("weight:", "label_rule:", "omega:", "normalization:", "reduction:", "ignore_index:", "empty:"):
            assert f"    {option} " not in criterion.__doc__


def test_an_unknown_loss_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"loss must be one of .*, got 'ldma'; did you mean 'ldam'\?"):
        LOSSES["ldma"]


def test_every_loss_is_public():
    for criterion in LOSSES.values():
        assert criterion.__name__ in lt_fast.losses.__all__
