"""A batch: first a plan of a few hundred bytes, then pixels and labels.

A plan lists the images of a batch, the key of each augmentation (``position``) and the partner that each is mixed with.
It is a pure function of (seed, epoch, step), the same for pixels in memory and in files, and for any number of workers
and ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class MixPlan(NamedTuple):
    """The partner of each image in a batch, and how much of the first image remains.

    Attributes:
        partner: (B,) int64, rows of the data set; they need not be in the batch.
        position: (B,) int64, the partners' augmentation keys: an image of the batch keeps its own as a partner.
        lam: (B,) float32, mixing coefficient of the first image, in [0, 1]; with boxes the share of its pixels.
        boxes: None to blend ``lam * x + (1 - lam) * partner``, or (B, 4) int32 rows (top, left, bottom, right): the
            partner's pixels replace those inside.

    >>> plan = MixPlan(partner=np.array([7, 2]), position=np.array([1, 0]), lam=np.array([0.7, 0.4], np.float32))
    >>> plan.rows(slice(1, 2)).partner, plan.boxes
    (array([2]), None)
    """

    partner: NDArray[np.int64]
    position: NDArray[np.int64]
    lam: NDArray[np.float32]
    boxes: NDArray[np.int32] | None = None

    def rows(self, part: slice) -> "MixPlan":
        """Return the plan of some of the images."""
        boxes = None if self.boxes is None else self.boxes[part]
        return MixPlan(self.partner[part], self.position[part], self.lam[part], boxes)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Which images make one batch, before any pixel is read.

    Attributes:
        epoch: of the training, from 0.
        step: global batch number in the epoch, from 0.
        index: (B,) int64, rows of the data set.
        position: (B,) int64, the key of each image's augmentation: its number among the samples of the epoch.
        mix: how the images are mixed, or None.
        views: differently augmented copies of each image.
        weight: of the mean over these rows in the mean over the ranks: see ``shard``.

    >>> plan = BatchPlan(epoch=0, step=3, index=np.array([7, 2, 9]), position=np.array([9, 10, 11]))
    >>> [(part.index.tolist(), round(part.weight, 2)) for part in (plan.shard(0, 2), plan.shard(1, 2))]
    [([7], 0.67), ([2, 9], 1.33)]
    """

    epoch: int
    step: int
    index: NDArray[np.int64]
    position: NDArray[np.int64]
    mix: MixPlan | None = None
    views: int = 1
    weight: float = 1.0

    def shard(self, rank: int, world_size: int) -> "BatchPlan":
        """Return the rows of one rank, as equal in number as can be; the ranks' rows in order are the batch.

        ``weight`` is the number of rows over the average number of a rank: the mean over the ranks of
        ``weight * mean(losses of the rank)`` is the mean over the batch. In a batch with fewer rows than
        ranks, a rank without rows gets a copy of one, so that every rank computes a step, with the weight 0.
        """
        rows = len(self.index)
        if rows == 0:
            return self
        first, end = (rows * each // world_size for each in (rank, rank + 1))
        part = slice(first, end) if end > first else slice(rank % rows, rank % rows + 1)
        mix = None if self.mix is None else self.mix.rows(part)
        weight = (end - first) * world_size / rows
        return replace(self, index=self.index[part], position=self.position[part], mix=mix, weight=weight)


@dataclass(slots=True, kw_only=True)
class Batch:
    """Images and labels of one training step.

    Attributes:
        views: one (B, Ch, H, W) tensor per view.
        target: (B,) int64.
        target_b: (B,) int64, labels of the partners, or None without mixing.
        lam: (B,) float32, mixing coefficient of the first image, or None.
        index: (B,) int64, rows of the data set.
        boxes: (B, 4) int32 rows (top, left, bottom, right), where a partner's pixels are, or None.
        weight: of the mean loss of these rows in the mean over the ranks: 1 except for unequal shards of a batch, and 0
            for rows that replace missing ones, which must not be counted.

    >>> batch = Batch(views=(torch.zeros(2, 3, 32, 32),), target=torch.tensor([0, 4]))
    >>> len(batch), batch.x.shape, batch.lam is None
    (2, torch.Size([2, 3, 32, 32]), True)
    >>> batch.to("cpu", channels_last=True).x.is_contiguous(memory_format=torch.channels_last)
    True
    """

    views: tuple[Tensor, ...]
    target: Tensor
    target_b: Tensor | None = None
    lam: Tensor | None = None
    index: Tensor | None = None
    boxes: Tensor | None = None
    weight: float = 1.0

    @property
    def x(self) -> Tensor:
        """The first view."""
        return self.views[0]

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> Self:
        """Move every tensor to ``device``; images (4 dimensions) get the channels_last layout on request."""
        keep = torch.channels_last if channels_last else torch.preserve_format

        def image(view: Tensor) -> Tensor:
            layout = keep if view.ndim == 4 else torch.preserve_format  # noqa: PLR2004
            return view.to(device, non_blocking=True, memory_format=layout)

        return self.mapped(image, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from where the copy to a GPU does not block."""
        return self.mapped(Tensor.pin_memory)

    def empty(self, device: torch.device | str, *, channels_last: bool = False) -> Self:
        """Return tensors of the same shapes and dtypes on ``device``, of any value: ``copy_`` fills them."""
        keep = torch.channels_last if channels_last else torch.contiguous_format

        def image(view: Tensor) -> Tensor:
            layout = keep if view.ndim == 4 else torch.contiguous_format  # noqa: PLR2004
            return torch.empty_like(view, device=device, memory_format=layout, pin_memory=False)

        return self.mapped(image, lambda tensor: torch.empty_like(tensor, device=device, pin_memory=False))

    def clone(self) -> Self:
        """Copy every tensor."""
        return self.mapped(Tensor.clone)

    def copy_(self, other: "Batch") -> None:
        """Overwrite every tensor with that of ``other``, a batch of the same ``signature``."""
        for own, new in zip(self.tensors(), other.tensors(), strict=True):
            if own is not None and new is not None:
                own.copy_(new, non_blocking=True)

    def signature(self) -> tuple[Any, ...]:
        """Return shapes and dtypes: batches of one signature can be copied into each other."""
        return tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in self.tensors())

    def tensors(self) -> tuple[Tensor | None, ...]:
        """Return all tensors in the order of the fields, None where one is absent."""
        return (*self.views, self.target, self.target_b, self.lam, self.index, self.boxes)

    def mapped(self, image: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor] | None = None) -> Self:
        """Return the batch of ``image`` of every view and ``other``, by default the same, of every other tensor."""
        function = image if other is None else other
        rest: dict[str, Any] = {name: getattr(self, name) for name in ("target", "target_b", "lam", "index", "boxes")}
        moved: dict[str, Any] = {name: t if t is None else function(t) for name, t in rest.items()}
        return replace(self, views=tuple(map(image, self.views)), **moved)
