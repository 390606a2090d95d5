"""The op inside torch: opcheck, gradcheck, compile, autocast, and what a backward may and may not do."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import REFUSAL, Case, distance, loss_and_gradient, make, needs_library
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad

from lt_fast import ops
from lt_fast.losses import LDAMLoss
from lt_fast.ops import arguments, reference
from lt_fast.ops.options import VECTORS, WITH_GRADIENT, WITH_PREDICTION, WITH_ROWS, MarginOptions

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
EVERYTHING = {"margin": True, "bias": True, "weight": True, "sample_weight": True, "label_rule": "mam"}


def inputs_of_the_op(case: Case, dtype: torch.dtype, *, ready: bool, reduction: str) -> tuple:
    """The op's own inputs, as the Python function makes them."""
    logits, options = case.arguments(dtype)
    tensors = {name: options.pop(name, None) for name in TENSORS}
    chosen = MarginOptions(**{**options, "reduction": reduction})
    given = arguments.gather(logits, case.target, chosen, **tensors)
    vectors = {name: getattr(given, name) for name in VECTORS if getattr(given, name) is not None}
    chosen = replace(chosen, vectors=tuple(vectors))
    choices = chosen.choices | WITH_PREDICTION | (WITH_GRADIENT if ready else WITH_ROWS)
    numbers = chosen.numbers
    return (
        given.logits, given.target, given.target_b, given.lam, given.sample_weight, list(vectors.values()), numbers,
        choices,
    )  # fmt: skip


def backward_inputs(inputs: tuple) -> tuple:
    """The backward op's inputs from those of the op, which keeps rows."""
    loss, rows, _ = torch.ops.lt_fast.mixed_margin_loss(*inputs)
    logits, target, target_b, _, _, vectors, numbers, choices = inputs
    outer = torch.rand_like(loss.detach())
    return outer, logits.detach(), target, target_b, vectors, numbers, rows.detach(), choices


TENSORS = ("target_b", "lam", "sample_weight", *VECTORS)


@pytest.mark.slow
@needs_library
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # opcheck's own
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ready", [True, False])
def test_opcheck_of_the_op(dtype, ready):
    case = make(5, 7, **EVERYTHING)
    for reduction in ("mean", "sum") if ready else ("none", "mean"):
        inputs = inputs_of_the_op(case, dtype, ready=ready, reduction=reduction)
        torch.library.opcheck(torch.ops.lt_fast.mixed_margin_loss.default, inputs)


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck_of_the_backward_op(dtype):
    case = make(5, 7, bias=True)
    backward = backward_inputs(inputs_of_the_op(case, dtype, ready=False, reduction="none"))
    torch.library.opcheck(torch.ops.lt_fast.mixed_margin_loss_backward.default, backward)


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_registered_and_eager_paths_give_the_same_bits(dtype, reduction):
    case = make(6, 9, **EVERYTHING)
    ready = reduction == "mean" and dtype in (torch.float32, torch.float64)
    inputs = inputs_of_the_op(case, dtype, ready=ready, reduction=reduction)
    loss = torch.ops.lt_fast.mixed_margin_loss(*inputs)[0]
    outer = torch.ones_like(loss) if loss.dim() == 0 else torch.arange(1, 7, dtype=loss.dtype)
    (gradient,) = torch.autograd.grad(loss, inputs[0], outer)
    logits, options = case.arguments(dtype)
    options["reduction"] = reduction
    eager, eager_gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    assert torch.equal(loss, eager)
    assert torch.equal(gradient, eager_gradient)


@needs_library
def test_the_registered_op_says_what_a_backward_needs():
    inputs = inputs_of_the_op(make(3, 4), torch.float32, ready=False, reduction="mean")
    loss = torch.ops.lt_fast.mixed_margin_loss(*inputs[:-1], inputs[-1] & ~WITH_ROWS)[0]
    with pytest.raises(RuntimeError, match="choices must ask for the gradient or the rows for a backward, got neither"):
        loss.backward()


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
@pytest.mark.parametrize(
    "rule",
    [
        {"margin": True, "scale": 3.0, "weight": True},
        {"bias": True, "label_smoothing": 0.1, "label_rule": "mam"},
        {"focal_gamma": 2.0, "margin": True, "label_rule": "remix"},
        {"focal_gamma": 0.5, "label_smoothing": 0.2, "sample_weight": True, "mixed": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(loss, rule, reduction):
    case = make(5, 6, seed=4, **rule)
    logits, options = case.arguments(torch.float64)
    options["reduction"] = reduction
    assert torch.autograd.gradcheck(lambda z: loss(z, case.target, **options), logits)


def test_the_maximum_margin_is_a_constant_for_the_gradient():
    case = make(6, 5, maximum=True, mixed=False, scale=4.0)
    logits, options = case.arguments(torch.float64)
    _, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    chosen = MarginOptions(margin_rule="maximum", max_margin=0.8, gamma=1.5, scale=4.0)
    given = arguments.gather(logits, case.target, chosen, **dict.fromkeys(TENSORS))
    margin = reference.margin_of(logits.detach(), case.target, given, chosen)
    shifted = logits - torch.nn.functional.one_hot(case.target, 5) * margin[:, None]
    (exact,) = torch.autograd.grad(torch.nn.functional.cross_entropy(4 * shifted, case.target), logits)
    assert distance(gradient, exact) < 1e-13


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_without_a_graph_break(dtype, reduction):
    case = make(6, 9, **EVERYTHING)
    logits, options = case.arguments(dtype)
    options["reduction"] = reduction

    def step(z):
        loss, prediction = ops.mixed_margin_loss(2 * z, case.target, return_prediction=True, **options)
        return (loss * 3).sum(), prediction

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    found, prediction = compiled(logits)
    exact, exact_prediction = step(logits)
    assert torch.equal(prediction, exact_prediction)
    assert torch.equal(found, exact)
    assert torch.equal(torch.autograd.grad(found, logits)[0], torch.autograd.grad(exact, logits)[0])
    with torch.no_grad():
        assert torch.equal(compiled(logits)[0], exact)
    torch.compiler.reset()


@needs_library
def test_compiles_for_any_batch_size():
    compiled = torch.compile(ops.mixed_margin_loss, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows in (3, 5, 8):
        case = make(rows, 6, mixed=False)
        logits, _ = case.arguments(torch.float32)
        assert torch.equal(compiled(logits, case.target), ops.mixed_margin_loss(logits, case.target))
    torch.compiler.reset()


def compilations(step, values, *, dynamic=None) -> int:
    """How often a step is compiled for these values, each of which must give the numbers of the eager step."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, backend=counter, fullgraph=True, dynamic=dynamic)
    case = make(6, 4, seed=1)
    for value in values:
        results = []
        for run in (compiled, step):
            logits, _ = case.arguments(torch.float32)
            loss = run(logits, case.target, case.options["target_b"], value)
            results.append((loss.detach(), torch.autograd.grad(loss, logits)[0]))
        assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    torch.compiler.reset()
    return int(counter.frame_count)


COUNTS = torch.tensor([5000, 500, 50, 50])
STEPS = {
    "lam": lambda z, a, b, v: ops.mixed_margin_loss(z, a, target_b=b, lam=v),
    "sample_weight": lambda z, a, _, v: ops.mixed_margin_loss(z, a, sample_weight=v),
    "scale": lambda z, a, _, v: ops.mixed_margin_loss(z, a, scale=v),
    "scale of half": lambda z, a, _, v: ops.mixed_margin_loss(z.bfloat16(), a, scale=v, reduction="none").sum(),
    "label_smoothing": lambda z, a, _, v: ops.mixed_margin_loss(z, a, label_smoothing=v),
    "focal_gamma": lambda z, a, _, v: ops.mixed_margin_loss(z, a, focal_gamma=v),
    "gamma": lambda z, a, _, v: ops.mixed_margin_loss(z, a, margin_rule="maximum", max_margin=1.0, gamma=v),
    "max_margin": lambda z, a, _, v: ops.mixed_margin_loss(z, a, margin_rule="maximum", max_margin=v, gamma=1.5),
    "tau": lambda z, a, b, v: ops.mixed_margin_loss(
        z, a, target_b=b, lam=0.3, label_rule="cp_mix", class_counts=COUNTS, tau=v
    ),
    "omega": lambda z, a, b, v: ops.mixed_margin_loss(
        z, a, target_b=b, lam=0.3, label_rule="mam", class_counts=COUNTS, omega=v
    ),
    "kappa": lambda z, a, b, v: ops.mixed_margin_loss(
        z, a, target_b=b, lam=0.3, label_rule="remix", class_counts=COUNTS, kappa=1 + v
    ),
}
FLOATS = (0.31, 0.82, 0.125, 0.57)


@needs_library
@pytest.mark.parametrize("name", STEPS)
def test_a_number_that_changes_in_every_step_is_compiled_twice_at_most(name):
    assert compilations(STEPS[name], FLOATS) <= 2


@needs_library
@pytest.mark.parametrize("name", ["lam", "tau"])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_numpys_numbers_do_not_compile_again_either(name, number):
    assert compilations(STEPS[name], [number(value) for value in FLOATS]) <= 2


@needs_library
def test_a_factor_of_any_form_is_compiled_twice_at_most():
    for values in ([torch.tensor(v) for v in FLOATS], [0, 1, 0, 1], [0.0, 1.0, 0.5, 0.25]):
        assert compilations(STEPS["lam"], values) <= 2
    assert compilations(STEPS["lam"], FLOATS, dynamic=True) == 1


@needs_library
def test_a_module_with_a_new_factor_in_every_step_is_compiled_twice_at_most():
    criterion = LDAMLoss(COUNTS.tolist())
    assert compilations(criterion, FLOATS) <= 2


@needs_library
def test_a_number_out_of_range_is_found_when_the_compiled_step_runs():
    compiled = torch.compile(STEPS["tau"], backend="aot_eager", fullgraph=True)
    case = make(6, 4, seed=1)
    logits, options = case.arguments(torch.float32)
    for value in FLOATS[:2]:
        compiled(logits, case.target, options["target_b"], value)
    with pytest.raises(REFUSAL, match=r"tau must be within \[0, 1\], got 1\.5"):
        compiled(logits, case.target, options["target_b"], 1.5)
    torch.compiler.reset()


@needs_library
def test_a_kappa_that_changes_is_not_rounded_up_by_the_graph():
    counts = torch.tensor([11.0, 10.0])
    logits, target, target_b = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([1])

    def step(kappa):
        options = {"label_rule": "remix", "class_counts": counts, "lam": 0.3}
        return ops.mixed_margin_loss(logits, target, target_b=target_b, kappa=kappa, weight=counts, **options)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for kappa in (1.05, 1.2, 1.1):  # as float32, 1.1 is above 11 / 10
        assert torch.equal(compiled(kappa), step(kappa))
    torch.compiler.reset()


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def test_autocast_leaves_the_arithmetic_in_single_precision(loss):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 5, generator=generator, requires_grad=True)
    features, target = torch.randn(6, 8, generator=generator), torch.randint(5, (6,), generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = features @ weight
        assert logits.dtype == torch.bfloat16
        value = loss(logits, target, margin=[0.1] * 5)
    assert value.dtype == torch.float32
    value.backward()
    assert weight.grad is not None
    exact = loss(logits.detach().float(), target, margin=[0.1] * 5)
    assert distance(value.detach(), exact) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_loss_scaling_does_not_underflow(dtype):
    # The unscaled gradient of a batch of 8192 is below float16's smallest number in most columns.
    case = make(8192, 4, mixed=False, spread=9.0)
    logits, options = case.arguments(dtype)
    loss = ops.mixed_margin_loss(logits, case.target, **options)
    (gradient,) = torch.autograd.grad(loss * 2.0**16, logits)
    exact_logits, exact_options = case.exact(dtype)
    (exact,) = torch.autograd.grad(ops.mixed_margin_loss(exact_logits, case.target, **exact_options), exact_logits)
    assert distance(gradient, exact * 2.0**16) < 1e-3


def test_a_retained_graph_gives_the_same_gradient_again():
    case = make(6, 9)
    logits, options = case.arguments(torch.float32)
    loss = ops.mixed_margin_loss(logits, case.target, **options)
    first = torch.autograd.grad(loss, logits, retain_graph=True)[0].clone()
    second = torch.autograd.grad(loss, logits, torch.tensor(2.0), retain_graph=True)[0]
    third = torch.autograd.grad(loss, logits)[0]
    assert torch.equal(second, 2 * first)
    assert torch.equal(third, first)


def test_accumulating_into_grad_does_not_touch_what_is_kept():
    case = make(6, 9)
    logits, options = case.arguments(torch.float32)
    loss = ops.mixed_margin_loss(logits, case.target, **options)
    loss.backward(retain_graph=True)
    first = logits.grad.clone()
    loss.backward(retain_graph=True)
    logits.grad.zero_()
    loss.backward()
    assert torch.equal(logits.grad, first)


PATHS = {  # how a call may come to its gradient
    "ready": (torch.float32, {}),
    "prediction": (torch.float32, {"return_prediction": True}),
    "per row": (torch.float64, {"reduction": "none"}),
    "half": (torch.bfloat16, {}),
}


def loss_on(path, logits, target, options):
    """The loss as one number, by the path of that name."""
    result = ops.mixed_margin_loss(logits, target, **options, **PATHS[path][1])
    return (result[0] if isinstance(result, tuple) else result).sum()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_handed_out_gradient_may_be_written_into(path, factor):
    case = make(6, 9)
    leaf, options = case.arguments(PATHS[path][0])
    loss = factor * loss_on(path, leaf, case.target, options)
    first = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
    kept = first.clone()
    first.mul_(2)
    second = torch.autograd.grad(loss, leaf, retain_graph=True)[0]
    assert torch.equal(second, kept)
    second.zero_()
    assert torch.equal(torch.autograd.grad(loss, leaf)[0], kept)


@pytest.mark.parametrize("path", PATHS)
def test_a_hook_may_change_the_gradient_of_a_retained_graph(path):
    case = make(6, 9)
    leaf, options = case.arguments(PATHS[path][0])
    (exact,) = torch.autograd.grad(loss_on(path, leaf, case.target, options), leaf)
    hidden = leaf * 1
    hidden.register_hook(lambda grad: grad.mul_(0.5))
    loss = loss_on(path, hidden, case.target, options)
    for times in (1, 2):
        loss.backward(retain_graph=True)
        assert torch.equal(leaf.grad, 0.5 * times * exact)


@pytest.mark.parametrize("path", PATHS)
def test_a_leafs_grad_may_be_changed_between_two_backwards(path):
    case = make(6, 9)
    leaf, options = case.arguments(PATHS[path][0])
    loss = loss_on(path, leaf, case.target, options)
    loss.backward(retain_graph=True)
    first = leaf.grad.clone()
    leaf.grad.mul_(-3)
    loss.backward()
    assert torch.allclose(leaf.grad, -2 * first, rtol=1e-2 if leaf.dtype == torch.bfloat16 else 1e-6)


@needs_library
@pytest.mark.parametrize("path", ["ready", "prediction"])
def test_without_retain_graph_no_copy_is_made(path):
    case = make(6, 9)
    leaf, options = case.arguments(torch.float32)
    loss = loss_on(path, leaf, case.target, options)
    node = loss.grad_fn.next_functions[0][0]  # below the sum
    address = node.saved_tensors[0].data_ptr()
    loss.backward()
    assert leaf.grad.data_ptr() == address


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_logits_are_never_written(reduction):
    case = make(6, 9)
    logits, options = case.arguments(torch.float32)
    before, version = logits.detach().clone(), logits._version
    ops.mixed_margin_loss(logits, case.target, reduction=reduction, **options).sum().backward()
    assert torch.equal(logits, before)
    assert logits._version == version


def test_changing_the_logits_before_a_recomputing_backward_is_noticed():
    case = make(6, 9)
    leaf, options = case.arguments(torch.float32)
    logits = leaf * 1
    loss = ops.mixed_margin_loss(logits, case.target, reduction="none", **options).sum()
    with torch.no_grad():
        logits.mul_(2)
    if ops.backend() == "reference":
        loss.backward()  # torch's own graph keeps copies
    else:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@needs_library
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_second_derivative_is_refused(reduction):
    case = make(4, 5)
    logits, options = case.arguments(torch.float64)
    loss = ops.mixed_margin_loss(logits, case.target, reduction=reduction, **options).sum()
    with pytest.raises(NotImplementedError, match="mixed_margin_loss has no second derivative"):
        torch.autograd.grad(loss, logits, create_graph=True)
    inputs = inputs_of_the_op(case, torch.float64, ready=reduction == "mean", reduction=reduction)
    with pytest.raises(NotImplementedError, match=r"use lt_fast\.ops\.reference\.mixed_margin_loss, which has"):
        torch.autograd.grad(torch.ops.lt_fast.mixed_margin_loss(*inputs)[0].sum(), inputs[0], create_graph=True)


@needs_library
def test_the_backward_op_refuses_a_derivative_too():
    outer, *rest = backward_inputs(
        inputs_of_the_op(make(4, 5, bias=True), torch.float64, ready=False, reduction="none")
    )
    gradient = torch.ops.lt_fast.mixed_margin_loss_backward(outer.requires_grad_(), *rest)
    with pytest.raises(NotImplementedError, match="has no second derivative"):
        gradient.sum().backward()


def test_the_reference_has_a_second_derivative():
    case = make(3, 4, margin=True, seed=1)
    logits, options = case.arguments(torch.float64)
    assert torch.autograd.gradgradcheck(lambda z: reference.mixed_margin_loss(z, case.target, **options), logits)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("normalization", ["expected", "batch"])
@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_cost_nothing(loss, dtype, reduction, normalization):
    logits = torch.empty(0, 7, dtype=dtype, requires_grad=True)
    target = torch.empty(0, dtype=torch.int64)
    options = {"weight": [1.0] * 7, "class_counts": [1] * 7, "reduction": reduction, "normalization": normalization}
    value = loss(logits, target, target_b=target, lam=torch.empty(0), **options)
    assert value.detach() == 0
    value.backward()
    assert logits.grad.shape == (0, 7)


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def test_no_rows_under_the_batchs_own_weights_are_nan_as_in_torch(loss):
    logits, target = torch.empty(0, 7, requires_grad=True), torch.empty(0, dtype=torch.int64)
    assert torch.nn.functional.cross_entropy(logits, target).isnan()
    assert loss(logits, target, normalization="weights").isnan()
    each, prediction = loss(logits, target, reduction="none", return_prediction=True)
    assert each.shape == prediction.shape == (0,)


def test_without_a_gradient_nothing_is_kept():
    case = make(6, 9)
    logits, options = case.arguments(torch.float32)
    loss = ops.mixed_margin_loss(logits.detach(), case.target, **options)
    assert not loss.requires_grad
    with torch.no_grad():
        assert torch.equal(loss, ops.mixed_margin_loss(logits, case.target, **options))
    with torch.inference_mode():
        assert torch.equal(loss, ops.mixed_margin_loss(logits, case.target, **options))
    assert torch.equal(loss, ops.mixed_margin_loss(logits, case.target, **options).detach())


TRANSFORMED = [
    {},
    {"margin": True, "weight": True, "scale": 5.0, "label_smoothing": 0.1, "label_rule": "unimix"},
    {"maximum": True, "scale": 9.0, "focal_gamma": 2.0},
    {"bias": True, "label_rule": "remix", "reduction": "sum"},
]


@pytest.mark.parametrize("rule", TRANSFORMED, ids=str)
def test_torch_func_gives_the_right_answer(rule):
    case = make(4, 5, **rule)
    logits, options = case.arguments(torch.float64)
    direction = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = torch.autograd.grad(reference.mixed_margin_loss(logits, case.target, **options), logits)[0]

    def loss(z):
        return ops.mixed_margin_loss(z, case.target, **options)

    z = logits.detach()
    assert distance(torch.func.grad(loss)(z), exact) < 1e-12
    assert distance(torch.func.vmap(torch.func.grad(loss))(torch.stack([z, z + 1]))[0], exact) < 1e-12
    assert distance(torch.func.vmap(loss)(torch.stack([z, z + 1]))[0], loss(z)) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of torch.jit
        assert distance(torch.func.jvp(loss, (z,), (direction,))[1], (exact * direction).sum()) < 1e-12
        hessian = torch.func.hessian(loss)(z)
        with forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(loss(forward_ad.make_dual(z, direction))).tangent
    assert hessian.shape == (4, 5, 4, 5)
    assert distance(tangent, (exact * direction).sum()) < 1e-12


def test_per_sample_gradients_by_vmap():
    case = make(6, 5, margin=True, maximum=True, scale=4.0, label_rule="mam", reduction="sum")
    logits, options = case.arguments(torch.float64)
    target_b, lam = options.pop("target_b"), options.pop("lam")
    exact = torch.autograd.grad(
        ops.mixed_margin_loss(logits, case.target, target_b=target_b, lam=lam, **options), logits
    )[0]

    def row(z, a, b, factor):
        return ops.mixed_margin_loss(z[None], a[None], target_b=b[None], lam=factor[None], **options)

    found = torch.func.vmap(torch.func.grad(row))(logits.detach(), case.target, target_b, lam)
    assert distance(found, exact) < 1e-12


@pytest.mark.parametrize("prediction", [True, False])
def test_several_gradients_at_once(prediction):
    case = make(6, 5)
    logits, options = case.arguments(torch.float32)
    loss = ops.mixed_margin_loss(logits, case.target, return_prediction=prediction, **options)
    loss = loss[0] if prediction else loss
    (one,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (many,) = torch.autograd.grad(loss, logits, torch.tensor([1.0, 2.0]), is_grads_batched=True)
    assert torch.equal(many, torch.stack([one, 2 * one]))


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 0.125, 0.0])
def test_a_ready_gradient_is_rescaled_in_place(dtype, factor):
    grad = torch.randn(7, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))
    exact, by = grad * factor, torch.tensor(factor, dtype=dtype)
    torch.library.opcheck(torch.ops.lt_fast.mixed_margin_loss_rescale_.default, (grad.clone(), by))
    torch.ops.lt_fast.mixed_margin_loss_rescale_(grad, by)
    assert torch.equal(grad, exact)


@needs_library
@pytest.mark.parametrize(
    ("grad", "by", "message"),
    [
        (torch.ones(2, 3).t(), torch.ones(()), "grad must be contiguous"),
        (torch.ones(2, 3, dtype=torch.float16), torch.ones(()), "grad must be float32 or float64"),
        (
            torch.ones(2, 3),
            torch.ones((), dtype=torch.float64),
            "grad_output must be contiguous, on the logits' device",
        ),
        (torch.ones(2, 3), torch.ones(2), "grad_output must have 1 elements, got 2"),
    ],
)
def test_what_cannot_be_rescaled(grad, by, message):
    with pytest.raises(RuntimeError, match=message):
        torch.ops.lt_fast.mixed_margin_loss_rescale_(grad, by)


@needs_library
def test_a_kept_graph_gives_every_backward_its_own_gradient():
    case = make(6, 5)
    logits, options = case.arguments(torch.float32)
    loss, _ = ops.mixed_margin_loss(logits, case.target, return_prediction=True, **options)
    gradients = [torch.autograd.grad(3 * loss, logits, retain_graph=keep)[0] for keep in (True, True, False)]
    alone = ops.mixed_margin_loss(logits, case.target, return_prediction=True, **options)[0]
    (exact,) = torch.autograd.grad(alone, logits)
    for gradient in gradients:
        assert torch.equal(gradient, 3 * exact)
