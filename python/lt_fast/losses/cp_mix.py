"""CP-Mix's loss: a plain batch, a batch of confused pairs, and the plain batch mixed with itself, in one pass."""

import math
from typing import Any

import numpy as np
from torch import Tensor, nn

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.balanced_softmax import BalancedSoftmaxLoss
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.modules import LossModule
from lt_fast.ops import mixed_margin_loss
from lt_fast.ops.arguments import require_tensor


class CPMixLoss(LossModule):
    """The loss of rows that come in up to three parts, one below the other: plain, pairs, mixed.

    Formula: ``plain + eta * (pairs + mixed)``, each term a mean over its own rows, with

    - plain, n rows: the loss of unmixed images, balanced softmax by default, equation (14);
    - pairs, ``num_pairs`` rows: cross entropy of confused pairs, equation (15);
    - mixed, n rows: cross entropy of the plain images mixed among themselves, equation (16).

    The two mixtures weigh their labels by ``label_rule="cp_mix"`` from the input factor ``lam`` and ``tau`` (see
    ``lt_fast.mixing.cp_mix_label_factor``). What a plain row's second label and factor are does not matter. Without
    second labels all rows are plain: stage 1 of the method, the same module serves both. This is no loss of single rows
    as those of ``LOSSES`` are, hence it is none of them.

    Args:
        counts: training samples per class.
        num_pairs: rows of confused pairs in a batch; 0 leaves their term out.
        eta: weight of both mixtures, finite, >= 0.
        tau: share of the class sizes in the label factor, in [0, 1]; 0 is mixup's.
        plain: loss of the plain rows, called with ``(logits, target)``.
        regularize: whether the last n rows are the mixed ones; False leaves their term out.
        empty: ``"ignore"`` allows classes without samples.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``, where
        ``N = n + num_pairs + n``, or without the last n; returns a scalar. Dtypes as ``ops.mixed_margin_loss``.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if ``num_pairs``, ``eta`` or ``tau`` is out of its range, no mixture is left, a class is empty, or
            the rows do not divide into the parts.

    Source: CP-Mix, arXiv:2411.07621, equations (11) to (16), and (9) for the label factor, reconstructed. Whether the
        three parts go through the network together is not said; one forward pass, in which batch norm sees all three,
        is ours, and so are the values of ``eta`` and ``tau``.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        num_pairs: int,
        eta: float = 1.0,
        tau: float = 0.5,
        plain: nn.Module | None = None,
        regularize: bool = True,
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        counts = ClassCounts(counts).require_no_empty(empty)
        if isinstance(num_pairs, bool) or not isinstance(num_pairs, int) or num_pairs < 0:
            raise ValueError(f"num_pairs must be a whole number >= 0, got {num_pairs!r}")
        if not (math.isfinite(real_number("eta", eta)) and eta >= 0):
            raise ValueError(f"eta must be finite and >= 0, got {eta}")
        if not 0 <= real_number("tau", tau) <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
        if num_pairs == 0 and not regularize:
            raise ValueError("num_pairs must be > 0 with regularize=False, got 0: no mixture is left")
        self.num_pairs, self.eta, self.tau, self.regularize = num_pairs, float(eta), float(tau), bool(regularize)
        self.plain = BalancedSoftmaxLoss(counts, empty=empty) if plain is None else plain
        self.vectors = ClassVectors(counts)
        self.fix_options(label_rule="cp_mix", tau=self.tau, normalization="batch")

    def plain_rows(self, rows: int) -> int:
        """Return n, how many of a mixed batch's ``rows`` are plain.

        Raises:
            ValueError: if they do not divide into the parts.
        """
        rest, parts = rows - self.num_pairs, 1 + self.regularize
        if rest < 0 or rest % parts:
            wanted = f"{parts} n + {self.num_pairs}" if self.regularize else f"n + {self.num_pairs}"
            raise ValueError(f"logits must have {wanted} rows (plain, pairs, mixed), got {rows}")
        return rest // parts

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of plain rows, or of all three parts where there are second labels."""
        require_tensor(logits)
        if not isinstance(self.plain, LossModule):  # ours looks at its rows itself
            self._first.look(logits, self.vectors)
        if target_b is None or lam is None:
            loss: Tensor = self.plain(logits, target_a)
            return loss
        for name, value in (("target", target_a), ("target_b", target_b), ("lam", lam)):
            _require_rows(name, value, len(logits))
        rows, pairs = self.plain_rows(len(logits)), self.num_pairs
        loss = self.plain(logits[:rows], target_a[:rows])
        if pairs:
            loss = loss + self.eta * self._mixture(slice(rows, rows + pairs), logits, target_a, target_b, lam)
        if self.regularize:
            loss = loss + self.eta * self._mixture(slice(rows + pairs, None), logits, target_a, target_b, lam)
        return loss

    def _mixture(self, part: slice, logits: Tensor, target_a: Tensor, target_b: Tensor, lam: Tensor | float) -> Tensor:
        loss: Tensor = mixed_margin_loss(
            logits[part],
            target_a[part],
            target_b=target_b[part],
            lam=_rows_of(lam, part),
            **self.vectors.for_logits(logits),
            **self.options,
        )
        return loss

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"num_pairs={self.num_pairs}, eta={self.eta:g}, tau={self.tau:g}, regularize={self.regularize}"


def _is_per_row(value: Any) -> bool:
    """Whether ``value`` has entries; a number, which may be a tensor or an array without dimensions, has none."""
    return isinstance(value, Tensor | np.ndarray | list | tuple) and getattr(value, "ndim", 1) > 0


def _rows_of(lam: Any, part: slice) -> Any:
    return lam[part] if _is_per_row(lam) else lam


def _require_rows(name: str, value: Any, rows: int) -> None:
    """Refuse entries of another number: a part of them might fit a part of the rows."""
    if _is_per_row(value) and len(value) != rows:
        raise ValueError(f"{name} must have one entry a row of the logits ({rows}), got {len(value)}")
