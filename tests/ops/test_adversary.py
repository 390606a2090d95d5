"""Uses nobody planned: odd memory, graph tools of torch, threads, and what earlier calls may leave behind."""

import threading

import pytest
import torch
from cases import distance, make, needs_library
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from lt_fast import losses, ops
from lt_fast.ops import reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
LOSSES = pytest.mark.parametrize(
    "loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"]
)


def gradient_of(loss, logits):
    z = logits.detach().clone().requires_grad_()
    loss(z).sum().backward()
    return z.grad


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 3, 10, 17, 33, 100, 129, 365])
def test_rows_may_begin_anywhere(dtype, classes):
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(classes, (5,), generator=generator)
    for offset in range(9):
        memory = torch.randn(5 * (classes + 3) + offset, generator=generator).to(dtype)
        logits = memory.as_strided((5, classes), (classes + 3, 1), offset)
        _, found, prediction = ops.mixed_margin_loss(
            logits, target, scale=3.0, return_gradient=True, return_prediction=True
        )
        _, exact = reference.mixed_margin_loss(logits.double(), target, scale=3.0, return_gradient=True)
        limit = 1e-12 if dtype == torch.float64 else max(2e-6, 0.6 * torch.finfo(dtype).eps)
        assert distance(found, exact) < limit
        assert torch.equal(prediction, logits.argmax(1))


def test_rows_that_share_memory():
    generator = torch.Generator().manual_seed(0)
    memory, target = torch.randn(50, generator=generator), torch.randint(10, (20,), generator=generator)
    for strides in ((1, 1), (0, 1), (1, 0), (0, 0)):
        logits = memory.as_strided((20, 10), strides)
        found = ops.mixed_margin_loss(logits, target, return_gradient=True)
        exact = ops.mixed_margin_loss(logits.contiguous(), target, return_gradient=True)
        assert torch.equal(found[1], exact[1])
        assert found[1].is_contiguous()


@pytest.mark.slow
@needs_library  # plain torch would write matrices of 17 GB
def test_more_than_2_to_the_32_elements():
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, 1 << 20, generator=generator)
    target = torch.randint(1 << 20, (4200,), generator=generator)
    with torch.no_grad():
        loss, prediction = ops.mixed_margin_loss(
            row.expand(4200, 1 << 20), target, reduction="none", return_prediction=True
        )
    exact = row[0].double().logsumexp(0) - row[0].double()[target]
    assert distance(loss, exact) < 2e-6
    assert bool((prediction == row.argmax()).all())


@pytest.mark.parametrize("shape", [(2, 1_000_000), (1_000_000, 2)])
def test_very_long_and_very_many_rows(shape):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(shape, generator=generator), torch.randint(shape[1], shape[:1], generator=generator)
    loss, gradient = ops.mixed_margin_loss(logits, target, return_gradient=True)
    wide = logits.double().requires_grad_()
    exact = torch.nn.functional.cross_entropy(wide, target)
    assert distance(loss, exact.detach()) < 2e-6
    assert distance(gradient, torch.autograd.grad(exact, wide)[0]) < 2e-6


def test_logits_whose_sign_waits_to_be_applied():
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    logits, target = torch.complex(z, z).conj().imag, torch.tensor([0, 1, 2, 3, 4, 0])
    assert logits.is_neg()
    for options in ({"return_gradient": True}, {"reduction": "none", "return_prediction": True}):
        found = ops.mixed_margin_loss(logits, target, **options)
        assert all(map(torch.equal, found, ops.mixed_margin_loss(-z, target, **options)))


@LOSSES
def test_the_default_dtype_changes_nothing(loss):
    case = make(6, 9, margin=True, weight=True, maximum=True, label_smoothing=0.1)
    logits, options = case.arguments(torch.float32)
    options |= {"lam": 0.3, "weight": options["weight"].tolist()}
    before = loss(logits, case.target, return_gradient=True, **options)
    torch.set_default_dtype(torch.float64)
    try:
        after = loss(logits, case.target, return_gradient=True, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert after[0].dtype == after[1].dtype == torch.float32
    assert all(map(torch.equal, before, after))


# --- torch's tools ----------------------------------------------------------------------------------------------------

WAYS = pytest.mark.parametrize(
    "options", [{}, {"reduction": "none"}, {"return_prediction": True}], ids=["ready", "rows", "prediction"]
)


def first(result):
    return result[0] if isinstance(result, tuple) else result


@WAYS
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(options, reentrant):
    case = make(6, 9, bias=True)
    logits, given = case.arguments(torch.float32)

    def loss(z):
        return first(ops.mixed_margin_loss(z, case.target, **given, **options))

    found = gradient_of(lambda z: checkpoint(loss, z * 1, use_reentrant=reentrant), logits)
    assert torch.equal(found, gradient_of(loss, logits))


@WAYS
def test_what_is_kept_may_lie_elsewhere(options):
    case = make(6, 9, bias=True)
    logits, given = case.arguments(torch.float32)

    def loss(z):
        return first(ops.mixed_margin_loss(z, case.target, **given, **options))

    def packed(z):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.numpy().copy(), torch.from_numpy):
            return loss(z * 1)

    assert torch.equal(gradient_of(packed, logits), gradient_of(loss, logits))


@WAYS
def test_a_loss_used_twice(options):
    case = make(6, 9, bias=True)
    logits, given = case.arguments(torch.float32)

    def loss(z):
        return first(ops.mixed_margin_loss(z, case.target, **given, **options))

    def thrice(z):
        once = loss(z * 1)
        return 2 * once + once

    assert distance(gradient_of(thrice, logits), 3 * gradient_of(loss, logits)) < 1e-6


@needs_library  # plain torch looks at the labels
def test_tracing_records_the_call_not_its_numbers():
    case = make(6, 9, bias=True, weight=True)
    logits, options = case.arguments(torch.float32)

    def both(z):
        loss = ops.mixed_margin_loss(z, case.target, **options)
        return loss, *ops.mixed_margin_loss(z, case.target, return_gradient=True, **options)

    z = logits.detach()
    both(z)  # what is looked at must have been seen: tracing shows no values
    traced = make_fx(both)(z)
    assert all(map(torch.equal, traced(2 * z), both(2 * z)))


@needs_library
def test_dispatch_modes_see_the_op():
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    case = make(6, 9, bias=True)
    logits, options = case.arguments(torch.float32)
    with Watch():
        loss = ops.mixed_margin_loss(logits, case.target, **options)
        loss.backward()
    assert torch.equal(loss, ops.mixed_margin_loss(logits, case.target, **options))
    assert "lt_fast.mixed_margin_loss.raw" in seen


@needs_library
def test_a_subclass_of_tensor_keeps_its_type():
    class Named(torch.Tensor):
        pass

    case = make(6, 9)
    logits, options = case.arguments(torch.float32)
    found = ops.mixed_margin_loss(logits.detach().as_subclass(Named), case.target, return_gradient=True, **options)
    exact = ops.mixed_margin_loss(logits, case.target, return_gradient=True, **options)
    assert all(type(tensor) is Named for tensor in found)
    assert all(torch.equal(a.as_subclass(torch.Tensor), b) for a, b in zip(found, exact, strict=True))


# --- a gradient in the caller's hand ----------------------------------------------------------------------------------


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_step_that_hands_the_gradient_on(loss, dtype):
    case = make(6, 9, margin=True)
    _, options = case.arguments(dtype)
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(6, 4, generator=generator), torch.randn(4, 9, generator=generator).requires_grad_()

    def forward(x):
        logits = (x @ weight).to(dtype)
        return logits, *loss(logits, case.target, return_gradient=True, return_prediction=True, **options)

    found = []
    for step in (forward, torch.compile(forward, backend="aot_eager", fullgraph=True)):
        logits, value, gradient, prediction = step(features)
        assert not value.requires_grad
        assert not gradient.requires_grad
        logits.backward(gradient)
        found.append((value, weight.grad, prediction))
        weight.grad = None
    torch.compiler.reset()
    assert all(map(torch.equal, *found))


@LOSSES
@pytest.mark.parametrize("rule", [{}, {"maximum": True}, {"maximum": True, "compat": True}], ids=str)
def test_gradients_of_many_batches_by_vmap(loss, rule):
    case = make(6, 5, margin=True, weight=True, scale=4.0, **rule)
    logits, options = case.arguments(torch.float64)
    many = torch.stack([logits.detach(), logits.detach() + 1, 3 * logits.detach()])

    def call(z):
        return loss(z, case.target, return_gradient=True, return_prediction=True, **options)

    for found, exact in zip(torch.func.vmap(call)(many), zip(*map(call, many), strict=True), strict=True):
        assert distance(found, torch.stack(exact)) < 1e-12


@LOSSES
def test_a_gradient_where_nothing_is_recorded(loss):
    case = make(6, 5, bias=True)
    logits, options = case.arguments(torch.float32)
    exact = loss(logits, case.target, return_gradient=True, **options)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = loss(logits * 1, case.target, return_gradient=True, **options)
        assert all(map(torch.equal, found, exact))


# --- what earlier calls leave behind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp"])
@pytest.mark.filterwarnings("ignore")  # torch's own, of torch.jit
def test_vectors_first_seen_inside_a_transform(transform):
    case = make(6, 9, margin=True, weight=True, bias=True)
    logits = case.logits.float()  # the vectors are float64, so that the transform meets their conversion
    options = case.options

    def loss(z, **extra):
        return ops.mixed_margin_loss(z, case.target, **options, **extra)

    if transform == "jvp":
        torch.func.jvp(loss, (logits,), (logits,))
    elif transform == "grad":
        torch.func.grad(loss)(logits)
    else:
        torch.func.vmap(loss)(logits[None])
    copied = {name: value.clone() if torch.is_tensor(value) else value for name, value in options.items()}
    for extra in ({}, {"reduction": "none"}):
        exact = gradient_of(lambda z, e=extra: reference.mixed_margin_loss(z, case.target, **copied, **e), logits)
        assert distance(gradient_of(lambda z, e=extra: loss(z, **e), logits), exact) < 2e-6
    assert torch.equal(loss(logits, return_prediction=True)[1], logits.argmax(1))


def test_a_vector_that_changed_shape_or_wants_a_gradient_is_looked_at_again():
    case = make(6, 9, weight=True)
    logits, options = case.arguments(torch.float32)
    for extra in ({}, {"reduction": "none"}, {"return_gradient": True}):
        weight = options["weight"].clone()
        given = {**options, "weight": weight}
        ops.mixed_margin_loss(logits, case.target, **given, **extra)
        weight.resize_(8)
        with pytest.raises(ValueError, match=r"weight must have shape \(C,\) = \(9,\), got \(8,\)"):
            ops.mixed_margin_loss(logits, case.target, **given, **extra)
        weight.resize_(9).fill_(1.0)
        ops.mixed_margin_loss(logits, case.target, **given, **extra)
        weight.requires_grad_()
        with pytest.raises(ValueError, match="weight must not require a gradient"):
            ops.mixed_margin_loss(logits, case.target, **given, **extra)


def test_many_threads_with_new_vectors_in_every_call():
    case = make(6, 9, bias=True, weight=True)
    logits, options = case.arguments(torch.float32)
    exact = gradient_of(lambda z: ops.mixed_margin_loss(z, case.target, **options), logits)
    wrong = []

    def work():
        for _ in range(100):
            given = {name: value.clone() if torch.is_tensor(value) else value for name, value in options.items()}
            found = [
                gradient_of(lambda z, g=given: ops.mixed_margin_loss(z, case.target, **g), logits),
                ops.mixed_margin_loss(logits, case.target, return_gradient=True, **given)[1],
            ]
            wrong.extend(gradient for gradient in found if not torch.equal(gradient, exact))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_different_settings():
    case = make(6, 9, weight=True)
    logits, options = case.arguments(torch.float32)
    for turn in range(2):
        for at in range(300):
            scale = 1 + at / 100
            found = ops.mixed_margin_loss(logits, case.target, scale=scale, **options)
            if at % 50 == 0:
                exact = reference.mixed_margin_loss(logits, case.target, scale=scale, **options)
                assert distance(found.detach(), exact.detach()) < 2e-6, (turn, at)


def test_an_exported_program_gives_the_same_loss():
    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.criterion = losses.LDAMLoss([50, 20, 10, 5, 1])

        def forward(self, logits, target):
            return self.criterion(logits, target)

    logits, target = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    program = torch.export.export(Step(), (logits, target)).module()
    assert torch.equal(program(-logits, target), Step()(-logits, target))
