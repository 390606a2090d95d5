"""Perturbations of features against simplicity bias: those that change a classifier's output or certainty most."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

LogitsOf: TypeAlias = Callable[[Tensor], Tensor]


def virtual_adversarial_loss(
    logits_of: LogitsOf, features: Tensor, *, radius: float = 1.0, distance: float = 10.0
) -> Tensor:
    """Return how much the predicted probabilities change at a distance in the direction that changes them most.

    Formula: the mean over rows of ``KL(p(x) || p(x + r))``, ``p`` the softmax of ``logits_of`` and ``p(x)`` constant
    for the gradient, with ``r = radius * g / |g|`` and ``g`` the gradient of ``KL(p(x) || p(x + distance * d))`` to
    ``d`` at ``d = x / |x|``: one step of the power iteration, which begins with the direction of the features.

    Args:
        logits_of: from features ``(N, D)`` to logits ``(N, C)``.
        features: ``(N, D)``.
        radius: length of the perturbation.
        distance: from the features to where the direction is looked for.

    Source: code pujacomputes/classifier_playground, vat_loss.py and lps_utils.py linear_probe_vat, of Trivedi et al.
    2023, arXiv:2303.13500; virtual adversarial training: Miyato et al. 2018, arXiv:1704.03976, whose direction begins
    at random.

    >>> features = torch.tensor([[0.5, 0.4], [0.1, 0.2]])
    >>> for slope in (1, 3):  # a steeper classifier changes more
    ...     print(round(virtual_adversarial_loss(lambda x: slope * x, features).item(), 2))
    0.23
    1.26
    """
    with torch.no_grad():
        constant = F.softmax(logits_of(features), dim=1)
    direction = F.normalize(features.detach(), dim=1).requires_grad_()
    away = _divergence(logits_of(features.detach() + distance * direction), constant)
    (slope,) = torch.autograd.grad(away, direction)
    return _divergence(logits_of(features + radius * F.normalize(slope, dim=1)), constant)


def uncertainty_perturbation(
    logits_of: LogitsOf, features: Tensor, *, radius: float = 1.0, step_size: float = 0.1, steps: int = 10
) -> Tensor:
    """Return a perturbation of the features, at most ``radius`` per number, at which the prediction is less certain.

    Formula: beginning with 0, ``steps`` times ``r = clip(r + step_size * sign(g), -radius, radius)`` with ``g`` the
    gradient of the entropy of ``softmax(logits_of(x + r))`` to ``r``. No label is used.

    Args:
        logits_of: from features ``(N, D)`` to logits ``(N, C)``.
        features: ``(N, D)``.
        radius: largest change of a number.
        step_size: of each step.
        steps: number of steps.

    Source: code pujacomputes/classifier_playground, train_simplicity_bias.py linear_probe_udp, of Trivedi et al. 2023,
    arXiv:2303.13500; there the logarithm of a probability that underflows is NaN, here it is not.

    >>> def logits_of(x):
    ...     return x * torch.tensor([2.0, 1.0])
    >>> uncertainty_perturbation(logits_of, torch.tensor([[3.0, 0.0]]), radius=0.5)  # towards equal logits
    tensor([[-0.5000,  0.5000]])
    """
    given = features.detach()
    found = torch.zeros_like(given)
    for _ in range(steps):
        moved = found.requires_grad_()
        log_p = F.log_softmax(logits_of(given + moved), dim=1)
        entropy = -(log_p.exp() * log_p).sum(1)
        (slope,) = torch.autograd.grad(entropy.mean(), moved)
        found = (moved.detach() + step_size * slope.sign()).clamp(-radius, radius)
    return found.detach()


def _divergence(logits: Tensor, constant: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(logits, dim=1), constant, reduction="batchmean")
