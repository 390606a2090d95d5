"""Check that a model returns the output of its head, which calibration of the head requires."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def refuse_other_output(output: Any, logits: Tensor, *, head: str, step: int) -> None:
    """Raise unless ``output`` is ``logits``, or contains it as the tensor that predictions are made from.

    Args:
        output: of the model: a tensor; a structure with ``logits``; a tuple, list or mapping, whose first tensor of
            the shape of ``logits`` counts.
        logits: of the head, ``(N, C)``.
        head: its name.
        step: of the batch.

    Raises:
        ValueError: saying how the two differ and what to do.
    """
    judged = _judged(output, logits.shape)
    if judged is not None and judged.shape == logits.shape and _same(judged, logits):
        return
    came, remedy = _difference(judged, output, logits)
    raise ValueError(f"the model must return what its head {head!r} returns, got {came} in batch {step}; {remedy}")


def modules_that_return(model: nn.Module, images: Tensor) -> list[str]:
    """Return the modules that could be the head: called once with ``(N, D)``, and their output is the model's."""
    calls: dict[str, list[tuple[Any, Any]]] = {}

    def note(name: str, given: tuple[Any, ...], out: Any) -> None:
        calls.setdefault(name, []).append((given, out.clone() if isinstance(out, Tensor) else out))

    hooks = [
        module.register_forward_hook(lambda _, given, out, name=name: note(name, given, out))
        for name, module in model.named_modules()
        if name and _has_matrix(module)
    ]
    try:
        output = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, seen in calls.items() if len(seen) == 1 and _could_be_head(*seen[0], output, len(images))]


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module has a ``weight`` of shape (C, D), which calibration of a head needs; batch norm has a vector."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2  # noqa: PLR2004


def _could_be_head(given: tuple[Any, ...], out: Any, output: Any, rows: int) -> bool:
    matrices = [part for part in (given[:1] or (None,))[:1] if isinstance(part, Tensor) and part.ndim == 2]  # noqa: PLR2004
    if not matrices or not isinstance(out, Tensor) or out.ndim != 2 or len(out) != rows:  # noqa: PLR2004
        return False
    judged = _judged(output, out.shape)
    return judged is not None and judged.shape == out.shape and _same(judged, out)


def _judged(output: Any, shape: torch.Size) -> Tensor | None:
    """Return the tensor of an output that predictions are made from, or None."""
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((part for part in parts if isinstance(part, Tensor) and part.shape == shape), None)


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.float(), other.to(one.device).float(), rtol=0, atol=0, equal_nan=True)


_CALIBRATE_OUTPUTS = (
    "name another module with head=..., wrap the model so that it returns its head's output, or calibrate what it "
    "returns: .fit(outputs, labels) without head=, then .transform(outputs)"
)
_WRAP = "calibration needs logits: wrap the model so that it returns its head's output"


def _difference(judged: Tensor | None, output: Any, logits: Tensor) -> tuple[str, str]:
    """Return how an output differs from the head's output, and a hint."""
    if judged is None:
        return f"{type(output).__name__} without a tensor of shape {tuple(logits.shape)}", _WRAP
    if judged.shape != logits.shape:
        return f"shape {tuple(judged.shape)} instead of {tuple(logits.shape)}", _WRAP
    own, head = judged.double(), logits.to(judged.device).double()
    factor = float((own * head).sum() / (head * head).sum())
    shift = own - head
    known = [
        ("its softmax", head.softmax(1), _WRAP),
        ("its log_softmax", head.log_softmax(1), _WRAP),
        (
            f"{factor:.6g} times that",
            factor * head,
            f"{_WRAP}, and give the calibrator scale={factor:.6g} where the softmax takes it so, as with a cosine head",
        ),
        ("a constant for each class added to that", head + shift[:1], _CALIBRATE_OUTPUTS),
    ]
    for words, values, remedy in known:
        if torch.allclose(own, values, rtol=1e-3, atol=1e-5):
            return words, remedy
    return f"values that differ by up to {float(shift.abs().max()):.3g}", _CALIBRATE_OUTPUTS
