"""The options of the loss, checked once, and the bits and numbers of them that the op reads."""

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast import _checks, _tensors

LABEL_RULES = ("mixup", "mam", "remix", "unimix", "cp_mix")
MARGIN_RULES = (("fixed", None), ("maximum", None), ("maximum", "batch_first_label"))  # margin_rule, compat
NORMALIZATIONS = ("expected", "weights", "batch")
REDUCTIONS = ("none", "mean", "sum")
NUMBERS = ("omega", "kappa", "tau", "max_margin", "gamma", "scale", "label_smoothing", "focal_gamma")
VECTORS = ("class_counts", "margin", "bias", "weight")

# The bits of the op's ``choices``; csrc/torch_api/schema.h describes them.
VECTOR_BITS = {name: 1 << (9 + at) for at, name in enumerate(VECTORS)}
WITH_GRADIENT, WITH_ROWS, WITH_PREDICTION = 1 << 13, 1 << 14, 1 << 15
REDUCTION_BITS = 3 << 7
CHOICES = {
    (rule, *margin, divisor, reduction): at_rule | at_margin << 3 | at_divisor << 5 | at_reduction << 7
    for (at_rule, rule), (at_margin, margin), (at_divisor, divisor), (at_reduction, reduction) in itertools.product(
        *map(enumerate, (LABEL_RULES, MARGIN_RULES, NORMALIZATIONS, REDUCTIONS))
    )
}

_NUMPY = (np.ndarray, np.generic)  # a tuple: torch.compile does not trace a union of these
_NUMBERS = (int, float)  # an older torch none of these either
_LARGEST, _TINY = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny
_SHARE, _AT_LEAST_0 = ("within [0, 1]", 0.0, 1.0), ("finite and >= 0", 0.0, math.inf)
_RULES = {  # what a number must be, in words and as bounds
    "omega": ("finite", -math.inf, math.inf),
    "kappa": ("finite and >= 1", 1.0, math.inf),
    "tau": _SHARE,
    "max_margin": _AT_LEAST_0,
    "gamma": _AT_LEAST_0,
    "scale": ("finite and > 0", 5e-324, math.inf),
    "label_smoothing": _SHARE,
    "focal_gamma": _AT_LEAST_0,
}


@dataclass(frozen=True, slots=True)
class MarginOptions:
    """The options of ``mixed_margin_loss``, which documents them.

    Under ``torch.compile`` a number that changes from call to call is a symbol or a tensor: the op checks it.

    Attributes:
        vectors: names of the class vectors that ``stack`` has stacked for these options.
        numbers: those of the op: the place of ``lam``, then ``NUMBERS``; what the margin rule does not use is neutral.
        choices: all others, and ``vectors``, as bits.

    Raises:
        TypeError: if an option is of a wrong type.
        ValueError: if an option is unknown or out of range, or does not belong to the margin rule.
    """

    label_rule: str = "mixup"
    omega: float = 0.25
    kappa: float = 3.0
    tau: float = 0.5
    margin_rule: str = "fixed"
    max_margin: float | None = None
    gamma: float | None = None
    compat: str | None = None
    scale: float = 1.0
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    normalization: str = "expected"
    reduction: str = "mean"
    vectors: tuple[str, ...] = ()
    numbers: tuple[Any, ...] = field(init=False)
    choices: int = field(init=False)

    def __post_init__(self) -> None:
        """Check every option, and store the numbers as floats."""
        _checks.choice("label_rule", self.label_rule, LABEL_RULES)
        _checks.choice("margin_rule", self.margin_rule, ("fixed", "maximum"))
        _checks.choice("normalization", self.normalization, NORMALIZATIONS)
        _checks.choice("reduction", self.reduction, REDUCTIONS)
        self._check_margin_rule()
        neutral = {"max_margin": 0.0, "gamma": 1.0} if self.margin_rule == "fixed" else {}
        for name in NUMBERS:
            if name not in neutral:
                object.__setattr__(self, name, _number(name, getattr(self, name)))
        numbers = [neutral[name] if name in neutral else getattr(self, name) for name in NUMBERS]
        bits = CHOICES[self.label_rule, self.margin_rule, self.compat, self.normalization, self.reduction]
        object.__setattr__(self, "numbers", (0.0, *numbers))
        object.__setattr__(self, "choices", bits | sum(VECTOR_BITS[name] for name in self.vectors))

    def _check_margin_rule(self) -> None:
        if self.compat not in (None, "batch_first_label"):
            raise ValueError(f"compat must be None or 'batch_first_label', got {self.compat!r}")
        fixed = self.margin_rule == "fixed"
        for name in ("max_margin", "gamma", "compat") if fixed else ("max_margin", "gamma"):
            value = getattr(self, name)
            if fixed and value is not None:
                raise ValueError(
                    f"{name} must be left out for margin_rule='fixed', got {value!r}; "
                    "pass the margins themselves as margin, or set margin_rule='maximum'"
                )
            if not fixed and value is None:
                raise ValueError(f"{name} must be given for margin_rule='maximum', got None")

    @property
    def divides_by_expected_weight(self) -> bool:
        """Whether the loss is divided by the mean weight of a training sample."""
        return self.normalization == "expected" and self.reduction == "mean"

    def require_reduced(self) -> None:
        """Raise ``ValueError`` unless the loss is one number, which has a gradient to return."""
        if self.reduction == "none":
            raise ValueError(
                "reduction must be 'mean' or 'sum' for return_gradient=True, got 'none'; "
                "leave return_gradient out and call loss.backward(factors)"
            )

    def stack(self, **vectors: Any) -> tuple["MarginOptions", Tensor]:
        """Return these options for class vectors of a loss, and the vectors as rows of one tensor.

        Shape:
            vectors (C,) or None, as for ``mixed_margin_loss``; returns float64 (k, C) on the CPU for k vectors.

        Raises:
            TypeError: if a vector is no vector of numbers.
            ValueError: if a vector has a wrong shape or value.
        """
        given = {name: vectors[name] for name in VECTORS if vectors.get(name) is not None}
        converted = {name: _tensors.class_vector(name, value) for name, value in given.items()}
        sizes = {len(vector) for vector in converted.values()}
        if len(sizes) > 1:
            raise ValueError(f"class vectors must have one length C, got {sorted(sizes)}")
        for name, vector in converted.items():
            _tensors.check_class_vector(name, vector)
        none = torch.empty((0, 0), dtype=torch.float64, device="cpu")
        return replace(self, vectors=tuple(converted)), torch.stack([*converted.values()]) if converted else none

    def by_name(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the class vectors in stacked ``rows``, by name."""
        return dict(zip(self.vectors, rows, strict=True))

    def traced_numbers(self) -> Tensor | None:
        """Return the numbers as a tensor, float64 on the CPU, where a graph's change from call to call."""
        if all(isinstance(number, _NUMBERS) and _tensors.is_static(number) for number in self.numbers):
            return None
        one = torch.ones((), dtype=torch.float64, device="cpu")
        return torch.stack([one * number for number in self.numbers])


def _number(name: str, value: Any) -> Any:
    """Return a float within the bounds of its rule; a NaN is not."""
    if torch.compiler.is_compiling() and not _tensors.is_static(value):
        return _traced_number(name, value)
    number, (words, low, high) = _checks.real_number(name, value), _RULES[name]
    if not (low <= number <= high and math.isfinite(number)):
        raise ValueError(f"{name} must be {words}, got {number}")
    if abs(number) > _LARGEST:
        raise ValueError(f"{name} must be at most {_LARGEST:.2g} in size, as float32 is, got {number}")
    if name == "scale" and number < _TINY:
        raise ValueError(f"scale must be at least {_TINY:.2g}, as float32 is, got {number}")
    return single_below(number) if name == "kappa" else number


def single_below(number: float) -> float:
    """Return the largest float32 that is not above ``number`` >= 1: rounding up, kappa=1.1 would miss 11 against 10."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(math.floor(math.ldexp(mantissa, 24)), exponent - 24)


def _traced_number(name: str, value: Any) -> Any:
    """Return a symbol as it is, and a NumPy number as a tensor."""
    if not isinstance(value, _NUMPY):
        return value
    tensor = torch.as_tensor(value)
    if tensor.dim() != 0 or tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must be one number, got an array")
    return tensor
