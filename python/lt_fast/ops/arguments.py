"""What the fused op and its plain-torch twin both do first: check the arguments and bring them into one form.

Values on the CPU are looked at; values on a GPU are not, because that would make the host wait for the device: there
the kernel itself traps on labels outside the classes.
"""

import functools
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast._checks import refuse_masked
from lt_fast._text import nearest
from lt_fast.counts import ClassCounts, in_class_order
from lt_fast.ops import hints

Vector: TypeAlias = Tensor | NDArray[Any] | Sequence[float]

LABEL_RULES = ("mixup", "mam", "remix", "unimix", "cp_mix")
MARGIN_RULES = ("fixed", "maximum", "batch_first_label")
NORMALIZATIONS = ("expected", "weights", "batch")
REDUCTIONS = ("none", "mean", "sum")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Settings(NamedTuple):
    """The numbers of a call, in the order of the op's schema; rules are indices into the tuples above."""

    label_rule: int
    omega: float
    kappa: float
    tau: float
    margin_rule: int
    max_margin: float
    gamma: float
    scale: float
    label_smoothing: float
    focal_gamma: float
    normalization: int
    reduction: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """The tensors of a call, each of the arithmetic dtype and on the logits' device, or None."""

    logits: Tensor
    target: Tensor
    target_b: Tensor | None
    lam: Tensor | None
    class_counts: Tensor | None
    margin: Tensor | None
    bias: Tensor | None
    weight: Tensor | None
    sample_weight: Tensor | None


class Wanted(NamedTuple):
    """What a call returns besides the loss."""

    gradient: bool = False
    prediction: bool = False

    def of(self, loss: Tensor, gradient: Tensor | None, prediction: Tensor | None) -> Any:
        """Return the loss, or a tuple that begins with it."""
        if not (self.gradient or self.prediction):
            return loss
        extra = ((self.gradient, gradient), (self.prediction, prediction))
        return (loss, *(result for asked, result in extra if asked))


def require_reduced(chosen: Settings) -> None:
    """Refuse to return a gradient of a loss that is not one number."""
    if REDUCTIONS[chosen.reduction] == "none":
        raise ValueError(
            "reduction must be 'mean' or 'sum' for return_gradient=True, got 'none'; "
            "leave return_gradient out and call loss.backward(factors)"
        )


_LARGEST = sys.float_info.max
_LARGEST_SINGLE = torch.finfo(torch.float32).max
_SMALLEST_SINGLE = torch.finfo(torch.float32).tiny
# Tuples, because torch.compile does not trace a union of NumPy's types.
_NUMBERS = (int, float, np.integer, np.floating)
_NUMPY = (np.ndarray, np.generic)
_SEQUENCES = (np.ndarray, list, tuple)
_ABOVE_0 = 5e-324  # the smallest number above 0


# --- settings ---------------------------------------------------------------------------------------------------------


def _index(name: str, value: object, known: tuple[str, ...]) -> int:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {', '.join(known)}, got {type(value).__name__}")
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}{nearest(value, list(known))}")
    return known.index(value)


def _float(value: Any) -> float:
    """Return the nearest float, infinity for an integer beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class _Rule(NamedTuple):
    """What a number must be, in words and as bounds."""

    words: str
    low: float = -_LARGEST
    high: float = _LARGEST


_SETTING_RULES = {
    "omega": _Rule("finite"),
    "kappa": _Rule("finite and >= 1", low=1.0),
    "tau": _Rule("within [0, 1]", low=0.0, high=1.0),
    "max_margin": _Rule("finite and >= 0", low=0.0),
    "gamma": _Rule("finite and >= 0", low=0.0),
    "scale": _Rule("finite and > 0", low=_ABOVE_0),
    "label_smoothing": _Rule("within [0, 1]", low=0.0, high=1.0),
    "focal_gamma": _Rule("finite and >= 0", low=0.0),
}


def _number(name: str, value: Any) -> float:
    """Return a float within the bounds of its rule; a NaN is not."""
    if torch.compiler.is_compiling() and not _is_static(value):
        return _traced_number(name, value)  # type: ignore[no-any-return]  # a symbol that stands for one
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    number, rule = _float(value), _SETTING_RULES[name]
    if not rule.low <= number <= rule.high:
        raise ValueError(f"{name} must be {rule.words}, got {number}")
    if abs(number) > _LARGEST_SINGLE:
        raise ValueError(f"{name} must be at most {_LARGEST_SINGLE:.2g} in size, as float32 is, got {number}")
    if name == "scale" and number < _SMALLEST_SINGLE:
        raise ValueError(f"scale must be at least {_SMALLEST_SINGLE:.2g}, as float32 is, got {number}")
    return _single_below(number) if name == "kappa" else number


def _single_below(number: float) -> float:
    """Return the largest float32 that is not above ``number`` >= 1: rounding up, kappa=1.1 would miss 11 against 10."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(math.floor(math.ldexp(mantissa, 24)), exponent - 24)


def _margin_rule(margin_rule: object, max_margin: object, gamma: object, compat: object) -> tuple[int, float, float]:
    """Index of the rule, ``max_margin`` and ``gamma``; those two belong to "maximum" alone."""
    rule = _index("margin_rule", margin_rule, MARGIN_RULES[:2])
    if compat not in (None, MARGIN_RULES[2]):
        raise ValueError(f"compat must be None or {MARGIN_RULES[2]!r}, got {compat!r}")
    if rule == 0:
        for name, value in (("max_margin", max_margin), ("gamma", gamma), ("compat", compat)):
            if value is not None:
                raise ValueError(
                    f"{name} must be left out for margin_rule='fixed', got {value!r}; "
                    "pass the margins themselves as margin, or set margin_rule='maximum'"
                )
        return 0, 0.0, 1.0
    for name, value in (("max_margin", max_margin), ("gamma", gamma)):
        if value is None:
            raise ValueError(f"{name} must be given for margin_rule='maximum', got None")
    return (
        MARGIN_RULES.index(str(compat)) if compat is not None else rule,
        _number("max_margin", max_margin),
        _number("gamma", gamma),
    )


def make_settings(
    label_rule: object,
    omega: object,
    kappa: object,
    tau: object,
    margin_rule: object,
    max_margin: object,
    gamma: object,
    compat: object,
    scale: object,
    label_smoothing: object,
    focal_gamma: object,
    normalization: object,
    reduction: object,
) -> Settings:
    """Check all numbers and names of a call; positional for the cache, to which a keyword call is another one."""
    rule, largest, steepness = _margin_rule(margin_rule, max_margin, gamma, compat)
    return Settings(
        label_rule=_index("label_rule", label_rule, LABEL_RULES),
        omega=_number("omega", omega),
        kappa=_number("kappa", kappa),
        tau=_number("tau", tau),
        margin_rule=rule,
        max_margin=largest,
        gamma=steepness,
        scale=_number("scale", scale),
        label_smoothing=_number("label_smoothing", label_smoothing),
        focal_gamma=_number("focal_gamma", focal_gamma),
        normalization=_index("normalization", normalization, NORMALIZATIONS),
        reduction=_index("reduction", reduction, REDUCTIONS),
    )


# --- numbers under torch.compile --------------------------------------------------------------------------------------
#
# A Python float that changes between calls is a symbol there. Comparing it, or passing it to an op as a number, would
# make it a constant and compile again for every value: it becomes a tensor, and the op looks at it when it runs.


def _has_static_value(number: Any) -> bool:
    # Only a compiler comes here, which has loaded this module and with it SymPy; every other import would pay for both.
    from torch.fx.experimental.symbolic_shapes import has_static_value  # noqa: PLC0415

    return has_static_value(number)


def _is_static(value: Any) -> bool:
    """Whether the traced graph has this value as a constant."""
    if isinstance(value, _NUMPY):  # NumPy's numbers are arrays there
        return False
    return not isinstance(value, _NUMBERS) or _has_static_value(value)


def _traced_number(name: str, value: Any) -> Any:
    """Return a symbol as it is, and a NumPy number as a tensor."""
    if not isinstance(value, _NUMPY):
        return value
    tensor = torch.as_tensor(value)
    if tensor.dim() != 0 or tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must be a number, got an array")
    return tensor


def traced_numbers(chosen: Settings) -> Tensor | None:
    """Return the numbers of ``SETTING_NUMBERS`` as a tensor on the CPU where one of them is a symbol, else None."""
    numbers = [getattr(chosen, name) for name in SETTING_NUMBERS]
    if all(not isinstance(number, Tensor) and _has_static_value(number) for number in numbers):
        return None
    one = torch.ones((), dtype=torch.float64, device="cpu")
    return torch.stack([one * number for number in numbers])


def with_numbers(chosen: Settings, numbers: Sequence[float]) -> Settings:
    """Return the settings with these numbers in the place of their own, checked."""
    checked: dict[str, Any] = {name: _number(name, value) for name, value in zip(SETTING_NUMBERS, numbers, strict=True)}
    return chosen._replace(**checked)


SETTING_NUMBERS = tuple(_SETTING_RULES)


# --- settings, remembered ---------------------------------------------------------------------------------------------


_cached_settings = functools.lru_cache(maxsize=256, typed=True)(make_settings)


def settings(*values: object) -> Settings:
    """``make_settings``, whose answer is remembered: a loss asks the same question every step."""
    if torch.compiler.is_compiling():
        return make_settings(*values)
    try:
        return _cached_settings(*values)
    except TypeError:  # not hashable, or of a wrong type: named here
        return make_settings(*values)


def transformed() -> bool:
    """Return whether torch.func or forward-mode differentiation is at work, for which the kernels have no rules."""
    if torch.compiler.is_compiling():
        return False
    active: bool = torch._C._are_functorch_transforms_active()  # noqa: SLF001
    return active or forward_ad._current_level >= 0  # noqa: SLF001


# --- tensors ----------------------------------------------------------------------------------------------------------


def arithmetic_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype that the loss is computed and returned in: float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def require_tensor(logits: object) -> None:
    """Refuse logits that are no tensor, such as a model's output object."""
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
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(f"{name} must not require a gradient: only the logits have one; pass {name}.detach()")


def _no_gradients(name: str, values: object) -> None:
    """Refuse a list with a number in it that requires a gradient."""
    if isinstance(values, list | tuple):
        for at, value in enumerate(values):
            _no_gradient(f"{name}[{at}]", value)


def _check_number(name: str, number: float) -> None:
    """Refuse a number that stands for all rows: here it costs nothing, while a GPU could only stop its kernel."""
    low, high, rule = (0.0, 1.0, "lie in [0, 1]") if name == "lam" else (0.0, _LARGEST, "be finite and >= 0")
    if not low <= number <= high:
        raise ValueError(f"{name} must {rule}, got {number:g}")


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


def _per_row(name: str, value: object, logits: Tensor) -> Tensor | None:
    """A number or (N,) tensor, as (1,) or (N,)."""
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
    if tensor.dtype == dtype and tensor.dim() == 1 and tensor.is_contiguous():
        return tensor  # the usual case, without three calls into torch that do nothing
    return tensor.to(dtype).reshape(-1).contiguous()


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
    _no_gradients(name, value)
    try:
        return torch.as_tensor(_array(value), dtype=dtype, device=logits.device)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a number or N numbers, got {value!r}") from None


def _row_number(name: str, value: Any, dtype: torch.dtype, logits: Tensor) -> Tensor:
    """Return a number that stands for all rows. Made on the device: a CUDA graph captures no copy from the host."""
    if torch.compiler.is_compiling():  # looking at it would compile again for every other value
        one = torch.ones((), dtype=dtype, device=logits.device)
        return one.mul(value)
    number = _float(value)
    _check_number(name, number)
    return torch.full((), number, dtype=dtype, device=logits.device)


_RULES = {
    "margin": "finite and >= 0",
    "weight": "finite and >= 0",
    "bias": "finite or -inf",
    "class_counts": "finite and >= 0",
}


def _check_vector(name: str, values: Tensor) -> None:
    wrong = (values == math.inf) | values.isnan() if name == "bias" else ~(values.isfinite() & (values >= 0))
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(f"{name} must be {_RULES[name]} in every class, got {float(values[at])} for class {at}")
    if name == "class_counts" and not bool((values > 0).any()):
        raise ValueError(f"class_counts must have at least one sample, got {len(values)} classes without any")


class _Remembered(NamedTuple):
    source: Any  # kept alive, so that its id stays its own
    version: int
    converted: Tensor


_memory: OrderedDict[tuple[int, str, torch.dtype, torch.device], _Remembered] = OrderedDict()
_MEMORY_SIZE = 64


def vector(name: str, value: Any, logits: Tensor) -> Tensor | None:
    """Return a vector of length C, checked and converted: once for a tensor or ``ClassCounts``, always for a list."""
    if value is None:
        return None
    if torch.compiler.is_compiling():
        return _converted(name, value, logits)  # values are not looked at: that would break the graph
    if not isinstance(value, Tensor | ClassCounts) or (isinstance(value, Tensor) and value.is_inference()):
        converted = _converted(name, value, logits)
        _check_vector(name, converted)
        return converted
    _no_gradient(name, value)
    key = (id(value), name, arithmetic_dtype(logits), logits.device)
    version = value._version if isinstance(value, Tensor) else 0  # noqa: SLF001
    known = _memory.get(key)
    if known is None or known.version != version or known.converted.shape[0] != logits.shape[1]:
        converted = _converted(name, value, logits)
        _check_vector(name, converted)
        known = _memory[key] = _Remembered(value, version, converted)
        if len(_memory) > _MEMORY_SIZE:
            _memory.popitem(last=False)
    return known.converted


def _converted(name: str, value: Any, logits: Tensor) -> Tensor:
    if isinstance(value, ClassCounts):
        value = torch.as_tensor(np.array(value.counts))
    elif torch.compiler.is_compiling() and type(value) is np.ndarray:  # traced as a tensor; a masked array is not
        value = torch.as_tensor(value)
    elif not isinstance(value, Tensor):
        value = _in_order(name, value)
        if not torch.compiler.is_compiling():
            refuse_masked(name, value)
        _no_gradients(name, value)
        try:
            value = torch.as_tensor(_array(value), device="cpu")
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{name} must be a vector of C numbers, got {type(value).__name__}") from None
    if value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be a vector of C numbers, got {value.dtype}")
    _no_gradient(name, value)
    if value.dim() != 1 or value.shape[0] != logits.shape[1]:
        raise ValueError(f"{name} must have shape (C,) = ({logits.shape[1]},), got {tuple(value.shape)}")
    if torch.compiler.is_compiling() or value.is_inference():
        return _moved(value, logits)
    with torch.inference_mode(False):  # remembered, and training may come after validation
        return _moved(value, logits)


def _in_order(name: str, value: Any) -> Any:
    """Return entries in the order of the classes; what torch.compile cannot trace of it is left out there."""
    if isinstance(value, _SEQUENCES):
        return value
    if torch.compiler.is_compiling() and isinstance(value, Mapping):
        if set(value) != set(range(len(value))):
            raise ValueError(f"{name} must have one entry for each class number from 0 to {len(value) - 1}")
        return [value[label] for label in range(len(value))]
    return in_class_order(name, value)


def _moved(value: Tensor, logits: Tensor) -> Tensor:
    return value.to(device=logits.device, dtype=arithmetic_dtype(logits)).contiguous()


def _is_expected(chosen: Settings) -> bool:
    return NORMALIZATIONS[chosen.normalization] == "expected" and REDUCTIONS[chosen.reduction] == "mean"


def _check_needs(given: Arguments, chosen: Settings) -> None:
    """Arguments that need another one."""
    if (given.target_b is None) != (given.lam is None):
        present, absent = ("target_b", "lam") if given.lam is None else ("lam", "target_b")
        raise ValueError(f"{absent} must be given together with {present}, got None")
    if given.class_counts is None and chosen.label_rule != 0 and given.target_b is not None:
        raise ValueError(f"class_counts must be given for label_rule={LABEL_RULES[chosen.label_rule]!r}, got None")
    if given.class_counts is None and given.weight is not None and _is_expected(chosen):
        raise ValueError(
            "class_counts must be given for normalization='expected' with a weight, got None: it divides by the "
            "training set's mean weight; pass class_counts, or normalization='batch' or 'weights'"
        )


def gather(
    logits: Tensor,
    target: Tensor,
    chosen: Settings,
    *,
    target_b: Tensor | None,
    lam: Any,
    class_counts: Any,
    margin: Any,
    bias: Any,
    weight: Any,
    sample_weight: Any,
) -> Arguments:
    """Check types, shapes and devices, and convert every tensor to its one form."""
    _check_logits(logits, target)
    given = Arguments(
        logits=logits,
        target=_labels("target", target, logits),
        target_b=None if target_b is None else _labels("target_b", target_b, logits),
        lam=_per_row("lam", lam, logits),
        class_counts=vector("class_counts", class_counts, logits),
        margin=vector("margin", margin, logits),
        bias=vector("bias", bias, logits),
        weight=vector("weight", weight, logits),
        sample_weight=_per_row("sample_weight", sample_weight, logits),
    )
    _check_needs(given, chosen)
    return given


# --- values -----------------------------------------------------------------------------------------------------------


def check_values(given: Arguments, chosen: Settings) -> None:
    """Look at labels and factors, on the CPU.

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
    if (
        given.weight is not None
        and given.class_counts is not None
        and _is_expected(chosen)
        and not bool((given.class_counts * given.weight).any())
    ):
        raise ValueError(
            "weight must be > 0 in a class with samples for normalization='expected', got 0 in all of them: their mean "
            "is what the loss is divided by"
        )
    if given.lam is not None and chosen.label_rule != 0 and given.class_counts is not None:
        empty = given.class_counts < 1
        if bool(empty.any()):
            raise ValueError(
                f"class_counts must be >= 1 in every class for label_rule={LABEL_RULES[chosen.label_rule]!r}, "
                f"got {float(given.class_counts[empty][0]):g} for class {int(empty.nonzero()[0])}"
            )


def _refuse(name: str, values: Tensor, wrong: Tensor, rule: str, hint: Callable[[], str] = str) -> None:
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        value = values[at].item()
        shown = f"{value:g}" if isinstance(value, float) else value  # :g rounds a label to 6 digits
        raise ValueError(f"{name} must {rule}, got {shown} at position {at}{hint()}")
