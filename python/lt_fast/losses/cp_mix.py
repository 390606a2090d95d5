"""CP-Mix's loss: a plain batch, a batch of confused pairs, and the plain batch mixed with itself, in one pass."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from lt_fast._checks import integer, number
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.losses.balanced_softmax import BalancedSoftmaxLoss
from lt_fast.losses.base import Lam, Loss, require_tensor


class CPMixLoss(Loss):
    """The loss of a batch that concatenates up to three parts: plain, pairs, mixed.

    Formula: ``plain + eta * (pairs + mixed)``, each term a mean over its own rows, with

    - plain, n rows: the loss of unmixed images, balanced softmax by default, equation (14);
    - pairs, ``num_pairs`` rows: cross entropy of confused pairs, equation (15);
    - mixed, n rows: cross entropy of the plain images mixed among themselves, equation (16).

    The labels of both mixtures are weighted by ``label_rule="cp_mix"`` from ``lam`` and ``tau`` (see
    ``lt_fast.mixing.cp_mix_label_factor``). The second label and ``lam`` of a plain row are not read. Without second
    labels all rows are plain: that is stage 1 of the method. It is a loss of a whole batch, so it is not in ``LOSSES``.

    Args:
        num_pairs: rows of confused pairs in a batch; 0 leaves their term out.
        eta: weight of both mixtures, finite, >= 0.
        tau: weight of the class sizes in the label weight, in [0, 1]; 0 is mixup's.
        plain: loss of the plain rows, called with ``(logits, target)``.
        regularize: whether the last n rows are the mixed ones; False leaves their term out.

    Shape and other arguments as ``Loss``, with ``N = n + num_pairs + n`` rows, or without the last n; returns a scalar.

    Source: CP-Mix, arXiv:2411.07621, equations (11) to (16), and (9) for the label weight, reconstructed. The paper
    does not say whether the three parts go through the network together; one forward pass, in which batch norm sees all
    three, is ours, and so are the values of ``eta`` and ``tau``.
    """

    def __init__(
        self, counts: CountsLike, *, num_pairs: int, eta: float = 1.0, tau: float = 0.5, plain: nn.Module | None = None,
        regularize: bool = True, empty: EmptyPolicy = "error",
    ) -> None:  # fmt: skip
        tau = number("tau", tau, least=0, most=1)
        super().__init__(counts, label_rule="cp_mix", tau=tau, normalization="batch", empty=empty)
        self.num_pairs = integer("num_pairs", num_pairs, least=0)
        if num_pairs == 0 and not regularize:
            raise ValueError("num_pairs must be > 0 with regularize=False, got 0: no mixture is left")
        self.eta, self.tau, self.regularize = number("eta", eta, least=0), tau, bool(regularize)
        self.plain = BalancedSoftmaxLoss(counts, empty=empty) if plain is None else plain

    def plain_rows(self, rows: int) -> int:
        """Return n, the number of plain rows in a mixed batch of ``rows``; raise if they do not divide into parts."""
        rest, parts = rows - self.num_pairs, 1 + self.regularize
        if rest < 0 or rest % parts:
            wanted = f"{parts} n + {self.num_pairs}" if self.regularize else f"n + {self.num_pairs}"
            raise ValueError(f"logits must have {wanted} rows (plain, pairs, mixed), got {rows}")
        return rest // parts

    def forward(self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Lam = None) -> Tensor:
        """Return the loss of plain rows, or of all three parts if there are second labels."""
        require_tensor(logits)
        if not isinstance(self.plain, Loss):  # a Loss checks its logits itself
            self._first.look(logits, self.vectors)
        if target_b is None or lam is None:
            loss: Tensor = self.plain(logits, target_a)
            return loss
        for name, value in (("target", target_a), ("target_b", target_b), ("lam", lam)):
            if _is_per_row(value) and len(value) != len(logits):  # type: ignore[arg-type]
                raise ValueError(f"{name} must have one entry per row of the logits ({len(logits)}), got {len(value)}")  # type: ignore[arg-type]
        rows, pairs = self.plain_rows(len(logits)), self.num_pairs
        loss = self.plain(logits[:rows], target_a[:rows])
        parts = [slice(rows, rows + pairs)] * bool(pairs) + [slice(rows + pairs, None)] * self.regularize
        for part in parts:
            factors: Any = lam[part] if _is_per_row(lam) else lam  # type: ignore[index]
            loss = loss + self.eta * self._fused(logits[part], target_a[part], target_b[part], factors)
        return loss

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"num_pairs={self.num_pairs}, eta={self.eta:g}, tau={self.tau:g}, regularize={self.regularize}"


def _is_per_row(value: Any) -> bool:
    """Whether ``value`` has entries; a number, also a tensor or an array without dimensions, does not."""
    return isinstance(value, Tensor | np.ndarray | list | tuple) and getattr(value, "ndim", 1) > 0
