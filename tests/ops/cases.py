"""Random calls of the op: logits, labels and options that fit together."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from lt_fast import ops

REFUSAL = (ValueError, RuntimeError)  # of the bare op: torch 2.15 makes a RuntimeError of every error of an op
needs_library = pytest.mark.skipif(ops.backend() == "reference", reason="no op library here")
LABEL_RULES = ("mixup", "mam", "remix", "unimix", "cp_mix")
NORMALIZATIONS = ("expected", "weights", "batch")
REDUCTIONS = ("none", "mean", "sum")


@dataclass
class Case:
    """One call; tensors are float64 until ``arguments`` rounds them."""

    logits: Tensor
    target: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, dtype: torch.dtype) -> tuple[Tensor, dict[str, Any]]:
        """The logits as ``dtype`` with a gradient, and the options in the dtype the op computes in."""
        arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
        options = {
            name: value.to(arithmetic) if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in self.options.items()
        }
        return self.logits.to(dtype).requires_grad_(), options

    def exact(self, dtype: torch.dtype) -> tuple[Tensor, dict[str, Any]]:
        """The same numbers after rounding to ``dtype``, as float64."""
        logits, options = self.arguments(dtype)
        wide = {
            name: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in options.items()
        }
        return logits.detach().double().requires_grad_(), wide


def make(  # one keyword a feature
    rows: int, classes: int, *, seed: int = 0, spread: float = 1.0, mixed: bool = True, label_rule: str = "mixup",
    margin: bool = False, maximum: bool = False, compat: bool = False, bias: bool = False, weight: bool = False,
    sample_weight: bool = False, **options: Any,
) -> Case:  # fmt: skip
    """Draw a case; lam holds 0 and 1, some labels are equal, some scores tie."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    logits = ((2 * uniform(rows, classes) - 1) * spread).float().double()
    if rows > 1:
        logits[1] = logits[1].round()
    target = torch.randint(classes, (rows,), generator=g)
    counts = torch.randint(1, 5000, (classes,), generator=g)
    if mixed:
        target_b, lam = torch.randint(classes, (rows,), generator=g), uniform(rows)
        target_b[: rows // 4] = target[: rows // 4]
        lam[:1], lam[-1:] = 0.0, 1.0
        options |= {"target_b": target_b, "lam": lam.float().double(), "label_rule": label_rule}
    options |= {"class_counts": counts}
    if margin:
        options["margin"] = uniform(classes) / 2
    if maximum:
        options = {"margin_rule": "maximum", "max_margin": 0.8, "gamma": 1.5} | options
        options |= {"compat": "batch_first_label"} if compat else {}
    if bias:
        options["bias"] = counts.double().log()
    if weight:
        options["weight"] = uniform(classes) + 0.05
    if sample_weight:
        options["sample_weight"] = uniform(rows)
    return Case(logits, target, options)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    max_rows: int = 40,
    max_classes: int = 1100,
    smoothings: tuple[float, ...] = (0.0, 0.1, 1 - 2.0**-10, 1.0),
) -> Case:
    """Any call that is allowed, with the bounds of every number among its values."""
    flag = st.booleans()
    maximum = draw(flag)
    numbers = {}
    if maximum:
        numbers = {"max_margin": draw(st.sampled_from([0.0, 0.8, 5.0])), "gamma": draw(st.sampled_from([0.0, 1.5]))}
    case = make(
        draw(st.integers(1, max_rows)),
        draw(st.one_of(st.integers(2, 40), st.integers(2, max_classes))),
        seed=draw(st.integers(0, 10_000)),
        spread=draw(st.sampled_from([0.1, 1.0, 5.0])),
        mixed=draw(flag),
        label_rule=draw(st.sampled_from(LABEL_RULES)),
        margin=draw(flag),
        maximum=maximum,
        compat=maximum and draw(flag),
        bias=draw(flag),
        weight=draw(flag),
        sample_weight=draw(flag),
        omega=draw(st.sampled_from([0.25, 0.0, 1.0, 3.0, -0.5])),
        kappa=draw(st.sampled_from([1.0, 1.5, 3.0])),
        tau=draw(st.sampled_from([0.0, 0.5, 0.75, 1.0])),
        scale=draw(st.sampled_from([2.0**-10, 0.5, 1.0, 30.0, 1024.0])),
        label_smoothing=draw(st.sampled_from(smoothings)),
        focal_gamma=draw(st.sampled_from([0.0, 1.0, 2.0])),  # a power below 1 would enlarge the reference's rounding
        normalization=draw(st.sampled_from(NORMALIZATIONS)),
        reduction=draw(st.sampled_from(REDUCTIONS)),
        **numbers,
    )
    if draw(flag):
        case.options["class_counts"][::2] = case.options["class_counts"][0]
    if draw(flag) and len(case.target) > 1 and case.target[-1] != 0:  # something of the last row always counts
        for name in {"margin", "weight", "sample_weight"} & case.options.keys():
            case.options[name][0] = 0.0
    return case


def loss_and_gradient(loss: Any, logits: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The loss and its gradient; the rows of an unreduced loss are weighted 1, 2, 3, ... for the gradient."""
    value = loss(logits, target, **options)
    outer = torch.ones_like(value) if value.dim() == 0 else torch.arange(1, len(value) + 1, dtype=value.dtype)
    (gradient,) = torch.autograd.grad(value, logits, outer)
    return value.detach(), gradient


def distance(found: Tensor, exact: Tensor, floor: float = 1e-300) -> float:
    """Largest difference over the largest exact value, or over ``floor`` where that is larger."""
    if exact.numel() == 0:
        return 0.0
    difference = float((found.double() - exact.double()).abs().max())
    return difference / max(float(exact.double().abs().max()), floor)
