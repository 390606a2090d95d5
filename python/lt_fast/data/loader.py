"""``Loader``: plans into batches, inline, in threads or in worker processes, always the same ones."""

import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike

from lt_fast import _checks
from lt_fast.batch import Batch, BatchPlan
from lt_fast.data.plans import (
    FixedBatches,
    Mixer,
    NumberedBatches,
    Planner,
    SamplerPlans,
    checked_plan,
    described,
)
from lt_fast.data.sources import ArraySource, ImageSource
from lt_fast.data.workers import Answer, Settings, Workers, read_batch
from lt_fast.ranks import Ranks

_STATE_VERSION = 1
_OF_PARENTS: list[Iterator[Batch]] = []
"""Iterators that this process inherited when it was forked. Closing one would stop the workers of its parent."""


class Loader:
    """Batches of augmented and mixed images, each a pure function of (seed, epoch, step).

    They are bit-identical for any number of workers, and the rows of all ranks together are the batch of one rank: a
    training can stop at any step and continue with other numbers of both.

    Args:
        source: ``ArraySource`` or ``FileSource``.
        batch_sampler: a batch sampler of ``lt_fast.sampling``, a sequence of index arrays (evaluation), or a
            ``Planner``.
        transform: ``CropFlip`` for an ``ArraySource``; for files any callable from a ``PIL.Image`` to a tensor.
        mixer: of ``lt_fast.mixing``; not together with a ``Planner``, which mixes by itself.
        views: augmented copies of each image in ``batch.views``.
        seed: key of the augmentation, in [0, 2**64).
        workers: threads (images in memory) or processes (files) that prepare batches ahead; 0 prepares them inline.
        prefetch: batches prepared ahead per worker.
        pin_memory: batches in page-locked memory; ``"auto"`` does so where a GPU is there.
        ranks: of this process; every rank gets its rows of the same global batches.

    Raises:
        TypeError: if the sampler does not give its batches by number, or a number is not an integer.
        ValueError: if a number is out of its range, or memory cannot be page-locked; when a batch is read, if the
            mixer's ``image_size`` is not that of the images.

    *Epochs.* ``iter()`` starts the current epoch, or, once after ``load_state_dict``, continues at the saved position.
    An iterator that reaches its end moves ``epoch`` to the next one.

    *Processes.* Those of a ``FileSource`` stay for the next epoch when an epoch is read to its end. They end with the
    loader, and when an epoch is left early. What is assigned to the source or the transform between epochs starts new
    ones.

    >>> import numpy as np
    >>> import lt_fast as lt
    >>> source = lt.data.ArraySource(np.zeros((100, 32, 32, 3), np.uint8), np.repeat([0, 1], [90, 10]))
    >>> sampler = lt.sampling.ClassBalancedBatchSampler(source.labels, batch_size=20, seed=0)
    >>> transform = lt.data.CropFlip(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    >>> loader = Loader(source, sampler, transform=transform, mixer=lt.mixing.Mixup(seed=0), seed=0)
    >>> for batch in loader:
    ...     print(batch.x.shape, batch.target.bincount().tolist(), round(batch.lam[0].item(), 2))
    torch.Size([20, 3, 32, 32]) [10, 10] 0.17
    torch.Size([20, 3, 32, 32]) [10, 10] 0.05
    torch.Size([20, 3, 32, 32]) [10, 10] 0.91
    torch.Size([20, 3, 32, 32]) [10, 10] 0.88
    torch.Size([20, 3, 32, 32]) [10, 10] 0.97
    """

    def __init__(
        self,
        source: ImageSource,
        batch_sampler: NumberedBatches | Planner | Sequence[ArrayLike],
        *,
        transform: Any,
        mixer: Mixer | None = None,
        views: int = 1,
        seed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool | Literal["auto"] = "auto",
        ranks: Ranks = Ranks(),  # noqa: B008  (immutable)
    ) -> None:
        source.check(transform)
        self.source, self.transform, self.ranks = source, transform, ranks
        self.seed = _checks.seed(seed)
        self.workers = _checks.integer("workers", workers, least=0)
        self.prefetch = _checks.integer("prefetch", prefetch, least=1)
        self.pin_memory = _pin_memory(pin_memory)
        self._reader = source.page_locked() if self.pin_memory and isinstance(source, ArraySource) else source
        self.planner = _planner(source, batch_sampler, mixer, _checks.integer("views", views, least=1))
        self._views = getattr(self.planner, "views", 1)
        self.epoch, self._position = 0, 0
        self._idle: deque[Workers] = deque(maxlen=1)

    def __len__(self) -> int:
        """Return the batches in an epoch, the same on every rank."""
        return self.planner.num_batches

    def __iter__(self) -> Iterator[Batch]:
        epoch, start = self.epoch, self._position
        for done, batch in enumerate(self.batches(epoch, start), start + 1):
            self._position = done
            yield batch
        self.epoch, self._position = epoch + 1, 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from step ``start`` on, whatever has been read before.

        A process that is forked meanwhile and continues the iterator gets the rest of the batches from workers of its
        own.

        >>> import numpy as np
        >>> import lt_fast as lt
        >>> source = lt.data.ArraySource(np.zeros((6, 8, 8, 1), np.uint8), [0, 0, 0, 0, 1, 1])
        >>> sampler = lt.sampling.ShuffledBatchSampler(6, batch_size=2, seed=0)
        >>> loader = Loader(source, sampler, transform=lt.data.CropFlip(mean=(0.5,), std=(0.2,)), seed=0)
        >>> rows = [batch.index.tolist() for batch in loader.batches(epoch=4, start=1)]
        >>> rows == [sampler.batch(4, 1), sampler.batch(4, 2)]
        True
        """
        process, batches = os.getpid(), self._batches(self.plan(epoch, step) for step in range(start, len(self)))
        try:
            for done, batch in enumerate(batches, start + 1):
                self._check_size(batch)
                yield batch
                if os.getpid() != process:
                    yield from self.batches(epoch, done)
                    return
        finally:
            if os.getpid() != process:
                _OF_PARENTS.append(batches)

    def plan(self, epoch: int, step: int) -> BatchPlan:
        """Return this rank's rows of the plan of one batch."""
        plan = checked_plan(self.planner, self.planner.plan(epoch, step))
        return plan if self.ranks.world_size == 1 else plan.shard(*self.ranks)

    def identity(self) -> dict[str, Any]:
        """Return what tells these batches from others, JSON values: not the position, the ranks or the workers."""
        plans = {name: value for name, value in self.planner.state_dict().items() if name not in ("epoch", "position")}
        own = {"seed": self.seed, "plans": plans, "views": self._views, "transform": described(self.transform)}
        decoder = getattr(self.source, "decoder", "pillow")
        return own if decoder == "pillow" else {**own, "decoder": decoder}  # a state without one is of Pillow

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` with the next ``iter()``; the current one changes nothing."""
        if epoch != self.epoch:
            self.epoch, self._position = _checks.integer("epoch", epoch, least=0), 0
        self.planner.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the batch that was delivered last, and what identifies the batches."""
        return {"version": _STATE_VERSION, "epoch": self.epoch, "position": self._position, **self.identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next ``iter()`` continue after the batch that was delivered last; ranks and workers may have changed.

        Raises:
            ValueError: if the state is of other batches, naming the difference.
        """
        own = {name: value for name, value in self.identity().items() if name != "plans"}
        _refuse_foreign(state, version=_STATE_VERSION, **own)
        epoch = _checks.integer("state['epoch']", state.get("epoch"), least=0)
        position = _checks.integer("state['position']", state.get("position"), least=0)
        if position > len(self):
            raise ValueError(f"state['position'] must lie in [0, {len(self)}], got {position}")
        self.planner.load_state_dict({**state["plans"], "epoch": epoch, "position": position})
        self.epoch, self._position = epoch, position

    def read(self, plan: BatchPlan) -> Batch:
        """Return the batch of a plan: pixels, labels, mixing coefficients."""
        return read_batch(self._reader, self.transform, self.seed, plan)

    def _check_size(self, batch: Batch) -> None:
        """Raise unless a mixer that plans boxes was made for images of this size: it does not get them."""
        wanted = getattr(getattr(self.planner, "mixer", None), "image_size", None)
        size = tuple(batch.x.shape[-2:])
        if wanted is not None and tuple(wanted) != size:
            raise ValueError(f"the mixer's image_size must be {size}, the size of the images, got {tuple(wanted)}")

    def _batches(self, plans: Iterator[BatchPlan]) -> Iterator[Batch]:
        if self.workers == 0:
            batches: Iterator[Batch] = map(self.read, plans)
        elif self.source.in_memory:
            batches = self._in_threads(plans)
        else:
            return self._in_processes(plans)
        return (batch.pin_memory() for batch in batches) if self.pin_memory else batches

    def _in_threads(self, plans: Iterator[BatchPlan]) -> Iterator[Batch]:
        """Read ahead in threads: the Rust pass runs without the interpreter lock."""
        process, ahead = os.getpid(), deque[Future[Batch]]()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="lt-fast-loader")
        try:
            ahead.extend(pool.submit(self.read, plan) for plan in islice(plans, self.workers * self.prefetch))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(self.read, plan) for plan in islice(plans, 1))
                yield batch
        finally:
            if os.getpid() == process:  # a forked process has none of the threads, but perhaps a lock that one held
                pool.shutdown(wait=True, cancel_futures=True)

    def _in_processes(self, plans: Iterator[BatchPlan]) -> Iterator[Batch]:
        """Decode in worker processes, which are kept for the next epoch if this one is read to its end."""
        settings = Settings(self.workers, self.prefetch, self.pin_memory)
        reading = (self.source, self.transform, self.seed, settings)
        try:
            workers = self._idle.pop()  # one step: another thread may read another epoch of this loader
        except IndexError:
            workers = None
        if workers is None or not workers.have(*reading):
            workers = Workers(*reading)
        try:
            yield from map(self._batch_in, workers.read(plans))
        finally:
            if workers.are_done:
                self._idle.append(workers)
            else:  # a consumer that stops, or an error
                workers.close()

    def _batch_in(self, answer: Answer) -> Batch:
        """Return the batch of a worker, after its warnings."""
        # A worker knows nothing of the others: only here is it known what has been said.
        warn = getattr(self.source, "warn_once", warnings.warn)
        for category, text in answer.warned:
            warn(text, category)
        if isinstance(answer.batch, Exception):
            raise answer.batch
        return answer.batch

    def __getstate__(self) -> dict[str, Any]:
        """Leave the worker processes out: a copy starts its own."""
        return {**vars(self), "_idle": deque(maxlen=1)}


def _pin_memory(pin_memory: bool | Literal["auto"]) -> bool:
    if pin_memory == "auto":
        return torch.cuda.is_available()
    if pin_memory and not torch.accelerator.is_available():
        raise ValueError("pin_memory must be False or 'auto' where torch finds no GPU, got True")
    return bool(pin_memory)


def _refuse_foreign(state: Mapping[str, Any], **wanted: Any) -> None:
    for name, own in wanted.items():
        if state.get(name) != own:
            raise ValueError(f"state must come from the same loader: {name} was {state.get(name)!r}, is {own!r}")
    unknown = sorted(state.keys() - wanted.keys() - {"epoch", "position", "plans"})
    if unknown:
        raise ValueError(f"state must come from the same loader: {unknown[0]} was {state[unknown[0]]!r}, is absent")
    if not isinstance(state.get("plans"), Mapping):
        raise ValueError(  # noqa: TRY004  (a state is damaged, whatever is wrong with it)
            f"state['plans'] must be what identifies the batches, got {state.get('plans')!r}"
        )


def _planner(source: ImageSource, batches: Any, mixer: Mixer | None, views: int) -> Planner:
    if isinstance(batches, Planner):
        if mixer is not None or views != 1:
            raise ValueError("mixer and views must be left out when batch_sampler is a Planner: it plans both itself")
        return batches
    if isinstance(batches, Sequence):
        batches = FixedBatches(batches)
    return SamplerPlans(batches, source.labels, mixer=mixer, views=views)
