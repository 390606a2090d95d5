"""Evaluation on a GPU while a network trains: large batches, and the forward pass as a CUDA graph."""

import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lt_fast.methods import Method, TrainingData
from lt_fast.training.graphs import Capture, SideStream, cuda_graph, reason_of

_TIMES_AS_MANY = 4  # images in a batch: on a GPU the few hundred of a CPU take no longer to compute than to launch


def in_large_batches(data: TrainingData) -> TrainingData:
    """Return ``data`` with larger batches where nothing is trained."""
    return replace(data, evaluation_batch=_TIMES_AS_MANY * data.evaluation_batch)


class CapturedPrediction(Method):
    """The predictions of ``method`` by CUDA graphs, one for each shape of input; the same numbers with fewer launches.

    A graph reads the weights where they are: it is captured at the second batch of its shape and serves every epoch of
    a training, which changes weights in place. The last short batch runs eagerly, and so does everything where the
    forward pass cannot be captured, with a warning.

    Args:
        method: what predicts; on a GPU, in evaluation mode when it is called.
        device: where it is.
        capture: ``cuda_graph`` by default.
    """

    def __init__(self, method: Method, device: torch.device, *, capture: Capture = cuda_graph) -> None:
        super().__init__(method.model)
        self.predicting = method
        self._capture: Capture | None = capture
        self._on_the_side = SideStream(device)
        self._graphs: dict[Hashable, _Graph | None] = {}  # None: seen once
        self._most_rows = 0

    def predict(self, x: Tensor) -> Tensor:
        """Return the method's logits of ``x``."""
        self._most_rows = max(self._most_rows, len(x))
        if self._capture is None or len(x) < self._most_rows:
            return self.predicting.predict(x)
        key = (x.shape, x.stride(), x.dtype, torch.is_autocast_enabled(x.device.type))
        if key not in self._graphs:
            self._graphs[key] = None
            with self._on_the_side():
                return self.predicting.predict(x)
        graph = self._graphs[key] or self._captured(key, x, self._capture)
        return self.predicting.predict(x) if graph is None else graph.replay(x)

    def _captured(self, key: Hashable, x: Tensor, capture: Capture) -> "_Graph | None":
        try:
            self._graphs[key] = _Graph(self.predicting.predict, x, capture)
        except RuntimeError as error:
            self._capture = None
            warnings.warn(f"evaluation is not captured as a CUDA graph: {reason_of(error)}", stacklevel=4)
        return self._graphs[key]


class _Graph:
    """A captured forward pass and its input."""

    def __init__(self, predict: Callable[[Tensor], Tensor], x: Tensor, capture: Capture) -> None:
        self._input = x.clone()
        self._replay, self._output = capture(lambda: predict(self._input))

    def replay(self, x: Tensor) -> Any:
        self._input.copy_(x)
        self._replay()
        return self._output
