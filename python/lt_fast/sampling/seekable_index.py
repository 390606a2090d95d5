"""Base class of the samplers that yield one index at a time, for ``DataLoader(sampler=...)``."""

from collections.abc import Mapping
from typing import Any, Self

from lt_fast import _checks, _rust
from lt_fast.sampling.seekable import SeekableBatchSampler, Source


class SeekableSampler(SeekableBatchSampler):
    """Sample indices one by one, each a pure function of (seed, epoch, position): batches of 1, without the list.

    What ``SeekableBatchSampler`` documents for batches is true for draws: draw ``d`` goes to rank ``d mod world_size``,
    the position in a state counts draws, and a rank with fewer draws repeats the first ones. A shard is also a
    ``torch.utils.data.DistributedSampler``, which prevents Lightning from sharding it again.

    Args:
        source: as for ``SeekableBatchSampler``.
        settings: as there.
        num_samples: draws in an epoch, over all ranks.
        seed: in [0, 2**64).

    >>> from lt_fast.sampling import ClassBalancedSampler
    >>> sampler = ClassBalancedSampler([0, 0, 0, 1], seed=0)
    >>> isinstance(sampler, SeekableSampler), sampler.epoch_indices(0)
    (True, array([3, 2, 3, 1]))
    >>> list(sampler.shard(0, 2)), list(sampler.shard(1, 2))  # the draws of two ranks, in turn
    ([3, 3], [2, 1])
    """

    def __init__(
        self, source: Source, settings: Mapping[str, int | float | str], *, num_samples: int, seed: int
    ) -> None:
        super().__init__(
            source,
            settings,
            num_samples=num_samples,
            batch_size=1,
            num_batches=_checks.integer("num_samples", num_samples, least=1),
            drop_last=False,
            output="list",
            seed=seed,
        )

    @property
    def num_samples(self) -> int:
        """Draws of this rank in a whole epoch, as ``len``."""
        return len(self)

    def shard(self, rank: int, world_size: int) -> Self:
        """Return the sampler of one rank: of the same global draws, those with ``d mod world_size == rank``.

        Raises:
            ValueError: if ``rank`` is not in [0, world_size), or this sampler is already a shard.
        """
        part = super().shard(rank, world_size)
        if world_size > 1:
            part.__class__ = _sharded(type(self))
        return part

    def _batches(self, epoch: int, first: int, step: int, count: int) -> list[Any]:
        return _rust.integers(self._draws.array(epoch, first, step, count, 1))

    def __repr__(self) -> str:
        share = f", rank={self.rank}, world_size={self.world_size}" if self.world_size > 1 else ""
        return f"{type(self).__name__}(num_samples={self.num_samples}, seed={self.seed}, epoch={self.epoch}{share})"


_SHARDED: dict[type[Any], type[Any]] = {}


def _sharded(kind: type[Any]) -> type[Any]:
    """Return ``kind`` as a ``DistributedSampler``, too, which frameworks do not replace; itself without torch."""
    if kind in _SHARDED:
        return _SHARDED[kind]
    try:
        from torch.utils.data import DistributedSampler  # noqa: PLC0415  (samplers need no torch)
    except ModuleNotFoundError:
        return kind

    def reduced(self: Any) -> tuple[Any, ...]:
        return _restored, (kind, self.__getstate__())

    members = {"__reduce__": reduced, "__module__": kind.__module__, "__doc__": kind.__doc__}
    _SHARDED[kind] = type(kind.__name__, (kind, DistributedSampler), members)
    return _SHARDED[kind]


def _restored(kind: type[Any], state: dict[str, Any]) -> Any:
    sampler = object.__new__(_sharded(kind))
    sampler.__setstate__(state)
    return sampler
