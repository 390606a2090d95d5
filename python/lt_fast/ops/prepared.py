"""The call that repeats in every training step, with as little round the kernel as can be.

At the shapes of small images the kernel takes a few microseconds, and looking at 24 arguments, converting them and
handing them to torch takes many times that. Here everything that does not change from step to step (settings, class
counts, margins, biases, weights) is one tensor, made once; one op takes it, checks the labels and factors of the batch
and returns loss and gradient together; a two-input ``autograd.Function`` hangs the gradient on the graph.

Only the usual case comes here: a reduced loss of float32 or float64 logits on the CPU that want a gradient, on the
graph or in the caller's hand. For every other, and for whatever the op refuses, ``loss_of`` returns None, and the
careful way in ``mixed_margin`` computes the loss or says what is wrong with the arguments.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lt_fast.counts import ClassCounts
from lt_fast.ops import arguments, libraries, registration
from lt_fast.ops.arguments import DTYPES, REDUCTIONS, Settings

_AVAILABLE = libraries.BACKEND != "reference"
_NONE = REDUCTIONS.index("none")
_EXACT = frozenset(DTYPES[:2])
# Looked up once, and without the Python frame that an overload has round its operator.
_OP: Any = torch.ops.lt_fast.mixed_margin_loss_prepared.default._op if _AVAILABLE else None  # noqa: SLF001


class ReadyLoss(Function):
    """Loss whose gradient is there already; ``batch`` holds the op's inputs after the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, batch: tuple[Any, ...]) -> Tensor:
        """Call the kernel and keep the gradient."""
        loss, grad = _OP(logits, *batch)
        ctx.save_for_backward(grad)
        return loss  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Hand out the kept gradient."""
        if torch.is_grad_enabled():
            registration.refuse_second_derivative()
        grad = ctx.saved_tensors[0]
        try:
            factor = grad_outputs[0].item()
        except RuntimeError:  # several at once, under is_grads_batched
            return grad * grad_outputs[0], None
        if factor != 1:
            return grad * factor, None
        # Whoever gets it may write into it: a hook, or an optimizer into the leaf's .grad, which takes the tensor over.
        # Only a kept graph hands it out again; every other one has let go of it by then, and no copy is made.
        return (grad.clone() if registration.graph_is_kept() else grad), None


# Function.apply looks for functorch's transforms and unwraps what they left over; loss_of has done the first, and the
# kernel would refuse the second.
_apply = super(Function, ReadyLoss).apply


def loss_of(
    logits: Tensor,
    target: Tensor,
    chosen: Settings,
    vectors: tuple[Any, Any, Any, Any],
    *,
    target_b: Tensor | None,
    lam: Any,
    sample_weight: Any,
    return_gradient: bool,
) -> Any:
    """Return the loss, on the graph or beside its gradient; None where this is not the usual case.

    ``vectors`` are counts, margin, bias, weight.
    """
    if not (return_gradient or (type(logits) is Tensor and logits.requires_grad and torch.is_grad_enabled())):
        return None
    batch = _batch_of(logits, target, chosen, vectors, target_b, lam, sample_weight)
    if batch is None:
        return None
    try:
        return _OP(logits, *batch) if return_gradient else _apply(logits, batch)  # type: ignore[no-untyped-call]
    except (RuntimeError, TypeError):
        return None


def _batch_of(
    logits: Tensor,
    target: Tensor,
    chosen: Settings,
    vectors: tuple[Any, Any, Any, Any],
    target_b: Tensor | None,
    lam: Any,
    sample_weight: Any,
) -> tuple[Any, ...] | None:
    """Return the op's inputs after the logits, or None where this is not the usual case."""
    number = 0.0
    if type(lam) is float and target_b is not None:
        lam, number = None, lam
    elif (target_b is None) != (lam is None):
        return None
    if not (
        _AVAILABLE
        and type(logits) is Tensor
        and logits.is_cpu
        and logits.dtype in _EXACT
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001
        and forward_ad._current_level < 0  # noqa: SLF001
        and chosen.reduction != _NONE
        and type(target) is Tensor
        and (target_b is None or type(target_b) is Tensor)
        and (lam is None or _are_factors(lam, logits))
        and (sample_weight is None or _are_factors(sample_weight, logits))
    ):
        return None
    constants = constants_of(logits, chosen, vectors)
    return None if constants is None else (target, target_b, lam, number, sample_weight, constants)


def _are_factors(factors: Any, logits: Tensor) -> bool:
    return type(factors) is Tensor and factors.dtype is logits.dtype and not factors.requires_grad


# --- what does not change ---------------------------------------------------------------------------------------------


class _Constants(NamedTuple):
    sources: tuple[Any, ...]  # settings and vectors, kept alive so that their ids stay their own
    versions: tuple[tuple[Tensor, int], ...]
    packed: Tensor


_memory: OrderedDict[tuple[Any, ...], _Constants] = OrderedDict()
_MEMORY_SIZE = 64


def constants_of(logits: Tensor, chosen: Settings, vectors: tuple[Any, Any, Any, Any]) -> Tensor | None:
    """Return the op's ``constants`` for these settings and vectors, remembered for their objects and versions."""
    counts, margin, bias, weight = vectors
    key = (id(chosen), id(counts), id(margin), id(bias), id(weight), logits.dtype)
    known = _memory.get(key)
    if known is not None:
        for tensor, version in known.versions:
            if tensor._version != version or tensor.requires_grad:  # noqa: SLF001
                break
        else:
            return known.packed
    known = _packed(logits, chosen, vectors)
    if known is None:
        return None
    _memory[key] = known
    if len(_memory) > _MEMORY_SIZE:
        _memory.popitem(last=False)
    return known.packed


def _packed(logits: Tensor, chosen: Settings, vectors: tuple[Any, Any, Any, Any]) -> _Constants | None:
    given = [value for value in vectors if value is not None]
    if logits.dim() != 2 or not all(_remembers(value) for value in given):  # noqa: PLR2004
        return None
    names = ("class_counts", "margin", "bias", "weight")
    converted = [arguments.vector(name, value, logits) for name, value in zip(names, vectors, strict=True)]
    flags = [value is not None for value in converted]
    numbers = torch.tensor([*chosen, *flags], dtype=logits.dtype, device=logits.device)
    packed = torch.cat([numbers, *(value for value in converted if value is not None)])
    if type(packed) is not Tensor:  # made by a mode such as FakeTensorMode, of which nothing is to stay
        return None
    versions = tuple((value, value._version) for value in given if isinstance(value, Tensor))  # noqa: SLF001
    return _Constants((chosen, vectors), versions, packed)


def _remembers(value: Any) -> bool:
    """Whether a change of ``value`` would be noticed; a list's would not."""
    return isinstance(value, ClassCounts) or (isinstance(value, Tensor) and not value.is_inference())
