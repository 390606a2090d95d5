"""Class-balanced streams: resample an iterable data set that has no index, with bounded memory."""

import copy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._text import shown
from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.sampling.class_probabilities import class_probabilities, entries_of, explicit_probabilities
from lt_fast.sampling.ranks import rank_and_world_size
from lt_fast.sampling.seekable import fingerprint
from lt_fast.sampling.stream_factors import EstimatedFactors, Factors, GivenFactors, Rate, given_factors, rate_of
from lt_fast.sampling.stream_labels import LabelOf, StreamLabels, UnknownPolicy
from lt_fast.sampling.stream_pass import Place, StreamPass, has_state
from lt_fast.sampling.stream_splits import Split, checked_shard, part_of, samples_of

_STATE_VERSION = 1
_LARGEST_SHARE = 0.1  # of the buffer, for the copies of one sample
_LARGEST_ESTIMATED = (
    16  # exponent of counts that grow: their powers stay within float64, and their sum keeps its digits
)


class ClassBalancedStream:
    """A stream in which class c has probability proportional to ``n_c ** q``, made from one in which it has its own.

    For data that are read one after the other: ``IterableDataset``, WebDataset, a generator. Each sample is given as
    often as the repeat factor of its class says, ``rate * p(class) / frequency(class)``, rounded down or up by chance:
    common classes are thinned out, rare ones repeated. The copies are shuffled in blocks of ``buffer_size``.

    *Bias.* All samples of a class are given equally often on average. After any part of the stream, the copies of a
    class differ from the sum of its factors by less than one. The buffer does not spread a sample over the epoch: its
    copies are within one block. Give a stream in random order, and a buffer of ten times the largest factor or more.

    *Memory* is ``buffer_size`` samples. Resample before decoding: ``transform`` is applied to each sample that leaves
    the buffer, so that copies are augmented differently.

    *Throughput.* ``1 / rate`` samples are read for each one given, and a full buffer before the first one. A sample
    costs a few microseconds in addition to reading it.

    *Epochs.* Every pass is a new epoch with other random numbers. What is given is a function of (seed, epoch, worker,
    position) and the stream. ``set_epoch(e)`` makes ``e`` the next epoch, and calls ``set_epoch`` of a stream that has
    it. A ``DataLoader`` with workers iterates over copies of this object: call ``set_epoch`` before each
    ``iter(loader)``. The copies of persistent workers count the epochs themselves, from the first one on.

    *Workers and ranks.* Each worker of each rank resamples a stream of its own, with its own random numbers.
    ``split="source"`` is for a stream that gives each worker its part, as WebDataset and Hugging Face do;
    ``"round_robin"`` is for any other: worker k of all W reads the whole stream and keeps samples k, k + W, ...

    *State.* ``state_dict`` contains no samples, but where the current block began: a few integers and C numbers. A
    resume reads the block again. A stream with ``state_dict`` and ``load_state_dict`` continues from there. Any other
    stream is read from its beginning, and must give the same samples in the same order. torchdata's
    ``StatefulDataLoader`` saves the state of each worker; the number of workers must then stay the same.

    Args:
        stream: an iterable that can be iterated once per epoch.
        class_counts: samples per class, or numbers proportional to them: a ``ClassCounts``, or what it takes. None
            estimates the frequencies from the labels seen so far in the epoch, see ``EstimatedFactors``.
        label: key or position of the label in a sample, or a function of the sample. A label is an integer in [0, C), a
            class name, or either as bytes.
        q: exponent of the class counts: 0 class-balanced, 0.5 square-root, 1 as the stream is; in [-1, 16] where
            ``class_counts`` is None.
        class_probs: ``(C,)`` probabilities instead of ``q``, any positive scale; 0 leaves a class out.
        num_classes: C, where ``class_counts`` is None.
        rate: samples given per sample read, on average, at most 1e6. 1 keeps the length; ``"under"`` repeats no sample,
            ``"over"`` leaves none out.
        max_repeats: largest repeat factor of a class; a bound makes ``class_probs`` deviate from what was asked for.
        buffer_size: samples that are shuffled together, >= 1.
        num_samples: samples in an epoch, over all ranks and workers: the stream is iterated again as often as it
            takes, and stopped there if it has no end. None is one pass over the stream.
        transform: function of each sample that is given.
        split: ``"source"`` or ``"round_robin"``.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to give classes without samples the probability 0.
        unknown: ``"error"``, or ``"skip"`` to leave out samples whose label is none of the classes.

    Attributes:
        class_counts: as given, or None.
        class_probs: ``(C,)`` float64, sum 1: of the resampled stream; None where counts are estimated.
        repeat_factors: ``(C,)`` float64: copies of a sample of each class on average; None where they are estimated.

    Raises:
        TypeError: if an argument has a wrong type, ``stream`` cannot be iterated, or cannot be iterated twice.
        ValueError: if a number is out of its range, a class is empty, or neither or both of ``class_counts`` and
            ``num_classes`` are given. Iterating raises it for a label that is none of the classes, and for a pass
            without a sample of a class with a probability where ``num_samples`` is not reached.

    Source: Gupta et al. 2019 (LVIS), arXiv:1908.03195, section 3.3, for repeat factors with chance rounding;
        ``tf.data.Dataset.rejection_resample`` for ``rate="under"``; the three samplers of MaxHalford/pytorch-resample,
        for estimated frequencies. Differs from these: one factor for all rates, rounding with a bounded error, copies
        that are shuffled, and a state.

    >>> stream = [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("e", 1)] * 20
    >>> balanced = ClassBalancedStream(stream, [80, 20], rate="under", buffer_size=20)
    >>> [label for _, label in balanced].count(1), balanced.repeat_factors.tolist()
    (20, [0.25, 1.0])
    """

    def __init__(
        self,
        stream: Iterable[Any],
        class_counts: Any = None,
        *,
        label: LabelOf = 1,
        q: float = 0.0,
        class_probs: ArrayLike | None = None,
        num_classes: int | None = None,
        rate: Rate = 1.0,
        max_repeats: float | None = None,
        buffer_size: int = 1000,
        num_samples: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        split: Split = "source",
        seed: int = 0,
        empty: EmptyPolicy = "error",
        unknown: UnknownPolicy = "error",
    ) -> None:
        _refuse_no_stream(stream)
        if transform is not None and not callable(transform):
            raise TypeError(f"transform must be a function of a sample, got {shown(transform)}; or leave it out")
        self.stream, self.transform = stream, transform
        self.class_counts = None if class_counts is None else ClassCounts(class_counts).require_no_empty(empty)
        self.num_classes = _classes(self.class_counts, num_classes)
        self.rate = rate_of(rate, estimated=class_counts is None)
        self.max_repeats = None if max_repeats is None else _checks.number("max_repeats", max_repeats, above=0)
        self.buffer_size = _checks.integer("buffer_size", buffer_size, least=1)
        self.num_samples = None if num_samples is None else _checks.integer("num_samples", num_samples, least=1)
        _checks.choice("split", split, get_args(Split))
        _checks.choice("unknown", unknown, get_args(UnknownPolicy))
        self.split, self.seed = split, _checks.seed(seed)
        self.q = _exponent(q, class_probs, estimated=class_counts is None)
        self._target = self._probabilities(class_probs, empty)
        self.repeat_factors, self.class_probs = self._factors()
        names = {} if self.class_counts is None else {name: at for at, name in enumerate(self.class_counts.names)}
        self._labels = StreamLabels(label, self.num_classes, names, unknown)
        self.rank, self.world_size = 0, 1
        self._next = Place(0)
        self._newest: StreamPass | None = None
        self._beginning: tuple[Any] | None = None  # state of the stream, before it was iterated first
        self._settings = self._identity()
        self._fixed = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse a setting, because what depends on it is computed once."""
        if not name.startswith("_") and "_fixed" in self.__dict__ and (name in self.__dict__ or name == "epoch"):
            then = ".set_epoch()" if name == "epoch" else f"{type(self).__name__}(..., {name}=...)"
            raise AttributeError(f"{name} of {type(self).__name__} cannot be set; use {then}")
        super().__setattr__(name, value)

    @property
    def epoch(self) -> int:
        """The epoch of the newest iterator, and the next one when that is exhausted."""
        return self._next.epoch if self._newest is None else self._newest.epoch

    def __iter__(self) -> Iterator[Any]:
        start, self._next = self._next, Place(self._next.epoch + 1)  # when the first sample is drawn
        self._newest = newest = StreamPass(self, start)
        if self.transform is None:
            yield from newest.run()
        else:
            for sample in newest.run():  # not map: a StopIteration of the function would end the epoch in silence
                yield self.transform(sample)
        if self._newest is newest:
            self._newest = None

    def __len__(self) -> int:
        """Return the samples of this rank in an epoch.

        Raises:
            TypeError: if ``num_samples`` was left out: the length of a stream is unknown.
        """
        if self.num_samples is None:
            raise TypeError("a ClassBalancedStream has no length without num_samples: that of a stream is unknown")
        return self.num_samples // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` with the next ``iter()``, from its beginning or a restored position."""
        epoch = _checks.integer("epoch", epoch, least=0)
        if self._newest is None and self._next.epoch == epoch:
            return
        self._next, self._newest = Place(epoch), None

    def shard(self, rank: int, world_size: int) -> Self:
        """Return the stream of one rank: a copy with its own random numbers, and its part of ``num_samples``.

        With ``split="source"`` the stream itself must give each rank its part, as WebDataset does with
        ``nodesplitter=wds.split_by_node``.

        Raises:
            ValueError: if ``rank`` is not in [0, world_size), this stream is already a shard, or ``num_samples`` gives
                a rank none.
        """
        rank, world_size = checked_shard(rank, world_size)
        if self.world_size != 1:
            raise ValueError(f"this stream is rank {self.rank} of {self.world_size} already; shard the original one")
        if self.num_samples is not None and self.num_samples < world_size:
            raise ValueError(f"world_size must be <= num_samples ({self.num_samples}), got {world_size}")
        part = object.__new__(type(self))
        part.__dict__.update(self.__getstate__(), rank=rank, world_size=world_size)
        return part

    def distributed(self) -> Self:
        """Return ``shard(rank, world_size)`` by torch.distributed, else by ``RANK`` and ``WORLD_SIZE``.

        Raises:
            ValueError: if neither says who this process is.
        """
        return self.shard(*rank_and_world_size())

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the newest iterator, and what identifies the stream: plain numbers and strings.

        ``position`` counts the samples that this worker has given in ``epoch``.
        """
        place = self._next if self._newest is None else self._newest.place()
        part = part_of(self.rank, self.world_size)
        return {"version": _STATE_VERSION, **self._settings, "part": part.number, "parts": part.parts, **place.saved()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state`` with the next ``iter()``, in the process whose state it is.

        Raises:
            TypeError: if ``state`` is no mapping.
            ValueError: if the state is of other settings or another worker (each difference is named), or damaged.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, got {type(state).__name__}")
        part = part_of(self.rank, self.world_size)
        wanted = {"version": _STATE_VERSION, **self._settings, "part": part.number, "parts": part.parts}
        differing = [
            f"{name} was {state.get(name, 'absent')!r}, is {value!r}"
            for name, value in wanted.items()
            if name not in state or state[name] != value
        ]
        if differing:
            raise ValueError(
                f"state must come from the same settings and the same worker, but {'; '.join(differing)}; make the "
                "stream and its loader as they were, or start a new epoch without the state"
            )
        self._next, self._newest = Place.restored(state, self.num_classes), None

    def rewind(self) -> None:
        """Set a stream with a state to its beginning: an iteration that was left early may have moved it."""
        source: Any = self.stream
        if has_state(source):
            if self._beginning is None:
                self._beginning = (copy.deepcopy(source.state_dict()),)
            source.load_state_dict(copy.deepcopy(self._beginning[0]))

    def samples_of_part(self) -> int | None:
        """Return how many samples the calling worker gives in an epoch; None is one pass over the stream."""
        if self.num_samples is None:
            return None
        return samples_of(part_of(self.rank, self.world_size), self.num_samples, self.world_size)

    def factors(self, seen: list[int] | None) -> Factors:
        """Return the repeat factors, estimated ones with the counts ``seen`` before."""
        if self.repeat_factors is not None:
            return GivenFactors(self.repeat_factors)
        rate = float(self.rate)
        return EstimatedFactors(self.num_classes, self.q, self._target, rate, self.max_repeats, seen)

    def class_of(self, sample: Any, at: int) -> int | None:
        """Return the class of the sample at position ``at``, None for one that is left out."""
        number = self._labels.of(sample, at)
        if number is not None and self.class_counts is not None and not self.class_counts.counts[number]:
            raise ValueError(
                f"class_counts must be those of the stream, got 0 for class {number} and a sample of it at position "
                f"{at}; count the stream again, or leave class_counts out"
            )
        return number

    def _probabilities(self, class_probs: ArrayLike | None, empty: EmptyPolicy) -> NDArray[np.float64] | None:
        if self.class_counts is None:
            return None if class_probs is None else _checked_weights(class_probs, self.num_classes)
        if class_probs is None:
            return class_probabilities(self.class_counts, q=self.q, empty=empty)
        return explicit_probabilities(class_probs, self.class_counts, "ignore")

    def _factors(self) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Return the repeat factors and the probabilities of the classes that they lead to."""
        if self.class_counts is None or self._target is None:
            return None, None
        prior = self.class_counts.prior
        factors = given_factors(prior, self._target, self.rate, self.max_repeats)
        probs = prior * factors / (prior * factors).sum()
        self._warn_of_small_buffer(float(factors.max()))
        for array in (factors, probs):
            array.setflags(write=False)
        return factors, probs

    def _warn_of_small_buffer(self, largest: float) -> None:
        if largest > 1 and largest > _LARGEST_SHARE * self.buffer_size:
            warnings.warn(
                f"a sample of the rarest class is given {largest:.4g} times in a row, more than a tenth of "
                f"buffer_size={self.buffer_size}; pass buffer_size={int(largest / _LARGEST_SHARE) + 1} to spread "
                f"the copies, or max_repeats={_LARGEST_SHARE * self.buffer_size:.4g} for fewer",
                UserWarning,
                stacklevel=4,
            )

    def _identity(self) -> dict[str, Any]:
        """Return what a state must agree in."""
        counts = "estimated" if self.class_counts is None else fingerprint(self.class_counts.counts)
        target = f"q={self.q}" if self._target is None else fingerprint(np.round(self._target, 9))
        own = {name: getattr(self, name) for name in ("seed", "buffer_size", "num_samples", "split", "max_repeats")}
        return {"kind": type(self).__name__, "class_counts": counts, "class_probs": target, "rate": self.rate, **own}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_newest": None}  # an iterator stays behind

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.repeat_factors, self.class_probs):
            if array is not None:
                array.setflags(write=False)  # which a pickle forgets

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The type, as always. ``isinstance`` reads it first, whenever torch was imported."""
        _join_torch(type(self))
        return type(self)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({type(self.stream).__name__}, num_classes={self.num_classes}, rate={self.rate}, "
            f"buffer_size={self.buffer_size}, seed={self.seed}, epoch={self.epoch})"
        )


def _join_torch(kind: type[Any]) -> None:
    """Let ``isinstance(stream, IterableDataset)`` be true, by which a ``DataLoader`` tells streams from arrays."""
    data: Any = sys.modules.get("torch.utils.data")
    if data is not None:
        data.IterableDataset.register(kind)


def _refuse_no_stream(stream: Any) -> None:
    if not isinstance(stream, Iterable):
        raise TypeError(f"stream must be an iterable, got {type(stream).__name__}{_hint_for_stream(stream)}")
    if isinstance(stream, Iterator):
        raise TypeError(
            f"stream must be an iterable that starts anew in each epoch, got the iterator {type(stream).__name__}; "
            "pass the object that made it, or one whose __iter__ calls your function"
        )


def _hint_for_stream(stream: Any) -> str:
    if callable(getattr(stream, "__getitem__", None)) and callable(getattr(stream, "__len__", None)):
        return "; a data set with indices needs no stream: pass lt_fast.sampling.ClassBalancedSampler to its loader"
    if callable(stream):
        return "; pass an object whose __iter__ calls it, so that each epoch starts anew"
    return ""


def _classes(counts: ClassCounts | None, num_classes: int | None) -> int:
    if (counts is None) == (num_classes is None):
        raise ValueError(
            "class_counts or num_classes must be given, and not both: class_counts where they are known, num_classes "
            "where they are to be estimated"
        )
    return _checks.num_classes(num_classes) if counts is None else counts.num_classes


def _exponent(q: Any, class_probs: Any, *, estimated: bool) -> float:
    exponent = _checks.number("q", q, hint="; 0 is class-balanced, 1 instance-balanced")
    if estimated and not -1 <= exponent <= _LARGEST_ESTIMATED:
        raise ValueError(
            f"q must lie in [-1, {_LARGEST_ESTIMATED}] where class_counts are estimated, got {exponent:g}; 0 is "
            "class-balanced, 1 instance-balanced"
        )
    if class_probs is not None and exponent != 0:
        raise ValueError(f"q must be left out when class_probs is given, got q={exponent}; choose one of them")
    return exponent


def _checked_weights(class_probs: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    counts = ClassCounts(np.ones(num_classes, np.int64))
    return explicit_probabilities(entries_of("class_probs", class_probs), counts, "error")
