"""Where the seconds of a training go, and a trace of a few of its steps."""

import gzip
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch._C._autograd import DeviceType

from lt_fast._files import FOR_RUN, replace_file
from lt_fast.errors import DataError

_T = TypeVar("_T")

TRACE = "trace.json.gz"
"""Name of the trace in a run directory; chrome://tracing and ui.perfetto.dev open it."""

_TRACE_FROM, _TRACE_STEPS = 8, 4  # the steps before allocate, choose kernels and capture


class Part(StrEnum):
    """What a training spends its time on."""

    DATA = "waiting for data"
    COPY = "copy to device"
    FORWARD = "forward and loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    GRAPH = "step as a CUDA graph"
    EVALUATION = "evaluation"
    CHECKPOINT = "checkpoint"


_ON_DEVICE = (Part.FORWARD, Part.BACKWARD, Part.OPTIMIZER, Part.GRAPH)
_NOTHING: AbstractContextManager[None] = nullcontext()


class Times:
    """Measures the parts of a training; this one measures nothing, and costs nothing.

    >>> class Steps(Times):
    ...     count = 0
    ...     def step(self):
    ...         self.count += 1
    >>> steps = Steps()
    >>> with measuring(steps, torch.device("cpu")):  # fit(times=steps) does it
    ...     steps.step()
    >>> steps.count
    1
    """

    def begin(self, device: torch.device) -> None:
        """Start the clock."""

    def part(self, part: Part) -> AbstractContextManager[None]:  # noqa: ARG002  (for subclasses)
        """Count the time of the block as one of ``part``; blocks do not contain each other."""
        return _NOTHING

    def waiting(self, items: Iterator[_T]) -> Iterator[_T]:
        """Count the time that ``items`` takes to give the next one as waiting for data."""
        return items

    def step(self) -> None:
        """One step more has been taken."""

    def end(self) -> None:
        """Stop the clock."""


NO_TIMES = Times()


@contextmanager
def measuring(times: Times, device: torch.device) -> Iterator[None]:
    """Measure the block, however it ends."""
    times.begin(device)
    try:
        yield
    finally:
        times.end()


class Measured(Times):
    """Seconds of every part on the host, and on a GPU of those parts there; a trace of a few steps by request.

    Nothing waits for a GPU on its account, but for the few steps of the trace; their time counts nowhere.

    Args:
        trace: file to write a trace of the steps 9 to 12 to, in Chrome's format, packed by gzip; none by default.

    Attributes:
        seconds: of the host, by part.
        device_seconds: of the GPU, by part; empty on the CPU.
        total: seconds from beginning to end, without the traced steps.
        busy: share of the time of the traced steps in which the GPU computed; None on the CPU, or without a trace.

    Example:
        >>> times = Measured()
        >>> times.begin(torch.device("cpu"))
        >>> with times.part(Part.FORWARD):
        ...     _ = torch.ones(3).sum()
        >>> times.end()
        >>> [part.value for part in times.seconds]
        ['forward and loss']
    """

    def __init__(self, trace: Path | None = None) -> None:
        self.seconds: dict[Part, float] = {}
        self.device_seconds: dict[Part, float] = {}
        self.total = 0.0
        self.busy: float | None = None
        self._trace, self._left_out, self._began = trace, 0.0, time.perf_counter()
        self._events: deque[tuple[Part, Any, Any]] = deque()
        self._steps, self._traced, self._cuda = 0, 0, False
        self._profiler: Any = None

    def begin(self, device: torch.device) -> None:
        """Start the clock."""
        self._cuda = device.type == "cuda"
        self._began = time.perf_counter()

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """Count the time of the block."""
        if self._profiler is not None:
            with torch.profiler.record_function(part):
                yield
            return
        before = self._event() if self._cuda and part in _ON_DEVICE else None
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began
            if before is not None:
                self._events.append((part, before, self._event()))

    def waiting(self, items: Iterator[_T]) -> Iterator[_T]:
        """Count the time that the next item takes."""
        nothing: Any = object()
        while True:
            with self.part(Part.DATA):
                item = next(items, nothing)
            if item is nothing:
                return
            yield item

    def step(self) -> None:
        """Begin and end the trace where it is due, and look at what the GPU has done."""
        self._steps += 1
        while self._events and self._events[0][2].query():
            self._settle(*self._events.popleft())
        if self._trace is not None and self._steps == _TRACE_FROM:
            self._begin_trace()
        elif self._profiler is not None and self._steps == _TRACE_FROM + _TRACE_STEPS:
            self._end_trace()

    def end(self) -> None:
        """Stop the clock, and the trace."""
        if self._profiler is not None:  # fewer steps than the trace has
            self._end_trace()
        self.total = time.perf_counter() - self._began - self._left_out
        while self._events:
            self._events[0][2].synchronize()
            self._settle(*self._events.popleft())

    def table(self) -> str:
        """Return the seconds and shares of all parts, as aligned lines."""
        if not self.total:
            return "where the time went: nothing was trained"
        parts: dict[str, float] = {str(part): seconds for part, seconds in self.seconds.items()}
        parts["rest"] = max(self.total - sum(parts.values()), 0.0)
        there = {str(part): seconds for part, seconds in self.device_seconds.items()}
        lines = [["where the time went", "seconds", "share", *(["on the GPU"] if self._cuda else [])]]
        for name, seconds in parts.items():
            share = 100 * seconds / self.total
            lines.append([name, f"{seconds:.2f}", f"{share:.1f} %"])
            if self._cuda:
                lines[-1].append(f"{there[name]:.2f}" if name in there else "-")
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        return "\n".join(told + self._about_trace())

    def _about_trace(self) -> list[str]:
        if not self._traced:
            return []
        busy = "" if self.busy is None else f"; the GPU computed for {100 * self.busy:.0f} % of the time"
        return [f"trace of {self._traced} step{'s' * (self._traced != 1)}: {self._trace}{busy}"]

    def _event(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _settle(self, part: Part, before: Any, after: Any) -> None:
        self.device_seconds[part] = self.device_seconds.get(part, 0.0) + before.elapsed_time(after) / 1000

    def _begin_trace(self) -> None:
        self._trace_began = time.perf_counter()
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would complain of the GPU that a machine does not have
        kinds = torch.profiler.ProfilerActivity
        self._wait()
        self._profiler = torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if self._cuda else [])])
        self._profiler.start()
        self._window = time.perf_counter()

    def _end_trace(self) -> None:
        self._wait()
        window = time.perf_counter() - self._window
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        if self._cuda:
            self.busy = min(busy_seconds(profiler.events()) / window, 1.0)
        if self._steps > _TRACE_FROM:  # else the training has ended
            self._write(profiler)
        self._left_out = time.perf_counter() - self._trace_began

    def _write(self, profiler: Any) -> None:
        assert self._trace is not None
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(plain))
            packed = gzip.compress(plain.read_bytes())
        try:
            replace_file(self._trace, packed, next_step=FOR_RUN)
            self._traced = self._steps - _TRACE_FROM
        except DataError as error:
            warnings.warn(f"no trace: {error}", stacklevel=2)

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


def busy_seconds(events: Iterable[Any]) -> float:
    """Return the time of kernels and copies; the names of parts are on the GPU's time line as well."""
    parts, cuda = {str(part) for part in Part}, DeviceType.CUDA
    on_device = (each for each in events if each.device_type == cuda and each.name not in parts)
    return float(sum(each.time_range.elapsed_us() for each in on_device)) / 1e6
