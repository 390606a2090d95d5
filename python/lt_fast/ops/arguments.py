"""The tensors of a call, checked and converted to one dtype and device.

Values on the CPU are checked; values on a GPU are not, because the host would wait for the device: its kernels stop on
labels outside the classes and factors out of range.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast import _hints as hints
from lt_fast._tensors import (
    arithmetic_dtype,
    check_class_vector,
    check_logits,
    class_vector,
    labels_of_rows,
    per_row,
)

if TYPE_CHECKING:
    from lt_fast.ops.options import MarginOptions


@dataclass(frozen=True, slots=True)
class Arguments:
    """The tensors of a call, each of the arithmetic dtype and on the logits' device, or None."""

    logits: Tensor
    target: Tensor
    target_b: Tensor | None
    lam: Tensor | None
    sample_weight: Tensor | None
    class_counts: Tensor | None
    margin: Tensor | None
    bias: Tensor | None
    weight: Tensor | None


def transformed() -> bool:
    """Return whether torch.func or forward-mode differentiation is active, for which the kernels have no rules."""
    if torch.compiler.is_compiling():
        return False
    active: bool = torch._C._are_functorch_transforms_active()  # noqa: SLF001  (no public function says it)
    return active or forward_ad._current_level >= 0  # noqa: SLF001


def gather(
    logits: Tensor, target: Tensor, options: "MarginOptions", *, target_b: Any, lam: Any, sample_weight: Any,
    class_counts: Any = None, margin: Any = None, bias: Any = None, weight: Any = None,
) -> Arguments:  # fmt: skip
    """Check types, shapes and devices, and convert every tensor to its one form."""
    check_logits(logits, target)
    given = Arguments(
        logits=logits,
        target=labels_of_rows("target", target, logits),
        target_b=None if target_b is None else labels_of_rows("target_b", target_b, logits),
        lam=per_row("lam", lam, logits),
        sample_weight=per_row("sample_weight", sample_weight, logits),
        class_counts=_vector("class_counts", class_counts, logits),
        margin=_vector("margin", margin, logits),
        bias=_vector("bias", bias, logits),
        weight=_vector("weight", weight, logits),
    )
    _check_needs(given, options)
    return given


def _check_needs(given: Arguments, options: "MarginOptions") -> None:
    """Check arguments that need another one."""
    if (given.target_b is None) != (given.lam is None):
        present, absent = ("target_b", "lam") if given.lam is None else ("lam", "target_b")
        raise ValueError(f"{absent} must be given together with {present}, got None")
    if given.class_counts is None and options.label_rule != "mixup" and given.target_b is not None:
        raise ValueError(f"class_counts must be given for label_rule={options.label_rule!r}, got None")
    if given.class_counts is None and given.weight is not None and options.divides_by_expected_weight:
        raise ValueError(
            "class_counts must be given for normalization='expected' with a weight, got None: it divides by the "
            "training set's mean weight; pass class_counts, or normalization='batch' or 'weights'"
        )


def _vector(name: str, value: Any, logits: Tensor) -> Tensor | None:
    """Return a vector of length C, checked and converted; on a GPU its values are left to the kernels."""
    if value is None:
        return None
    vector = class_vector(name, value, logits.shape[1]).to(arithmetic_dtype(logits))
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()  # noqa: SLF001  (no public function)
    if vector.device.type == "cpu" and not traced:
        check_class_vector(name, vector)
    return vector.to(logits.device).contiguous()


# --- values -----------------------------------------------------------------------------------------------------------


def check_values(given: Arguments, options: "MarginOptions") -> None:
    """Check the values of labels and factors, on the CPU.

    Raises:
        ValueError: for a label outside the classes, ``lam`` outside [0, 1] or NaN, a negative or NaN sample weight, a
            mean weight of 0 to be divided by, or a label rule with a class without samples.
    """
    num_classes = given.logits.shape[1]
    for name, labels in (("target", given.target), ("target_b", given.target_b)):
        if labels is not None:
            wrong = (labels < 0) | (labels >= num_classes)
            hint = functools.partial(hints.for_label_value, name, labels, num_classes)
            _refuse(name, labels, wrong, f"lie in [0, {num_classes})", hint)
    if given.lam is not None:
        _refuse("lam", given.lam, ~((given.lam >= 0) & (given.lam <= 1)), "lie in [0, 1]")
    if given.sample_weight is not None:
        good = (given.sample_weight >= 0) & given.sample_weight.isfinite()
        _refuse("sample_weight", given.sample_weight, ~good, "be finite and >= 0")
    if given.class_counts is not None:
        _check_counts(given.class_counts, given.weight if options.divides_by_expected_weight else None)
        if given.lam is not None and options.label_rule != "mixup":
            rule = f"be >= 1 in every class for label_rule={options.label_rule!r}"
            _refuse("class_counts", given.class_counts, given.class_counts < 1, rule, where="for class")


def _check_counts(counts: Tensor, weight: Tensor | None) -> None:
    if weight is not None and not bool((counts * weight).any()):
        raise ValueError(
            "weight must be > 0 in a class with samples for normalization='expected', got 0 in all of them: their mean "
            "is what the loss is divided by"
        )


def _refuse(
    name: str, values: Tensor, wrong: Tensor, rule: str, hint: Callable[[], str] = str, where: str = "at position"
) -> None:
    if bool(wrong.any()):
        at = int(wrong.reshape(-1).nonzero()[0])
        value = values.reshape(-1)[at].item()
        shown = f"{value:g}" if isinstance(value, float) else value  # :g rounds a label to 6 digits
        place = f" {where} {at}" if values.dim() else ""
        raise ValueError(f"{name} must {rule}, got {shown}{place}{hint()}")
