"""Concatenate the batches of two samplers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.registry import register
from lt_fast.sampling.confusion_pairs import ConfusionPairBatchSampler
from lt_fast.sampling.seekable import Drawing, SeekableBatchSampler
from lt_fast.sampling.seekable_index import SeekableSampler


@register("sampler", "dual")
class DualBatchSampler(SeekableBatchSampler):
    """Batch ``g`` of ``first``, followed by batch ``g`` of ``second``: the uniform and the reverse branch of BBN.

    The first ``first.batch_size`` indices feed one branch, the rest the other. Positions, epochs, ranks and states are
    those of this sampler; the two given samplers are not advanced.

    Args:
        first: a batch sampler of this package, not sharded, with full batches.
        second: another, with as many batches in an epoch. Two of one kind need different seeds, or both branches would
            get the same draws.

    Attributes:
        first: as given.
        second: as given.

    Raises:
        TypeError: if one is not a batch sampler of this package, or is a ``ConfusionPairBatchSampler``: its batches
            depend on its matrix, which is not part of this state.
        ValueError: if one is a shard, their numbers of batches, outputs or ``drop_last`` differ, a last batch is
            shorter, or two of one kind share a seed.

    Source: Zhou et al. 2020 (BBN), arXiv:1912.02413, section 4.2; there the second index is drawn inside
    ``Dataset.__getitem__``, by each worker's own generator.

    >>> from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler
    >>> labels = np.repeat([0, 1], [90, 10])
    >>> reverse = ClassBalancedBatchSampler(labels, batch_size=10, q=-1.0, seed=0)
    >>> sampler = DualBatchSampler(ShuffledBatchSampler(labels, batch_size=10, seed=0), reverse)
    >>> labels[sampler[0]].reshape(2, 10)
    array([[0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
           [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]])
    """

    def __init__(self, first: SeekableBatchSampler, second: SeekableBatchSampler) -> None:
        _check(first, second)
        self.first, self.second = first, second
        super().__init__(
            ("dual", ()),
            {f"{name}_{key}": value for name, part in self._parts() for key, value in part._settings.items()},  # noqa: SLF001
            num_samples=first.num_batches,
            batch_size=first.batch_size + second.batch_size,
            num_batches=first.num_batches,
            drop_last=first.drop_last,
            output=first.output,
            seed=first.seed,
        )

    def _parts(self) -> tuple[tuple[str, SeekableBatchSampler], tuple[str, SeekableBatchSampler]]:
        return ("first", self.first), ("second", self.second)

    def _make_draws(self) -> Drawing:
        return _SideBySide(self.first, self.second)


class _SideBySide:
    """The draws of both samplers, batch by batch."""

    def __init__(self, first: SeekableBatchSampler, second: SeekableBatchSampler) -> None:
        self._parts = [(part._draws, part.batch_size) for part in (first, second)]  # noqa: SLF001  (one unit)
        self.draws_per_epoch = first.num_batches * (first.batch_size + second.batch_size)

    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        """Draws of batches ``first, first + step, ...`` of ``epoch``, one after the other."""
        drawn = [draws.array(epoch, first, step, count, size).reshape(count, size) for draws, size in self._parts]
        return np.concatenate(drawn, axis=1).reshape(count * batch_size)

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:  # noqa: ARG002
        """Return the same, a list for each batch."""
        one, two = (draws.lists(epoch, first, step, count, size) for draws, size in self._parts)
        return [a + b for a, b in zip(one, two, strict=True)]


def _check(first: Any, second: Any) -> None:
    for name, part in (("first", first), ("second", second)):
        if not isinstance(part, SeekableBatchSampler) or isinstance(part, SeekableSampler):
            raise TypeError(f"{name} must be a batch sampler of lt_fast.sampling, got {type(part).__name__}")
        if isinstance(part, ConfusionPairBatchSampler):
            raise TypeError(
                f"{name} must draw by a rule that does not change, got a ConfusionPairBatchSampler, whose table does; "
                "iterate both together: zip(plain_loader, pair_loader)"
            )
        if part.world_size != 1:
            raise ValueError(f"{name} must not be a shard, got rank {part.rank} of {part.world_size}; shard the pair")
        if part._draws.draws_per_epoch != part.num_batches * part.batch_size:  # noqa: SLF001  (one unit)
            raise ValueError(f"{name} must have full batches only; build it with drop_last=True or num_batches")
    for attribute in ("num_batches", "drop_last", "output"):
        one, two = getattr(first, attribute), getattr(second, attribute)
        if one != two:
            raise ValueError(f"{attribute} must be the same in first and second, got {one!r} and {two!r}")
    if type(first) is type(second) and first.seed == second.seed:
        raise ValueError(f"second must have another seed than first, got {first.seed} twice; add 1 to one")
