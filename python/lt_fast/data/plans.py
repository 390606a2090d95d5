"""Planners: which images are in batch ``step`` of ``epoch``, how they are augmented and mixed.

A planner computes any batch from its number, without state: resuming is a position, and a partner
from another distribution is an image of the batch that another sampler has at the same step.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.sampling import SeekableBatchSampler, SeekableSampler

_BATCHES = "batches of batch_sampler"


@runtime_checkable
class NumberedBatches(Protocol):
    """A batch sampler that gives its batches by number, as those of ``lt_fast.sampling`` do."""

    @property
    def batch_size(self) -> int:
        """Indices in a full batch."""

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, over all ranks."""

    def batch(self, epoch: int, step: int) -> Any:
        """Return the indices of one batch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the current epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what identifies the batches, and the position."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of other batches; continue at the position."""


class Mixer(Protocol):
    """Plans the mixing of a batch: see ``lt_fast.mixing``."""

    def plan(self, batch: BatchPlan, labels: NDArray[np.int64]) -> MixPlan:
        """Return partners, coefficients and boxes for a batch whose images have ``labels``."""


@runtime_checkable
class Planner(Protocol):
    """Gives a ``Loader`` its plans.

    >>> plans = SamplerPlans(FixedBatches([[4, 2], [0, 1]]), np.array([0, 1, 0, 1, 1]))
    >>> isinstance(plans, Planner), plans.num_batches, plans.plan(epoch=0, step=1).index.tolist()
    (True, 2, [0, 1])
    """

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, over all ranks."""

    def plan(self, epoch: int, step: int) -> BatchPlan:
        """Return the plan of one batch, a pure function of its number."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the current epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what identifies the plans, and the position."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of other plans; continue at the position."""


class SamplerPlans:
    """Plans from a batch sampler, mixed by a mixer if there is one.

    Args:
        sampler: gives the indices.
        labels: (N,) int64 of the data set.
        mixer: gives the partners, or None.
        views: augmented copies of each image, >= 1.

    Raises:
        TypeError: if the sampler does not give its batches by number, or gives single indices.

    >>> from lt_fast.mixing import Mixup
    >>> from lt_fast.sampling import ShuffledBatchSampler
    >>> labels = np.array([0, 0, 1, 2])
    >>> plans = SamplerPlans(ShuffledBatchSampler(labels, batch_size=2, seed=0), labels, mixer=Mixup(seed=0))
    >>> plan = plans.plan(epoch=0, step=1)
    >>> plan.index, plan.mix.partner, plan.position  # rows, their partners, the keys of their augmentation
    (array([3, 1]), array([3, 1]), array([2, 3]))
    """

    def __init__(
        self, sampler: NumberedBatches, labels: NDArray[np.int64], *, mixer: Mixer | None = None, views: int = 1
    ) -> None:
        if not isinstance(sampler, NumberedBatches):
            raise TypeError(
                "batch_sampler must give its batches by number, as those of lt_fast.sampling do, got "
                f"{type(sampler).__name__}; lt_fast.data.FixedBatches(list(batch_sampler)) takes those of one pass"
            )
        if isinstance(sampler, SeekableSampler):
            raise TypeError(
                f"batch_sampler must give batches, got {type(sampler).__name__}, which gives single indices; name a "
                "sampler of batches, such as ClassBalancedBatchSampler (sampler=class_balanced of a run)"
            )
        self.sampler, self.labels, self.mixer, self.views = sampler, labels, mixer, views

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, over all ranks."""
        return self.sampler.num_batches

    def plan(self, epoch: int, step: int) -> BatchPlan:
        """Return the plan of one batch.

        Raises:
            IndexError: if the sampler gives an index that the data set does not have.
        """
        index = checked_index(_drawn(self.sampler, epoch, step), len(self.labels))
        position = step * self.sampler.batch_size + np.arange(len(index))
        plan = BatchPlan(epoch, step, index, position, None, self.views)
        if self.mixer is None:
            return plan
        return replace(plan, mix=checked_mix(self.mixer.plan(plan, self.labels[index]), plan, len(self.labels)))

    def set_epoch(self, epoch: int) -> None:
        """Choose the current epoch."""
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> Mapping[str, Any]:
        """Return the sampler's state and ``"mixer"``, what identifies the mixer."""
        return {**self.sampler.state_dict(), "mixer": described(self._mixing())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of another mixer; hand the rest to the sampler, which refuses other data or settings.

        Raises:
            ValueError: naming the difference.
        """
        was, own = state.get("mixer"), described(self._mixing())
        if was != own:
            raise ValueError(f"state must be of the same batches: mixer was {was}, is {own}")
        self.sampler.load_state_dict({name: value for name, value in state.items() if name != "mixer"})

    def _mixing(self) -> Any:
        return self.mixer


class PairPlans(SamplerPlans):
    """Plans of mixtures whose two images a sampler of pairs chose, such as ``ConfusionPairBatchSampler``.

    Args:
        sampler: gives rows (i, j), or the same flattened: ``i0, j0, i1, j1, ...``.
        labels: (N,) int64 of the data set.
        coefficients: ``(epoch, step, pairs) -> (pairs,)`` float32, mixing coefficient of the first image of each pair.

    >>> from lt_fast.mixing import CPMix
    >>> from lt_fast.sampling import ConfusionPairBatchSampler
    >>> labels = np.array([0, 0, 1, 1])
    >>> sampler = ConfusionPairBatchSampler(labels, [[5, 1], [2, 5]], pairs_per_batch=2, seed=0)
    >>> plan = PairPlans(sampler, labels, CPMix([2, 2], seed=0).coefficients).plan(epoch=0, step=0)
    >>> labels[plan.index], labels[plan.mix.partner]  # true class, and class that it is mistaken for
    (array([0, 0]), array([1, 1]))
    """

    def __init__(self, sampler: NumberedBatches, labels: NDArray[np.int64], coefficients: Any) -> None:
        super().__init__(sampler, labels)
        self._coefficients = coefficients

    def plan(self, epoch: int, step: int) -> BatchPlan:
        """Return the plan of one batch of pairs.

        Raises:
            ValueError: if the number of indices is odd.
        """
        flat = super().plan(epoch, step)
        if len(flat.index) % 2:
            raise ValueError(f"batch_sampler must give rows (i, j), got {len(flat.index)} indices: half a pair is left")
        first = replace(flat, index=flat.index[0::2].copy(), position=flat.position[0::2].copy())
        mix = MixPlan(flat.index[1::2], flat.position[1::2], self._coefficients(epoch, step, len(first.index)))
        return replace(first, mix=checked_mix(mix, first, len(self.labels)))

    def _mixing(self) -> Any:
        """Return the mixer that the coefficients are a method of, or the function itself."""
        return getattr(self._coefficients, "__self__", self._coefficients)


class FixedBatches:
    """The same batches every epoch, in the order given, for evaluation.

    Args:
        batches: index arrays, or the number of samples together with ``batch_size``: then all of them in order.
        batch_size: of the batches when ``batches`` is a number.

    Raises:
        TypeError: if a batch has other entries than integers.
        ValueError: if a batch is not one-dimensional.

    >>> batches = FixedBatches(5, batch_size=2)
    >>> [batches.batch(epoch=0, step=step).tolist() for step in range(len(batches))]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, batches: Sequence[ArrayLike] | int, *, batch_size: int = 0) -> None:
        if isinstance(batches, int):
            rows = np.arange(batches)
            batches = [rows[start : start + batch_size] for start in range(0, batches, batch_size)]
        self._batches = [_checks.index_array(_BATCHES, batch) for batch in batches]
        self.batch_size = max(map(len, self._batches), default=0)
        self.num_batches = len(self._batches)

    def __len__(self) -> int:
        return self.num_batches

    def batch(self, epoch: int, step: int) -> NDArray[np.int64]:  # noqa: ARG002  (the samplers' signature)
        """Return batch ``step``, the same in every epoch."""
        return self._batches[step]

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every epoch is the same."""

    def state_dict(self) -> dict[str, int]:
        """Return what identifies the batches."""
        return {"num_batches": self.num_batches, "samples": sum(map(len, self._batches))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of other batches.

        Raises:
            ValueError: naming the difference.
        """
        for name, value in self.state_dict().items():
            if state.get(name) != value:
                raise ValueError(f"state must be of the same batches: {name} was {state.get(name)}, is {value}")


def _drawn(sampler: NumberedBatches, epoch: int, step: int) -> Any:
    """Return a batch by its number: as an array, where a sampler of this package would make a list of it.

    A class that has its own ``batch`` is asked for that.
    """
    if isinstance(sampler, SeekableBatchSampler) and type(sampler).batch is SeekableBatchSampler.batch:
        return sampler.batch_array(epoch, step)
    return sampler.batch(epoch, step)


def described(part: Any) -> str | None:
    """Return what tells a mixer or transform from others in any process: its ``repr``, or its class's name without one.

    The mixers of ``lt_fast.mixing`` show all their settings. Addresses in memory are left out.
    """
    if part is None:
        return None
    kind: Any = type(part)
    if kind.__repr__ is object.__repr__:
        return str(kind.__qualname__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(part))


def checked_plan(planner: Planner, plan: Any) -> BatchPlan:
    """Return a planner's plan; what its values may be depends on the source, which checks them.

    Raises:
        TypeError: if it is no ``BatchPlan``, or an array is of another kind than its documentation says.
    """
    if not isinstance(plan, BatchPlan):
        raise TypeError(
            f"plan() of {type(planner).__name__} must return a lt_fast.batch.BatchPlan, got {type(plan).__name__}"
        )
    arrays: list[tuple[str, Any, type]] = [("index", plan.index, np.int64), ("position", plan.position, np.int64)]
    if plan.mix is not None:
        arrays += [("mix.partner", plan.mix.partner, np.int64), ("mix.position", plan.mix.position, np.int64)]
        arrays += [("mix.lam", plan.mix.lam, np.float32)]
    for name, array, dtype in arrays:
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{name} of a BatchPlan must be a NumPy array of {dtype.__name__}, got {found}")
    return plan


def checked_index(indices: Any, rows: int) -> NDArray[np.int64]:
    """Return one batch of indices as int64 (B,), rows (i, j) flattened.

    Raises:
        IndexError: naming the first index outside [0, rows).
    """
    index = _checks.index_array(_BATCHES, np.reshape(indices, -1))
    if _outside(index, rows):
        at = int(np.flatnonzero((index < 0) | (index >= rows))[0])
        raise IndexError(f"batch_sampler must give indices in [0, {rows}), got {index[at]} at position {at} of a batch")
    return index


def checked_mix(mix: MixPlan, batch: BatchPlan, rows: int) -> MixPlan:
    """Return a mixer's plan as contiguous arrays of the right types; a single coefficient is repeated.

    Raises:
        TypeError: if partners or positions are not integers.
        ValueError: if an array has another length than the batch, or a coefficient is outside [0, 1].
        IndexError: if a partner is outside [0, rows).
    """
    size = len(batch.index)
    lam = np.asarray(mix.lam, dtype=np.float32)
    arrays: dict[str, NDArray[Any]] = {
        "partner": np.asarray(mix.partner),
        "position": np.asarray(mix.position),
        "lam": np.atleast_1d(lam),
    }
    for name, array in arrays.items():
        if array.shape != (size,) and not (name == "lam" and lam.ndim == 0):
            raise ValueError(f"mixer must give one {name} per image of the batch, ({size},), got shape {array.shape}")
        if name != "lam" and array.dtype.kind not in "iu":
            raise TypeError(f"mixer must give integers as {name}, got dtype {array.dtype}")
    if lam.size and not (lam.min() >= 0 and lam.max() <= 1):  # a NaN is neither
        at = int(np.flatnonzero(~((lam >= 0) & (lam <= 1)))[0])
        raise ValueError(f"mixer must give lam in [0, 1], got {lam.flat[at]:g} at position {at}")
    partner = np.ascontiguousarray(arrays["partner"], dtype=np.int64)
    if _outside(partner, rows):
        wrong = partner[(partner < 0) | (partner >= rows)][0]
        raise IndexError(f"mixer must give partners in [0, {rows}), rows of the data set, got {wrong}")
    position = np.ascontiguousarray(arrays["position"], dtype=np.int64)
    coefficients = lam.copy() if lam.ndim else np.full(size, lam, np.float32)
    return MixPlan(partner, position, coefficients, _checked_boxes(mix.boxes, size))


def _outside(index: NDArray[np.int64], rows: int) -> bool:
    """Return whether an index is not in [0, rows): read without its sign, a negative one is larger than all others."""
    return bool(index.size and index.view(np.uint64).max() >= rows)


def _checked_boxes(boxes: Any, size: int) -> NDArray[np.int32] | None:
    """Return the boxes as (B, 4) int32; the source checks that they are inside its images."""
    if boxes is None:
        return None
    array = np.asarray(boxes)
    if array.ndim != 2 or array.shape[1] != 4:  # noqa: PLR2004
        raise ValueError(f"mixer's boxes must have rows (top, left, bottom, right), got shape {array.shape}")
    if len(array) != size:
        raise ValueError(f"mixer's boxes must have one entry per image of the batch ({size}), got {len(array)}")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"mixer's boxes must be integers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int32)
