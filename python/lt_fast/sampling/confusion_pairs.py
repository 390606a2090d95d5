"""Pairs of samples whose classes the model confuses: the batches of CP-Mix."""

import base64
import bisect
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks, _rust
from lt_fast._loaded import is_tensor
from lt_fast.counts import EmptyPolicy, in_class_order
from lt_fast.registry import register
from lt_fast.sampling.class_balanced import numbered
from lt_fast.sampling.confusion_counts import ConfusionCounts
from lt_fast.sampling.pairs_of_errors import PairsOfErrors
from lt_fast.sampling.seekable import Drawing, Output, SeekableBatchSampler, fingerprint

Condition: TypeAlias = Literal["true", "either", "none"]


@register("sampler", "confusion_pairs")
class ConfusionPairBatchSampler(SeekableBatchSampler):
    """Batches of pairs (i, j): ``i`` of a uniformly drawn class, ``j`` of a class that the model predicts for it.

    For each pair, independently, with ``C[c, d]`` how often class ``c`` was predicted as ``d``::

        c ~ uniform over the classes                 i ~ uniform over the samples of c
        d ~ C[c, d] ** (1 / temperature), d != c     j ~ uniform over the samples of d

    With probability ``uniform_fraction``, and always for a class that was predicted as no other class (an empty row of
    ``C``), ``d`` is any other class, all equally likely. Correct predictions, the diagonal of ``C``, are ignored.

    ``condition`` is how the pair depends on the class ``c`` that was drawn: above is ``"true"``, where ``c`` is the
    true class of the error. With ``"either"`` it is the true or the predicted one, ``d ~ (C[c, d] + C[d, c]) **
    (1 / temperature)``. With ``"none"`` no class is drawn: ``(c, d) ~ C[c, d] ** (1 / temperature)`` over all errors,
    so that classes come as often as they are confused.

    A batch with ``output="numpy"`` is an array of rows (i, j). With ``"list"`` it is the concatenated rows,
    ``i0, j0, i1, j1, ...``, which any ``DataLoader`` can gather. With images ``x`` and labels ``y`` gathered this way::

        lam = mixer.coefficients(epoch, step, pairs_per_batch) # lt_fast.mixing.CPMix
        loss = criterion(model(lam * x[0::2] + (1 - lam) * x[1::2]), y[0::2], y[1::2], lam)

    *The matrix* may be replaced during an epoch: ``update_confusion`` names the global step, ``epoch * num_batches``
    plus the position in the epoch, from which it is used. A draw is a pure function of (seed, epoch, position, the
    matrix of that step), uses four random numbers per pair, and costs the same at any position. The state contains the
    matrices that are needed from its position on. Matrices that were replaced before the current epoch are dropped, so
    batches of earlier epochs are no longer available. For epochs, ranks and resuming see ``SeekableBatchSampler``.

    Args:
        labels: one class per sample, or a data set as ``labels_of`` takes.
        confusion: ``ConfusionCounts``, or any (C, C) matrix of weights, true class by row.
        pairs_per_batch: pairs in a batch, over all classes.
        temperature: > 0; 1 keeps the counts, above 1 rare confusions become more frequent, at infinity all are equal.
        uniform_fraction: fraction of the pairs that ignore ``confusion``, in [0, 1].
        condition: ``"true"``, ``"either"`` or ``"none"``.
        num_batches: batches in an epoch, over all ranks; by default as many as N indices give.
        drop_last: by default drop the pairs that do not fill a batch; ``False`` keeps a shorter one.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to exclude classes without samples.

    Attributes:
        pairs_per_batch: as given; ``batch_size`` counts indices, twice as many.
        class_counts: samples per class.

    Shape:
        a batch is a list of ``2 * pairs_per_batch`` integers, or an int64 array ``(pairs_per_batch, 2)``;
        ``epoch_indices`` gives ``(pairs, 2)``.

    Raises:
        TypeError: if labels are neither integers nor strings, a torch ``Sampler`` is passed, or ``confusion``,
            ``temperature`` or ``uniform_fraction`` are not numbers.
        ValueError: if a label is outside the classes of ``confusion``, a class is empty, fewer than two have samples,
            ``confusion`` is not square or contains NaN, an infinity or a negative number, or a number is out of its
            range.

    Source: CP-Mix, arXiv:2411.07621, Algorithm 1. It draws classes uniformly, and for each a pair from "a subset" of
    the confusion pairs, without saying which: ``"true"`` is our reading, since equation (6) defines a pair by its true
    class; ``"either"`` and ``"none"`` are the others. It does not define empty rows; ``temperature`` and
    ``uniform_fraction`` are ours.

    >>> labels = np.repeat([0, 1, 2], [50, 30, 20])
    >>> confusion = [[0, 4, 0], [1, 0, 1], [0, 3, 0]]  # true class by row
    >>> sampler = ConfusionPairBatchSampler(labels, confusion, pairs_per_batch=6, output="numpy", seed=0)
    >>> labels[sampler[0]].tolist()  # the classes of a batch: classes 0 and 2 are mistaken for 1 alone
    [[0, 1], [0, 1], [2, 1], [2, 1], [2, 1], [0, 1]]
    >>> sampler.update_confusion([[0, 0, 9], [0, 0, 9], [9, 0, 0]], from_step=1)
    >>> labels[sampler[1]].tolist()
    [[2, 0], [2, 0], [1, 2], [1, 2], [2, 0], [1, 2]]
    """

    _draws: "_Schedule"

    def __init__(
        self,
        labels: Any,
        confusion: ConfusionCounts | ArrayLike,
        *,
        pairs_per_batch: int,
        temperature: float = 1.0,
        uniform_fraction: float = 0.0,
        condition: Condition = "true",
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.pairs_per_batch = _checks.integer("pairs_per_batch", pairs_per_batch, least=1)
        cells, num_classes = _cells(confusion)
        ids, counts = numbered(labels, num_classes, of="confusion")
        if num_batches is None and drop_last and 2 * self.pairs_per_batch > len(ids) + len(ids) % 2:
            raise ValueError(
                f"pairs_per_batch must be <= half the number of samples ({len(ids)}), got {self.pairs_per_batch}; pass "
                "num_batches, or drop_last=False"
            )
        self.class_counts = counts.require_no_empty(empty)
        temperature = _checks.number("temperature", temperature, above=0)
        uniform_fraction = _checks.number("uniform_fraction", uniform_fraction, least=0, most=1)
        _checks.choice("condition", condition, get_args(Condition))
        self.condition = condition
        self._cells_from = {0: cells}  # a step, and what counts from there on; never changed in place
        super().__init__(
            ("confusion_pairs", (ids, num_classes, temperature, uniform_fraction)),
            {
                "labels": fingerprint(ids),
                "num_classes": num_classes,
                "temperature": temperature,
                "uniform_fraction": uniform_fraction,
                "condition": condition,
            },
            num_samples=len(ids) + len(ids) % 2,
            batch_size=2 * self.pairs_per_batch,
            num_batches=num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )

    @property
    def next_step(self) -> int:
        """Global step of the next batch to be drawn."""
        state = super().state_dict()
        return int(state["epoch"]) * self.num_batches + int(state["position"])

    def update_confusion(self, confusion: ConfusionCounts | ArrayLike, *, from_step: int | None = None) -> None:
        """Use ``confusion`` from a global step on, also in the running iterator. O(N + cells).

        On several ranks, all have to pass the same table (``ConfusionCounts.all_reduce``) and the same step, each to
        the sampler that its loader iterates: what ``shard`` or ``distributed`` returned, not what it was called on.

        Args:
            confusion: as for the constructor, of the same number of classes; copied.
            from_step: ``epoch * num_batches + position`` of the first batch that it counts for; by default the next one
                to be given out. A loader with workers has drawn batches ahead of that: name a step beyond them,
                best the start of the next epoch. A table for a later step, passed before, keeps its step.

        Raises:
            TypeError: if ``from_step`` is not an integer.
            ValueError: if it has been given out already, or the table is refused as in the constructor.
        """
        cells, num_classes = _cells(confusion)
        if num_classes != self.class_counts.num_classes:
            wanted = self.class_counts.num_classes
            raise ValueError(f"confusion must have {wanted} classes, as the sampler has, got {num_classes}")
        upcoming = self.next_step
        step = upcoming if from_step is None else _checks.integer("from_step", from_step)
        if step < upcoming:
            raise ValueError(f"from_step must be >= {upcoming}, the next batch to be given out, got {step}")
        epoch_start = upcoming - upcoming % self.num_batches
        cells_from = _counting_from({**self._cells_from, step: cells}, epoch_start)
        made = {**self._draws.tables, **self._tables({step: cells})}  # the others stay as they are
        schedule = _Schedule({start: made[start] for start in cells_from}, self.num_batches)
        self._cells_from, self._draws = cells_from, schedule
        if self._newest is not None:
            self._newest.forget_ahead()

    def epoch_indices(self, epoch: int | None = None) -> NDArray[np.int64]:
        """Return all rows (i, j) of this rank in ``epoch`` (the current one by default), ``(pairs, 2)`` int64."""
        return super().epoch_indices(epoch).reshape(-1, 2)

    def state_dict(self) -> dict[str, Any]:
        """Return where the newest iterator is, what identifies the stream, and the tables that count from there on.

        With ``drop_last=False`` also those that counted from the beginning of the epoch. O(1), but for the first time
        after an update, which packs the table into a string.
        """
        state = super().state_dict()
        needed = _counting_from(self._cells_from, self._step_needed(state))
        confusion = [{"from_step": step, "cells": cells.packed} for step, cells in needed.items()]
        return {**state, "confusion": confusion}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``, its matrices included, with the next ``iter()``; the number of ranks may differ.

        Raises:
            ValueError: if the state is of another data set or other settings (each difference is named), or damaged.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, got {type(state).__name__}")
        rest = {name: value for name, value in state.items() if name != "confusion"}
        self._refuse_foreign(rest)
        cells_from = _unpacked(state.get("confusion"))
        step = self._step_needed(rest)
        if min(cells_from) > step:
            raise ValueError(
                f"state['confusion'] must hold the table that counts at step {step}, got the first from step "
                f"{min(cells_from)} on; the state is damaged"
            )
        draws = self._draws_by(cells_from)  # first, because it raises for cells out of range
        super().load_state_dict(rest)
        self._cells_from, self._draws = cells_from, draws

    def _step_needed(self, state: Mapping[str, Any]) -> int:
        """Return the first global step that a resume from ``state`` may draw."""
        # With drop_last=False the ranks fill up their last round with the first batches of the epoch.
        epoch = _checks.integer("state['epoch']", state.get("epoch"))
        position = _checks.integer("state['position']", state.get("position"))
        return epoch * self.num_batches + (position if self.drop_last else 0)

    def _make_draws(self) -> "_Schedule":
        return self._draws_by(self._cells_from)

    def _draws_by(self, cells_from: "dict[int, _Cells]") -> "_Schedule":
        return _Schedule(self._tables(cells_from), self.num_batches)

    def _tables(self, cells_from: "dict[int, _Cells]") -> dict[int, Drawing]:
        return {step: self._by(cells) for step, cells in sorted(cells_from.items())}

    def _by(self, cells: "_Cells") -> Drawing:
        if self.condition == "either":
            cells = cells.both_ways(self.class_counts.num_classes)
        arguments = (*self._source[1], cells.target, cells.predicted, cells.weight)
        return PairsOfErrors(*arguments) if self.condition == "none" else _rust.confusion_pairs(*arguments)

    def _batches(self, epoch: int, first: int, step: int, count: int) -> list[Any]:
        batches = super()._batches(epoch, first, step, count)
        return batches if self.output == "list" else [batch.reshape(-1, 2) for batch in batches]


@dataclass(frozen=True)
class _Cells:
    """The cells of a table off its diagonal that are not 0."""

    target: NDArray[np.int64]
    predicted: NDArray[np.int64]
    weight: NDArray[np.float64]

    @cached_property
    def packed(self) -> str:
        """As text, for states that travel as JSON: made once, shared by all states."""
        columns = (self.target.astype("<i8"), self.predicted.astype("<i8"), self.weight.astype("<f8"))
        return base64.b64encode(zlib.compress(b"".join(column.tobytes() for column in columns))).decode("ascii")

    def both_ways(self, num_classes: int) -> "_Cells":
        """Return the sum of the table and its transpose."""
        keys = np.concatenate([self.target * num_classes + self.predicted, self.predicted * num_classes + self.target])
        unique, place = np.unique(keys, return_inverse=True)
        weight = np.bincount(place, weights=np.tile(self.weight, 2), minlength=len(unique))
        return _Cells(unique // num_classes, unique % num_classes, weight.astype(np.float64))

    @classmethod
    def from_packed(cls, text: str) -> "_Cells":
        data = zlib.decompress(base64.b64decode(text, validate=True))
        target, predicted = np.frombuffer(data, "<i8").reshape(3, -1)[:2].astype(np.int64)
        return cls(target, predicted, np.frombuffer(data, "<f8").reshape(3, -1)[2].astype(np.float64))


class _Schedule:
    """Draws by one table after another: batch ``g`` of epoch ``e`` by the last that counts from its step or before."""

    def __init__(self, tables: dict[int, Drawing], num_batches: int) -> None:
        self.tables = tables  # from which step each counts, rising
        self._starts, self._draws = list(tables), list(tables.values())
        self._num_batches = num_batches

    @property
    def draws_per_epoch(self) -> int:
        return self._draws[0].draws_per_epoch

    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        parts = [
            draws.array(epoch, at, step, batches, batch_size)
            for draws, at, batches in self._cut(epoch, first, step, count)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:
        parts = self._cut(epoch, first, step, count)
        return [batch for draws, at, batches in parts for batch in draws.lists(epoch, at, step, batches, batch_size)]

    def _cut(self, epoch: int, first: int, step: int, count: int) -> Iterator[tuple[Drawing, int, int]]:
        """Give each run of batches that one table counts for: its draws, the first batch, how many."""
        while count > 0:
            at = epoch * self._num_batches + first
            table = bisect.bisect_right(self._starts, at) - 1
            if table < 0:
                raise ValueError(
                    f"batches must not lie before step {self._starts[0]}, got {at}: the confusion table that counted "
                    "there has been replaced"
                )
            run = count
            if table + 1 < len(self._starts):
                run = min(count, -((at - self._starts[table + 1]) // step))
            yield self._draws[table], first, run
            first, count = first + run * step, count - run


def _cells(confusion: ConfusionCounts | ArrayLike) -> tuple[_Cells, int]:
    """Return the cells off the diagonal, and the number of classes."""
    if isinstance(confusion, ConfusionCounts):
        target, predicted, counts = confusion.entries()
        wrong = target != predicted
        return _Cells(target[wrong], predicted[wrong], counts[wrong].astype(np.float64)), confusion.num_classes
    matrix = _matrix(confusion)
    off_diagonal = matrix.copy()
    np.fill_diagonal(off_diagonal, 0)
    target, predicted = np.nonzero(off_diagonal)
    return _Cells(target, predicted, off_diagonal[target, predicted]), len(matrix)


def _matrix(confusion: Any) -> NDArray[np.float64]:
    _checks.refuse_masked("confusion", confusion)
    if hasattr(type(confusion), "to_numpy") and hasattr(confusion, "columns"):  # a pandas DataFrame: crosstab
        confusion = _frame_in_class_order(confusion)
    if is_tensor(confusion):
        confusion = confusion.detach().cpu()
        confusion = confusion.double() if confusion.is_floating_point() else confusion  # NumPy knows no bfloat16
    try:
        array = np.asarray(confusion)
    except ValueError as error:
        raise ValueError(f"confusion must be square, got rows of different lengths ({error})") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"confusion must be a ConfusionCounts or a matrix of numbers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:  # noqa: PLR2004
        raise ValueError(f"confusion must be square, one row and one column a class, got shape {array.shape}")
    matrix = array.astype(np.float64)
    wrong = np.argwhere(~(np.isfinite(matrix) & (matrix >= 0)))
    if len(wrong):
        target, predicted = wrong[0]
        value = matrix[target, predicted]
        raise ValueError(f"confusion must be finite and >= 0, got {value} for target {target}, predicted {predicted}")
    return matrix


def _frame_in_class_order(frame: Any) -> NDArray[Any]:
    """Return a pandas ``DataFrame`` by class number: ``crosstab`` leaves out classes that were never predicted."""
    rows, columns = (
        in_class_order(f"confusion.{name}", {key: at for at, key in enumerate(keys)})
        for name, keys in (("index", frame.index), ("columns", frame.columns))
    )
    return np.asarray(frame.to_numpy())[np.ix_(rows, columns)]


def _counting_from(cells_from: dict[int, _Cells], step: int) -> dict[int, _Cells]:
    """Return the matrices that batches from ``step`` on use."""
    current = max((start for start in cells_from if start <= step), default=step)
    return {start: cells for start, cells in sorted(cells_from.items()) if start >= current}


def _unpacked(saved: Any) -> dict[int, _Cells]:
    try:
        tables = {
            _checks.integer("from_step", table["from_step"], least=0): _Cells.from_packed(table["cells"])
            for table in saved
        }
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"state['confusion'] must be what state_dict() saved, got damaged data: {error}") from None
    if not tables:
        raise ValueError("state['confusion'] must hold at least one table, got none")
    return tables
