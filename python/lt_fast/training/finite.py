"""Stopping when numbers stop being numbers, without making the host wait for a GPU at every step."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lt_fast.ranks import Ranks

_LOSSES_AT_ONCE = 25

# No learning rate has acted yet, so that none can be too high.
_BEFORE_ANY_UPDATE = (
    "no weight has been updated yet: look for NaN or infinity in images and first weights, for a label whose class the "
    "model gives the logit -inf, and for a loss weight or scale that is too large"
)


class _Seen(NamedTuple):
    """One step whose loss was recorded, epoch and step counted from 0."""

    epoch: int
    step: int
    rate: float


class FiniteWatch:
    """Records the losses, on the device, and raises when it looks and one is not finite, on every rank.

    On the CPU, where looking is free, it looks after every loss. On a GPU 25 losses at a time are copied to the host,
    and looked at when the next 25 are copied: nothing waits.

    Args:
        device: where the losses are.
        ranks: of this process; all look at the same losses.
        every: losses between two looks; 1 on the CPU and 25 elsewhere when left out.
    """

    def __init__(self, device: torch.device, ranks: Ranks = Ranks(), *, every: int | None = None) -> None:  # noqa: B008  (immutable)
        self.every = every or (1 if device.type == "cpu" else _LOSSES_AT_ONCE)
        self._ranks = ranks
        self._losses = torch.zeros(self.every, dtype=torch.float64, device=device)
        self._seen: list[_Seen] = []
        self._host = torch.zeros(self.every, dtype=torch.float64, pin_memory=True) if device.type == "cuda" else None
        self._copied: tuple[list[_Seen], torch.cuda.Event] | None = None

    def note(self, loss: Tensor, *, epoch: int, step: int, rate: float, last: Path | None) -> None:
        """Record one loss; ``epoch`` and ``step`` counted from 0, ``last`` the newest checkpoint.

        Raises:
            ValueError: if the loss is not a scalar.
            FloatingPointError: see ``check``.
        """
        if loss.ndim:
            raise ValueError(f'criterion must give a scalar, got shape {tuple(loss.shape)}; pass reduction="mean"')
        seen = _Seen(epoch, step, rate)
        if self.every == 1 and self._host is None:
            self._look([seen], [loss.item()], last)
            return
        self._losses[len(self._seen)].copy_(loss.detach())
        self._seen.append(seen)
        if len(self._seen) < self.every:
            return
        if self._host is None:
            self.check(last=last)
        else:
            self._turn(self._host, last)

    def check(self, *, last: Path | None) -> None:
        """Look at the losses recorded since the last look.

        Raises:
            FloatingPointError: naming epoch, step and learning rate of the first that is not finite, on any rank.
        """
        self._look_at_copied(last)
        seen, self._seen = self._seen, []
        self._look(seen, self._losses[: len(seen)].tolist(), last)

    def _turn(self, host: Tensor, last: Path | None) -> None:
        """Look at the losses that have been copied, and let those since then be copied."""
        self._look_at_copied(last)
        host.copy_(self._losses, non_blocking=True)
        self._copied = self._seen, torch.cuda.current_stream(self._losses.device).record_event()
        self._seen = []

    def _look_at_copied(self, last: Path | None) -> None:
        if self._copied is not None and self._host is not None:
            (seen, copied), self._copied = self._copied, None
            copied.synchronize()  # it was copied many steps ago
            self._look(seen, self._host.tolist(), last)

    def _look(self, seen: list[_Seen], losses: list[float], last: Path | None) -> None:
        bad = next((at for at, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if not any(self._ranks.any(bad is not None)):
            return
        found = self._ranks.gather(None if bad is None else (seen[bad], losses[bad]))
        where, value = min((one for one in found if one is not None), key=lambda one: one[0][:2])
        raise FloatingPointError(
            f"loss must stay finite, got {value} in epoch {where.epoch + 1}, step {where.step + 1} (learning rate "
            f"{where.rate:g}); {_advice(last) if where.epoch or where.step else _BEFORE_ANY_UPDATE}",
        )


def refuse_non_finite(weights: Mapping[str, Tensor], *, after: str, last: Path | None) -> None:
    """Keep a state that is lost already from being saved.

    Raises:
        FloatingPointError: naming the first weight that holds NaN or infinity.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FloatingPointError(
                f"weights must stay finite, got nan or infinity in {name} after {after}; {_advice(last)}",
            )


def _advice(last: Path | None) -> str:
    kept = f"the last checkpoint, {last}, is intact" if last else "no checkpoint was written yet"
    return f"{kept}; start another run with a lower learning rate or a longer warm-up"
