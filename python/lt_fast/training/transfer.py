"""Batches from the host to the device of the method, on a GPU while it computes the step before."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import torch

from lt_fast.batch import Batch
from lt_fast.training.times import NO_TIMES, Part, Times

Batches: TypeAlias = Mapping[str, Batch]

_SLOTS = 2  # one is read by a step while the other is filled
_MOST_SHAPES = 8
_MOST_COPIES = 4  # that the host may be ahead of the GPU: a batch stays until its copy is done


class Event(Protocol):
    """A place in a queue of work, as ``torch.cuda.Event``."""

    def query(self) -> bool:
        """Return whether the work before it is done."""

    def synchronize(self) -> None:
        """Wait until it is."""


class Streams(Protocol):
    """Two queues of work on a device: one that computes, and one that copies."""

    def copy(self, function: Callable[[], None], after: Any) -> Any:
        """Queue ``function`` behind the copies, not before the event ``after``; return the event of its end."""

    def wait(self, event: Any) -> None:
        """Let what is computed from now on wait for ``event``."""

    def mark(self) -> Any:
        """Return the event of the end of what has been queued to be computed."""

    def used_by_copies(self, batch: Batch) -> None:
        """Keep the memory of ``batch``, once it is freed, until the copies so far are done."""


class CudaStreams:
    """The current stream of a GPU, and one of its own that copies."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def copy(self, function: Callable[[], None], after: Any) -> Any:
        """Run ``function`` on the stream of copies."""
        self._copies.wait_event(after)
        with torch.cuda.stream(self._copies):
            function()
            return self._copies.record_event()

    def wait(self, event: Any) -> None:
        """Let the current stream wait."""
        torch.cuda.current_stream(self._device).wait_event(event)

    def mark(self) -> Any:
        """Record an event on the current stream."""
        return torch.cuda.current_stream(self._device).record_event()

    def used_by_copies(self, batch: Batch) -> None:
        """Tell torch's allocator of the second stream."""
        for tensor in batch.tensors():
            if tensor is not None:
                tensor.record_stream(self._copies)


class UnderWay:
    """Batches in page-locked memory whose copies may not be done: their memory must not be filled again.

    Args:
        most: copies that may wait; then the host waits for the oldest, while the GPU has the others to work on.
    """

    def __init__(self, most: int = _MOST_COPIES) -> None:
        self._most = most
        self._waiting: deque[tuple[Event, Batches]] = deque()

    def keep(self, batches: Batches, copied: Event) -> None:
        """Keep ``batches`` until the event ``copied``."""
        self._waiting.append((copied, batches))
        while self._waiting[0][0].query() and len(self._waiting) > 1:
            self._waiting.popleft()
        if len(self._waiting) > self._most:
            self._waiting.popleft()[0].synchronize()


class Transfer:
    """Batches where the method is, in the memory order that it computes in; on a GPU none waits for its copy.

    Args:
        device: of the method.
        channels_last: memory order of images.
        times: told of every copy.
    """

    def __init__(self, device: torch.device, *, channels_last: bool, times: Times = NO_TIMES) -> None:
        self._device, self._channels_last, self._times = device, channels_last, times
        self._under_way = UnderWay()

    def __call__(self, steps: Iterator[Batches]) -> Iterator[Batches]:
        """Yield the batches of each step on the device."""
        for batches in steps:
            with self._times.part(Part.COPY):
                moved = {
                    name: batch.to(self._device, channels_last=self._channels_last) for name, batch in batches.items()
                }
                if self._device.type == "cuda":
                    self._under_way.keep(batches, torch.cuda.current_stream(self._device).record_event())
            yield moved


class CopyAhead:
    """Batches in buffers on the device that are filled again and again, by a stream of their own.

    The copy of a batch begins as soon as the host has it, while the device computes the step before: each shape has two
    buffers in turn. What is yielded is overwritten two steps later.

    Args:
        device: of the method.
        channels_last: memory order of images.
        streams: of the device; those of CUDA by default.
        times: told of every copy.
    """

    def __init__(
        self, device: torch.device, *, channels_last: bool, streams: Streams | None = None, times: Times = NO_TIMES
    ) -> None:
        self._device, self._channels_last, self._times = device, channels_last, times
        self._streams = CudaStreams(device) if streams is None else streams
        self._under_way = UnderWay()
        self._slots: dict[Hashable, deque[_Slot]] = {}

    def __call__(self, steps: Iterator[Batches]) -> Iterator[Batches]:
        """Yield the batches of each step on the device; a step has to be queued before the next one is asked for."""
        for batches in steps:
            with self._times.part(Part.COPY):
                slot = self._slot(batches)
                copied = self._streams.copy(lambda: slot.fill(batches), slot.read)  # noqa: B023  (called at once)
                self._under_way.keep(batches, copied)
                self._streams.wait(copied)
            yield {name: replace(slot.inputs[name], weight=batch.weight) for name, batch in batches.items()}
            slot.read = self._streams.mark()

    def _slot(self, batches: Batches) -> "_Slot":
        key = shapes_of(batches)
        if key not in self._slots and len(self._slots) == _MOST_SHAPES:
            self._slots.clear()
        slots = self._slots.setdefault(key, deque())
        if len(slots) < _SLOTS:
            slots.append(self._made(batches))
        slots.rotate()
        return slots[0]

    def _made(self, batches: Batches) -> "_Slot":
        inputs = {name: batch.empty(self._device, channels_last=self._channels_last) for name, batch in batches.items()}
        for batch in inputs.values():
            self._streams.used_by_copies(batch)
        return _Slot(inputs, self._streams.mark())  # the memory may have been another tensor's until now


class _Slot:
    """Buffers of one step, and the event after which nothing reads them."""

    def __init__(self, inputs: Batches, read: Any) -> None:
        self.inputs, self.read = inputs, read

    def fill(self, batches: Batches) -> None:
        for name, batch in batches.items():
            self.inputs[name].copy_(batch)


def shapes_of(batches: Batches) -> Hashable:
    """Return names, shapes and dtypes: batches of the same can be copied into each other."""
    return tuple((name, batch.signature()) for name, batch in batches.items())
