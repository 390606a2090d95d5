"""The tensors of a call, checked and converted to one dtype and device.

Values on the CPU are checked; values on a GPU are not, because the host would wait for the device: its kernels stop on
labels outside the classes and factors out of range.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast import _hints, _tensors
from lt_fast.ops.options import VECTORS, MarginOptions


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
    logits: Tensor, target: Any, options: MarginOptions, target_b: Any, lam: Any, sample_weight: Any = None,
    **vectors: Any,
) -> Arguments:  # fmt: skip
    """Check types, shapes and devices, and convert every tensor to its one form."""
    _tensors.check_logits(logits, target)
    labels = _tensors.labels_of_rows("target", target, logits)
    labels_b = None if target_b is None else _tensors.labels_of_rows("target_b", target_b, logits)
    factors = (_tensors.per_row("lam", lam, logits), _tensors.per_row("sample_weight", sample_weight, logits))
    checked = [_vector(name, vectors.get(name), logits) for name in VECTORS]
    given = Arguments(logits, labels, labels_b, *factors, *checked)
    _check_needs(given, options)
    return given


def _check_needs(given: Arguments, options: MarginOptions) -> None:
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
    classes = logits.shape[1]
    vector = _tensors.class_vector(name, value, classes, hint=_hints.for_class_vector(classes))
    vector = vector.to(_tensors.arithmetic_dtype(logits))
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()  # noqa: SLF001  (no public function)
    if vector.device.type == "cpu" and not traced:
        _tensors.check_class_vector(name, vector)
    return vector.to(logits.device).contiguous()


def check_values(given: Arguments, options: MarginOptions) -> None:
    """Check the values on the CPU.

    Raises:
        ValueError: for a label outside the classes, ``lam`` outside [0, 1] or NaN, a negative or NaN sample weight, a
            mean weight of 0 to be divided by, or a label rule with a class without samples.
    """
    for name, labels in (("target", given.target), ("target_b", given.target_b)):
        if labels is not None:
            _tensors.check_row_labels(name, labels, given.logits.shape[1])
    for name, values in (("lam", given.lam), ("sample_weight", given.sample_weight)):
        if values is not None:
            _tensors.check_row_numbers(name, values)
    counts, weight = given.class_counts, given.weight
    if counts is None:
        return
    if weight is not None and options.divides_by_expected_weight and not bool((counts * weight).any()):
        raise ValueError(
            "weight must be > 0 in a class with samples for normalization='expected', got 0 in all of them: their mean "
            "is what the loss is divided by"
        )
    if given.lam is not None and options.label_rule != "mixup" and bool((counts < 1).any()):
        at = int((counts < 1).nonzero()[0])
        raise ValueError(
            f"class_counts must be >= 1 in every class for label_rule={options.label_rule!r}, got "
            f"{float(counts[at]):g} for class {at}"
        )
