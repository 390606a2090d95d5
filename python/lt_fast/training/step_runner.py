"""One optimisation step: run operation by operation, or captured once per phase as a CUDA graph and replayed."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_fast.batch import Batch

_WARM_UP_STEPS = 3  # before a capture: libraries choose kernels and allocate their workspaces


class Output(Protocol):
    """What a method's step returns."""

    loss: Tensor
    logs: Mapping[str, Tensor]


BeforeBackward = Callable[[Tensor], None]
"""Called with the loss before anything is changed; may raise."""


class EagerStep:
    """Forward pass, loss, backward pass and optimizer, one operation after another.

    Args:
        method: called with the batches of a step; wrapped in ``DistributedDataParallel`` on several ranks.
        optimizer: of its parameters.
        device: where the method is.
        amp: run the step under bfloat16 autocast.
    """

    def __init__(self, method: nn.Module, optimizer: Optimizer, *, device: torch.device, amp: bool) -> None:
        self.method, self.optimizer, self.device, self.amp = method, optimizer, device, amp
        # A tensor on CUDA, so that a captured graph reads each step's rate and an eager step computes the same bits.
        self.rates = [_rate_tensor(group, device) for group in optimizer.param_groups]

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
            batches: on the device.
            phase: of the method; another phase is another computation.
            rate: learning rate of the step; a group's ``lr_scale`` multiplies it.
            weight: factor of the loss; see ``Batch.weight``.
            check: called with the loss before the backward pass.
        """
        self.set_rate(rate)
        return self.run(batches, weight, check)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every parameter group."""
        for group, tensor in zip(self.optimizer.param_groups, self.rates, strict=True):
            scaled = rate * group.get("lr_scale", 1.0)
            group["lr"] = scaled if tensor is None else tensor.fill_(scaled)

    def run(self, batches: Mapping[str, Batch], weight: float, check: BeforeBackward | None) -> Any:
        """Run the operations of one step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            output = self.method(batches)
        if check is not None:
            check(output.loss)
        self.optimizer.zero_grad()
        (output.loss if weight == 1 else output.loss * weight).backward()
        self.optimizer.step()
        return output


class GraphStep:
    """The whole step as a CUDA graph: one launch instead of hundreds, the same results.

    Each phase and shape of the batches has a graph of its own, captured after a few eager steps; tensors of a batch are
    copied into the graph's input tensors. A shape that comes once per epoch, the last short batch, runs eagerly. The
    loss is checked after the step, because nothing on the host can stop a graph half-way. When another phase begins,
    the graphs of the one before are dropped, and the memory that they hold.

    Args:
        eager: runs the operations.
        capture: from a function to one that repeats what it did on the same tensors; ``cuda_graph`` by default.
        warm_up: eager steps before a capture, which count as steps of the training.

    Raises:
        ValueError: if the optimizer cannot read its learning rate from the device.
    """

    def __init__(
        self,
        eager: EagerStep,
        *,
        capture: "Capture | None" = None,
        warm_up: int = _WARM_UP_STEPS,
    ) -> None:
        if eager.device.type == "cuda" and any(rate is None for rate in eager.rates):
            name = type(eager.optimizer).__name__
            raise ValueError(
                f"optimizer must be made with fused=True or capturable=True for step='graph', got {name} with neither"
            )
        self.eager, self.warm_up = eager, warm_up
        self.capture = cuda_graph if capture is None else capture
        self._begin(None)

    def __call__(
        self, batches: Mapping[str, Batch], *, phase: Hashable, rate: float, weight: float, check: BeforeBackward
    ) -> Any:
        """Run one step; see ``EagerStep``."""
        self.eager.set_rate(rate)
        if phase != self._phase:
            self._begin(phase)
        key = (weight, _shapes(batches))
        graph = self._graphs.get(key)
        if graph is None and not self._is_due(key, batches):
            with _side_stream(self.eager.device):
                return self.eager.run(batches, weight, check)
        if graph is None:
            graph = self._graphs[key] = _Graph(self.eager, batches, weight, self.capture)
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
        return rows == self._most_rows and self._seen[key] > self.warm_up


Capture = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""From a function to a function that repeats it on the same tensors, and what it returned."""


def cuda_graph(function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Capture ``function`` as a CUDA graph; capturing runs nothing."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return graph.replay, output


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


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Run on another stream: what autograd sets up on the default stream cannot be captured later."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def _shapes(batches: Mapping[str, Batch]) -> Hashable:
    return tuple((name, batch.signature()) for name, batch in batches.items())


def _rate_tensor(group: Mapping[str, Any], device: torch.device) -> Tensor | None:
    if device.type != "cuda" or not (group.get("fused") or group.get("capturable")):
        return None
    return torch.zeros((), device=device)
