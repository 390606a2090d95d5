"""The classifier head: the norms of its rows, and the calibrated head that replaces it."""

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

    >>> from lt_fast.models import CosineHead, digits_net
    >>> head = digits_net(2, seed=0).head  # linear, of 64 features
    >>> _ = head.weight.data.copy_(torch.tensor([[1.0], [0.5]]))
    >>> weight_norm(head), weight_norm(CosineHead(64, 2, seed=0))
    (tensor([8., 4.]), tensor([1., 1.]))
    """
    own = getattr(head, "weight_norm", None)
    if own is not None:
        lengths: Tensor = own().detach()
        return lengths
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:  # noqa: PLR2004
        rule = "head must have a weight of shape (C, D) or a method weight_norm()"
        raise ValueError(f"{rule}, got {type(head).__name__}{_inside(head)}")
    norm: Tensor = torch.linalg.vector_norm(weight.detach(), dim=1)
    return norm


def _inside(head: nn.Module) -> str:
    """Return a hint that names the module inside ``head`` that may be meant."""
    fit = [name for name, part in head.named_modules() if name and getattr(part, "weight", torch.zeros(())).ndim == 2]  # noqa: PLR2004
    return f"; name the module inside it that has one, {fit[-1]!r}" if fit else ""


class CalibratedHead(nn.Module):
    """``factor * inner(x) + offset``, per class: the head of a calibrated model.

    Args:
        inner: the head that was calibrated, unchanged.
        factor: ``(C,)``.
        offset: ``(C,)``.

    Attributes:
        factor, offset: buffers, so they are saved and moved with the model and are not trained.

    Shape:
        x ``(N, D)`` float; returns ``(N, C)``.

    >>> head = CalibratedHead(nn.Identity(), factor=torch.tensor([1.0, 2.0]), offset=torch.tensor([0.0, 0.5]))
    >>> head(torch.tensor([[1.0, 1.0]]))
    tensor([[1.0000, 2.5000]])
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
    path = head_path(model, head)
    norm = weight_norm(model.get_submodule(path))
    if len(norm) != len(factor):
        raise ValueError(f"model must have {len(factor)} classes, as the calibrator has, got {len(norm)} in {head!r}")
    calibrated = copy.deepcopy(model)
    own = (each.to(device=norm.device, dtype=torch.promote_types(each.dtype, norm.dtype)) for each in (factor, offset))
    calibrated.set_submodule(path, CalibratedHead(calibrated.get_submodule(path), *own))
    return calibrated


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``."""
    inner = _wrapped(model)
    while inner is not None:
        model, inner = inner[1], _wrapped(inner[1])
    return model


def head_path(model: nn.Module, head: str) -> str:
    """Return the dotted name of the module of ``model`` called ``head``, wrappers included.

    A model in ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` has its modules under ``_orig_mod.``
    or ``module.``; the head is found with and without these.

    Raises:
        ValueError: if there is none; names the modules that may be meant.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    wrapped = _prefix(model)
    names = (head, wrapped + head, head.removeprefix("_orig_mod.").removeprefix("module."))
    for name in names:
        if head and modules.get(name) is not None and name not in _parents(wrapped):
            return name
    known = [name.removeprefix(wrapped) for name in modules if name not in _parents(wrapped)]
    alike = [name for name in known if head and name.endswith(f".{head}")]
    hint = f"; did you mean {alike[-1]!r}?" if alike else f"; its last ones are: {', '.join(known[-3:])}"
    raise ValueError(f"head must name a module of {type(unwrapped(model)).__name__}, got {head!r}{hint}")


def named_head(model: nn.Module, head: str) -> nn.Module:
    """Return the module of ``model`` called ``head``.

    Raises:
        ValueError: as ``head_path``.
    """
    return model.get_submodule(head_path(model, head))


def _wrapped(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Return the name and the module inside a wrapper, or None for any other module."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return "module", model.module
    original = dict(model.named_children()).get("_orig_mod")  # torch.compile's, whose class is slow to import
    return None if original is None else ("_orig_mod", original)


def _prefix(model: nn.Module) -> str:
    prefix, inner = "", _wrapped(model)
    while inner is not None:
        prefix, inner = f"{prefix}{inner[0]}.", _wrapped(inner[1])
    return prefix


def _parents(prefix: str) -> set[str]:
    """Return the names of the wrappers themselves, which are not heads."""
    parts = prefix.split(".")[:-1]
    return {".".join(parts[:end]) for end in range(len(parts) + 1)}
