"""Base class of all batch samplers: iterate, seek, shard, save and resume.

A sampler is a source of draws (``Draws`` of the Rust module: indices as a pure function of epoch and position) and what
this module adds for all of them: batches, shards, the position of the newest iterator, and its state. A new sampler
checks its arguments and names its source and its settings.
"""

import copy
import hashlib
import inspect
import operator
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks, _rust
from lt_fast.labels import refuse_sampler
from lt_fast.sampling.ranks import rank_and_world_size, refuse_other_group
from lt_fast.sampling.second_shard import refuse_joined_arrays, refuse_second_shard

Output: TypeAlias = Literal["list", "numpy"]
Batch: TypeAlias = list[int] | NDArray[np.int64]
Source: TypeAlias = tuple[str, tuple[Any, ...]]

_STATE_VERSION = 1
_MOST_RANKS = 1 << 31  # so that positions of a round fit 64 bits
_DERIVED = ("rank", "world_size", "class_counts")
_OF_OTHERS = ("weights", "q", "schedule", "class_probs", "replacement", "first", "second")  # settings of other kinds
_DRAWS_A_CALL = 8192  # enough to hide the cost of a call, little enough that the first batch comes at once


class Drawing(Protocol):
    """The source of a sampler: ``Draws`` of the Rust module, or several of them, each for some of the batches."""

    @property
    def draws_per_epoch(self) -> int:
        """Length of an epoch."""

    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        """Draws of batches ``first, first + step, ...``, one after the other."""

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:
        """Return the same, a list for each batch."""


class SeekableBatchSampler:
    """Batches of sample indices for ``DataLoader(batch_sampler=...)``, each a pure function of (seed, epoch, position).

    The position is global: batch ``g`` of an epoch is the same for any number of ranks, and goes to rank
    ``g mod world_size``. So a state saved on 8 ranks continues on 2.

    *Epochs.* Every pass is a new epoch: the first pass is epoch 0, and each ``iter()`` starts the next epoch that no
    iterator has started. An epoch starts when its first batch is drawn. So a loop that stops early (``break``, ``zip``,
    ``next()`` a fixed number of times) does not repeat its batches, with or without workers, and an iterator from which
    no batch is drawn uses no epoch. A loader with workers draws its first batches when its iterator is created.
    ``set_epoch(e)`` makes ``e`` the next one, from its beginning, also if ``e`` was stopped early; a position in ``e``
    that ``load_state_dict`` has restored is kept. Call both before ``iter(loader)``.

    *State.* ``state_dict`` returns the position of the newest iterator: O(1), a new dictionary of plain numbers and
    strings. A ``DataLoader`` with workers draws ahead of the batch it delivers; torchdata's ``StatefulDataLoader``
    stores the state of the delivered batch. A state saved after an early stop continues that epoch; call
    ``set_epoch(e + 1)`` before saving, or after loading, to start the next one instead.

    Args:
        source: name and arguments of a function of ``lt_fast._rust`` that returns ``Draws``.
        settings: what else identifies the stream, plain numbers and strings: ``load_state_dict`` compares them.
        num_samples: draws in an epoch when ``num_batches`` is left out.
        batch_size: draws in a batch.
        num_batches: batches in an epoch, over all ranks.
        drop_last: leave out what does not fill a batch, or a round of the ranks.
        output: ``"list"`` of Python integers, which every loader and queue takes, or ``"numpy"`` int64 arrays, about
            three times as fast, for data sets that gather whole batches.
        seed: in [0, 2**64).

    Attributes:
        batch_size: draws in a batch.
        drop_last: as given.
        num_batches: batches in an epoch, over all ranks.
        seed: as given.
        epoch: the epoch of the newest iterator, and the next one when that is exhausted.
        rank: this rank.
        world_size: number of ranks.

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if one is out of its range, or an epoch would have no batch.
        AttributeError: if a setting is assigned later: the draws and the state would not change with it.

    >>> from lt_fast.sampling import ShuffledBatchSampler
    >>> sampler = ShuffledBatchSampler(12, batch_size=3, seed=0)
    >>> isinstance(sampler, SeekableBatchSampler), len(sampler), sampler.batch(epoch=5, step=2)
    (True, 4, [0, 11, 1])
    >>> list(sampler.shard(rank=1, world_size=2)) == [sampler[1], sampler[3]]
    True
    >>> batches = iter(sampler)
    >>> next(batches)
    [6, 0, 10]
    >>> state = sampler.state_dict()  # after one batch
    >>> sampler = ShuffledBatchSampler(12, batch_size=3, seed=0)
    >>> sampler.load_state_dict(state)
    >>> list(sampler) == list(batches)
    True
    """

    _fixed = False
    _starting = threading.RLock()  # held where an iterator starts or ends: no epoch is started by two threads

    def __new__(cls, *data: Any, **settings: Any) -> Self:  # noqa: ARG004  (what `__init__` gets)
        """Refuse a torch ``Sampler`` as the first argument before other arguments are checked."""
        # Lightning calls every kind as `kind(DistributedSampler(...), batch_size=..., drop_last=...)`.
        if data:
            refuse_sampler(data[0])
        return super().__new__(cls)

    def __init__(
        self,
        source: Source,
        settings: Mapping[str, int | float | str],
        *,
        num_samples: int,
        batch_size: int,
        num_batches: int | None,
        drop_last: bool,
        output: Output,
        seed: int,
    ) -> None:
        self.batch_size = _checks.integer("batch_size", batch_size, least=1)
        self.drop_last = bool(drop_last)
        self.seed = _checks.seed(seed)
        _checks.choice("output", output, get_args(Output))
        self.output = output
        self.num_batches, draws = _epoch_size(num_samples, self.batch_size, num_batches, drop_last=self.drop_last)
        self.rank, self.world_size = 0, 1
        self._source = (source[0], (*source[1], draws, self.seed))
        self._draws = self._make_draws()
        self._settings = {
            "kind": type(self).__name__,
            "batch_size": self.batch_size,
            "num_batches": self.num_batches,
            "draws_per_epoch": draws,
            "seed": self.seed,
            **settings,
        }
        self._next = _Start(0, 0)
        self._newest: _Batches | None = None
        self._from_group = False
        self._fixed = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse settings, because what depends on them is computed once."""
        if self._fixed and not name.startswith("_") and name in _settings_of(type(self)) and not _is_being_made(self):
            raise AttributeError(_unsettable(type(self), name))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute; refuse a setting."""
        if name in _settings_of(type(self)):
            raise AttributeError(
                f"{name} of {type(self).__name__} cannot be deleted: a sampler is fixed when it is made"
            )
        super().__delattr__(name)

    @property
    def epoch(self) -> int:
        """The epoch of the newest iterator, and the next one when that is exhausted."""
        return self._next.epoch if self._newest is None else self._newest.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.set_epoch(epoch)

    @property
    def sampler(self) -> Self:
        """The sampler itself, where frameworks look for ``set_epoch``."""
        return self

    def __len__(self) -> int:
        """Return the batches of this rank in a whole epoch: exact, and the same on every rank."""
        return self._share(self.num_batches)

    def __iter__(self) -> "Iterator[Any]":
        # Batches of lists, or of arrays if asked for: of a union, a type checker would say that no DataLoader takes it.
        if self._from_group:
            refuse_other_group(self.rank, self.world_size)
        if self.world_size > 1:
            refuse_second_shard(self.rank, self.world_size)
        if self.output == "numpy" and not self.drop_last:
            refuse_joined_arrays()
        with self._starting:
            self._next = self._upcoming()
            self._newest = batches = _Batches(self, self._next)
        return batches.run()

    def __getitem__(self, position: int) -> Batch:
        """Return the batch at the global ``position`` of the current epoch.

        Raises:
            IndexError: if it is not in [0, num_batches).
        """
        at = _checks.integer("position", position)
        if not 0 <= at < self.num_batches:
            raise IndexError(f"position must lie in [0, {self.num_batches}), got {at}")
        batch: Batch = self._batches(self.epoch, at, 1, 1)[0]
        return batch

    def batch(self, epoch: int, step: int) -> Batch:
        """Return batch ``step`` of ``epoch``, over all ranks, without moving any iterator.

        Raises:
            IndexError: if the step is not in [0, num_batches).
        """
        if not 0 <= step < self.num_batches:
            raise IndexError(f"step must lie in [0, {self.num_batches}), got {step}")
        batch: Batch = self._batches(epoch, step, 1, 1)[0]
        return batch

    def batch_array(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the indices of ``batch(epoch, step)`` as ``(B,)`` int64 for every ``output``, pairs flattened.

        Raises:
            IndexError: if the step is not in [0, num_batches).
        """
        if not 0 <= step < self.num_batches:
            raise IndexError(f"step must lie in [0, {self.num_batches}), got {step}")
        return self._draws.array(epoch, step, 1, 1, self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` with the next ``iter()``, from its beginning or a restored position.

        An iterator of this epoch that is running continues as before.

        >>> from lt_fast.sampling import ShuffledBatchSampler
        >>> sampler = ShuffledBatchSampler(6, batch_size=3, seed=0)
        >>> sampler.set_epoch(7)
        >>> list(sampler) == [sampler.batch(7, 0), sampler.batch(7, 1)], sampler.epoch  # the next pass is epoch 8
        (True, 8)
        """
        epoch = self._checked_epoch("epoch", epoch)
        if epoch != self.epoch:
            self._next, self._newest = _Start(epoch, 0), None
        elif self._newest is not None:
            self._newest.restart()

    def epoch_indices(self, epoch: int | None = None) -> NDArray[np.int64]:
        """Return all indices of this rank in ``epoch`` (the current one by default), batch after batch, int64."""
        epoch = self.epoch if epoch is None else self._checked_epoch("epoch", epoch)
        parts = [
            self._draws.array(epoch, first, self.world_size, count, self.batch_size)
            for first, count in self._runs(self.rank, len(self))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def shard(self, rank: int, world_size: int) -> Self:
        """Return the sampler of one rank: of the same global batches, those with ``g mod world_size == rank``.

        An independent copy with its own epoch and state. Every rank gets the same number of batches. The remainder is
        dropped with ``drop_last=True``; otherwise the first batches of the epoch are repeated to fill the last round.

        Raises:
            ValueError: if ``rank`` is not in [0, world_size), this sampler is already a shard, or a rank would
                get no batch. Iterating raises it too, if a framework is about to shard this rank's batches
                again; the message names its switch.

        >>> from lt_fast.sampling import ShuffledBatchSampler
        >>> sampler = ShuffledBatchSampler(12, batch_size=3, seed=0)
        >>> [list(sampler.shard(rank, 2)) for rank in range(2)] == [[sampler[0], sampler[2]], [sampler[1], sampler[3]]]
        True
        """
        world_size = _checks.integer("world_size", world_size, least=1, most=_MOST_RANKS)
        rank = _checks.integer("rank", rank)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, {world_size}), got {rank}")
        if self.world_size != 1:
            raise ValueError(f"this sampler is rank {self.rank} of {self.world_size} already; shard the original one")
        if self.drop_last and world_size > self.num_batches:
            raise ValueError(
                f"world_size must be <= the number of batches ({self.num_batches}) with drop_last=True, got "
                f"{world_size}; use smaller batches or drop_last=False",
            )
        part = copy.copy(self)
        part.__dict__.update(rank=rank, world_size=world_size, _from_group=False)
        return part

    def distributed(self) -> Self:
        """Return ``shard(rank, world_size)`` by torch.distributed, else by ``RANK`` and ``WORLD_SIZE``.

        Call it on each rank, after ``init_process_group``. A single process needs no ``.distributed()``; code that also
        runs in one process calls ``.shard(rank, world_size)`` with its own numbers, 0 and 1.

        Raises:
            ValueError: if there is neither a process group nor these variables, one of them is missing
                (``WORLD_SIZE=1`` alone is rank 0 of 1) or not an integer. Iterating raises it, too, if a process group
                that was created later has another rank for this process.
        """
        part = self.shard(*rank_and_world_size())
        part._from_group = True  # noqa: SLF001  (a copy of this one)
        return part

    def state_dict(self) -> dict[str, int | float | str]:
        """Return the position of the newest iterator, and what identifies the stream; O(1).

        ``position`` counts the batches of all ranks that have been drawn in ``epoch``.
        """
        newest = self._newest
        at = self._upcoming() if newest is None or newest.restarts else newest
        epoch, position = at.epoch, at.position
        return {"version": _STATE_VERSION, **self._settings, "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state`` with the next ``iter()``; the number of ranks may differ.

        Raises:
            ValueError: if the state is of another data set or other settings (each difference is named), or damaged.
        """
        self._refuse_foreign(state)
        epoch = self._checked_epoch("state['epoch']", state.get("epoch"))
        position = _checks.integer("state['position']", state.get("position"), least=0)
        if position > self.num_batches:
            raise ValueError(f"state['position'] must lie in [0, {self.num_batches}], got {position}")
        self._next, self._newest = _Start(epoch, position), None

    def _upcoming(self) -> "_Start":
        """Return where ``iter()`` starts."""
        newest = self._newest
        return _Start(newest.epoch, 0) if newest is not None and newest.restarts else self._next

    def _refuse_foreign(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, got {type(state).__name__}")
        wanted = {"version": _STATE_VERSION, **self._settings}
        missing = object()
        differing = [
            f"{name} was {state.get(name, 'absent')!r}, is {wanted.get(name, 'absent')!r}"
            for name in sorted({*wanted, *state} - {"epoch", "position"})
            if state.get(name, missing) != wanted.get(name, missing)
        ]
        if differing:
            raise ValueError(
                f"state must come from the same data set and settings, but {'; '.join(differing)}; "
                "build the sampler as it was, or start a new epoch without the state",
            )

    def __getstate__(self) -> dict[str, Any]:
        # Iterators stay behind: a copy starts where `iter()` of the original would.
        return {**self.__dict__, "_draws": None, "_newest": None, "_next": self._upcoming().copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._draws = self._make_draws()

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__, _newest=None, _next=self._upcoming().copy())
        return copied

    def __repr__(self) -> str:
        share = f", rank={self.rank}, world_size={self.world_size}" if self.world_size > 1 else ""
        return (
            f"{type(self).__name__}(batch_size={self.batch_size}, num_batches={self.num_batches}, seed={self.seed}, "
            f"epoch={self.epoch}{share})"
        )

    def _make_draws(self) -> Drawing:
        """Build the draws, which are not pickled, from the source."""
        name, arguments = self._source
        draws: Drawing = getattr(_rust, name)(*arguments)
        return draws

    def _checked_epoch(self, name: str, epoch: Any) -> int:
        number, bound = _checks.integer(name, epoch), (1 << 63) // self._draws.draws_per_epoch
        if not 0 <= number < bound:
            raise ValueError(f"{name} must lie in [0, {bound}), so that draws number less than 2**63; got {number}")
        return number

    def _share(self, batches: int) -> int:
        return batches // self.world_size if self.drop_last else -(-batches // self.world_size)

    def _runs(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Split ``count`` batches from ``first`` on at the end of the epoch, where they start over."""
        while count > 0:
            first %= self.num_batches
            run = min(count, -(-(self.num_batches - first) // self.world_size))
            yield first, run
            first, count = first + run * self.world_size, count - run

    def _batches(self, epoch: int, first: int, step: int, count: int) -> list[Any]:
        if self.output == "list":
            return self._draws.lists(epoch, first, step, count, self.batch_size)
        drawn = self._draws.array(epoch, first, step, count, self.batch_size)
        return [drawn[at : at + self.batch_size] for at in range(0, len(drawn), self.batch_size)]

    def _begin(self, batches: "_Batches", start: "_Start") -> "_Start":
        """Return the start of a new iterator: ``start``, or the next epoch if another iterator has started it."""
        with self._starting:
            if start.taken:
                start = self._next
            start.taken = True
            if start is self._next:
                self._next = _Start(start.epoch + 1, 0)
            self._newest = batches
        return start

    def _finished(self, batches: "_Batches") -> None:
        with self._starting:
            if batches is self._newest:
                self._newest = None


def _renew_lock() -> None:
    """Give a forked process a lock of its own: another thread may have held its parent's."""
    SeekableBatchSampler._starting = threading.RLock()  # noqa: SLF001  (of this module)


if hasattr(os, "register_at_fork"):  # no process is forked on Windows
    os.register_at_fork(after_in_child=_renew_lock)


class _Start:
    """Where a pass starts; shared by the iterators that are made before one of them draws."""

    def __init__(self, epoch: int, position: int) -> None:
        self.epoch, self.position = epoch, position
        self.taken = False

    def copy(self) -> "_Start":
        """Return the same position, not started."""
        return _Start(self.epoch, self.position)


class _Batches:
    """One pass over the rest of an epoch, at the speed of a list's own iterator.

    What has been given out follows from what that iterator has left, so nothing is counted along the way.
    """

    def __init__(self, sampler: SeekableBatchSampler, start: _Start) -> None:
        self._sampler = sampler
        self._start = start
        self._begun = False
        self._restart_at: int | None = None
        self._begin_at(start)
        self._chunk: list[Any] = []
        self._ahead: Iterator[Any] = iter(())

    def _begin_at(self, start: _Start) -> None:
        sampler, self._start = self._sampler, start
        self._left = sampler._share(sampler.num_batches - start.position)  # noqa: SLF001  (one unit in two classes)
        self._next = start.position + sampler.rank
        self._end = start.position

    @property
    def epoch(self) -> int:
        """The epoch of this pass."""
        return self._place.epoch

    @property
    def position(self) -> int:
        """Number of batches of all ranks that have been drawn."""
        sampler = self._sampler
        if not self._begun:
            return self._place.position
        return min(self._end - operator.length_hint(self._ahead) * sampler.world_size, sampler.num_batches)

    @property
    def _place(self) -> _Start:
        return self._sampler._next if self._start.taken and not self._begun else self._start  # noqa: SLF001

    def restart(self) -> None:
        """Make the next pass repeat this epoch, unless this one continues."""
        self._restart_at = self.position if self._begun else None

    @property
    def restarts(self) -> bool:
        """Whether the next pass repeats this epoch."""
        return self._restart_at is not None and self._restart_at == self.position

    def run(self) -> Iterator[Any]:
        """Yield the batches."""
        self._begin_at(self._sampler._begin(self, self._start))  # noqa: SLF001
        self._begun = True
        while self._left:
            self._refill()
            yield from self._ahead
        self._sampler._finished(self)  # noqa: SLF001

    def forget_ahead(self) -> None:
        """Discard the batches drawn ahead, so that they are drawn again: the source may have changed."""
        ahead = operator.length_hint(self._ahead)
        self._chunk.clear()
        self._left += ahead
        self._next -= ahead * self._sampler.world_size
        self._end -= ahead * self._sampler.world_size

    def _refill(self) -> None:
        sampler = self._sampler
        wanted = min(self._left, max(1, _DRAWS_A_CALL // sampler.batch_size))
        first, count = next(sampler._runs(self._next, wanted))  # noqa: SLF001
        self._chunk = sampler._batches(self.epoch, first, sampler.world_size, count)  # noqa: SLF001
        self._ahead = iter(self._chunk)
        self._next += count * sampler.world_size
        self._end += count * sampler.world_size
        self._left -= count


def _settings_of(kind: type[Any]) -> frozenset[str]:
    """Return the arguments of the constructors of this package, what is derived from them, and those of other kinds."""
    # What a user's own subclass adds is its affair.
    kinds = [it for it in kind.__mro__ if it.__module__.partition(".")[0] == "lt_fast" and "__init__" in vars(it)]
    arguments = {name for it in kinds for name in inspect.signature(vars(it)["__init__"]).parameters}
    return frozenset({*arguments, *_DERIVED, *_OF_OTHERS} - {"self", "source", "settings"})


def _is_being_made(sampler: object) -> bool:
    """Whether the assignment is in the ``__init__`` of a subclass, after that of its base."""
    frame = sys._getframe(2)  # noqa: SLF001  (the one way to the caller)
    return frame.f_code.co_name == "__init__" and any(it is sampler for it in frame.f_locals.values())


def _unsettable(kind: type[Any], name: str) -> str:
    if name in ("rank", "world_size"):
        then = "take a share with .shard(rank, world_size)"
    else:
        then = f"make a new one, {kind.__name__}({name}=...)" if name in inspect.signature(kind).parameters else ""
    return (
        f"{name} of {kind.__name__} cannot be set: a sampler is fixed when it is made; {then or 'make a new one'} "
        "(only the epoch changes, with .set_epoch())"
    )


def fingerprint(array: NDArray[Any]) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of an array's bytes, little endian."""
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.data).hexdigest()[:32]


def _epoch_size(num_samples: int, batch_size: int, num_batches: int | None, *, drop_last: bool) -> tuple[int, int]:
    """Return batches and draws in an epoch."""
    if num_batches is not None:
        batches = _checks.integer("num_batches", num_batches, least=1)
    elif drop_last:
        batches = num_samples // batch_size
    else:
        return -(-num_samples // batch_size), num_samples
    if batches == 0:
        raise ValueError(
            f"batch_size must be <= the number of samples ({num_samples}) with drop_last=True, got {batch_size}; "
            "use smaller batches, drop_last=False, or num_batches",
        )
    if batches * batch_size > 1 << 62:
        raise ValueError(f"num_batches * batch_size must be <= 2**62, got {batches} * {batch_size}")
    return batches, batches * batch_size
