"""Warnings about wrong logits: probabilities, or scores that are not cosines for a loss that scales them.

A loss checks 64 rows of its logits at calls 1, 2, 4, ... 1024, and its class vectors at the same calls. A check costs a
few small reductions and, on a GPU, a synchronisation; all other steps, and ``torch.compile``, have no check.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lt_fast._tensors import arithmetic_dtype
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.ops import arguments

_LAST_LOOK = 1024
_ROWS = 64
_COSINE = 1.05  # a cosine computed in bfloat16 may reach 1.02
_ROUNDING = 1e-4  # more than the rounding error of a sum of float32 probabilities
_INSIDE = tuple(str(Path(module.__file__ or "").parent) + os.sep for module in (sys.modules["lt_fast"], torch))

_PROBABILITIES = (
    "logits of {loss} look like probabilities: every row is >= 0 and sums to 1. The loss applies softmax itself, so a "
    "second one flattens the loss and its gradient; remove the softmax, or pass log_softmax(...), which works as logits"
)
_COSINES = (
    "logits of {loss} with scale={scale:g} must be cosines in [-1, 1], got {largest:.4g}: the scale multiplies them. "
    "Use lt_fast.models.CosineHead(in_features, num_classes) as the last layer, or pass scale=1 to the loss for the "
    "logits of a linear layer"
)


class FirstLogits:
    """Checks logits at calls 1, 2, ... 1024 and warns at most once; with a ``scale`` above 1 they must be cosines."""

    def __init__(self, loss: str, scale: float = 1.0) -> None:
        self.loss, self.scale = loss, scale
        self.calls, self.next_look, self.warned = 0, 1, False

    def look(self, logits: Tensor, vectors: ClassVectors | None = None) -> None:
        """Count a call; at a scheduled one check ``vectors``, and warn if ``logits`` look wrong."""
        if torch.compiler.is_compiling():
            return
        self.calls += 1
        if self.calls != self.next_look:
            return
        if not _readable(logits):
            self.calls -= 1  # check the next call instead
            return
        self.next_look = self.next_look * 2 if self.next_look < _LAST_LOOK else 0
        if vectors is not None:
            vectors.require_exact()
        message = None if self.warned else self._fault(logits)
        if message is not None:
            self.warned = True
            warnings.warn(message, UserWarning, stacklevel=_callers_level())

    def _fault(self, logits: Tensor) -> str | None:
        lowest, largest, off_one = _summary(logits.detach()[:_ROWS])
        eps = torch.finfo(logits.dtype).eps
        by_chance = len(logits) == 1 and eps >= _ROUNDING  # one row of few digits may sum to 1
        if lowest >= 0 and off_one <= max(_ROUNDING, eps) and not by_chance:
            return _PROBABILITIES.format(loss=self.loss)
        if self.scale > 1 and largest > _COSINE:
            return _COSINES.format(loss=self.loss, scale=self.scale, largest=largest)
        return None


def _readable(logits: Tensor) -> bool:
    """Whether the values of ``logits`` can be read now: not in a trace, a transform, or a CUDA graph's capture."""
    return (
        type(logits) in (Tensor, torch.nn.Parameter)
        and logits.numel() > 0
        and not logits.is_meta
        and not arguments.transformed()
        and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001  (fake tensors, tracing)
        and torch._C._get_tracing_state() is None  # noqa: SLF001  (torch.jit.trace)
        and not (logits.is_cuda and torch.cuda.is_current_stream_capturing())
    )


@torch.no_grad()
def _summary(rows: Tensor) -> list[float]:
    """Return the lowest logit, the largest finite size and a row sum's largest distance from 1, in one read."""
    rows = rows.to(arithmetic_dtype(rows))
    finite = rows.where(rows.isfinite(), 0)  # -inf excludes a class, and a NaN shows in the loss
    off_one = (rows.sum(1) - 1).abs().amax()
    summary: list[float] = torch.stack([rows.amin(), finite.abs().amax(), off_one]).tolist()
    return summary


def _callers_level() -> int:
    """Return the ``stacklevel`` of the first frame outside this package and torch, seen from the caller of this."""
    frame: Any = sys._getframe(1)  # noqa: SLF001
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    return level
