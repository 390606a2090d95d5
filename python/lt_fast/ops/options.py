"""The options of the loss: checked once, and packed with the class vectors into the two arguments that the op reads."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

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

# The layout of the op's ``constants`` and ``choices``; csrc/torch_api/schema.h describes it.
HEADER = 16
VECTOR_BITS = {name: 1 << (9 + at) for at, name in enumerate(VECTORS)}
WITH_GRADIENT, WITH_ROWS, WITH_PREDICTION = 1 << 13, 1 << 14, 1 << 15
REDUCTION_BITS = 3 << 7
CHOICES = {
    (LABEL_RULES[label], *MARGIN_RULES[margin], NORMALIZATIONS[divisor], REDUCTIONS[reduction]): label
    | margin << 3
    | divisor << 5
    | reduction << 7
    for label, margin, divisor, reduction in itertools.product(range(5), range(3), range(3), range(3))
}

_NUMPY = (np.ndarray, np.generic)  # a tuple: torch.compile does not trace a union of these
_LARGEST, _TINY = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


class _Rule(NamedTuple):
    """What a number must be, in words and as bounds."""

    words: str
    low: float = -math.inf
    high: float = math.inf


_RULES = {
    "omega": _Rule("finite"),
    "kappa": _Rule("finite and >= 1", low=1.0),
    "tau": _Rule("within [0, 1]", low=0.0, high=1.0),
    "max_margin": _Rule("finite and >= 0", low=0.0),
    "gamma": _Rule("finite and >= 0", low=0.0),
    "scale": _Rule("finite and > 0", low=5e-324),
    "label_smoothing": _Rule("within [0, 1]", low=0.0, high=1.0),
    "focal_gamma": _Rule("finite and >= 0", low=0.0),
}


@dataclass(frozen=True, slots=True)
class MarginOptions:
    """The options of ``mixed_margin_loss``, which documents them.

    Under ``torch.compile`` a number that changes from call to call is a symbol or a tensor. Checking it here would
    compile the graph again for every value: the op checks it when it runs.

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

    def __post_init__(self) -> None:
        """Check every option, and store the numbers as floats."""
        _checks.choice("label_rule", self.label_rule, LABEL_RULES)
        _checks.choice("margin_rule", self.margin_rule, ("fixed", "maximum"))
        _checks.choice("normalization", self.normalization, NORMALIZATIONS)
        _checks.choice("reduction", self.reduction, REDUCTIONS)
        self._check_margin_rule()
        for name in NUMBERS:
            value = getattr(self, name)
            if value is not None or name not in ("max_margin", "gamma"):
                object.__setattr__(self, name, _number(name, value))

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
    def numbers(self) -> tuple[Any, ...]:
        """The numbers in the order of ``NUMBERS``."""
        largest = 0.0 if self.max_margin is None else self.max_margin
        gamma = 1.0 if self.gamma is None else self.gamma
        return (self.omega, self.kappa, self.tau, largest, gamma, self.scale, self.label_smoothing, self.focal_gamma)

    @property
    def choices(self) -> int:
        """The choices as bits, without those of vectors and outputs."""
        return CHOICES[self.label_rule, self.margin_rule, self.compat, self.normalization, self.reduction]

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

    def pack(
        self, *, class_counts: Any = None, margin: Any = None, bias: Any = None, weight: Any = None
    ) -> tuple["Layout", Tensor]:
        """Return the layout and the numbers of a loss with these class vectors, for ``packed_margin_loss``.

        Args:
            class_counts: as for ``mixed_margin_loss``, and so are all others.
            margin: subtracted from the own logit.
            bias: added to the scaled logits.
            weight: one factor per class.

        Shape:
            vectors (C,); returns float64 (16 + k * C,) on the CPU for k vectors. Convert it to float32 for logits that
            are not float64.

        Raises:
            TypeError: if a vector is no vector of numbers.
            ValueError: if a vector has a wrong shape or value.
        """
        given = {"class_counts": class_counts, "margin": margin, "bias": bias, "weight": weight}
        converted = {name: _tensors.class_vector(name, value) for name, value in given.items() if value is not None}
        sizes = {len(vector) for vector in converted.values()}
        if len(sizes) > 1:
            raise ValueError(f"class vectors must have one length C, got {sorted(sizes)}")
        for name, vector in converted.items():
            _tensors.check_class_vector(name, vector)
        header = torch.zeros(HEADER, dtype=torch.float64, device="cpu")
        header[: len(NUMBERS)] = torch.tensor(self.numbers, dtype=torch.float64, device="cpu")
        return Layout(self, tuple(converted)), torch.cat([header, *converted.values()])

    def traced_constants(self, vectors: list[Tensor], logits: Tensor) -> Tensor:
        """Return packed constants for a graph of ``torch.compile``, whose numbers may differ from call to call."""
        one = torch.ones((), dtype=torch.float64, device=logits.device)
        exact = torch.stack([one * number for number in self.numbers] + [one * 0.0] * (HEADER - len(NUMBERS)))
        header = exact.to(_tensors.arithmetic_dtype(logits))
        # Rounding must not raise kappa, see single_below.
        raised = (header.double() > exact) & (torch.arange(HEADER, device=logits.device) == NUMBERS.index("kappa"))
        return torch.cat([torch.where(raised, torch.nextafter(header, torch.zeros_like(header)), header), *vectors])


@dataclass(frozen=True, slots=True)
class Layout:
    """What packed constants hold: the options, and the class vectors that follow them."""

    options: MarginOptions
    names: tuple[str, ...]
    choices: int = 0

    def __post_init__(self) -> None:
        """Compute the bits of ``choices``."""
        bits = sum(VECTOR_BITS[name] for name in self.names)
        object.__setattr__(self, "choices", self.options.choices | bits)

    def vectors(self, constants: Tensor) -> dict[str, Tensor]:
        """Return views of the class vectors in packed constants, by name."""
        if not self.names:
            return {}
        return dict(zip(self.names, constants[HEADER:].view(len(self.names), -1), strict=True))


def _number(name: str, value: Any) -> Any:
    """Return a float within the bounds of its rule; a NaN is not."""
    if torch.compiler.is_compiling() and not _tensors.is_static(value):
        return _traced_number(name, value)
    number, rule = _checks.real_number(name, value), _RULES[name]
    if not (rule.low <= number <= rule.high and math.isfinite(number)):
        raise ValueError(f"{name} must be {rule.words}, got {number}")
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
