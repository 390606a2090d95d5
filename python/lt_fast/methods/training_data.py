"""``TrainingData``: the images of a training, and the loaders that a method builds from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.counts import ClassCounts
from lt_fast.data import FixedBatches, ImageSource, Loader
from lt_fast.data.plans import Mixer, NumberedBatches, Planner
from lt_fast.ranks import Ranks
from lt_fast.sampling import ClassBalancedBatchSampler

_THE_RUNS: Any = object()
_EVALUATION_BATCH = 512
_SCORES_AT_ONCE = 1 << 24  # 64 MiB of float32, of which a pass has several copies


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training images and everything that a loader over them needs.

    Attributes:
        source: the images and labels.
        sampler: makes a new batch sampler as the run is set to have it.
        transform: augments an image.
        plain_transform: prepares an image without augmentation.
        mixer: mixes each batch, or None.
        batch_size: images per step over all ranks.
        seed: of the run.
        ranks: of this process.
        workers: threads (images in memory) or processes (files) of each loader.
        validation: images held out of training, from which a method may learn during it, or None. Test images are never
            here.
        evaluation_batch: images per batch where nothing is trained; fewer of so many classes that the logits of a batch
            would be more than 16 million.

    >>> from lt_fast.data import ArraySource, CropFlip
    >>> source = ArraySource(np.zeros((100, 8, 8, 1), np.uint8), np.repeat([0, 1], [90, 10]))
    >>> plain = CropFlip(mean=(0.5,), std=(0.2,), crop_padding=0, flip=False)
    >>> options = {"source": source, "transform": plain, "plain_transform": plain, "batch_size": 20}
    >>> data = TrainingData(sampler=lambda: FixedBatches(100, batch_size=20), **options)
    >>> loader = data.loader(data.drawn_batches(0.0, seed=0, steps=5))  # class-balanced, for a second branch
    >>> len(data.loader()), sum(batch.target.bincount() for batch in loader)
    (5, tensor([52, 48]))
    """

    source: ImageSource
    sampler: Callable[[], NumberedBatches]
    transform: Any
    plain_transform: Any
    mixer: Mixer | None = None
    batch_size: int = 128
    seed: int = 0
    ranks: Ranks = Ranks()  # noqa: RUF009  (immutable)
    workers: int = 0
    validation: ImageSource | None = None
    evaluation_batch: int = _EVALUATION_BATCH

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of all training images, (N,)."""
        return self.source.labels

    @property
    def class_counts(self) -> ClassCounts:
        """Training images per class."""
        return self.source.class_counts

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.source.classes

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.class_counts.num_classes

    def loader(
        self,
        batches: NumberedBatches | Planner | Sequence[ArrayLike] | None = None,
        *,
        mixer: Mixer | None = _THE_RUNS,
        views: int = 1,
        seed: int | None = None,
    ) -> Loader:
        """Return a loader of augmented training images.

        Args:
            batches: a batch sampler or planner; by default the sampler of the run. A planner mixes by itself.
            mixer: by default the mixer of the run; None reads unmixed images.
            views: differently augmented copies of each image.
            seed: key of the augmentation, by default the seed of the run; loaders with the same key augment alike.
        """
        chosen = self.sampler() if batches is None else batches
        run_mixer = None if isinstance(chosen, Planner) else self.mixer
        return Loader(
            self.source,
            chosen,
            transform=self.transform,
            mixer=run_mixer if mixer is _THE_RUNS else mixer,
            views=views,
            seed=self.seed if seed is None else seed,
            workers=self.workers,
            ranks=self.ranks,
        )

    def drawn_batches(self, q: float, *, seed: int, steps: int) -> ClassBalancedBatchSampler:
        """Return batches for a second branch: as many rows in each step as the run's sampler usually gives.

        Class and image are drawn independently each time, class c with a probability proportional to ``n_c ** q``.

        Args:
            q: exponent of the class counts: 0 for class-balanced, -1 for reversed.
            seed: of the draws.
            steps: least number of batches in an epoch.
        """
        usual = math.ceil(len(self.labels) / self.batch_size)
        return ClassBalancedBatchSampler(
            self.labels,
            batch_size=self.batch_size,
            q=q,
            within_class="replace",
            num_batches=None if steps <= usual else steps,
            drop_last=False,
            output="numpy",
            seed=seed,
            empty="ignore",
        )

    def plain_loader(self, source: ImageSource | None = None) -> Loader:
        """Return a loader of the images of ``source`` (by default the training images), in order, not augmented."""
        chosen = self.source if source is None else source
        rows = min(self.evaluation_batch, max(1, _SCORES_AT_ONCE // len(self.classes)))
        in_order = FixedBatches(len(chosen), batch_size=rows)
        return Loader(
            chosen, in_order, transform=self.plain_transform, seed=self.seed, workers=self.workers, ranks=self.ranks
        )
