"""One pass of a class-balanced stream over an epoch: copies, blocks, and where it is."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from lt_fast import _checks, _rust
from lt_fast._text import shown
from lt_fast.sampling.stream_factors import Rounding, key_of
from lt_fast.sampling.stream_splits import Part, part_of

if TYPE_CHECKING:
    from lt_fast.sampling.stream import ClassBalancedStream

_MOST = 2**63 - 1
_MOST_LEAD = 1 + 1e-6  # in (-1, 1) but for rounding
_ANEW = "start a new epoch without the state"


class Block(NamedTuple):
    """Where a block begins: what follows depends on this and the stream alone.

    Attributes:
        number: blocks before it in the epoch.
        given: samples given before it in the epoch.
        passes: iterations of the stream that are over.
        read: samples that this worker has read in the current iteration of the stream.
        leads: state of the rounding.
        seen: state of the factors.
        stream: state of the stream itself, None if it has none.
    """

    number: int
    given: int
    passes: int
    read: int
    leads: list[float]
    seen: list[int]
    stream: Any


class Place(NamedTuple):
    """An epoch, the samples given in it, and the block that the next one is in; None is the first block."""

    epoch: int
    position: int = 0
    block: Block | None = None

    def saved(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists."""
        block = None if self.block is None else self.block._asdict()
        return {"epoch": self.epoch, "position": self.position, "block": block}

    @classmethod
    def restored(cls, state: Mapping[str, Any], num_classes: int) -> "Place":
        """Return what ``saved`` returned.

        Raises:
            TypeError: if a number is not an integer.
            ValueError: if something is missing or does not fit.
        """
        try:
            epoch, position, block = (state[name] for name in cls._fields)
            block = None if block is None else Block(**block)
        except (KeyError, TypeError) as error:
            raise ValueError(f"state must be what state_dict() saved, got damaged data: {error}; {_ANEW}") from None
        for name, value in (("epoch", epoch), ("position", position)):
            _checks.integer(f"state[{name!r}]", value, least=0)
        if block is not None:
            _check_block(block, num_classes)
        if position < (block.given if block else 0) or (block is None and position):
            raise ValueError(f"state['position'] must lie in its block, got {position} and the block {block}; {_ANEW}")
        return cls(epoch, position, block)


def _check_block(block: Block, num_classes: int) -> None:
    for name in ("number", "given", "passes", "read"):
        _checks.integer(f"state['block'][{name!r}]", getattr(block, name), least=0, most=_MOST)
    leads, seen = block.leads, block.seen
    if not (isinstance(leads, Sequence) and isinstance(seen, Sequence)):
        raise TypeError(f"state['block'] must have lists of numbers, got {shown(leads)} and {shown(seen)}; {_ANEW}")
    if len(leads) != num_classes or len(seen) not in (0, num_classes):
        raise ValueError(
            f"state['block'] must have one number per class ({num_classes}), got {len(leads)} and {len(seen)}; {_ANEW}"
        )
    for label, lead in enumerate(leads):
        _checks.number(f"state['block']['leads'][{label}]", lead, least=-_MOST_LEAD, most=_MOST_LEAD, hint=f"; {_ANEW}")
    for label, count in enumerate(seen):
        _checks.integer(f"state['block']['seen'][{label}]", count, least=0, most=_MOST, hint=f"; {_ANEW}")


class StreamPass:
    """Gives the samples of one worker in one epoch, from a place on.

    While a block is given out, the next one is read at the same pace: the memory stays that of one block. A block
    begins between two samples of the stream, so that a place needs no sample.
    """

    def __init__(self, stream: "ClassBalancedStream", start: Place) -> None:
        self._stream, self.epoch = stream, start.epoch
        self._position, self._block = start.position, start.block

    def place(self) -> Place:
        """Return where the next sample is."""
        return Place(self.epoch, self._position, self._block)

    def run(self) -> Iterator[Any]:
        """Yield the samples."""
        stream, limit = self._stream, self._stream.samples_of_part()
        part = part_of(stream.rank, stream.world_size)
        if part.parts > 1 and stream.split == "source":
            _warn_of_repeats(stream.stream, part.parts)
        copies = _Copies(stream, self.epoch, part, self._block)
        key = key_of(stream.seed, self.epoch, part.number, 1)
        block: list[Any] = []
        self._block = self._block or copies.place(0, 0)
        copies.fill(block, stream.buffer_size)
        self._require_inside(len(block))
        while block:
            number, given = self._block.number, self._block.given
            following = copies.place(number + 1, given + len(block))
            reading: list[Any] = []
            for at, taken in enumerate(_rust.permutation(len(block), key, _rust.STREAM_SAMPLER, number).tolist(), 1):
                if limit is not None and self._position >= limit:
                    return
                sample, block[taken] = block[taken], None
                if given + at > self._position:
                    self._position = given + at
                    yield sample
                copies.fill(reading, min(at, stream.buffer_size))
            block, self._block = reading, following

    def _require_inside(self, size: int) -> None:
        """Raise if a restored position is not in its block: the stream has become another one, or the state has.

        A stream with a state of its own may lose samples by it, as the shuffle buffer of Hugging Face does: that is
        only warned of.
        """
        assert self._block is not None
        begins = self._block.given
        if self._position <= begins + size:
            return
        if self._block.stream is not None:
            warnings.warn(
                "the stream gives fewer samples after load_state_dict than it had left, so that this epoch ends early; "
                "a shuffle buffer is lost, for example: shuffle by buffer_size alone",
                UserWarning,
                stacklevel=2,
            )
            return
        raise ValueError(
            f"state['position'] must lie in its block, samples {begins} to {begins + size} of the epoch, got "
            f"{self._position}: the stream gives fewer samples than when the state was saved; {_ANEW}"
        )


class _Copies:
    """Reads the part of a stream that a worker has, and repeats each sample as its factor says."""

    def __init__(self, stream: "ClassBalancedStream", epoch: int, part: Part, start: Block | None) -> None:
        self._stream, self._epoch = stream, epoch
        self._split = part if stream.split == "round_robin" else Part(0, 1)
        self._factors = stream.factors(start.seen if start else None)
        leads = start.leads if start else [0.0] * stream.num_classes
        self._rounding = Rounding(key_of(stream.seed, epoch, part.number, 0), leads)
        self._passes, self._read = (start.passes, start.read) if start else (0, 0)
        self._samples = self._repeated(start)

    def fill(self, block: list[Any], size: int) -> None:
        """Read whole samples until a block has ``size`` copies, or the stream ends."""
        while len(block) < size:
            sample, copies = next(self._samples, (None, -1))
            if copies < 0:
                return
            block.extend([sample] * copies)

    def place(self, number: int, given: int) -> Block:
        """Return the block that begins with the next sample of the stream."""
        source: Any = self._stream.stream
        state = copy.deepcopy(source.state_dict()) if self._read and has_state(source) else None
        return Block(number, given, self._passes, self._read, self._rounding.state(), self._factors.state(), state)

    def _repeated(self, start: Block | None) -> Iterator[tuple[Any, int]]:
        """Yield each sample and its number of copies, over all iterations of the stream."""
        endless = self._stream.num_samples is not None
        samples = self._fresh() if start is None else self._resumed(start)
        drawable = start is not None  # whether a sample of a class with a probability has come
        while True:
            for sample in samples:
                at, self._read = self._read, self._read + 1
                label = self._stream.class_of(sample, at * self._split.parts + self._split.number)
                factor = 0.0 if label is None else self._factors.of(label)
                if factor and label is not None:
                    drawable = True
                    yield sample, self._rounding.copies(label, factor, self._passes, at)
            if not endless:
                return
            if not drawable:
                others = f"{self._read} others" if self._read else "no sample"
                raise ValueError(
                    f"stream must have samples of classes with a probability, got {others} in one iteration; check "
                    "that each worker of each rank has data, or leave num_samples out"
                )
            self._passes, self._read = self._passes + 1, 0
            samples = self._fresh()

    def _fresh(self) -> Iterator[Any]:
        source: Any = self._stream.stream
        self._stream.rewind()
        if callable(getattr(source, "set_epoch", None)):
            source.set_epoch(self._epoch)
        return islice(iter(source), self._split.number, None, self._split.parts)

    def _resumed(self, start: Block) -> Iterator[Any]:
        """Return the samples from the beginning of a block on, by the stream's state or by reading up to there."""
        source: Any = self._stream.stream
        if start.stream is None:
            return _after(self._fresh(), start.read)
        if not has_state(source):
            raise ValueError(
                f"state is of a stream with load_state_dict, got a {type(source).__name__} without; make the stream "
                "as it was"
            )
        self._stream.rewind()
        source.load_state_dict(copy.deepcopy(start.stream))
        return islice(iter(source), self._split.parts - 1, None, self._split.parts)


def _warn_of_repeats(source: Any, parts: int) -> None:
    """Warn of a source that surely gives every worker and rank the same samples."""
    if isinstance(source, Sequence):
        warnings.warn(
            f"each of {parts} workers and ranks gives every sample of a {type(source).__name__}, so that an epoch is "
            f"{parts} times as long; pass split='round_robin', by which each has a part of them",
            UserWarning,
            stacklevel=2,
        )


def _after(samples: Iterator[Any], number: int) -> Iterator[Any]:
    """Return the samples after the first ``number``, which must be there."""
    found = sum(1 for _ in islice(samples, number))
    if found < number:
        raise ValueError(
            f"stream must give the {number} samples that this worker had read when the state was saved, got {found}; "
            f"make the stream as it was, or {_ANEW}"
        )
    return samples


def has_state(source: Any) -> bool:
    """Return whether a stream saves where it is."""
    return callable(getattr(source, "state_dict", None)) and callable(getattr(source, "load_state_dict", None))
