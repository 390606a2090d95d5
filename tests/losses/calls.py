"""A loss made and called in one line."""

from torch import Tensor


def loss_of(criterion, logits, target, counts, *, target_b=None, lam=None, **options) -> Tensor:
    """``criterion(counts, **options)``, called once."""
    return criterion(counts, **options)(logits, target, target_b, lam)
