"""``Workers``: processes that decode batches by their plans, from the first epoch of a loader to its last."""

import atexit
import os
import signal
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from lt_fast.batch import Batch, BatchPlan
from lt_fast.data.sources import ImageSource


def read_batch(source: ImageSource, transform: Any, seed: int, plan: BatchPlan) -> Batch:
    """Return the batch of a plan: pixels, labels, mixing coefficients."""
    labels, mix = source.labels, plan.mix
    return Batch(
        views=source.read(plan, transform, seed),
        target=torch.from_numpy(labels[plan.index]),
        target_b=None if mix is None else torch.from_numpy(labels[mix.partner]),
        lam=None if mix is None else torch.from_numpy(mix.lam),
        index=torch.from_numpy(plan.index),
        boxes=None if mix is None or mix.boxes is None else torch.from_numpy(mix.boxes),
        weight=plan.weight,
    )


class Answer(NamedTuple):
    """What a worker process sends: a batch, or why there is none; and what was warned of."""

    batch: Batch | Exception
    warned: Sequence[tuple[type[Warning], str]]


class Settings(NamedTuple):
    """Arguments of ``DataLoader``."""

    num_workers: int
    prefetch_factor: int
    pin_memory: bool


class Workers:
    """Processes that are sent plans, a few hundred bytes each, and return batches.

    They end when this object is no longer referenced. Each has a copy of the source and the transform as they were when
    it started: ``have`` says whether these are still the same.

    Args:
        source: of the images.
        transform: of the source; its ``imports()`` is called, if it has one.
        seed: key of the augmentation.
        settings: of ``DataLoader``.
    """

    def __init__(self, source: ImageSource, transform: Any, seed: int, settings: Settings) -> None:
        if hasattr(transform, "imports"):
            transform.imports()
        self._parts, self._settings = _parts(source, transform), (seed, settings)
        self._inherited, self._plans, self._answered = False, _Plans(), 0
        loader: DataLoader[Any] = DataLoader(
            _Reader(source, transform, seed),
            batch_size=None,
            sampler=self._plans,
            worker_init_fn=_ignore_interrupt,
            generator=torch.Generator(),  # otherwise DataLoader reads the global generator
            persistent_workers=True,
            **settings._asdict(),
        )
        # The one reference to the loader: where the garbage collector finds a cycle with this object, its processes
        # are told to end before torch's queues to them are closed, else each is waited for.
        self._loader = [loader]
        self._end = weakref.finalize(self, self._loader.clear)
        _LIVING.add(self)

    def have(self, source: ImageSource, transform: Any, seed: int, settings: Settings) -> bool:
        """Whether these workers read the same images in the same way: nothing has been assigned since they started."""
        parts = _parts(source, transform)
        same = len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts, strict=True))
        return same and self._settings == (seed, settings) and not self._inherited

    def read(self, plans: Iterator[BatchPlan]) -> Iterator[Answer]:
        """Yield an answer for each plan, in order. Only one call at a time."""
        self._plans.following, self._answered = plans, 0
        batches = iter(self._loader[0])
        # Moved behind what torch has registered with its processes, so that it runs before: torch waits for each.
        atexit.unregister(_end_all)
        atexit.register(_end_all)
        for self._answered, answer in enumerate(batches, 1):
            yield answer

    @property
    def are_done(self) -> bool:
        """Whether every plan has been answered, also if the last call of ``read`` was not asked for its end."""
        return self._plans.ended and self._answered == self._plans.sent

    def close(self) -> None:
        """End the processes."""
        self._end()

    def leave_to_parent(self) -> None:
        """Do not end the processes with this object: it is the copy in a forked process, and they are the parent's."""
        self._inherited = True
        self._end.detach()
        _INHERITED.append(self)


_LIVING: "weakref.WeakSet[Workers]" = weakref.WeakSet()
_INHERITED: list[Workers] = []


def _leave_to_parent() -> None:
    for workers in list(_LIVING):
        workers.leave_to_parent()


def _end_all() -> None:
    for workers in list(_LIVING):
        workers.close()


if hasattr(os, "register_at_fork"):  # no process is forked on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


class _Plans:
    """The sampler of a ``DataLoader`` that lives for several epochs: the plans of the next one."""

    following: Iterator[BatchPlan] = iter(())
    sent, ended = 0, False

    def __iter__(self) -> Iterator[BatchPlan]:
        self.sent, self.ended = 0, False
        for plan in self.following:
            self.sent += 1
            yield plan
        self.ended = True


class _Reader(Dataset[Any]):
    """The data set of a worker process: a plan in, a batch out."""

    def __init__(self, source: ImageSource, transform: Any, seed: int) -> None:
        self._source, self._transform, self._seed = source, transform, seed

    def __getitem__(self, plan: Any) -> Answer:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                batch: Batch | Exception = read_batch(self._source, self._transform, self._seed, plan)
            except Exception as error:  # noqa: BLE001  (raised again in the main process; torch would rewrite its message)
                batch = error
        return Answer(batch, [(each.category, str(each.message)) for each in caught])


def _parts(source: ImageSource, transform: Any) -> list[Any]:
    """Return both with the names and values of their attributes: a worker's copy lacks what is assigned later."""
    attributes = [
        item for part in (source, transform) for pair in getattr(part, "__dict__", {}).items() for item in pair
    ]
    return [source, transform, *attributes]


def _ignore_interrupt(worker: int) -> None:  # noqa: ARG001  (DataLoader's signature)
    """Leave Ctrl-C to the main process, which finishes its step and saves; workers then end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
