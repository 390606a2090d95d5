"""Stopping when numbers stop being numbers, without making the host wait for a GPU at every step."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lt_fast.ranks import Ranks

_STEPS_BETWEEN_CHECKS = 50

# No learning rate has acted yet, so that none can be too high.
_BEFORE_ANY_UPDATE = (
    "no weight has been updated yet: look for NaN or infinity in images and first weights, for a label whose class the "
    "model gives the logit -inf, and for a loss weight or scale that is too large"
)


class FiniteWatch:
    """Records the first loss that is not finite, on the device, and raises when it looks, on every rank.

    It looks after every loss on the CPU, where looking is free, and elsewhere every 50 losses and when told to.

    Args:
        device: where the losses are.
        ranks: of this process; all look at the same losses.
        every: losses between two looks; 1 on the CPU and 50 elsewhere when left out.
    """

    def __init__(self, device: torch.device, ranks: Ranks = Ranks(), *, every: int | None = None) -> None:  # noqa: B008  (immutable)
        self.every = every or (1 if device.type == "cpu" else _STEPS_BETWEEN_CHECKS)
        self._ranks = ranks
        self._seen: list[tuple[int, int, float]] = []
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        self._value = torch.zeros((), dtype=torch.float32, device=device)

    def note(self, loss: Tensor, *, epoch: int, step: int, rate: float, last: Path | None) -> None:
        """Record one loss; ``epoch`` and ``step`` counted from 0, ``last`` the newest checkpoint.

        Raises:
            ValueError: if the loss is not a scalar.
            FloatingPointError: see ``check``.
        """
        if loss.ndim:
            raise ValueError(f'criterion must give a scalar, got shape {tuple(loss.shape)}; pass reduction="mean"')
        new = (self._first < 0) & ~torch.isfinite(loss.detach())
        self._first = torch.where(new, len(self._seen), self._first)
        self._value = torch.where(new, loss.detach().float(), self._value)
        self._seen.append((epoch, step, rate))
        if len(self._seen) >= self.every:
            self.check(last=last)

    def check(self, *, last: Path | None) -> None:
        """Look at the losses recorded since the last look.

        Raises:
            FloatingPointError: naming epoch, step and learning rate of the first that is not finite, on any rank.
        """
        first = int(self._first)
        if any(self._ranks.any(first >= 0)):
            found = self._ranks.gather((first, float(self._value)))
            first, value = min(one for one in found if one[0] >= 0)
            epoch, step, rate = self._seen[first]
            raise FloatingPointError(
                f"loss must stay finite, got {value} in epoch {epoch + 1}, step {step + 1} "
                f"(learning rate {rate:g}); {_advice(last) if epoch or step else _BEFORE_ANY_UPDATE}",
            )
        self._seen.clear()


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
