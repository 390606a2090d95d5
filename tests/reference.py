"""Every method once more: slowly, row by row, straight from its paper.

The tests compare the package with these functions, so they share nothing with it: no import of ``lt_fast``, no fused
form, no clever algebra. Plain Python and plain float64 torch, written to be checked against the page by eye. A method
that is added to a room gets its function here, in the room's section, under the name the registry-wide tests look
for (``<registry name>_loss`` for a loss, ``<registry name>_label_factor`` for a mixer).
"""

import math

import torch
from torch import Tensor

# --- losses -----------------------------------------------------------------------------------------------------------


def _mixed_mean(rows, target, *, target_b, lam, weight, counts, normalization):
    """Sum of share * weight[label] * row loss over both labels of every row, divided as ``normalization`` says.

    ``rows(i, label)`` is the loss of row i for one label. "weights" is torch's own weighted mean, extended to two
    labels a row; "batch" is the plain mean of the weighted losses (Cui et al. 2019); "expected" divides by N times the
    mean weight of a training sample.
    """
    num_rows, num_classes = len(target), len(counts)
    weight = [1.0] * num_classes if weight is None else [float(w) for w in weight]
    losses, shares = [], 0.0
    for i in range(num_rows):
        parts = [(int(target[i]), 1.0)]
        if target_b is not None:
            share = float(lam[i])
            parts = [(int(target[i]), share), (int(target_b[i]), 1.0 - share)]
        losses.append(sum(share * weight[label] * rows(i, label) for label, share in parts))
        shares += sum(share * weight[label] for label, share in parts)
    mean_weight = sum(n * w for n, w in zip(counts, weight, strict=True)) / sum(counts)
    divisor = {"weights": shares, "batch": num_rows, "expected": num_rows * mean_weight}[normalization]
    return sum(losses) / divisor, torch.stack(losses)


def _label_shares(target, target_b, lam, counts, *, label_rule, omega):
    """Factor of the first label of every row from the factor of the first image."""
    if target_b is None:
        return None
    rule = {"mixup": mixup_label_factor, "mam": mam_label_factor}[label_rule]
    shares = [float(lam)] * len(target) if isinstance(lam, float) else [float(one) for one in lam]
    return [
        rule(share, counts[int(a)], counts[int(b)], omega) for share, a, b in zip(shares, target, target_b, strict=True)
    ]


def _loss(scores, target, counts, *, target_b=None, lam=None, label_rule="mixup", omega=0.25, weight=None,
          normalization="expected", reduction="mean"):  # fmt: skip
    """-log softmax(scores(i, y))_y for both labels of every row, mixed, weighted and reduced."""

    def rows(i: int, label: int) -> Tensor:
        row = scores(i, label)
        return torch.logsumexp(row, 0) - row[label]

    shares = _label_shares(target, target_b, lam, counts, label_rule=label_rule, omega=omega)
    mean, each = _mixed_mean(
        rows, target, target_b=target_b, lam=shares, weight=weight, counts=counts, normalization=normalization
    )
    return {"mean": mean, "sum": each.sum(), "none": each}[reduction]


def cross_entropy_loss(logits, target, counts, **options):
    """-log softmax(z)_y."""
    return _loss(lambda i, _: logits[i], target, counts, **options)


def ldam_loss(logits, target, counts, *, max_margin=0.5, scale=30.0, **options):
    """Cao et al. 2019 (LDAM): the own score loses C / n_y^(1/4), C such that the largest margin is max_margin."""
    constant = max_margin / max(n**-0.25 for n in counts)

    def scores(i, label):
        margin = torch.zeros(len(counts), dtype=torch.float64)
        margin[label] = constant / counts[label] ** 0.25
        return scale * (logits[i] - margin)

    return _loss(scores, target, counts, **options)


def effective_number_weights(counts, beta):
    """Cui et al. 2019: inverse effective number, (1 - beta) / (1 - beta^n), scaled to the sum C."""
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    return [w * len(counts) / sum(raw) for w in raw]


def inverse_frequency_weights(counts, gamma):
    """Wang et al. 2022 (MARC), after Zhang et al. 2021 (DisAlign): (1/n)^gamma, scaled to the sum C."""
    raw = [(1 / n) ** gamma for n in counts]
    return [w * len(counts) / sum(raw) for w in raw]


def class_balanced_loss(logits, target, counts, *, beta=0.9999, **options):
    """Cui et al. 2019, class-balanced softmax: cross entropy, times the weight of the own class."""
    return _loss(lambda i, _: logits[i], target, counts, weight=effective_number_weights(counts, beta), **options)


def balanced_softmax_loss(logits, target, counts, **options):
    """Ren et al. 2020: -log( n_y exp(z_y) / sum_c n_c exp(z_c) )."""
    log_counts = torch.tensor([math.log(n) for n in counts], dtype=torch.float64)
    return _loss(lambda i, _: logits[i] + log_counts, target, counts, **options)


# --- mixing -----------------------------------------------------------------------------------------------------------


def mixup_label_factor(lam, n_a, n_b, omega=None):
    """Zhang et al. 2018: the labels are mixed as the images are."""
    return lam


def mam_label_factor(lam, n_a, n_b, omega):
    """Cheng et al. 2023 (MAMix) in the convention of their code, where lam' belongs to the SECOND image.

    There x = (1 - lam') x_i + lam' x_j, kappa = n^-omega, the threshold is kappa_i / (kappa_i + kappa_j), and lam'_y,
    the share of label j, rises linearly from 0 at lam' = 0 to 1/2 at the threshold and on to 1 at lam' = 1.
    """
    second = 1.0 - lam
    kappa_i, kappa_j = n_a**-omega, n_b**-omega
    threshold = kappa_i / (kappa_i + kappa_j)
    below, above = 0.5 * second / threshold, 1.0 - 0.5 * (1.0 - second) / (1.0 - threshold)
    return 1.0 - (below if second <= threshold else above)


def mixed_images(x, partner, lam):
    """lam x_i + (1 - lam) x_partner(i), one image after the other."""
    return torch.stack([float(lam[i]) * x[i] + (1.0 - float(lam[i])) * x[int(partner[i])] for i in range(len(x))])
