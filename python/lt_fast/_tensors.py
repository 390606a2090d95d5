"""Checks and conversions of logits, labels, numbers per row and class vectors, in torch's tensors.

Every message names the argument, the rule and the value; ``_hints`` adds the next step.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _hints as hints
from lt_fast._checks import refuse_masked
from lt_fast.counts import ClassCounts, in_class_order

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LARGEST = sys.float_info.max
# Tuples, because torch.compile does not trace a union of NumPy's types.
_PYTHON_NUMBERS, _NUMBERS = (int, float), (int, float, np.integer, np.floating)
_NUMPY = (np.ndarray, np.generic)
_SEQUENCES = (np.ndarray, list, tuple)
ARRAYS = (*_NUMPY, list, tuple)
_LISTS = (list, tuple)  # not `list | tuple`, which the compiler of an older torch does not take


def arithmetic_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype that the loss is computed and returned in: float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def is_static(value: Any) -> bool:
    """Return whether a traced graph has this value as a constant."""
    if isinstance(value, _NUMPY):  # NumPy's numbers are arrays there
        return False
    # Only a compiler comes here, which has loaded this module and with it SymPy; every other import would pay for both.
    from torch.fx.experimental import symbolic_shapes  # noqa: PLC0415

    # A torch without it compiles once more for each value.
    has_static_value = getattr(symbolic_shapes, "has_static_value", None)
    return not isinstance(value, _PYTHON_NUMBERS) or has_static_value is None or has_static_value(value)


def readable(values: Tensor) -> bool:
    """Return whether values can be read without waiting: on the CPU, outside a trace and a transform."""
    return values.device.type == "cpu" and hints.readable(values)


# --- logits and labels ------------------------------------------------------------------------------------------------


def require_tensor(logits: object) -> None:
    """Raise ``TypeError`` for logits that are no tensor, such as a model's output object."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}{hints.for_logits_type(logits)}")


def check_scores(logits: Tensor, target: object) -> None:
    """Raise ``TypeError`` unless ``logits`` are dense and of a supported dtype; ``target`` helps with the hint."""
    require_tensor(logits)
    if logits.dtype not in DTYPES:
        raise TypeError(
            f"logits must be float32, float64, float16 or bfloat16, got {logits.dtype}"
            f"{hints.for_logits_dtype(logits, target)}"
        )
    require_dense("logits", logits)


def check_logits(logits: Tensor, target: object) -> None:
    """Raise unless ``logits`` are (N, C), C >= 2, dense and of a supported dtype; ``target`` helps with the hint."""
    check_scores(logits, target)
    shape = tuple(logits.shape)
    if len(shape) != 2:  # noqa: PLR2004
        raise ValueError(f"logits must have shape (N, C), got {shape}{hints.for_logits_shape(logits, target)}")
    if shape[1] < 2:  # noqa: PLR2004
        hint = hints.for_logits_shape(logits, target)
        raise ValueError(f"logits must have at least 2 classes, got shape {shape}{hint}")


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor has a shape and strides, as sparse and nested ones have not."""
    return tensor.layout == torch.strided and not tensor.is_nested


def require_dense(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` for a sparse or nested tensor."""
    if not is_dense(tensor):
        kind, dense = (
            ("a nested one", f"{name}.to_padded_tensor(0)")
            if tensor.is_nested
            else (f"layout {tensor.layout}", f"{name}.to_dense()")
        )
        raise TypeError(f"{name} must be a dense tensor, got {kind}; use {dense}")


def labels_of_rows(name: str, labels: object, logits: Tensor) -> Tensor:
    """Return int64 labels of shape (N,) on the logits' device; their values are not checked."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(labels).__name__}{hints.for_labels_type(name, labels)}")
    require_dense(name, labels)
    if labels.dtype != torch.int64:
        hint = hints.for_labels_dtype(name, labels, logits)
        raise TypeError(f"{name} must be int64 class indices, got {labels.dtype}{hint}")
    if labels.dim() != 1 or labels.shape[0] != logits.shape[0]:
        hint = hints.for_labels_shape(name, labels, logits)
        raise ValueError(f"{name} must have shape (N,) = ({logits.shape[0]},), got {tuple(labels.shape)}{hint}")
    require_same_device(name, labels, logits)
    return labels.contiguous()


def require_same_device(name: str, value: Tensor, logits: Tensor) -> None:
    """Raise ``ValueError`` for a tensor on another device than the logits'."""
    if value.device != logits.device:
        raise ValueError(
            f"{name} must be on the logits' device {logits.device}, got {value.device}; use {name}.to(logits.device)"
        )


def refuse_gradient(name: str, value: object) -> None:
    """Refuse a tensor that requires a gradient, alone or in a list."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(f"{name} must not require a gradient: only the logits have one; pass {name}.detach()")
    if isinstance(value, _LISTS):
        for at, entry in enumerate(value):
            refuse_gradient(f"{name}[{at}]", entry)


# --- numbers per row --------------------------------------------------------------------------------------------------


def per_row(name: str, value: object, logits: Tensor) -> Tensor | None:
    """Return a number or an (N,) tensor with shape () or (N,)."""
    if value is None:
        return None
    dtype = arithmetic_dtype(logits)
    tensor = value if isinstance(value, Tensor) else _row_tensor(name, value, dtype, logits)
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {tensor.dtype}")
    refuse_gradient(name, tensor)
    require_same_device(name, tensor, logits)
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
    return numbers(name, value, logits)


def numbers(name: str, value: Any, logits: Tensor) -> Tensor:
    """Return numbers in an array, a list or a tuple as a tensor in the dtype of the arithmetic, of any shape.

    Raises:
        TypeError: if they are not numbers.
        ValueError: if one is masked or requires a gradient.
    """
    if not torch.compiler.is_compiling():
        refuse_masked(name, value)
    refuse_gradient(name, value)
    try:
        return torch.as_tensor(_array(value), dtype=arithmetic_dtype(logits), device=logits.device)
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
    low, high, rule = _range_of(name)
    if not low <= number <= high:
        raise ValueError(f"{name} must {rule}, got {number:g}")
    return torch.full((), number, dtype=dtype, device=logits.device)


# --- values of rows, where they can be read ---------------------------------------------------------------------------


def check_row_labels(name: str, labels: Tensor, num_classes: int) -> None:
    """Raise ``ValueError`` for a label outside [0, num_classes); names the first position."""
    wrong = (labels < 0) | (labels >= num_classes)
    if bool(wrong.any()):
        at, hint = int(wrong.nonzero()[0]), hints.for_label_value(name, labels, num_classes)
        raise ValueError(f"{name} must lie in [0, {num_classes}), got {int(labels[at])} at position {at}{hint}")


def check_row_numbers(name: str, values: Tensor) -> None:
    """Raise ``ValueError`` for a number of a row, or of all rows, that ``lam`` or ``sample_weight`` must not hold."""
    low, high, rule = _range_of(name)
    wrong = ~((values >= low) & (values <= high) & values.isfinite()).reshape(-1)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        place = f" at position {at}" if values.dim() else ""
        raise ValueError(f"{name} must {rule}, got {float(values.reshape(-1)[at]):g}{place}")


def _range_of(name: str) -> tuple[float, float, str]:
    return (0.0, 1.0, "lie in [0, 1]") if name == "lam" else (0.0, _LARGEST, "be finite and >= 0")


# --- class vectors ----------------------------------------------------------------------------------------------------


def plain_numbers(values: Any) -> Any:
    """Return tensors, alone or in a list, as float64 arrays: NumPy has no bfloat16, and float64 holds its values."""
    if isinstance(values, _LISTS):
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


def class_vector(name: str, value: Any, num_classes: int | None = None, *, hint: str = "") -> Tensor:
    """Return a tensor as it is, and anything else as a float64 tensor on the CPU; of shape (C,).

    Raises:
        TypeError: if it is no vector of numbers.
        ValueError: if it has a wrong shape, requires a gradient, is masked, or names other classes than 0 to C - 1.
    """
    vector = value if isinstance(value, Tensor) else _vector_tensor(name, value)
    if vector.is_complex() or vector.dtype == torch.bool:
        raise TypeError(f"{name} must be a vector of C numbers, got {vector.dtype}")
    refuse_gradient(name, vector)
    if vector.dim() != 1 or (num_classes is not None and vector.shape[0] != num_classes):
        size = "" if num_classes is None else f" = ({num_classes},)"
        raise ValueError(f"{name} must have shape (C,){size}, got {tuple(vector.shape)}{hint}")
    return vector if num_classes is not None else vector.detach().to("cpu", torch.float64)


def _vector_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, ClassCounts):
        return torch.as_tensor(np.array(value.counts))
    if torch.compiler.is_compiling() and type(value) is np.ndarray:  # traced as a tensor; a masked array is not
        return torch.as_tensor(value)
    value = _in_order(name, value)
    if not torch.compiler.is_compiling():
        refuse_masked(name, value)
    refuse_gradient(name, value)
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
