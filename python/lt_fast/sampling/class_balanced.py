"""Class-balanced batches: draw a class by its probability, then a sample of it."""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks, _rust
from lt_fast.counts import ClassCounts, EmptyPolicy, NumberedLabels, numbered_labels
from lt_fast.labels import refuse_negative, warn
from lt_fast.registry import register
from lt_fast.sampling.class_probabilities import class_probabilities, entries_of, explicit_probabilities
from lt_fast.sampling.schedule import Schedule, ScheduledDraws, described, scheduled
from lt_fast.sampling.seekable import Drawing, Output, SeekableBatchSampler, Source, fingerprint
from lt_fast.sampling.seekable_index import SeekableSampler

WithinClass: TypeAlias = Literal["cycle", "replace"]

_FEWEST_DISTINCT = 3  # samples: two of two classes are an example, not a mistake


@register("sampler", "class_balanced")
class ClassBalancedBatchSampler(SeekableBatchSampler):
    """Batches in which class c has probability proportional to ``n_c ** q``, for any class sizes ``n_c``.

    ``q`` is 1 for instance-balanced, 0.5 for square-root, 0 for class-balanced, -1 for reverse sampling.

    ``within_class`` selects how a sample of the class is drawn:

    - ``"cycle"``: every sample of a class before any repeats, in a new order in each cycle, across epochs. The classes
      come in shuffled rounds of ``1 / min p`` draws with quotas proportional to their probabilities (for ``q=0``: each
      class once in C draws); after every round the number of draws of a class differs from its expectation by less than
      one. That number follows from the position alone, so no other state is needed, and seeking costs
      O(C + 1 / min p) at any position.
    - ``"replace"``: class and sample independently at every draw, each in O(1) at any position.

    For epochs, ranks and resuming see ``SeekableBatchSampler``. Building is O(N + C): 4 bytes per sample
    for the table, 4 for the labels.

    Args:
        labels: one class per sample (integers from 0, or strings, which are numbered in sorted order), or a data
            set as ``labels_of`` takes.
        batch_size: draws in a batch.
        q: exponent of the class counts.
        class_probs: ``(C,)`` probabilities instead of ``q``, any positive scale; 0 excludes a class.
        schedule: probabilities by epoch instead of ``q``: a ``ProgressiveSchedule``, or any function of ``(epoch,
            class_counts)`` that returns ``(C,)`` probabilities. Each new epoch builds a table, O(N + C), and starts
            from other quotas, so "every sample before any repeats" is then true within an epoch only.
        within_class: ``"cycle"`` or ``"replace"``.
        num_batches: batches in an epoch, over all ranks; by default as many as N draws give.
        drop_last: by default drop the draws that do not fill a batch; ``False`` keeps a shorter one.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to give classes without samples the probability 0.

    Attributes:
        class_counts: samples per class.
        class_probs: ``(C,)`` float64, sum 1; with a schedule, those of epoch 0.

    Shape:
        a batch is a list of ``batch_size`` integers, or an int64 array ``(batch_size,)``.

    Raises:
        TypeError: if labels are neither integers nor strings, or a torch ``Sampler`` is passed.
        ValueError: if a label is negative or has no probability, a class is empty, ``class_probs`` contains NaN, an
            infinity, a negative number or only zeros, ``q`` is also given or not finite, or a number is out of
            its range.

    Source: Kang et al. 2020, arXiv:1910.09217, equation (1) and section 3, for ``q``; ClassAwareSampler.py of
        facebookresearch/classifier-balancing for the cycles at ``q=0``. Differs from that code: an epoch is N draws,
        not C times the largest class, and any ``q`` cycles.

    >>> labels = np.repeat([0, 1, 2], [900, 90, 10])
    >>> sampler = ClassBalancedBatchSampler(labels, batch_size=100, q=0.0, seed=0)
    >>> len(sampler), np.bincount(labels[sampler[0]]), np.bincount(labels[sampler.epoch_indices(0)])
    (10, array([33, 34, 33]), array([333, 334, 333]))
    >>> ClassBalancedBatchSampler(labels, batch_size=100, q=0.5).class_probs.round(2)
    array([0.7 , 0.22, 0.07])
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        q: float = 0.0,
        class_probs: ArrayLike | None = None,
        schedule: Schedule | None = None,
        within_class: WithinClass = "cycle",
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        rule = _Rule.of(labels, q, class_probs, schedule, within_class, empty)
        self._rule, self.class_counts, self.class_probs = rule, rule.class_counts, rule.class_probs
        super().__init__(
            rule.source,
            rule.settings,
            num_samples=len(rule.labels),
            batch_size=batch_size,
            num_batches=num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )

    def _make_draws(self) -> Drawing:
        return self._rule.draws(*self._source[1][-2:])


@register("sampler", "class_balanced_draws")
class ClassBalancedSampler(SeekableSampler):
    """The draws of ``ClassBalancedBatchSampler`` one by one, for ``DataLoader(sampler=...)``.

    Args:
        labels: as there, and so are all not named here.
        q: exponent of the class counts.
        class_probs: probabilities instead of ``q``.
        schedule: probabilities by epoch instead of ``q``.
        within_class: ``"cycle"`` or ``"replace"``.
        num_samples: draws in an epoch, over all ranks; by default one per sample.
        seed: in [0, 2**64).
        empty: ``"error"`` or ``"ignore"``.

    Attributes:
        class_counts: samples per class.
        class_probs: ``(C,)`` float64, sum 1; with a schedule, those of epoch 0.

    Raises:
        TypeError: as ``ClassBalancedBatchSampler``.
        ValueError: as ``ClassBalancedBatchSampler``.

    >>> sampler = ClassBalancedSampler(["cat"] * 6 + ["dog"] * 2, q=0.0, seed=0)
    >>> list(sampler)  # half are 6 or 7, the two dogs
    [7, 4, 6, 1, 7, 2, 6, 5]
    """

    def __init__(
        self,
        labels: Any,
        *,
        q: float = 0.0,
        class_probs: ArrayLike | None = None,
        schedule: Schedule | None = None,
        within_class: WithinClass = "cycle",
        num_samples: int | None = None,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        rule = _Rule.of(labels, q, class_probs, schedule, within_class, empty)
        self._rule, self.class_counts, self.class_probs = rule, rule.class_counts, rule.class_probs
        super().__init__(
            rule.source,
            rule.settings,
            num_samples=len(rule.labels) if num_samples is None else num_samples,
            seed=seed,
        )

    def _make_draws(self) -> Drawing:
        return self._rule.draws(*self._source[1][-2:])


class _Rule(NamedTuple):
    """The class of every sample and the probability of each class, shared by both samplers."""

    labels: NDArray[np.uint32]
    class_counts: ClassCounts
    class_probs: NDArray[np.float64]
    cycle: bool
    schedule: Schedule | None
    empty: EmptyPolicy
    settings: dict[str, int | float | str]

    @classmethod
    def of(
        cls,
        labels: Any,
        q: float,
        class_probs: ArrayLike | None,
        schedule: Schedule | None,
        within_class: WithinClass,
        empty: EmptyPolicy,
    ) -> "_Rule":
        _checks.choice("within_class", within_class, get_args(WithinClass))
        if schedule is not None and (q != 0 or class_probs is not None):
            raise ValueError("schedule must be given without q and class_probs, got both; choose one of them")
        if class_probs is not None and q != 0:
            raise ValueError(f"q must be left out when class_probs is given, got q={q}; choose one of them")
        ids, counts, class_probs = numbered_with_probs(labels, class_probs)
        rule: dict[str, int | float | str]
        if schedule is not None:
            probs = scheduled(schedule, 0, counts.require_no_empty(empty), empty)
            rule = {"schedule": described(schedule, probs)}
        elif class_probs is not None:
            probs = explicit_probabilities(class_probs, counts, empty)
            rule = {"class_probs": fingerprint(probs)}
        else:
            probs = class_probabilities(counts, q=q, empty=empty)
            rule = {"q": float(q)}  # not by the probabilities: a power may differ in the last bit on another machine
        probs.setflags(write=False)  # a copy is built from it: it must stay what it was
        settings = {"within_class": within_class, "labels": fingerprint(ids), **rule}
        return cls(ids, counts, probs, within_class == "cycle", schedule, empty, settings)

    @property
    def source(self) -> Source:
        """Name and arguments of the source; the long arguments are attributes of the rule."""
        return "class_balanced", ()

    def draws(self, draws_per_epoch: int, seed: int) -> Drawing:
        """Return the draws, of every epoch."""

        def make(probs: NDArray[np.float64]) -> Drawing:
            return _rust.class_balanced(self.labels, probs, self.cycle, draws_per_epoch, seed)

        if self.schedule is None:
            return make(self.class_probs)
        return ScheduledDraws(make, self.schedule, self.class_counts, self.empty)


def numbered(
    labels: Any, num_classes: int | None = None, *, of: str = "num_classes"
) -> tuple[NDArray[np.uint32], ClassCounts]:
    """Return the class number of every sample and the counts; words are numbered as ``numbered_labels`` says.

    Args:
        labels: as ``labels_of`` takes.
        num_classes: C; by default the largest label + 1.
        of: the argument that C comes from, for messages.
    """
    return _counted(numbered_labels(labels), num_classes, of)


def numbered_with_probs(
    labels: Any, class_probs: ArrayLike | None
) -> tuple[NDArray[np.uint32], ClassCounts, NDArray[np.float64] | None]:
    """Return what ``numbered`` does, and ``class_probs`` in the order of the classes."""
    found = numbered_labels(labels)
    if class_probs is None:
        return *_counted(found, None, "num_classes"), None
    probs = entries_of("class_probs", class_probs, found.names)
    return *_counted(found, probs.size, "class_probs"), probs


def _counted(found: NumberedLabels, num_classes: int | None, of: str) -> tuple[NDArray[np.uint32], ClassCounts]:
    labels, names, _ = found
    if labels.size == 0:
        raise ValueError("labels must hold at least one sample, got 0")
    refuse_negative(labels)
    largest = int(labels.max())
    if largest >= _checks.MAX_CLASSES:
        raise ValueError(f"labels must be < {_checks.MAX_CLASSES}, got {largest}; number the classes 0..C-1 first")
    if num_classes is not None:
        _refuse_other_classes(found, num_classes, of)
    classes = largest + 1 if num_classes is None else num_classes
    # Classes without samples after the last label are left out, as for labels that come without a data set.
    known = names[:classes] if names is not None and len(names) >= classes else None
    counts = ClassCounts.from_labels(labels, classes, names=known)
    _warn_of_single_samples(counts)
    return labels.astype(np.uint32), counts


def _warn_of_single_samples(counts: ClassCounts) -> None:
    samples = counts.total
    if samples >= _FEWEST_DISTINCT and np.count_nonzero(counts.counts) == samples:
        warn(
            f"labels should be classes with several samples, got {samples} samples of {samples} classes: each sample "
            "is its own class, so that nothing is balanced; pass the classes, not an index, a file name or a target"
        )


def _refuse_other_classes(found: NumberedLabels, num_classes: int, of: str) -> None:
    labels, names, words = found
    if num_classes < 1:
        raise ValueError(f"{of} must have one entry per class, got none")
    if words and names is not None and len(names) != num_classes:
        raise ValueError(
            f"labels must be of as many classes as {of} is for ({num_classes}), got {len(names)} different strings; "
            f"pass {of} for these, in sorted order"
        )
    outside = np.flatnonzero(labels >= num_classes)
    if outside.size:
        at = int(outside[0])
        raise ValueError(
            f"labels must lie in [0, {num_classes}), the classes that {of} is for, got {labels[at]} at position {at}; "
            f"pass {of} for all classes, or correct the label"
        )
