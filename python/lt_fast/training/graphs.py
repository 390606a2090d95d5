"""CUDA graphs: what a function did on a GPU, captured once and repeated by one launch."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeAlias

import torch

Capture: TypeAlias = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""From a function to a function that repeats it on the same tensors, and what it returned; runs nothing on the GPU."""

# Torch's allocator keeps a pointer to a graph whose capture failed: it must outlive the process.
_failed: list[Any] = []


def cuda_graph(function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Capture ``function`` as a CUDA graph; capturing runs nothing.

    Other threads may pin memory and ask for events meanwhile.

    Raises:
        RuntimeError: if something in ``function`` cannot be captured. The stream is then the one of before.
    """
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    stream = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = function()
    except BaseException:
        _failed.append(graph)
        torch.cuda.set_stream(stream)  # `torch.cuda.graph` leaves its own where the capture cannot be ended
        with suppress(RuntimeError):  # it has been told already
            torch._C._cuda_endAllocateToPool(stream.device_index, pool)  # noqa: SLF001  (no public way)
        raise
    return graph.replay, output


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Make ``device`` the current GPU inside, whose streams are captured; nothing on the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class SideStream:
    """Runs what comes before a capture: what autograd sets up on the default stream cannot be captured later.

    Args:
        device: where; on the CPU nothing is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run the block after what was started before, and before what is started later."""
        if self._stream is None:
            yield
            return
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)


def reason_of(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
