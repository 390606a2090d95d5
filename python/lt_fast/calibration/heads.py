"""The classifier head: the length of its rows, and the calibrated head that takes its place."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def weight_norm(head: nn.Module) -> Tensor:
    """Return the Euclidean length ``(C,)`` of each class's weight row, detached.

    A head with a method ``weight_norm()`` speaks for itself: a cosine head, which normalises its rows, answers 1.

    Raises:
        ValueError: if ``head`` has neither that method nor a ``weight`` of shape ``(C, D)``.
    """
    own = getattr(head, "weight_norm", None)
    if own is not None:
        lengths: Tensor = own().detach()
        return lengths
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:  # noqa: PLR2004
        raise ValueError(
            f"head must have a weight of shape (C, D) or a method weight_norm(), got {type(head).__name__}"
        )
    norm: Tensor = torch.linalg.vector_norm(weight.detach(), dim=1)
    return norm


class CalibratedHead(nn.Module):
    """``factor * inner(x) + offset``, class by class: the head that a calibrated model ends in.

    Args:
        inner: the head that was calibrated, kept as it is.
        factor: ``(C,)``.
        offset: ``(C,)``.

    Attributes:
        factor, offset: buffers, so they are saved and moved with the model and are not trained.

    Shape:
        x ``(N, D)`` float; returns ``(N, C)``.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, inner: nn.Module, factor: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("factor", factor)
        self.register_buffer("offset", offset)

    @property
    def weight(self) -> Tensor:
        """The inner head's ``(C, D)``."""
        weight: Tensor = self.inner.weight  # type: ignore[assignment]
        return weight

    def weight_norm(self) -> Tensor:
        """Return the row lengths as the forward pass sees them: ``|factor|`` times those of the inner head."""
        return self.factor.abs() * weight_norm(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return the calibrated logits."""
        logits: Tensor = self.factor * self.inner(x) + self.offset
        return logits


def wrap_head(model: Model, factor: Tensor, offset: Tensor, *, head: str) -> Model:
    """Return a copy of ``model`` whose module called ``head`` is wrapped in ``CalibratedHead``.

    Raises:
        ValueError: if there is no such module, or it has another number of classes.
    """
    inner = named_head(model, head)
    norm = weight_norm(inner)
    if len(norm) != len(factor):
        raise ValueError(f"model must have {len(factor)} classes, as the calibrator has, got {len(norm)} in {head!r}")
    calibrated = copy.deepcopy(model)
    own = (each.to(device=norm.device, dtype=torch.promote_types(each.dtype, norm.dtype)) for each in (factor, offset))
    calibrated.set_submodule(head, CalibratedHead(calibrated.get_submodule(head), *own))
    return calibrated


def named_head(model: nn.Module, head: str) -> nn.Module:
    """Return the module of ``model`` called ``head``.

    Raises:
        ValueError: if there is none; names the last modules of the model.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not head or head not in modules:
        known = ", ".join(list(modules)[-3:])
        raise ValueError(f"head must name a module of {type(model).__name__}, got {head!r}; its last ones are: {known}")
    return modules[head]
