"""The tensors of a call: their checks, and their conversion to one dtype and device.

Values on the CPU are checked; values on a GPU are not, because the host would wait for the device: its kernels stop on
labels outside the classes and factors out of range.
"""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast import _hints as hints
from lt_fast._checks import refuse_masked
from lt_fast.counts import ClassCounts, in_class_order

if TYPE_CHECKING:
    from lt_fast.ops.options import MarginOptions

Vector: TypeAlias = Tensor | NDArray[Any] | Sequence[float]

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LARGEST = sys.float_info.max
# Tuples, because torch.compile does not trace a union of NumPy's types.
_NUMBERS = (int, float, np.integer, np.floating)
_NUMPY = (np.ndarray, np.generic)
_SEQUENCES = (np.ndarray, list, tuple)


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


def arithmetic_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype that the loss is computed and returned in: float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def transformed() -> bool:
    """Return whether torch.func or forward-mode differentiation is active, for which the kernels have no rules."""
    if torch.compiler.is_compiling():
        return False
    active: bool = torch._C._are_functorch_transforms_active()  # noqa: SLF001  (no public function says it)
    return active or forward_ad._current_level >= 0  # noqa: SLF001


def is_static(value: Any) -> bool:
    """Return whether a traced graph has this value as a constant."""
    if isinstance(value, _NUMPY):  # NumPy's numbers are arrays there
        return False
    # Only a compiler comes here, which has loaded this module and with it SymPy; every other import would pay for both.
    from torch.fx.experimental.symbolic_shapes import has_static_value  # noqa: PLC0415

    return not isinstance(value, int | float) or has_static_value(value)


def gather(
    logits: Tensor, target: Tensor, options: "MarginOptions", *, target_b: Any, lam: Any, sample_weight: Any,
    class_counts: Any = None, margin: Any = None, bias: Any = None, weight: Any = None,
) -> Arguments:  # fmt: skip
    """Check types, shapes and devices, and convert every tensor to its one form."""
    _check_logits(logits, target)
    given = Arguments(
        logits=logits,
        target=_labels("target", target, logits),
        target_b=None if target_b is None else _labels("target_b", target_b, logits),
        lam=_per_row("lam", lam, logits),
        sample_weight=_per_row("sample_weight", sample_weight, logits),
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


# --- logits and labels ------------------------------------------------------------------------------------------------


def require_tensor(logits: object) -> None:
    """Raise ``TypeError`` for logits that are no tensor, such as a model's output object."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}{hints.for_logits_type(logits)}")


def _check_logits(logits: Tensor, target: object) -> None:
    require_tensor(logits)
    if logits.dtype not in DTYPES:
        raise TypeError(
            f"logits must be float32, float64, float16 or bfloat16, got {logits.dtype}"
            f"{hints.for_logits_dtype(logits, target)}"
        )
    if logits.layout != torch.strided or logits.is_nested:
        raise TypeError(f"logits must be a dense tensor, got layout {logits.layout}; use logits.to_dense()")
    shape = tuple(logits.shape)
    if len(shape) != 2:  # noqa: PLR2004
        raise ValueError(f"logits must have shape (N, C), got {shape}{hints.for_logits_shape(logits, target)}")
    if shape[1] < 2:  # noqa: PLR2004
        hint = hints.for_logits_shape(logits, target)
        raise ValueError(f"logits must have at least 2 classes, got shape {shape}{hint}")


def _labels(name: str, labels: object, logits: Tensor) -> Tensor:
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(labels).__name__}{hints.for_labels_type(name, labels)}")
    if labels.dtype != torch.int64:
        hint = hints.for_labels_dtype(name, labels, logits)
        raise TypeError(f"{name} must be int64 class indices, got {labels.dtype}{hint}")
    if labels.dim() != 1 or labels.shape[0] != logits.shape[0]:
        hint = hints.for_labels_shape(name, labels, logits)
        raise ValueError(f"{name} must have shape (N,) = ({logits.shape[0]},), got {tuple(labels.shape)}{hint}")
    _same_device(name, labels, logits)
    return labels.contiguous()


def _same_device(name: str, value: Tensor, logits: Tensor) -> None:
    if value.device != logits.device:
        raise ValueError(
            f"{name} must be on the logits' device {logits.device}, got {value.device}; use {name}.to(logits.device)"
        )


def _no_gradient(name: str, value: object) -> None:
    """Refuse a tensor that requires a gradient, alone or in a list."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(f"{name} must not require a gradient: only the logits have one; pass {name}.detach()")
    if isinstance(value, list | tuple):
        for at, entry in enumerate(value):
            _no_gradient(f"{name}[{at}]", entry)


# --- numbers per row --------------------------------------------------------------------------------------------------


def _per_row(name: str, value: object, logits: Tensor) -> Tensor | None:
    """Return a number or an (N,) tensor with shape () or (N,)."""
    if value is None:
        return None
    dtype = arithmetic_dtype(logits)
    tensor = value if isinstance(value, Tensor) else _row_tensor(name, value, dtype, logits)
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {tensor.dtype}")
    _no_gradient(name, tensor)
    _same_device(name, tensor, logits)
    if tensor.dim() > 0 and (tensor.dim() != 1 or tensor.shape[0] != logits.shape[0]):
        hint = f"; use {name}.reshape(-1)" if tensor.numel() == logits.shape[0] else ""
        raise ValueError(
            f"{name} must be a number or have shape (N,) = ({logits.shape[0]},), got {tuple(tensor.shape)}{hint}"
        )
    return tensor.to(dtype).contiguous()


def _row_tensor(name: str, value: Any, dtype: torch.dtype, logits: Tensor) -> Tensor:
    """Return numbers of another type than a tensor as one, on the logits' device."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number or a tensor of shape (N,), got bool")
    if torch.compiler.is_compiling() and (type(value) is np.ndarray or isinstance(value, np.generic)):
        return torch.as_tensor(value).to(dtype=dtype, device=logits.device)
    if isinstance(value, _NUMBERS):
        return _row_number(name, value, dtype, logits)
    if not isinstance(value, _SEQUENCES):
        raise TypeError(f"{name} must be a number or a tensor of shape (N,), got {type(value).__name__}")
    if not torch.compiler.is_compiling():
        refuse_masked(name, value)
    _no_gradient(name, value)
    try:
        return torch.as_tensor(_array(value), dtype=dtype, device=logits.device)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a number or N numbers, got {value!r}") from None


def _row_number(name: str, value: Any, dtype: torch.dtype, logits: Tensor) -> Tensor:
    """Return a number that stands for all rows, made on the device: a CUDA graph captures no copy from the host."""
    if torch.compiler.is_compiling():  # reading it would compile again for every other value
        one = torch.ones((), dtype=dtype, device=logits.device)
        return one.mul(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    low, high, rule = (0.0, 1.0, "lie in [0, 1]") if name == "lam" else (0.0, _LARGEST, "be finite and >= 0")
    if not low <= number <= high:
        raise ValueError(f"{name} must {rule}, got {number:g}")
    return torch.full((), number, dtype=dtype, device=logits.device)


# --- class vectors ----------------------------------------------------------------------------------------------------


def plain_numbers(values: Any) -> Any:
    """Return tensors, alone or in a list, as float64 arrays: NumPy has no bfloat16, and float64 holds its values."""
    if isinstance(values, list | tuple):
        return [plain_numbers(each) for each in values]
    if not isinstance(values, Tensor):
        return values
    if values.is_complex():
        raise TypeError("complex numbers have no order")
    return values.detach().cpu().double().numpy()


def _array(value: Any) -> NDArray[np.float64]:
    """Return a copy that torch can take, whatever the strides, byte order and flags of the original."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
        raise TypeError("complex numbers have no order")
    return np.array(value if torch.compiler.is_compiling() else plain_numbers(value), dtype=np.float64)


def _vector(name: str, value: Any, logits: Tensor) -> Tensor | None:
    """Return a vector of length C, checked and converted; on a GPU its values are left to the kernels."""
    if value is None:
        return None
    vector = class_vector(name, value, logits.shape[1]).to(arithmetic_dtype(logits))
    if vector.device.type == "cpu" and not torch.compiler.is_compiling():
        check_class_vector(name, vector)
    return vector.to(logits.device).contiguous()


def class_vector(name: str, value: Any, num_classes: int | None = None) -> Tensor:
    """Return a tensor as it is, and anything else as a float64 tensor on the CPU; of shape (C,).

    Raises:
        TypeError: if it is no vector of numbers.
        ValueError: if it has a wrong shape, requires a gradient, is masked, or names other classes than 0 to C - 1.
    """
    vector = value if isinstance(value, Tensor) else _vector_tensor(name, value)
    if vector.is_complex() or vector.dtype == torch.bool:
        raise TypeError(f"{name} must be a vector of C numbers, got {vector.dtype}")
    _no_gradient(name, vector)
    if vector.dim() != 1 or (num_classes is not None and vector.shape[0] != num_classes):
        size = "" if num_classes is None else f" = ({num_classes},)"
        raise ValueError(f"{name} must have shape (C,){size}, got {tuple(vector.shape)}")
    return vector if num_classes is not None else vector.detach().to("cpu", torch.float64)


def _vector_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, ClassCounts):
        return torch.as_tensor(np.array(value.counts))
    if torch.compiler.is_compiling() and type(value) is np.ndarray:  # traced as a tensor; a masked array is not
        return torch.as_tensor(value)
    value = _in_order(name, value)
    if not torch.compiler.is_compiling():
        refuse_masked(name, value)
    _no_gradient(name, value)
    try:
        return torch.as_tensor(_array(value), device="cpu")
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a vector of C numbers, got {type(value).__name__}") from None


def _in_order(name: str, value: Any) -> Any:
    """Return entries in the order of the classes; what torch.compile cannot trace of it is left out there."""
    if isinstance(value, _SEQUENCES):
        return value
    if torch.compiler.is_compiling() and isinstance(value, Mapping):
        if set(value) != set(range(len(value))):
            raise ValueError(f"{name} must have one entry for each class number from 0 to {len(value) - 1}")
        return [value[label] for label in range(len(value))]
    return in_class_order(name, value)


def check_class_vector(name: str, values: Tensor) -> None:
    """Raise ``ValueError`` for a value that the vector of this name must not hold."""
    bias = name == "bias"
    wrong = (values == math.inf) | values.isnan() if bias else ~(values.isfinite() & (values >= 0))
    if bool(wrong.any()):
        at, rule = int(wrong.nonzero()[0]), "finite or -inf" if bias else "finite and >= 0"
        raise ValueError(f"{name} must be {rule} in every class, got {float(values[at])} for class {at}")
    if name == "class_counts" and not bool((values > 0).any()):
        raise ValueError(f"class_counts must have at least one sample, got {len(values)} classes without any")


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
