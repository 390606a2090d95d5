"""``FeatureSource``: features that a frozen network has computed, read like images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lt_fast import _checks, _rust
from lt_fast.batch import BatchPlan
from lt_fast.counts import ClassCounts


@dataclass(frozen=True)
class FeatureViews:
    """Which of its computed views a feature is read from, in place of an image's transform.

    Args:
        views: number of augmented views to choose from; 0 reads the view without augmentation.

    >>> FeatureViews(views=10).plain()  # for evaluation
    FeatureViews(views=0)
    """

    views: int = 0

    def plain(self) -> "FeatureViews":
        """Return the view without augmentation: evaluation reads features by it."""
        return FeatureViews(0)


class FeatureSource:
    """Features of labelled images in memory, several augmented views of each; a ``Loader`` reads them like images.

    Which view a row of a batch gets is a function of (seed, epoch, view, position), as an image's augmentation is. A
    mixer that blends, blends features.

    Args:
        plain: (N, D) float32, of the images without augmentation.
        labels: (N,) integers in [0, C).
        classes: C distinct names.
        views: V further tensors like ``plain``, of augmented images.
        fingerprint: of the images.

    Attributes:
        class_counts: images per class.

    Raises:
        ValueError: if shapes differ, or a label is outside [0, C).

    >>> import torch
    >>> from lt_fast.data import Loader
    >>> from lt_fast.sampling import ShuffledBatchSampler
    >>> source = FeatureSource(torch.zeros(4, 16), [0, 0, 1, 2], views=[torch.ones(4, 16), torch.full((4, 16), 2.0)])
    >>> loader = Loader(source, ShuffledBatchSampler(4, batch_size=4, seed=0), transform=FeatureViews(views=2), seed=0)
    >>> next(iter(loader)).x[:, 0]  # which view each row is of
    tensor([2., 2., 2., 1.])
    """

    in_memory = True

    def __init__(
        self,
        plain: Tensor,
        labels: ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        views: Sequence[Tensor] = (),
        fingerprint: str = "",
    ) -> None:
        self.labels, self.fingerprint = _checks.class_labels("labels", labels), fingerprint
        wrong = next((view for view in (plain, *views) if view.ndim != 2 or view.shape != plain.shape), None)  # noqa: PLR2004
        if wrong is not None or len(plain) != len(self.labels):
            found = tuple((plain if wrong is None else wrong).shape)
            raise ValueError(f"features must have shape ({len(self.labels)}, D) in every view, got {found}")
        self._views = torch.stack([plain, *views])
        self.class_counts = ClassCounts.from_labels(self.labels, names=classes)
        self.classes = self.class_counts.names

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, transform: Any) -> None:
        """Raise unless ``transform`` is a ``FeatureViews`` with no more views than there are."""
        if not isinstance(transform, FeatureViews) or transform.views >= len(self._views):
            raise TypeError(
                f"transform must be FeatureViews of at most {len(self._views) - 1} views, got {transform!r}"
            )

    def read(self, plan: BatchPlan, transform: FeatureViews, seed: int) -> tuple[Tensor, ...]:
        """Return the plan's features, one (B, D) tensor per view.

        Raises:
            ValueError: if the plan pastes boxes: features have no pixels.
        """
        return tuple(self._read(plan, transform, seed, view) for view in range(plan.views))

    def _read(self, plan: BatchPlan, transform: FeatureViews, seed: int, view: int) -> Tensor:
        x = self._rows(plan.index, plan.position, transform, (seed, plan.epoch, view))
        mix = plan.mix
        if mix is None:
            return x
        if mix.boxes is not None:
            raise ValueError(
                "mixer must blend where a network is frozen, got one that pastes boxes; leave --freeze out"
            )
        partners = self._rows(mix.partner, mix.position, transform, (seed, plan.epoch, view))
        return torch.lerp(partners, x, torch.from_numpy(mix.lam)[:, None])

    def _rows(
        self,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        transform: FeatureViews,
        key: tuple[int, int, int],
    ) -> Tensor:
        chosen = np.zeros(len(rows), np.int64)
        if transform.views and len(rows):
            (seed, epoch, view), low = key, int(positions.min())
            stream = _rust.STREAM_AUGMENT + (view + 1 << 32)
            drawn = _rust.uniform(seed, stream, epoch, low, int(positions.max()) - low + 1)
            chosen = 1 + (drawn[positions - low] * transform.views).astype(np.int64)
        return self._views[torch.from_numpy(chosen), torch.from_numpy(rows)]
