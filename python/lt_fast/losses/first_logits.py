"""Warnings about logits of another kind: probabilities, or scores that are no cosines for a loss that scales them.

A loss looks at the logits of few calls: calls 1, 2, 4, ... 1024 of the module, 64 rows each. A look costs a few small
reductions and, on a GPU, a few waits for the device; no other step costs anything. At the same calls the loss compares
its vectors with what it was made with. Under ``torch.compile`` it does not look.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.ops import arguments

_LAST_LOOK = 1024
_ROWS = 64
_COSINE = 1.05  # a cosine computed in bfloat16 may reach 1.02
_ROUNDING = 1e-4  # of a sum of float32 probabilities, with room
_INSIDE = tuple(str(Path(module.__file__ or "").parent) + os.sep for module in (sys.modules["lt_fast"], torch))

PROBABILITIES = (
    "logits of {loss} look like probabilities: every row is >= 0 and sums to 1. The loss applies softmax itself, so a "
    "second one flattens the loss and its gradient; remove the softmax, or pass log_softmax(...), which works as logits"
)
COSINES = (
    "logits of {loss} with scale={scale:g} must be cosines in [-1, 1], got {largest:.4g}: the scale multiplies them. "
    "Use lt_fast.models.CosineHead(in_features, num_classes) as the last layer, or pass scale=1 to the loss for the "
    "logits of a linear layer"
)


class FirstLogits:
    """Looks at the logits of a module's calls 1, 2, 4, ... 1024, and warns at most once.

    Args:
        loss: name of the loss, for the message.
        scale: factor of the logits; above 1 they must be cosines.
    """

    def __init__(self, loss: str, scale: float = 1.0) -> None:
        self.loss = loss
        self.scale = scale
        self.calls = 0
        self.next_look = 1
        self.warned = False

    def look(self, logits: Tensor, vectors: ClassVectors | None = None) -> None:
        """Count a call; at a scheduled one check ``vectors``, and warn about what is wrong with ``logits``.

        Raises:
            RuntimeError: if a vector was changed in a way that torch does not count, such as through ``.data``.
        """
        if torch.compiler.is_compiling():
            return
        self.calls += 1
        if self.calls != self.next_look:
            return
        if not _readable(logits):
            self.calls -= 1  # this call cannot be looked at: the next one is
            return
        self.next_look = self.next_look * 2 if self.next_look < _LAST_LOOK else 0
        if vectors is not None:
            vectors.require_exact()
        message = None
        if not self.warned:
            message = self._fault(*_summary(logits.detach()[:_ROWS]), rounding=_rounding(logits))
        if message is not None:
            self.warned = True
            warnings.warn(message, UserWarning, stacklevel=_callers_level())

    def _fault(self, lowest: float, largest: float, off_one: float, *, rounding: float) -> str | None:
        if lowest >= 0 and off_one <= rounding:
            return PROBABILITIES.format(loss=self.loss)
        if self.scale > 1 and largest > _COSINE:
            return COSINES.format(loss=self.loss, scale=self.scale, largest=largest)
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
    """Lowest logit, largest finite size and the largest distance of a row's sum from 1, in one read of the device."""
    rows = rows.to(arguments.arithmetic_dtype(rows))
    finite = rows.where(rows.isfinite(), 0)  # -inf takes a class out, and a NaN shows in the loss
    off_one = (rows.sum(1) - 1).abs().amax()
    summary: list[float] = torch.stack([rows.amin(), finite.abs().amax(), off_one]).tolist()
    return summary


def _rounding(logits: Tensor) -> float:
    """Return how far from 1 a row of probabilities may sum; for one half-precision row chance would do: nothing."""
    eps = torch.finfo(logits.dtype).eps
    return max(_ROUNDING, eps) if len(logits) > 1 or eps < _ROUNDING else -1.0


def _callers_level() -> int:
    """Return the ``stacklevel``, seen from the caller of this, of the first frame outside this package and torch."""
    frame: Any = sys._getframe(1)  # noqa: SLF001
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    return level
