"""One optimisation step: run operation by operation, or captured once per phase as a CUDA graph and replayed."""

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lt_fast.batch import Batch
from lt_fast.training.graphs import Capture, SideStream, cuda_graph, reason_of
from lt_fast.training.times import NO_TIMES, Part, Times
from lt_fast.training.transfer import CopyAhead, Streams, Transfer, shapes_of

_WARM_UP_STEPS = 3  # before a capture: libraries choose kernels and allocate their workspaces
_WARM_UP_OF_RANKS = 11  # torch's notes on CUDA graphs ask for these of DistributedDataParallel


class Output(Protocol):
    """What a method's step returns."""

    loss: Tensor
    logs: Mapping[str, Tensor]


BeforeBackward = Callable[[Tensor], None]
"""Called with the loss before anything is changed; may raise."""


class StepRunner(Protocol):
    """Takes the steps of a training, one after the other."""

    @property
    def moved(self) -> Callable[[Iterator[Mapping[str, Batch]]], Iterator[Mapping[str, Batch]]]:
        """From batches on the host to batches on the device."""

    def __call__(
        self, batches: Mapping[str, Batch], *, phase: Hashable, rate: float, weight: float, check: BeforeBackward
    ) -> Any:
        """Run one step and return the method's output; see ``EagerStep``."""


class EagerStep:
    """Forward pass, loss, backward pass and optimizer, one operation after another.

    Args:
        method: called with the batches of a step; wrapped in ``DistributedDataParallel`` on several ranks.
        optimizer: of its parameters.
        device: where the method is.
        amp: run the step under bfloat16 autocast.
        channels_last: memory order of images on the device.
        times: told of every part of a step.
    """

    def __init__(
        self,
        method: nn.Module,
        optimizer: Optimizer,
        *,
        device: torch.device,
        amp: bool,
        channels_last: bool = True,
        times: Times = NO_TIMES,
    ) -> None:
        self.method, self.optimizer, self.device, self.amp = method, optimizer, device, amp
        self.channels_last, self.times = channels_last, times
        self.rates = _Rates(optimizer, device)
        self.moved = Transfer(device, channels_last=channels_last, times=times)

    def __call__(
        self,
        batches: Mapping[str, Batch],
        *,
        phase: Hashable,  # noqa: ARG002  (an eager step is the same in every phase)
        rate: float,
        weight: float,
        check: BeforeBackward,
    ) -> Any:
        """Run one step and return the method's output.

        Args:
            batches: on the device, as ``moved`` gives them.
            phase: of the method; another phase is another computation.
            rate: learning rate of the step; a group's ``lr_scale`` multiplies it.
            weight: factor of the loss; see ``Batch.weight``.
            check: called with the loss before the backward pass.
        """
        self.rates.set(rate)
        return self.run(batches, weight, check, self.times)

    def run(
        self, batches: Mapping[str, Batch], weight: float, check: BeforeBackward | None, times: Times = NO_TIMES
    ) -> Any:
        """Run the operations of one step."""
        with times.part(Part.FORWARD):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                output = self.method(batches)
            if check is not None:
                check(output.loss)
        with times.part(Part.BACKWARD):
            self.optimizer.zero_grad()
            (output.loss if weight == 1 else output.loss * weight).backward()
        with times.part(Part.OPTIMIZER):
            self.optimizer.step()
        return output


class GraphStep:
    """The whole step as a CUDA graph: one launch instead of hundreds, the same results.

    Each phase and shape of the batches has a graph of its own, captured after a few eager steps; tensors of a batch are
    copied into the graph's input tensors. A shape that comes once per epoch, the last short batch, runs eagerly. The
    loss is checked after the step, because nothing on the host can stop a graph half-way. When another phase begins,
    the graphs of the one before are dropped, and the memory that they hold. A step that cannot be captured runs
    eagerly, and so do all after it, with a warning.

    Args:
        eager: runs the operations.
        capture: from a function to one that repeats what it did on the same tensors; ``cuda_graph`` by default.
        warm_up: eager steps before a capture, which count as steps of the training; more than ten where the method
            is a ``DistributedDataParallel``, which arranges its buckets in the first steps.
        streams: of the device, for copies one step ahead; on the CPU none by default.

    Raises:
        ValueError: if the optimizer cannot read its learning rate from the device.
    """

    def __init__(
        self,
        eager: EagerStep,
        *,
        capture: Capture | None = None,
        warm_up: int | None = None,
        streams: Streams | None = None,
    ) -> None:
        if not eager.rates.on_device:
            name = type(eager.optimizer).__name__
            raise ValueError(
                f"optimizer must be made with fused=True or capturable=True for step='graph', got {name} with neither"
            )
        several = isinstance(eager.method, DistributedDataParallel)
        usual = _WARM_UP_OF_RANKS if several else _WARM_UP_STEPS
        self.eager, self.warm_up = eager, usual if warm_up is None else warm_up
        self.capture: Capture | None = cuda_graph if capture is None else capture
        self.moved: Transfer | CopyAhead = eager.moved
        if streams is not None or eager.device.type == "cuda":
            channels_last, times = eager.channels_last, eager.times
            self.moved = CopyAhead(eager.device, channels_last=channels_last, streams=streams, times=times)
        self._on_the_side = SideStream(eager.device)
        self._begin(None)

    def __call__(
        self, batches: Mapping[str, Batch], *, phase: Hashable, rate: float, weight: float, check: BeforeBackward
    ) -> Any:
        """Run one step; see ``EagerStep``."""
        self.eager.rates.set(rate)
        if phase != self._phase:
            self._begin(phase)
        key = (weight, shapes_of(batches))
        graph = self._graphs.get(key)
        if graph is None and self._is_due(key, batches):
            graph = self._captured(key, batches, weight)
        if graph is None:
            with self._on_the_side():
                return self.eager.run(batches, weight, check, self.eager.times)
        with self.eager.times.part(Part.GRAPH):
            output = graph.replay(batches)
        check(output.loss)
        return output

    def _begin(self, phase: Hashable) -> None:
        self._phase = phase
        self._seen: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, _Graph] = {}
        self._most_rows = 0

    def _is_due(self, key: Hashable, batches: Mapping[str, Batch]) -> bool:
        rows = sum(map(len, batches.values()))
        self._most_rows = max(rows, self._most_rows)
        self._seen[key] = self._seen.get(key, 0) + 1
        return self.capture is not None and rows == self._most_rows and self._seen[key] > self.warm_up

    def _captured(self, key: Hashable, batches: Mapping[str, Batch], weight: float) -> "_Graph | None":
        """Return the graph of this step, or None where it cannot be captured: nothing has been computed then."""
        assert self.capture is not None
        try:
            self._graphs[key] = _Graph(self.eager, batches, weight, self.capture)
        except RuntimeError as error:
            self.capture = None
            warnings.warn(
                f"step='graph' goes on as 'eager': the step cannot be captured: {reason_of(error)}", stacklevel=5
            )
        return self._graphs.get(key)


class _Graph:
    """A captured step and its input tensors."""

    def __init__(self, eager: EagerStep, batches: Mapping[str, Batch], weight: float, capture: Capture) -> None:
        self._inputs = {name: batch.clone() for name, batch in batches.items()}
        eager.optimizer.zero_grad()  # gradients are allocated inside the graph's memory
        self._replay, self._output = capture(lambda: eager.run(self._inputs, weight, None))

    def replay(self, batches: Mapping[str, Batch]) -> Any:
        for name, batch in batches.items():
            self._inputs[name].copy_(batch)
        self._replay()
        return self._output


class _Rates:
    """The learning rate of every parameter group: on a GPU in its memory, where the optimizer's kernel reads it there.

    So a captured graph reads the rate of each step, and an eager step computes the same bits.

    Attributes:
        on_device: whether a captured step would follow a change.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._groups = optimizer.param_groups
        self._scales = [group.get("lr_scale", 1.0) for group in self._groups]
        readers = [bool(group.get("fused") or group.get("capturable")) for group in self._groups]
        self.on_device = device.type != "cuda" or all(readers)
        self._last: float | None = None
        self._views: list[Tensor | None] = [None] * len(readers)
        if device.type == "cuda" and any(readers):
            self._device_scales = torch.tensor(self._scales, dtype=torch.float64, device=device)
            self._tensor = torch.zeros(len(readers), device=device)
            self._views = [self._tensor[at] if reads else None for at, reads in enumerate(readers)]

    def set(self, rate: float) -> None:
        """Set the rate of every group: ``rate`` times its ``lr_scale``."""
        if rate == self._last:
            return
        for group, scale, view in zip(self._groups, self._scales, self._views, strict=True):
            group["lr"] = rate * scale if view is None else view
        if any(view is not None for view in self._views):
            torch.mul(self._device_scales, rate, out=self._tensor)  # one kernel, and no copy from the host
        self._last = rate
