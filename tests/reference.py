"""Every method once more: slowly, row by row, straight from its paper.

The tests compare the package with these functions, so they share nothing with it: no import of ``lt_fast``, no fused
form, no clever algebra. Plain Python and plain float64 torch, written to be checked against the page by eye. A method
that is added to a package gets its function here, in the package's section, under the name the registry-wide tests look
for (``<registry name>_loss`` for a loss, ``<registry name>_label_factor`` for a mixer).
"""

import itertools
import math

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import functional

# --- losses -----------------------------------------------------------------------------------------------------------


def _mixed_mean(rows, target, *, target_b, lam, weight, counts, normalization, label_rule, omega, ignore_index):
    """Sum of share * weight[label] * row loss over the labels of every row, divided as ``normalization`` says.

    ``rows(i, label)`` is the loss of row i for one label. "weights" is torch's own weighted mean, extended to two
    labels a row; "batch" is the plain mean of the weighted losses (Cui et al. 2019); "expected" divides by N times the
    mean weight of a training sample. A row with an ignored label has no label, and is not one of the N.
    """
    num_rows, num_classes = 0, len(counts)
    weight = [1.0] * num_classes if weight is None else [float(w) for w in weight]
    losses, shares = [], 0.0
    for i in range(len(target)):
        parts = [(int(target[i]), 1.0)] if target.ndim == 1 else _soft_parts(target[i], counts, label_rule, omega)
        if target_b is not None:
            share = float(lam[i])
            parts = [(int(target[i]), share), (int(target_b[i]), 1.0 - share)]
        if ignore_index in [label for label, _ in parts]:
            losses.append(rows(i, 0) * 0)
            continue
        losses.append(sum(share * weight[label] * rows(i, label) for label, share in parts))
        shares += sum(share * weight[label] for label, share in parts)
        num_rows += 1
    mean_weight = sum(n * w for n, w in zip(counts, weight, strict=True)) / sum(counts)
    divisor = {"weights": shares, "batch": num_rows, "expected": num_rows * mean_weight}[normalization]
    return sum(losses) / divisor, torch.stack(losses)


def _soft_parts(row, counts, label_rule, omega):
    """Labels of a soft row with their shares; the rule changes those of two labels, beside a uniform part."""
    parts = [(c, float(share)) for c, share in enumerate(row) if share > 0]
    if label_rule == "mixup":
        return parts
    uniform = min(float(share) for share in row)
    mixed = [(c, share - uniform) for c, share in parts if share - uniform > 1e-9]
    parts = [(c, uniform) for c in range(len(counts)) if uniform > 0]
    if len(mixed) < 2:
        return parts + mixed
    (a, first), (b, second) = mixed
    share = mam_label_factor(first / (first + second), counts[a], counts[b], omega)
    return [*parts, (a, (first + second) * share), (b, (first + second) * (1 - share))]


def rows_of_positions(logits, target, class_dim):
    """Logits and labels of every position as rows, by counting: (R, C) and (R,), or (R, C) of soft labels."""
    shape = [size for at, size in enumerate(logits.shape) if at != class_dim % logits.ndim]
    rows, labels = [], []
    for at in itertools.product(*map(range, shape)):
        place = (at[0], slice(None), *at[1:]) if class_dim == 1 else (*at, slice(None))
        rows.append(logits[place])
        labels.append(target[at] if target.ndim < logits.ndim else target[place])
    return torch.stack(rows), torch.stack(labels)


def _label_shares(target, target_b, lam, counts, *, label_rule, omega, ignore_index=-100):
    """Factor of the first label of every row from the factor of the first image."""
    if target_b is None:
        return None
    rule = {"mixup": mixup_label_factor, "mam": mam_label_factor}[label_rule]
    shares = [float(lam)] * len(target) if isinstance(lam, float) else [float(one) for one in lam]
    return [
        share if ignore_index in (a, b) else rule(share, counts[int(a)], counts[int(b)], omega)
        for share, a, b in zip(shares, target, target_b, strict=True)
    ]


def _reduced_loss(rows, target, counts, *, target_b=None, lam=None, label_rule="mixup", omega=0.25, weight=None,
                  normalization="expected", reduction="mean", ignore_index=-100):  # fmt: skip
    """``rows(i, y)`` for the labels of every row, mixed, weighted and reduced."""
    rule = {"label_rule": label_rule, "omega": omega}
    shares = _label_shares(target, target_b, lam, counts, ignore_index=ignore_index, **rule)
    how = {"weight": weight, "counts": counts, "normalization": normalization, "ignore_index": ignore_index}
    mean, each = _mixed_mean(rows, target, target_b=target_b, lam=shares, **how, **rule)
    return {"mean": mean, "sum": each.sum(), "none": each}[reduction]


def _loss(scores, target, counts, **options):
    """-log softmax(scores(i, y))_y for both labels of every row, mixed, weighted and reduced."""

    def rows(i: int, label: int) -> Tensor:
        row = scores(i, label)
        return torch.logsumexp(row, 0) - row[label]

    return _reduced_loss(rows, target, counts, **options)


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


def ride_loss(logits, target, counts, *, diversity=0.45, temperature=1.0, spread=0.05, max_margin=0.5, scale=30.0,
              **options):  # fmt: skip
    """Wang et al. 2021 (RIDE): sum_e LDAM(z_e) - diversity T^2 KL(softmax(z/T_c) || softmax(z_e/T_c)), z the mean."""
    experts = logits[:, None] if logits.ndim == 2 else logits
    total = sum(
        ldam_loss(experts[:, e], target, counts, max_margin=max_margin, scale=scale, **options)
        for e in range(experts.shape[1])
    )
    prior, classes = [n / sum(counts) for n in counts], len(counts)
    share = [classes * p * spread + 1 - spread for p in prior]
    weighted = options.get("weight") is not None
    each = [temperature * s / max(share) if weighted else temperature for s in share]
    mean_temperature, per_class = sum(each) / classes, torch.tensor(each, dtype=torch.float64)
    rows = []
    for image in experts:
        mean = (scale * image.mean(0) / per_class).softmax(0).detach()
        distance = 0.0
        for z in image:
            own = (scale * z / per_class).softmax(0)
            pairs = zip(mean, own, strict=True)
            distance = distance + sum(m * (torch.log(m) - torch.log(q)) for m, q in pairs if m > 0)
        rows.append(diversity * mean_temperature**2 * distance)
    rows = torch.stack(rows) if rows else logits.new_zeros(0)
    if experts.shape[1] == 1:
        return total
    kept = torch.ones(len(target), dtype=torch.bool)
    for label in [one for one in (target, options.get("target_b")) if one is not None and one.ndim == 1]:
        kept = kept & (label != options.get("ignore_index", -100))
    rows = rows * kept
    return (
        total
        - {"mean": rows.sum() / max(int(kept.sum()), 1), "sum": rows.sum(), "none": rows}[
            options.get("reduction", "mean")
        ]
    )


def inverse_prior(counts):
    """Zhang et al. 2022 (SADE): the k-th rarest class gets the prior of the k-th most frequent one."""
    order = sorted(range(len(counts)), key=lambda c: counts[c])
    found = [0.0] * len(counts)
    for at, c in enumerate(order):
        found[c] = counts[order[len(counts) - 1 - at]] / sum(counts)
    return found


def inverse_softmax_loss(logits, target, counts, *, strength=2.0, scale=1.0, **options):
    """Zhang et al. 2022 (SADE), expert 3: cross entropy of z + log pi - tau log pi', pi' the inverse prior."""
    inverse = inverse_prior(counts)
    bias = [math.log(n / sum(counts)) - strength * math.log(p) for n, p in zip(counts, inverse, strict=True)]
    bias = torch.tensor(bias, dtype=torch.float64)
    return _loss(lambda i, _: scale * logits[i] + bias, target, counts, **options)


def sade_loss(logits, target, counts, *, strength=2.0, scale=30.0, **options):
    """Zhang et al. 2022 (SADE): softmax, balanced softmax and inverse softmax for experts 1, 2 and 3."""
    first, second, third = logits.unbind(1)
    return (
        cross_entropy_loss(scale * first, target, counts, **options)
        + balanced_softmax_loss(scale * second, target, counts, **options)
        + inverse_softmax_loss(third, target, counts, strength=strength, scale=scale, **options)
    )


def ace_loss(logits, target, counts, *, experts=3, scale=30.0, **options):
    """After Cai et al. 2021 (ACE): for each expert cross entropy over its classes, of the images of its classes."""
    total, rarest = 0.0, sorted(range(len(counts)), key=lambda c: (-counts[c], c))
    weight = options.pop("weight", None) or [1.0] * len(counts)
    for e in range(experts):
        known = set(rarest[e * len(counts) // experts :]) if e else set(range(len(counts)))
        own = [w if c in known else 0.0 for c, w in enumerate(weight)]
        columns = sorted(known)

        def rows(i, label, e=e, known=known, columns=columns):
            row = scale * logits[i, e]
            return torch.logsumexp(row[columns], 0) - row[label] if label in known else 0 * row.sum()

        total = total + _reduced_loss(rows, target, counts, weight=own, **options)
    return total


def distillation_loss(student, teacher, temperature):
    """Hinton et al. 2015: T^2 KL(softmax(teacher / T) || softmax(student / T)), a mean over the rows."""
    p, q = (teacher / temperature).softmax(1).detach(), (student / temperature).softmax(1)
    return temperature**2 * (p * (torch.log(p) - torch.log(q))).sum() / len(student)


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


def bayias_loss(logits, target, counts, *, test_prior=None, **options):
    """Xu et al. 2021 (Bayias): cross entropy of z + log pi - log pi'; pi' is the class distribution at test time."""
    prior = [math.log(n / sum(counts)) for n in counts]
    test = [1.0] * len(counts) if test_prior is None else test_prior
    bias = torch.tensor([p - math.log(t / sum(test)) for p, t in zip(prior, test, strict=True)], dtype=torch.float64)
    return _loss(lambda i, _: logits[i] + bias, target, counts, **options)


def cp_mix_loss(logits, target, target_b, lam, counts, *, num_pairs, eta=1.0, tau=0.5, regularize=True, plain=None):
    """CP-Mix, eqs. 13 to 16: plain rows, then confused pairs, then the plain rows' images mixed among themselves."""
    rows = (len(target) - num_pairs) // (2 if regularize else 1)
    plain = plain or balanced_softmax_loss
    loss = plain(logits[:rows], target[:rows], counts)
    parts = [slice(rows, rows + num_pairs)] * bool(num_pairs) + [slice(rows + num_pairs, None)] * regularize
    for part in parts:
        total = 0.0
        for z, a, b, share in zip(logits[part], target[part], target_b[part], lam[part], strict=True):
            own = cp_mix_label_factor(float(share), counts[int(a)], counts[int(b)], tau)
            log_sum = torch.logsumexp(z, 0)
            total = total + own * (log_sum - z[int(a)]) + (1 - own) * (log_sum - z[int(b)])
        loss = loss + eta * total / len(target[part])
    return loss


def regmixup_loss(clean, mixed, target, target_b, lam, counts, *, eta=1.0):
    """Pinto et al. 2022 (RegMixup): CE(clean, y) + eta CE(mixed, lam y + (1 - lam) y_b), as a mean of both halves."""
    plain = cross_entropy_loss(clean, target, counts)
    regular = cross_entropy_loss(mixed, target, counts, target_b=target_b, lam=lam)
    return (plain + eta * regular) / (1 + eta)


def bbn_share(epoch, epochs):
    """Zhou et al. 2020 (BBN), section 4.3: 1 - ((e - 1) / E)^2 with e counted from 1; here ``epoch`` is e - 1."""
    number = epoch + 1
    return 1 - ((number - 1) / epochs) ** 2


def bbn_logits(first, second, share, weight, bias):
    """BBN, section 4, with the 2 of the authors' code: classifier of 2 * (share * f_c, (1 - share) * f_r)."""
    rows = []
    for one, other in zip(first, second, strict=True):
        mixed = [2 * share * value for value in one] + [2 * (1 - share) * value for value in other]
        rows.append(
            torch.stack(
                [sum(w * v for w, v in zip(row, mixed, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
            )
        )
    return torch.stack(rows)


def bbn_loss(logits, conventional, rebalancing, share):
    """BBN, section 4: share * E(p, y_c) + (1 - share) * E(p, y_r), averaged over the batch."""
    losses = []
    for row, one, other in zip(logits, conventional, rebalancing, strict=True):
        total = torch.logsumexp(row, 0)
        losses.append(share * (total - row[one]) + (1 - share) * (total - row[other]))
    return sum(losses) / len(losses)


def _unit(row):
    return row / sum(value * value for value in row) ** 0.5


def sup_con_loss(embeddings, target, *, temperature=0.1):
    """Khosla et al. 2020, eq. (2): the mean over anchors; an anchor without a positive adds 0."""
    unit, total = [_unit(row) for row in embeddings], 0.0
    for i in range(len(unit)):
        scores = [torch.dot(unit[i], other) / temperature for other in unit]
        below = sum(torch.exp(score) for k, score in enumerate(scores) if k != i)
        positives = [j for j in range(len(unit)) if j != i and target[j] == target[i]]
        for j in positives:
            total = total - torch.log(torch.exp(scores[j]) / below) / len(positives)
    return total / len(unit)


def prototypical_sup_con_loss(embeddings, prototypes, target, *, temperature=0.1):
    """Wang et al. 2021 (PSC): the own prototype over the sum of all others."""
    total = 0.0
    for row, label in zip(embeddings, target, strict=True):
        scores = [torch.exp(torch.dot(_unit(row), _unit(one)) / temperature) for one in prototypes]
        total = total - torch.log(scores[label] / sum(score for c, score in enumerate(scores) if c != label))
    return total / len(target)


def hybrid_loss(contrast, cross_entropy, epoch, epochs):
    """Wang et al. 2021: alpha * L_contrast + (1 - alpha) * L_CE with alpha = 1 - (T / T_max)^2."""
    alpha = 1 - (epoch / epochs) ** 2
    return alpha * contrast + (1 - alpha) * cross_entropy


def augmented_logits(logits, weight, target, shift, covariance, *, alpha, beta):
    """Chen et al. 2022 (RISDA), the loss: z_k + alpha (w_k - w_y) . mu_y + beta / 2 (w_k - w_y)^T S_y (w_k - w_y)."""
    rows = []
    for row, label in zip(logits, target.tolist(), strict=True):
        apart = [one - weight[label] for one in weight]
        moved = [torch.dot(each, shift[label]) for each in apart]
        spread = [torch.dot(each, covariance[label] @ each) for each in apart]
        rows.append(torch.stack([z + alpha * m + beta / 2 * s for z, m, s in zip(row, moved, spread, strict=True)]))
    return torch.stack(rows)


def class_moments(features, target, num_classes):
    """Mean and covariance (divisor n) of the features of each class; zeros for a class without rows."""
    width = features.shape[1]
    means, covariances = torch.zeros(num_classes, width).double(), torch.zeros(num_classes, width, width).double()
    for label in set(target.tolist()):
        rows = [row for row, own in zip(features, target.tolist(), strict=True) if own == label]
        means[label] = sum(rows) / len(rows)
        covariances[label] = sum(torch.outer(row - means[label], row - means[label]) for row in rows) / len(rows)
    return means, covariances


def reasoned(confusion, means, covariances, tail):
    """RISDA, RISDA.py and loss.py: shifts and covariances from the rows of the confusion matrix, to two decimals."""
    shifts, after = [], []
    for label, row in enumerate(confusion.tolist()):
        shares = [round(count / sum(row), 2) for count in row]
        shifts.append(sum(share * mean for share, mean in zip(shares, means, strict=True)) - means[label])
        mixed = sum(share * one for share, one in zip(shares, covariances, strict=True))
        after.append(mixed if label in tail else covariances[label])
    return torch.stack(shifts), torch.stack(after)


def logit_adjusted_loss(logits, target, counts, *, tau=1.0, **options):
    """Menon et al. 2021: -log( pi_y^tau exp(z_y) / sum_c pi_c^tau exp(z_c) )."""
    prior = torch.tensor([n / sum(counts) for n in counts], dtype=torch.float64)
    return _loss(lambda i, _: logits[i] + torch.log(prior**tau), target, counts, **options)


def focal_loss(logits, target, counts, *, gamma=2.0, **options):
    """Lin et al. 2017, softmax form: -(1 - p)^gamma log p."""

    def rows(i, label):
        minus_log_p = torch.logsumexp(logits[i], 0) - logits[i][label]
        return (1 - torch.exp(-minus_log_p)) ** gamma * minus_log_p

    return _reduced_loss(rows, target, counts, **options)


def multi_label_bce_loss(logits, target, counts, *, positive_weight=None, weight=None):
    """- w_c (w+_c y log p + (1 - y) log(1 - p)), p = sigmoid(z), of each row and class."""
    positive_weight = positive_weight or [1.0] * len(counts)

    def entry(z, y, c):
        return -positive_weight[c] * y * _log_sigmoid(z) - (1 - y) * _log_sigmoid(-z)

    return _entries(entry, logits, target, counts, weight)


def multi_label_focal_loss(logits, target, counts, *, gamma=2.0, alpha=None, weight=None):
    """Lin et al. 2017, equation 5: - alpha_t (1 - p_t)^gamma log p_t."""

    def entry(z, y, _):
        p = 1 / (1 + torch.exp(-z))
        positive, negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        return -positive * y * (1 - p) ** gamma * _log_sigmoid(z) - negative * (1 - y) * p**gamma * _log_sigmoid(-z)

    return _entries(entry, logits, target, counts, weight)


def asymmetric_loss(logits, target, counts, *, gamma_negative=4.0, gamma_positive=1.0, clip=0.05, weight=None):
    """Ridnik et al. 2021: p_m = max(p - m, 0), - y (1 - p)^g+ log p - (1 - y) p_m^g- log(1 - p_m)."""

    def entry(z, y, _):
        p = 1 / (1 + torch.exp(-z))
        shifted = p - clip if float(p.detach()) > clip else 0 * p
        positive = (1 - p) ** gamma_positive * _log_sigmoid(z)
        negative = torch.log(1 - shifted) if clip else _log_sigmoid(-z)
        return -y * positive - (1 - y) * shifted**gamma_negative * negative

    return _entries(entry, logits, target, counts, weight)


def multi_label_ldam_loss(logits, target, counts, *, max_margin=0.5, scale=1.0, weight=None):
    """Binary cross entropy of s (z - y C / n_c^(1/4)), C such that the largest margin is max_margin."""
    constant = max_margin / max(n**-0.25 for n in counts)

    def entry(z, y, c):
        score = scale * (z - y * constant / counts[c] ** 0.25)
        return -y * _log_sigmoid(score) - (1 - y) * _log_sigmoid(-score)

    return _entries(entry, logits, target, counts, weight)


def distribution_balanced_loss(logits, target, counts, *, num_samples, alpha=0.1, beta=10.0, mu=0.2, negative_scale=2.0,
                               kappa=0.025, gamma=2.0, balance=2.0):  # fmt: skip
    """Wu et al. 2020: re-balanced weights and negative-tolerant regularization of focal loss."""
    rows = []
    for z_row, y_row in zip(logits, target, strict=True):
        drawn = sum(float(y) / n for y, n in zip(y_row, counts, strict=True))
        row = []
        for z, y, n in zip(z_row, y_row, counts, strict=True):
            share = (1 / n) / drawn if drawn else math.inf
            weight = alpha + (1 / (1 + math.exp(-beta * (share - mu))) if math.isfinite(share) else 1.0)
            score = z - kappa * math.log(num_samples / n - 1)
            p, q = 1 / (1 + torch.exp(-score)), 1 / (1 + torch.exp(-negative_scale * score))
            positive = -((1 - p) ** gamma) * _log_sigmoid(score)
            negative = -(q**gamma) * _log_sigmoid(-negative_scale * score) / negative_scale
            row.append(balance * weight * (y * positive + (1 - y) * negative))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _log_sigmoid(z):
    """log(1 / (1 + exp(-z))) without overflow."""
    return -torch.log1p(torch.exp(-z)) if float(z.detach()) > 0 else z - torch.log1p(torch.exp(z))


def _entries(entry, logits, target, counts, weight):
    weight = [1.0] * len(counts) if weight is None else weight
    rows = [
        torch.stack([weight[c] * entry(z_row[c], y_row[c], c) for c in range(len(counts))])
        for z_row, y_row in zip(logits, target, strict=True)
    ]
    return torch.stack(rows)


def maximum_margin_loss(logits, target, counts, *, max_margin=1.29, gamma=1.528, scale=19.0, ldam=False, compat=None,
                        target_b=None, **options):  # fmt: skip
    """Kang et al. 2021 (MM, MM-LDAM): the own score loses a margin from the row's own gap; a constant to the gradient.

    With two labels a row, the published code's "first label of the batch" is the first of its own image.
    """
    largest_power = max(n**-0.25 for n in counts)

    def scores(i, label, first_label):
        offset = max_margin - (0.5 * counts[label] ** -0.25 / largest_power if ldam else 0.0)
        margin = torch.zeros(len(counts), dtype=torch.float64)
        row = logits[i].detach()
        if compat is None:
            margin[label] = maximum_margin(row, label, offset, gamma)
        else:
            margin[label] = batch_first_label_margin(row, label, first_label, offset, gamma)
        return scale * (logits[i] - margin)

    def rows(i, label):
        of_b = target_b is not None and int(target[i]) != label
        row = scores(i, label, None if compat is None else int((target_b if of_b else target)[0]))
        return torch.logsumexp(row, 0) - row[label]

    return _reduced_loss(rows, target, counts, target_b=target_b, **options)


def equalization_draw(seed, step, row, label):
    """A 32-bit word from (seed, step, row, class): each absorbed by exclusive or and a scrambling."""

    def scrambled(word):
        for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
            word = ((word ^ (word >> shift)) * factor) % 2**32
        return word ^ (word >> 15)

    word = 0
    for part in (seed >> 32, seed % 2**32, step, row, label):
        word = scrambled(word ^ part)
    return word


def equalization_loss(logits, target, counts, *, gamma=0.9, threshold=0.005, seed=0, step=0, **options):
    """Tan et al. 2020 (SEQL): -log( exp(z_y) / sum_k w_k exp(z_k) ), w_k = 1 - beta [pi_k < lambda] (1 - y_k)."""

    def rows(i, label):
        kept = [
            k
            for k in range(len(counts))
            if k == label
            or counts[k] / sum(counts) >= threshold
            or equalization_draw(seed, step, i, k) >= round(gamma * 2**32)
        ]
        return torch.logsumexp(logits[i][kept], 0) - logits[i][label]

    return _reduced_loss(rows, target, counts, **options)


def seesaw_loss(logits, target, counts, *, p=0.8, q=2.0, eps=1e-2, **options):
    """Wang et al. 2021: every other class k has the factor M_k C_k in the denominator; s is a constant to the gradient.

    M_k = min(1, n_k / n_y)^p, C_k = max(1, s_k / max(s_y, eps))^q.
    """

    def scores(i, label):
        s = torch.softmax(logits[i].detach(), 0)
        factors = torch.ones(len(counts), dtype=torch.float64)
        for k in range(len(counts)):
            if k != label:
                mitigation = min(1.0, counts[k] / counts[label]) ** p
                compensation = max(1.0, float(s[k] / max(s[label], eps))) ** q
                factors[k] = mitigation * compensation
        return logits[i] + torch.log(factors)

    return _loss(scores, target, counts, **options)


def lade_regularizer(logits, labels, counts, remine_lambda):
    """Hong et al. 2021 (LADE): -sum_c pi_c (mean own score of class c - T_c - lambda T_c^2), T_c a log mean density."""
    rows, classes = logits.shape
    total = torch.zeros((), dtype=torch.float64)
    for c in range(classes):
        prior = counts[c] / sum(counts)
        own = sum(labels[i][c] * logits[i, c] for i in range(rows)) / (sum(labels[i][c] for i in range(rows)) + 1e-8)
        density = torch.stack([logits[i, c] - math.log(prior) + math.log(1 / classes) for i in range(rows)])
        log_mean = torch.logsumexp(density, 0) - math.log(rows)
        total = total - prior * (own - log_mean - remine_lambda * log_mean**2)
    return total


def lade_loss(logits, target, counts, *, regularizer_weight=0.1, remine_lambda=0.01, target_b=None, lam=None,
              label_rule="mixup", omega=0.25, reduction="mean", ignore_index=-100, **options):  # fmt: skip
    """Balanced softmax, plus the regulariser of the rows with labels on top of the mean (and of each row's loss)."""
    rule = {"label_rule": label_rule, "omega": omega}
    how = {"target_b": target_b, "lam": lam, "reduction": reduction, "ignore_index": ignore_index, **rule}
    shares = _label_shares(target, target_b, lam, counts, ignore_index=ignore_index, **rule) or [1.0] * len(target)
    kept, labels = [], []
    for i, share in enumerate(shares):
        parts = [(int(target[i]), share)] if target.ndim == 1 else _soft_parts(target[i], counts, label_rule, omega)
        if target_b is not None:
            parts.append((int(target_b[i]), 1 - share))
        if ignore_index not in [label for label, _ in parts]:
            kept.append(i)
            labels.append([sum(part for label, part in parts if label == c) for c in range(len(counts))])
    regularizer = regularizer_weight * lade_regularizer(logits[kept], labels, counts, remine_lambda)
    each = torch.tensor([float(i in kept) for i in range(len(target))], dtype=torch.float64)
    times = {"mean": 1, "sum": len(kept), "none": each}[reduction]
    return balanced_softmax_loss(logits, target, counts, **how, **options) + times * regularizer


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


def cutmix_box(size, lam, centre):
    """Yun et al. 2019 (CutMix): rand_bbox of clovaai/CutMix-PyTorch, train.py, for a given centre."""
    cut = [int(side * (1.0 - lam) ** 0.5) for side in size]
    low = [min(max(middle - side // 2, 0), end) for middle, side, end in zip(centre, cut, size, strict=True)]
    high = [min(max(middle + side // 2, 0), end) for middle, side, end in zip(centre, cut, size, strict=True)]
    return [*low, *high]


def cutmix_images(x, partner, boxes):
    """The same code's x[:, :, x1:x2, y1:y2] = x[partner, :, x1:x2, y1:y2], one image after the other."""
    out = x.clone()
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()):
        out[i, ..., top:bottom, left:right] = x[int(partner[i]), ..., top:bottom, left:right]
    return out


def cmo_share(counts, weighted_alpha):
    """Park et al. 2022 (CMO): how often a foreground is of each class, by get_weighted_sampler of naver-ai/cmo."""
    class_weight = [1.0 / n**weighted_alpha for n in counts]
    samples = [class_weight[label] for label, n in enumerate(counts) for _ in range(n)]
    return [n * weight / sum(samples) for n, weight in zip(counts, class_weight, strict=True)]


def cmo_mixes(epoch, epochs, start_data_aug=3, end_data_aug=3):
    """The same code's condition on the epoch, counted from 0."""
    return start_data_aug < epoch < epochs - end_data_aug


def cmo_images(background, foreground, boxes):
    """The same code's input[:, :, x1:x2, y1:y2] = input2[:, :, x1:x2, y1:y2]; and the background's share of pixels."""
    out, shares = background.clone(), []
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()):
        out[i, ..., top:bottom, left:right] = foreground[i, ..., top:bottom, left:right]
        shares.append(1 - (bottom - top) * (right - left) / (background.shape[-1] * background.shape[-2]))
    return out, shares


def otmix_backgrounds(foreground, background, y_front, y_behind, counts, *, w=0.05, reg=0.01, iterations=1000):
    """Gao et al. 2023: train_OTmix of JintongGao/Enhancing-Minority-Classes-by-Mixing, with Sinkhorn's iteration."""
    rates = [[n / sum(row) if i != j and sum(row) else 0.0 for j, n in enumerate(row)] for i, row in enumerate(counts)]
    F, B = len(foreground), len(background)
    K = torch.zeros(F, B, dtype=torch.float64)
    for i in range(F):
        for j in range(B):
            f, b = foreground[i].double(), background[j].double()
            cosine = float(f @ b) / (max(float(f.norm()), 1e-8) * max(float(b.norm()), 1e-8))
            cost = w * (1 - cosine) + (1 - w) * (1 - rates[y_front[i]][y_behind[j]])
            K[i, j] = math.exp(-cost / reg)
    u = torch.full((F,), 1 / F, dtype=torch.float64)
    for _ in range(iterations):
        v = (1 / B) / (K.T @ u)
        u = (1 / F) / (K @ v)
    plan = u[:, None] * K * v
    return [max(range(B), key=lambda j, i=i: plan[i, j]) for i in range(F)]


def otmix_goes_by_transport(uniform, epoch, epochs, u):
    """The same code's np.random.binomial(n=1, p=(epoch / epochs) ** u), for a given uniform draw."""
    return uniform < (epoch / epochs) ** u


def fasa_statistics(batches, num_classes, decay):
    """Zang et al. 2021 (FASA): fa_update_push of yuhangzang/FASA for batches of (features, labels)."""
    mean, variance = [None] * num_classes, [None] * num_classes
    for features, labels in batches:
        for label in sorted(set(labels.tolist())):
            own = features[labels == label].double()
            new_mean, new_variance = own.mean(0), own.var(0, unbiased=False)
            if len(own) > 1:
                new_variance = new_variance * len(own) / (len(own) - 1)
            if mean[label] is None:
                mean[label], variance[label] = new_mean, new_variance
            else:
                mean[label] = decay * new_mean + (1 - decay) * mean[label]
                variance[label] = decay * new_variance + (1 - decay) * variance[label]
    return mean, variance


def fasa_probabilities(counts, power, scale):
    """The same code's instance_prob, clamped to [0, 1]."""
    total = sum(1 / n for n in counts)
    return [min(1.0, scale * (1 / n / total) ** power) for n in counts]


def fasa_adapted(probability, before, after, groups, up, down):
    """The same code's dynamic_sampling: the loss of a group of classes rose or fell."""
    found = list(probability)
    for group in groups:
        change = sum(after[k] for k in group) - sum(before[k] for k in group)
        for k in group:
            found[k] = min(1.0, found[k] * (down if change > 0 else up if change < 0 else 1.0))
    return found


# --- calibration ------------------------------------------------------------------------------------------------------


def margin_calibrated_logits(logits, omega, beta, weight, *, scale=1.0):
    """Wang et al. 2022 (MARC), eq. 5-7: distance d = logit / ||W_j||, calibrated omega d + beta, back times ||W_j||."""
    calibrated = torch.zeros(len(logits), len(weight), dtype=torch.float64)
    for i in range(len(logits)):
        for j in range(len(weight)):
            length = math.sqrt(sum(float(w) ** 2 for w in weight[j]))
            distance = float(logits[i][j]) / length
            calibrated[i, j] = scale * length * (float(omega[j]) * distance + float(beta[j]))
    return calibrated


def margin_calibration_loss(logits, target, weights, *, normalization):
    """Eq. 10: mean of U_y (-log p_y); the authors' code divides by the sum of U_y instead of N."""
    total, divisor = 0.0, 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        evidence = math.fsum(math.exp(value - max(row)) for value in row)
        total += weights[label] * (math.log(evidence) + max(row) - row[label])
        divisor += weights[label] if normalization == "weights" else 1.0
    return total / divisor


def temperature(logits, target):
    """Guo et al. 2017, section 4.2: T of the smallest mean -log softmax(z / T)_y, by golden-section search."""

    def loss(inverse):
        rows = [[inverse * value for value in row] for row in logits]
        parts = zip(rows, target, strict=True)
        return math.fsum(max(r) + math.log(math.fsum(math.exp(v - max(r)) for v in r)) - r[y] for r, y in parts)

    low, high, golden = math.exp(-12), math.exp(12), (math.sqrt(5) - 1) / 2
    while high - low > 1e-9 * high:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return 2 / (low + high)


def vector_scaling(logits, target, *, penalty, steps=30):
    """Guo et al. 2017, section 4.2, as factors and offsets of the logits: Newton's method with autograd, in float64.

    The factors are relative to the temperature, and the penalty pulls them to 1 and the offsets to 0. Classes without
    a sample are not in the softmax, and have the factor 1 / T and the offset 0.
    """
    inverse = 1 / temperature(logits.tolist(), target.tolist())
    seen = sorted(set(target.tolist()))
    own = torch.tensor([seen.index(label) for label in target.tolist()])
    scores, count = inverse * logits.double()[:, seen], len(seen)

    def loss(both):
        moved = both - torch.cat((torch.ones(count), torch.zeros(count))).double()
        fit = torch.nn.functional.cross_entropy(scores * both[:count] + both[count:], own, reduction="sum")
        return (fit + penalty / 2 * moved.square().sum()) / len(own)

    both = torch.cat((torch.ones(count), torch.zeros(count))).double()
    for _ in range(steps):
        slope = torch.autograd.functional.jacobian(loss, both)
        if float(slope.abs().max()) < 1e-12:
            break
        step = torch.linalg.solve(torch.autograd.functional.hessian(loss, both), slope)
        length = 1.0
        while loss(both - length * step) > loss(both):
            length /= 2
            if length < 1e-12:
                break
        both = both - length * step
    factor, offset = torch.full((logits.shape[1],), inverse).double(), torch.zeros(logits.shape[1]).double()
    factor[seen], offset[seen] = inverse * both[:count], both[count:]
    return factor, offset


def margin_calibration_fit(logits, target, counts, weight_norm, *, rates, batches, gamma, momentum, weight_decay,
                           normalization, scale=1.0):  # fmt: skip
    """SGD with momentum on omega and beta, its gradient by hand: d loss / d logit_j = U_y (p_j - [j = y]) / divisor.

    ``batches[e]`` lists the row indices of every step of epoch e.
    """
    weights = inverse_frequency_weights(counts, gamma)
    omega, beta = [1.0] * len(counts), [0.0] * len(counts)
    speed = [[0.0] * len(counts), [0.0] * len(counts)]
    for rate, epoch in zip(rates, batches, strict=True):
        for batch in epoch:
            slope = [[weight_decay * w for w in omega], [weight_decay * b for b in beta]]
            labels = [int(target[i]) for i in batch]
            divisor = sum(weights[y] for y in labels) if normalization == "weights" else len(batch)
            for i, label in zip(batch, labels, strict=True):
                row = [scale * (o * float(z) + b * float(n))
                       for o, z, b, n in zip(omega, logits[i], beta, weight_norm, strict=True)]  # fmt: skip
                evidence = math.fsum(math.exp(value - max(row)) for value in row)
                for j, value in enumerate(row):
                    error = weights[label] * (math.exp(value - max(row)) / evidence - (j == label)) / divisor
                    slope[0][j] += error * scale * float(logits[i][j])
                    slope[1][j] += error * scale * float(weight_norm[j])
            for parameters, v, g in ((omega, speed[0], slope[0]), (beta, speed[1], slope[1])):
                for j in range(len(counts)):
                    v[j] = momentum * v[j] + g[j]
                    parameters[j] -= rate * v[j]
    return omega, beta


def marc_rate(epoch, epochs, *, base_lr, warmup_lr, warmup_epochs):
    """CosineAnnealingLRWarmup of microsoft/robustlearn, marc/utils.py, epoch from 0; without warm-up torch's cosine."""
    if epoch < warmup_epochs:
        return (warmup_lr - base_lr) / (warmup_epochs - 1) * (epoch - 1) + base_lr
    return warmup_lr * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs))) / 2


def marc_second_stage(network, head, batches, num_images, counts, *, batch_size, rates, gamma, momentum, weight_decay):
    """The same code's run_networks.py ``train`` with MARCLinear and GRWLoss: network in train mode, its weights fixed.

    ``batches(epoch)`` yields all batches of an epoch; the loop leaves it when its step is int(images / batch size).
    Returns a, b and the network, whose batch norms have moved.
    """
    weight = torch.tensor([(1.0 / n) ** gamma for n in counts])
    weight = len(counts) * weight / weight.sum()
    a, b = torch.ones(len(counts), requires_grad=True), torch.zeros(len(counts), requires_grad=True)
    optimizer = torch.optim.SGD([a, b], lr=0.0, momentum=momentum, weight_decay=weight_decay)
    norm = head.weight.detach().norm(dim=1)
    for epoch, rate in enumerate(rates):
        network.train()
        optimizer.param_groups[0]["lr"] = rate
        for step, (x, y) in enumerate(batches(epoch), 1):
            if step == int(num_images / batch_size):
                break
            with torch.no_grad():
                before = network(x)
            loss = torch.nn.functional.cross_entropy(a * before + b * norm, y, weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return a.detach(), b.detach(), network.eval()


def scaled_logits_fit(logits, target, *, rates, batches, momentum, weight_decay, scale=1.0):
    """Kang et al. 2020 (LWS): factors f of fixed logits z, d loss / d f_j = mean_i (p_ij - [j = y_i]) scale z_ij."""
    factor, speed = [1.0] * len(logits[0]), [0.0] * len(logits[0])
    for rate, epoch in zip(rates, batches, strict=True):
        for batch in epoch:
            slope = [weight_decay * f for f in factor]
            for i in batch:
                row = [scale * f * float(z) for f, z in zip(factor, logits[i], strict=True)]
                evidence = math.fsum(math.exp(value - max(row)) for value in row)
                for j, value in enumerate(row):
                    error = math.exp(value - max(row)) / evidence - (j == int(target[i]))
                    slope[j] += error * scale * float(logits[i][j]) / len(batch)
            for j in range(len(factor)):
                speed[j] = momentum * speed[j] + slope[j]
                factor[j] -= rate * speed[j]
    return factor


def _probe_probabilities(x, weight, bias):
    return torch.softmax(x @ weight.T + bias, dim=1)


def adversarial_direction(x, weight, bias, radius, distance):
    """VAT of Trivedi et al. 2023: d KL(p || q) / dx = (q - p) W at x + distance x / |x|, scaled to length radius."""
    p = _probe_probabilities(x, weight, bias)
    q = _probe_probabilities(x + distance * x / x.norm(dim=1, keepdim=True), weight, bias)
    slope = (q - p) @ weight
    return radius * slope / slope.norm(dim=1, keepdim=True)


def uncertain_perturbation(x, weight, bias, radius, step_size, steps):
    """UDP of Trivedi et al. 2023: d entropy / dz_j = -p_j (log p_j + entropy), times W; only its sign counts."""
    r = torch.zeros_like(x)
    for _ in range(steps):
        p = _probe_probabilities(x + r, weight, bias)
        entropy = -(p * p.log()).sum(1, keepdim=True)
        r = r + step_size * torch.sign(-p * (p.log() + entropy) @ weight)
        r = torch.where(r.abs() > radius, radius * torch.sign(r), r)
    return r


def linear_probe_fit(x, target, pool, *, variant, rates, batches, momentum, weight_decay, penalty, radius, distance,
                     step_size, steps):  # fmt: skip
    """Trivedi et al. 2023: each probe (W, b) of the pool by its gradients, written out, and SGD of Nesterov; the mean.

    d cross entropy / dW = (p - y)^T x / B; of the VAT term (q - p)^T (x + r) / B with p constant.
    """
    pool = [[weight.clone(), bias.clone()] for weight, bias in pool]
    speed = [[torch.zeros_like(part) for part in each] for each in pool]
    for rate, epoch in zip(rates, batches, strict=True):
        for rows in epoch:
            given, wanted = x[rows], torch.eye(len(pool[0][0]), dtype=x.dtype)[target[rows]]
            for number, (weight, bias) in enumerate(pool):
                p = _probe_probabilities(given, weight, bias)
                terms = [(given, p - wanted, 1.0)]
                if variant == "vat":
                    moved = given + adversarial_direction(given, weight, bias, radius, distance)
                    terms.append((moved, _probe_probabilities(moved, weight, bias) - p, penalty))
                if variant == "udp":
                    moved = given + uncertain_perturbation(given, weight, bias, radius, step_size, steps)
                    terms.append((moved, _probe_probabilities(moved, weight, bias) - wanted, penalty))
                share = 1 / (len(rows) * len(pool))
                slopes = (
                    sum(factor * error.T @ points for points, error, factor in terms) * share,
                    sum(factor * error.sum(0) for _, error, factor in terms) * share,
                )
                for at, slope in enumerate(slopes):
                    full = slope + weight_decay * pool[number][at]
                    speed[number][at] = momentum * speed[number][at] + full
                    pool[number][at] = pool[number][at] - rate * (full + momentum * speed[number][at])
    weights, biases = zip(*pool, strict=True)
    return sum(weights) / len(pool), sum(biases) / len(pool)


def meta_sampling_logits(counts, init_pow):
    """Ren et al. 2020 (BALMS): init_weights_sampler of BalancedMetaSoftmax-Classification, data/MetaSampler.py."""
    total = sum(counts)
    shares = [1 / (n / total) ** init_pow for n in counts]
    rates = [share / (min(shares) + max(shares)) for share in shares]
    return [math.log(rate) - math.log(1 - rate) for rate in rates]


def balanced_meta_softmax_fit(
    features, target, counts, weight, bias, exponential, balanced, *, rates, logits, meta_lr, momentum, weight_decay
):
    """The same code's meta_forward, then its plain step, for given noise (B, N) and balanced rows of each step."""
    weight, bias, phi = (each.clone().requires_grad_() for each in (weight, bias, logits))
    prior, classifier = torch.tensor(counts, dtype=torch.float64).log(), [weight, bias]
    sgd = torch.optim.SGD(classifier, lr=0.0, momentum=momentum, weight_decay=weight_decay)
    adam = torch.optim.Adam([phi], lr=meta_lr)
    for lr, noise, meta in zip(rates, exponential, balanced, strict=True):
        sgd.param_groups[0]["lr"] = lr
        scores = phi.sigmoid()[target].log() - noise.log()  # log probability plus Gumbel noise of all N rows
        soft = scores.softmax(dim=1)
        hard = torch.nn.functional.one_hot(soft.argmax(1), len(target)).double()
        chosen, sampled = soft.argmax(1), hard - soft.detach() + soft
        shifted = features[chosen] @ weight.T + bias + prior
        losses = torch.nn.functional.cross_entropy(shifted, target[chosen], reduction="none")
        loss = (losses[:, None] * sampled.detach() * sampled).sum(1).mean()
        moved = []
        for part, gradient in zip(classifier, torch.autograd.grad(loss, classifier, create_graph=True), strict=True):
            buffer = sgd.state[part].get("momentum_buffer", torch.zeros_like(part))
            moved.append(part - lr * (momentum * buffer + gradient + weight_decay * part))
        validation = torch.nn.functional.cross_entropy(features[meta] @ moved[0].T + moved[1], target[meta])
        adam.zero_grad()
        phi.grad = torch.autograd.grad(validation, phi)[0]
        adam.step()
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(features[chosen] @ weight.T + bias + prior, target[chosen]).backward()
        sgd.step()
    return weight.detach(), bias.detach(), phi.detach().sigmoid()


def loce_fit(
    features,
    target,
    num_classes,
    weight,
    bias,
    batches,
    generator,
    *,
    rates,
    queue_size,
    classes,
    each,
    first,
    alpha,
    momentum,
    weight_decay,
):
    """Feng et al. 2021 (LOCE): loce_roi_head.py, mfs.py and equilibrium_loss.py of fcjian/LOCE, an image as an object.

    ``generator`` gives the uniform draws of the classes, then the places in the queues.
    """
    weight, bias, scores = weight.clone().requires_grad_(), bias.clone().requires_grad_(), [first] * num_classes
    sgd = torch.optim.SGD([weight, bias], lr=0.0, momentum=momentum, weight_decay=weight_decay)
    queues, pointers = [[] for _ in range(num_classes)], [0] * num_classes
    for lr, rows in zip(rates, batches, strict=True):
        for label in sorted({int(target[row]) for row in rows}):
            for row in [row for row in rows if int(target[row]) == label][:queue_size]:
                if len(queues[label]) < queue_size:
                    queues[label].append(features[row])
                else:
                    queues[label][pointers[label]] = features[row]
                pointers[label] = (pointers[label] + 1) % queue_size
        inverse = [1 / (score + 10e-8) for score in scores]
        chosen = []
        for uniform in sorted(generator.random(classes).tolist()):
            passed = [index for index in range(num_classes) if uniform <= sum(inverse[: index + 1]) / sum(inverse)]
            chosen.append(passed[0])
        chosen = [label for label in chosen if queues[label] for _ in range(each)]
        places = generator.integers([len(queues[label]) for label in chosen]).tolist() if chosen else []
        drawn = [queues[label][place] for label, place in zip(chosen, places, strict=True)]
        every = torch.stack([features[row] for row in rows] + drawn)
        labels = [int(target[row]) for row in rows] + chosen
        logits = every @ weight.T + bias
        softmax = logits.detach().softmax(1)
        entries = [(labels[i], float(softmax[i, labels[i]])) for i in range(len(rows))]
        for label in sorted(set(chosen)):
            own = [float(softmax[i, label]) for i in range(len(rows), len(labels)) if labels[i] == label]
            entries.append((label, sum(own) / len(own)))
        for label in {label for label, _ in entries}:
            own = [score for known, score in entries if known == label]
            keep = alpha ** len(own)
            scores[label] = keep * scores[label] + (1 - keep) * sum(own) / len(own)
        numerator = torch.tensor(scores, dtype=torch.float64) * logits.exp()
        probability = numerator[range(len(labels)), labels] / numerator.sum(1)
        sgd.param_groups[0]["lr"] = lr
        sgd.zero_grad()
        (-probability.log()).mean().backward()
        sgd.step()
    return weight.detach(), bias.detach(), scores


def aligned_logits(logits, confidence, alpha, beta):
    """Zhang et al. 2021 (DisAlign): s (alpha_j z_j + beta_j) + (1 - s) z_j, s the sigmoid of a sample's confidence."""
    aligned = torch.zeros(len(logits), len(alpha), dtype=torch.float64)
    for i in range(len(logits)):
        sure = 1 / (1 + math.exp(-float(confidence[i])))
        for j in range(len(alpha)):
            z = float(logits[i][j])
            aligned[i, j] = sure * (float(alpha[j]) * z + float(beta[j])) + (1 - sure) * z
    return aligned


def class_smoothing(counts, head, tail):
    """Zhong et al. 2021 (MiSLAS), eq. 5, the concave form of the authors' code."""
    most, least = max(counts), min(counts)
    return [tail + (head - tail) * math.sin((n - least) * math.pi / (2 * (most - least))) for n in counts]


def label_aware_smoothing_loss(logits, target, smoothing):
    """Eq. 3 as the authors' code has it: the label 1 - e_y, plus e_y / C on every class."""
    total = 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        evidence = max(row) + math.log(math.fsum(math.exp(value - max(row)) for value in row))
        for j, value in enumerate(row):
            share = smoothing[label] / len(row) + (1 - smoothing[label]) * (j == label)
            total += share * (evidence - value)
    return total / len(logits)


def expert_assignment(router, features, logits, target, *, top, positive_weight):
    """Wang et al. 2021 (RIDE), stage 2: the loss of the router, and for each image the logits and experts of its route.

    router: (hidden weights, hidden offsets) of every expert but the last, output weight, output offset. features (N, E,
    D), logits (N, E, C) of every expert, scaled.
    """
    hidden, output, offset = router
    experts, losses, answers, used = logits.shape[1], [], [], []
    for feature, z, y in zip(features, logits, target.tolist(), strict=True):
        sums = [z[: e + 1].sum(0) for e in range(experts)]
        right = [int(s.argmax()) == y for s in sums]
        scores = []
        for e in range(experts - 1):
            weight, bias = hidden[e]
            inner = (weight @ (feature[e] / feature[e].norm()) + bias).clamp(min=0)
            largest = torch.stack(sorted(sums[e] / (e + 1), reverse=True)[:top])
            scores.append(torch.cat([largest, inner]) @ output + offset)
            p = torch.sigmoid(scores[e])
            helps = not right[e] and any(right[e + 1 :])
            losses.append(-positive_weight * torch.log(p) if helps else -torch.log(1 - p))
        last = next((e for e in range(experts - 1) if torch.sigmoid(scores[e]) <= 0.5), experts - 1)
        answers.append(sums[last] / (last + 1))
        used.append(last + 1)
    return sum(losses) / len(losses), torch.stack(answers), used


def prediction_stability(first, second, share):
    """Zhang et al. 2022 (SADE), eq. 4: mean cosine of the softmax of the weighted logits of two views."""
    found = []
    for one, other in zip(first, second, strict=True):
        p, q = (sum(w * z for w, z in zip(share, view, strict=True)).softmax(0) for view in (one, other))
        found.append((p @ q) / (p.norm() * q.norm()))
    return sum(found) / len(found)


# --- metrics ----------------------------------------------------------------------------------------------------------


def predictions(scores):
    """Index of the largest score of every row, the first among equals."""
    return [max(range(len(row)), key=lambda j, row=row: (row[j], -j)) for row in scores]


def class_scores(scores, labels, num_classes):
    """(recall, precision, f1, support) of every class, counted one by one; None without a denominator."""
    result = []
    for c in range(num_classes):
        pairs = [(p == c, y == c) for p, y in zip(predictions(scores), labels, strict=True)]
        right = sum(p and y for p, y in pairs)
        said, true = sum(p for p, _ in pairs), sum(y for _, y in pairs)
        f1 = 2 * right / (said + true) if said + true else None
        result.append((right / true if true else None, right / said if said else None, f1, true))
    return result


def mean_present(values):
    """Mean of what is not None; None of nothing."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def class_margins(logits, labels, lengths):
    """Of each class the mean over its images of z_y, z_y less the largest other and z_y / |w_y|, and their number."""
    found = []
    for label in range(len(lengths)):
        rows = [row for row, own in zip(logits, labels, strict=True) if own == label]
        own = [row[label] for row in rows]
        margin = [row[label] - max(value for at, value in enumerate(row) if at != label) for row in rows]
        number = max(len(rows), 1)
        found.append((sum(own) / number, sum(margin) / number, sum(own) / number / lengths[label], len(rows)))
    return found


def softmax(row):
    """exp(z_j) / sum_c exp(z_c)."""
    powers = [math.exp(value - max(row)) for value in row]
    return [power / math.fsum(powers) for power in powers]


def calibration_error(probabilities, labels, bins):
    """Guo et al. 2017, eq. 3: sum over bins (k/bins, (k+1)/bins] of count / N * |accuracy - confidence|.

    Bin by bin, by the two inequalities; the confidence 0, which the formula leaves out, belongs to the first.
    """
    error, seen = 0.0, 0
    guesses = predictions(probabilities)
    for k in range(bins):
        inside = [
            i for i, row in enumerate(probabilities)
            if (k / bins < max(row) or (k == 0 and max(row) == 0)) and max(row) <= (k + 1) / bins
        ]  # fmt: skip
        seen += len(inside)
        if inside:
            confidence = math.fsum(max(probabilities[i]) for i in inside) / len(inside)
            accuracy = sum(guesses[i] == labels[i] for i in inside) / len(inside)
            error += len(inside) / len(labels) * abs(accuracy - confidence)
    if seen != len(labels):
        raise ValueError(f"{len(labels) - seen} samples are in no bin")
    return error


def wilson_ends(right, total, z):
    """Wilson 1927: the two shares p with |right / total - p| = z * sqrt(p (1 - p) / total), a quadratic equation."""
    share = right / total
    a, b, c = 1 + z * z / total, -2 * share - z * z / total, share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def mean_recall_ends(right, total, z):
    """Zou, Huang and Zhang 2009, for the plain mean: squared distances to Wilson's ends, summed class by class."""
    recalls = [hits / n for hits, n in zip(right, total, strict=True)]
    ends = [wilson_ends(hits, n, z) for hits, n in zip(right, total, strict=True)]
    mean = sum(recalls) / len(recalls)
    below = sum((recall - low) ** 2 for recall, (low, _) in zip(recalls, ends, strict=True))
    above = sum((high - recall) ** 2 for recall, (_, high) in zip(recalls, ends, strict=True))
    return mean - math.sqrt(below) / len(recalls), mean + math.sqrt(above) / len(recalls)


def risk_at(probabilities, labels, threshold):
    """(coverage, risk) of the rows whose largest probability is at least the threshold."""
    guesses = predictions(probabilities)
    accepted = [i for i, row in enumerate(probabilities) if max(row) >= threshold]
    return len(accepted) / len(labels), sum(guesses[i] != labels[i] for i in accepted) / len(accepted)


def grouped_confusion(matrix, sizes, groups, *, correct=False):
    """CP-Mix, eq. 5 and Figures 3 to 6: share of group a's test samples that are predicted, wrongly, as group b."""
    order = sorted(range(len(sizes)), key=lambda c: (-sizes[c], c))
    most, rest = divmod(len(order), groups)
    members, start = [], 0
    for a in range(groups):
        stop = start + most + (a < rest)
        members.append(order[start:stop])
        start = stop
    shares = [[math.nan] * groups for _ in range(groups)]
    for a, b in itertools.product(range(groups), repeat=2):
        total = sum(sum(matrix[i]) for i in members[a])
        found = sum(matrix[i][j] for i in members[a] for j in members[b] if correct or i != j)
        if total:
            shares[a][b] = found / total
    return shares, members


def spread_of_errors(matrix):
    """Mean over the classes with errors of their sorted shares, and exp of each class's entropy."""
    size, rows, effective = len(matrix), [], []
    for i in range(size):
        wrong = [matrix[i][j] for j in range(size) if j != i]
        total = sum(wrong)
        if not total:
            effective.append(math.nan)
            continue
        rows.append(sorted((n / total for n in wrong), reverse=True))
        effective.append(math.exp(-math.fsum(n / total * math.log(n / total) for n in wrong if n)))
    share = [math.fsum(row[r] for row in rows) / len(rows) if rows else math.nan for r in range(size - 1)]
    return share, effective


def average_precision(scores, positive):
    """Mean over the positives of the precision among all rows with at least their score."""
    found = []
    for row, is_positive in enumerate(positive):
        if is_positive:
            above = [bool(positive[other]) for other, score in enumerate(scores) if score >= scores[row]]
            found.append(sum(above) / len(above))
    return sum(found) / len(found) if found else None


def likely_label_errors(probabilities, labels):
    """Northcutt et al. 2021, eq. 1 and 2: (row, given, suggested) off the diagonal, the least likely label first."""
    classes = range(len(probabilities[0]))
    own = [[row[j] for row, label in zip(probabilities, labels, strict=True) if label == j] for j in classes]
    found = []
    for i, row in enumerate(probabilities):
        confident = [j for j in classes if own[j] and row[j] >= sum(own[j]) / len(own[j]) - 1e-9]
        if confident:
            suggested = max(confident, key=lambda j, row=row: (row[j], -j))
            found += [(row[labels[i]], i, labels[i], suggested)] if suggested != labels[i] else []
    return [(i, given, suggested) for _, i, given, suggested in sorted(found)]


# --- models -----------------------------------------------------------------------------------------------------------


def _normalized(x, norm):
    """Batch norm in eval mode: (x - mean) / sqrt(var + eps) * weight + bias, channel by channel."""
    mean, var, gain, shift = (norm[key].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(var + 1e-5) * gain + shift


def _option_a(x, planes):
    """Shortcut of He et al. 2016, option A: every second pixel, zeros for the new channels on both sides."""
    out = torch.zeros(len(x), planes, (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2, dtype=x.dtype)
    first = (planes - x.shape[1]) // 2
    for c in range(x.shape[1]):
        out[:, first + c] = x[:, c, ::2, ::2]
    return out


def resnet_features(x, layers):
    """He et al. 2016, section 4.2: a convolution, then pairs of them with a shortcut; the mean over the pixels.

    ``layers``: (convolution weight, batch norm state) in the order of the network.
    """
    (weight, norm), *rest = layers
    x = torch.relu(_normalized(torch.conv2d(x, weight, padding=1), norm))
    for (first, norm1), (second, norm2) in zip(rest[::2], rest[1::2], strict=True):
        widens = first.shape[0] != first.shape[1]
        out = torch.relu(_normalized(torch.conv2d(x, first, stride=2 if widens else 1, padding=1), norm1))
        out = _normalized(torch.conv2d(out, second, padding=1), norm2)
        x = torch.relu(out + (_option_a(x, first.shape[0]) if widens else x))
    return x.flatten(2).mean(dim=2)


def bottleneck_features(x, layers):
    """google-research, logit_adjustment/models.py _cifar_resnet: its padding, blocks, last batch norm and mean.

    ``layers``: (convolution weight, batch norm state) in the order conv1; then for each of 15 blocks 2a, 2b, 2c and, in
    the first of a stage, the shortcut; last the state of final_bn with None for a weight.
    """
    found = iter(layers)

    def normed(out, stride=1, padding=0):
        weight, norm = next(found)
        return _normalized(torch.conv2d(out, weight, stride=stride, padding=padding), norm)

    out = torch.relu(normed(torch.nn.functional.pad(x, (3, 3, 3, 3))))
    for stage in range(3):
        for block in range(5):
            stride = 2 if stage > 0 and block == 0 else 1
            inner = torch.relu(normed(out))
            even = inner.shape[2] % 2 == 0
            # TensorFlow's "same": with stride 2 an even size needs one pixel, behind; an odd one needs two.
            inner = torch.nn.functional.pad(inner, (0, 1, 0, 1) if stride == 2 and even else (1, 1, 1, 1))
            inner = torch.relu(normed(inner, stride=stride))
            inner = normed(inner)
            out = torch.relu(inner + (normed(out, stride=stride) if block == 0 else out))
    return _normalized(out, next(found)[1]).flatten(2).mean(dim=2)


def basic_resnet_features(x, layers):
    """He et al. 2016, Table 1, the network for photographs, with one basic block in each of the four stages.

    A 7 x 7 convolution by steps of two, a 3 x 3 maximum by steps of two, then pairs of convolutions; where a stage
    makes the image smaller, the shortcut is a 1 x 1 convolution by steps of two (option B). The mean over the pixels.
    ``layers``: (convolution weight, batch norm state) in the order of the network, shortcuts after their pair.
    """
    (weight, norm), *rest = layers
    x = torch.relu(_normalized(torch.conv2d(x, weight, stride=2, padding=3), norm))
    x = torch.nn.functional.max_pool2d(x, 3, stride=2, padding=1)
    while rest:
        (first, norm1), (second, norm2), *rest = rest
        stride, shortcut = 1, x
        if first.shape[0] != first.shape[1]:
            (narrow, norm3), *rest = rest
            stride, shortcut = 2, _normalized(torch.conv2d(x, narrow, stride=2), norm3)
        out = torch.relu(_normalized(torch.conv2d(x, first, stride=stride, padding=1), norm1))
        x = torch.relu(_normalized(torch.conv2d(out, second, padding=1), norm2) + shortcut)
    return x.flatten(2).mean(dim=2)


def cosines(x, weight):
    """<x_i, w_j> / (|x_i| |w_j|)."""
    out = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for i, feature in enumerate(x.tolist()):
        for j, row in enumerate(weight.tolist()):
            lengths = math.sqrt(sum(v * v for v in feature)) * math.sqrt(sum(v * v for v in row))
            out[i, j] = sum(a * b for a, b in zip(feature, row, strict=True)) / lengths
    return out


# --- training ---------------------------------------------------------------------------------------------------------


def ldam_drw_learning_rate(epoch, base=0.1):
    """``adjust_learning_rate`` of LDAM-DRW (Cao et al. 2019, cifar_train.py) for its 200 epochs; epoch from 0."""
    human = epoch + 1
    if human <= 5:
        return base * human / 5
    if human > 180:
        return base * 0.0001
    if human > 160:
        return base * 0.01
    return base


def ldam_drw_reweights(epoch):
    """Whether the class weights of DRW are on: ``idx = epoch // 160`` of cifar_train.py, for 200 epochs."""
    return epoch // 160 == 1


def cosine_learning_rate(step, steps, *, base, final=0.0, warm_steps=0, warmup_start=0.0):
    """Loshchilov and Hutter 2017, eq. 5 with T_cur = step - warm_steps, after a linear warm-up."""
    if step < warm_steps:
        return warmup_start + (base - warmup_start) * (step + 1) / warm_steps
    progress = (step - warm_steps) / (steps - warm_steps)
    return final + 0.5 * (base - final) * (1 + math.cos(progress * math.pi))


def logit_adjustment_rate(step, steps_per_epoch, base=0.1):
    """LearningRateSchedule of google-research, logit_adjustment/utils.py, with CIFAR-100-LT's pairs."""
    schedule = [(1.0, 22), (0.1, 691), (0.01, 1059), (0.001, 1290)]
    epoch = step / steps_per_epoch
    rate = base * schedule[0][0] * epoch / schedule[0][1]
    for multiplier, start in schedule:
        if epoch >= start:
            rate = base * multiplier
    return rate


def train_plainly(model, criterion_of, batches, learning_rate, *, epochs, momentum, weight_decay):
    """Train by gradient descent with momentum (Sutskever et al. 2013, in torch's form), one tensor at a time.

    v <- momentum * v + (gradient + weight_decay * weight), in the first step without v; weight <- weight - rate * v.
    Returns the mean loss over the samples of each epoch.
    """
    velocity = {}
    means = []
    for epoch in range(epochs):
        total = samples = 0
        model.train()
        for step, batch in enumerate(batches(epoch)):
            x = batch.x
            model.zero_grad()
            loss = criterion_of(epoch)(model(x), batch.target, batch.target_b, batch.lam)
            loss.backward()
            total, samples = total + loss.item() * len(x), samples + len(x)
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    slope = weight.grad + weight_decay * weight
                    velocity[name] = momentum * velocity[name] + slope if name in velocity else slope
                    weight.sub_(learning_rate(epoch, step) * velocity[name])
        means.append(total / samples)
    return means


# --- data sets --------------------------------------------------------------------------------------------------------


def long_tailed_counts(largest, num_classes, imbalance_ratio, profile):
    """LDAM-DRW's get_img_num_per_cls, line by line; for "pareto", Lomax quantiles stretched between the two ends."""
    img_max, imb_factor = float(largest), 1 / imbalance_ratio
    if profile == "exp":
        return [int(img_max * (imb_factor ** (c / (num_classes - 1.0)))) for c in range(num_classes)]
    if profile == "step":
        half = num_classes // 2
        return [int(img_max)] * half + [int(img_max * imb_factor)] * (num_classes - half)
    smallest = img_max * imb_factor
    steepness = [(num_classes / (c + 1)) ** (1 / 5.412667) - 1 for c in range(num_classes)]
    return [int(smallest + (img_max - smallest) * (q / steepness[0]) + 0.5) for q in steepness]


def ldam_indices(labels, counts, seed):
    """LDAM-DRW's gen_imbalanced_data: NumPy's legacy shuffle of each class, one generator for all of them."""
    generator = np.random.RandomState(seed)
    kept = []
    for label, count in enumerate(counts):
        members = np.array([i for i, other in enumerate(labels) if other == label], dtype=np.int64)
        generator.shuffle(members)
        kept.extend(members[:count].tolist())
    return kept


def image_batch(images, indices, placements, mean, std, partner=None, lam=None):
    """Crop, flip, normalise and mix pixel by pixel: black outside the image, torchvision's float32 steps."""
    _, height, width, channels = images.shape
    x = torch.empty((len(indices), channels, height, width))
    for b, (index, (dy, dx, flip)) in enumerate(zip(indices, placements, strict=True)):
        for channel in range(channels):
            for row in range(height):
                for column in range(width):
                    from_row, from_column = row + dy, (width - 1 - column if flip else column) + dx
                    inside = 0 <= from_row < height and 0 <= from_column < width
                    pixel = float(images[index, from_row, from_column, channel]) if inside else 0.0
                    unit = torch.tensor(pixel) / 255
                    x[b, channel, row, column] = (unit - torch.tensor(mean[channel])) / torch.tensor(std[channel])
    if partner is None:
        return x
    return torch.stack([lam[b] * x[b] + (1 - lam[b]) * x[p] for b, p in enumerate(partner)])


# Each operation as Pillow has it, called with the image, the value and the grey that is shown outside.
OPERATIONS = {
    "identity": lambda image, _, __: image,
    "invert": lambda image, _, __: ImageOps.invert(image),
    "autocontrast": lambda image, _, __: ImageOps.autocontrast(image),
    "equalize": lambda image, _, __: ImageOps.equalize(image),
    "grayscale": lambda image, _, __: image.convert("L").convert(image.mode),
    "posterize": lambda image, bits, _: ImageOps.posterize(image, int(bits)),
    "solarize": lambda image, start, _: ImageOps.solarize(image, start),
    "brightness": lambda image, factor, _: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor, _: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor, _: ImageEnhance.Color(image).enhance(factor),
    "sharpness": lambda image, factor, _: ImageEnhance.Sharpness(image).enhance(factor),
    "hue": lambda image, turn, _: functional.adjust_hue(image, turn),
    "gaussian_blur": lambda image, sigma, _: image.filter(ImageFilter.GaussianBlur(sigma)),
    "shear_x": lambda image, by, fill: _sheared(image, [math.degrees(math.atan(by)), 0.0], fill),
    "shear_y": lambda image, by, fill: _sheared(image, [0.0, math.degrees(math.atan(by))], fill),
    "shear_x_bicubic": lambda image, by, fill: _moved(image, (1, by, 0, 0, 1, 0), fill, Image.Resampling.BICUBIC),
    "shear_y_bicubic": lambda image, by, fill: _moved(image, (1, 0, 0, by, 1, 0), fill, Image.Resampling.BICUBIC),
    "translate_x": lambda image, by, fill: _moved(image, (1, 0, -by, 0, 1, 0), fill),
    "translate_y": lambda image, by, fill: _moved(image, (1, 0, 0, 0, 1, -by), fill),
    "rotate": lambda image, degrees, fill: image.rotate(degrees, fillcolor=_grey(image, fill)),
}


def _grey(image, fill):
    return fill if image.mode == "L" else (fill,) * 3


def _moved(image, matrix, fill, resampling=Image.Resampling.NEAREST):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=_grey(image, fill))


def _sheared(image, degrees, fill):
    return functional.affine(image, 0.0, [0, 0], 1.0, degrees, fill=fill, center=[0, 0])


class PolicyDraws:
    """The random numbers of one image, in the order in which a policy needs them."""

    def __init__(self, seed, epoch, view, position):
        self.key, self.next = absorbed(0, seed, _POLICY, epoch, view, position), 0

    def uniform(self):
        """A double in [0, 1)."""
        self.next += 1
        return (bits(self.key, self.next - 1) >> 11) / 2**53

    def below(self, bound):
        """An integer below ``bound``."""
        self.next += 1
        return below(self.key, self.next - 1, bound)


def augmented(image, stages, fill, cutout, key):
    """Apply a policy to an image (H, W, Ch) by Pillow, then Cutout; ``key`` is (seed, epoch, view, position)."""
    draws = PolicyDraws(*key)
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    for probability, shuffled, alternatives in stages:
        if draws.uniform() >= probability:
            continue
        chosen = list(range(len(alternatives)))
        if shuffled:
            for last in reversed(range(1, len(chosen))):
                other = draws.below(last + 1)
                chosen[last], chosen[other] = chosen[other], chosen[last]
        else:
            chosen = [draws.below(len(alternatives))]
        for name, chance, values, between in (step for number in chosen for step in alternatives[number]):
            applied = draws.uniform() < chance
            if between:
                value = values[0] + (values[1] - values[0]) * draws.uniform()
            else:
                value = (values or [0.0])[draws.below(max(len(values), 1))]
            picture = OPERATIONS[name](picture, value, fill) if applied else picture
    pixels = np.array(picture).reshape(image.shape)
    if cutout:
        row, column = draws.below(image.shape[0]), draws.below(image.shape[1])
        half = cutout // 2
        pixels[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
    return pixels


def image_list(text):
    """Paths and labels, as facebookresearch/classifier-balancing reads them; paths may hold blanks."""
    pairs = [line.rsplit(None, 1) for line in text.splitlines()]
    return [path for path, _ in pairs], [int(label) for _, label in pairs]


def noise_transition(counts, rate, toward):
    """``T[i][j] = P(label j | class i)``; ``"prior"``: Wei et al. 2021, arXiv:2108.11569."""
    rows = []
    for i, n_i in enumerate(counts):
        others = [1 / (len(counts) - 1) if toward == "uniform" else n_j / (sum(counts) - n_i) for n_j in counts]
        rows.append([1 - rate if j == i else rate * others[j] for j in range(len(counts))])
    return rows


# --- the fused op -----------------------------------------------------------------------------------------------------


def remix_label_factor(lam, n_a, n_b, kappa, tau):
    """Chou et al. 2020 (Remix), eq. 7: the minority takes the whole label where it is kappa times rarer."""
    if n_a / n_b >= kappa and lam < tau:
        return 0.0
    if n_a / n_b <= 1 / kappa and 1 - lam < tau:
        return 1.0
    return lam


def unimix_label_factor(lam, n_a, n_b):
    """Xu et al. 2021 (UniMix): the factor shifted by n_b / (n_a + n_b), wrapped into [0, 1]."""
    shifted = lam + n_b / (n_a + n_b)
    return shifted - 1 if shifted > 1 else shifted


def cp_mix_label_factor(lam, n_a, n_b, tau):
    """CP-Mix, eq. 9, as reconstructed: between the drawn factor and one that favours the rarer class."""
    return (1 - tau) * lam + tau * n_b / (n_a + n_b)


def maximum_margin(row, label, max_margin, gamma):
    """Maximum-Margin loss: the margin of one row from its own scores, largest just on the wrong side."""
    gap = float(row[label]) - max(float(z) for j, z in enumerate(row) if j != label)
    if gap > 0:
        return math.exp(-gap - gamma * max_margin)
    return math.exp(-abs(gap) - max_margin) if gap < 0 else 0.0


def batch_first_label_margin(row, label, first_label, max_margin, gamma):
    """The published code: the batch's first label in the place of the own one, the own column counted as 0."""
    gap = float(row[first_label]) - max(0.0 if j == label else float(z) for j, z in enumerate(row))
    if gap > 0:
        return math.exp(-gap - gamma * max_margin)
    return math.exp(-abs(gap) - max_margin) if gap < 0 else 0.0


def _op_margin(logits, i, labels, options):
    """Margin of row i's label in ``labels``."""
    label, row = int(labels[i]), logits[i].detach()
    fixed = 0.0 if options.get("margin") is None else float(options["margin"][label])
    if options.get("margin_rule", "fixed") == "fixed":
        return fixed
    numbers = options["max_margin"] - fixed, options["gamma"]
    if options.get("compat") is not None:
        return batch_first_label_margin(row, label, int(labels[0]), *numbers)
    return maximum_margin(row, label, *numbers)


def _op_branch(logits, i, labels, options):
    """Loss of row i for one label: smoothed cross entropy, times (1 - p)^gamma."""
    label, classes = int(labels[i]), logits.shape[1]
    margin = torch.zeros(classes, dtype=torch.float64)
    margin[label] = _op_margin(logits, i, labels, options)
    scores = options.get("scale", 1.0) * (logits[i] - margin)
    if options.get("bias") is not None:
        scores = scores + options["bias"]
    minus_log_p = torch.logsumexp(scores, 0) - scores
    smoothing = options.get("label_smoothing", 0.0)
    loss = (1 - smoothing) * minus_log_p[label] + smoothing / classes * minus_log_p.sum()
    gamma = options.get("focal_gamma", 0.0)
    return loss if gamma == 0 else (1 - torch.exp(-minus_log_p[label])) ** gamma * loss


def _op_label_factor(i, target, target_b, options):
    if target_b is None:
        return 1.0
    lam, counts = options["lam"], options.get("class_counts")
    lam = float(lam) if isinstance(lam, float) or lam.dim() == 0 else float(lam[i])
    rule = options.get("label_rule", "mixup")
    if rule == "mixup":
        return lam
    n_a, n_b = float(counts[int(target[i])]), float(counts[int(target_b[i])])
    return {
        "mam": lambda: mam_label_factor(lam, n_a, n_b, options.get("omega", 0.25)),
        "remix": lambda: remix_label_factor(lam, n_a, n_b, options.get("kappa", 3.0), options.get("tau", 0.5)),
        "unimix": lambda: unimix_label_factor(lam, n_a, n_b),
        "cp_mix": lambda: cp_mix_label_factor(lam, n_a, n_b, options.get("tau", 0.5)),
    }[rule]()


def mixed_margin_loss(logits, target, *, target_b=None, normalization="expected", reduction="mean", **options):
    """The op, one row and one label at a time, in float64."""
    weight, own = options.get("weight"), options.get("sample_weight")
    rows, factors = [], 0.0
    for i in range(len(target)):
        share = _op_label_factor(i, target, target_b, options)
        labels = [(target, share)] if target_b is None else [(target, share), (target_b, 1 - share)]
        row = torch.zeros((), dtype=torch.float64)
        for which, part in labels:
            factor = part * (1.0 if weight is None else float(weight[int(which[i])]))
            factor *= 1.0 if own is None else float(own[i])
            row = row + factor * _op_branch(logits, i, which, options)
            factors += factor
        rows.append(row)
    each = torch.stack(rows)
    if reduction != "mean":
        return each if reduction == "none" else each.sum()
    if normalization == "weights":
        return each.sum() / factors
    if normalization == "batch" or weight is None:
        return each.mean()
    counts = options["class_counts"]
    return each.mean() / (sum(float(n) * float(w) for n, w in zip(counts, weight, strict=True)) / float(sum(counts)))


# --- sampling ---------------------------------------------------------------------------------------------------------

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_SAMPLER, _CLASS_ORDER, _WITHIN_CLASS, _CONFUSION_PAIR, _POLICY = 1, 2, 3, 10, 11


def splitmix64(word):
    """Output function of SplitMix64 (Steele, Lea, Flood 2014; constants of Vigna's splitmix64.c)."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def absorbed(key, *words):
    """Hash words into a key, one after the other."""
    for word in words:
        key = splitmix64(splitmix64((key + _GOLDEN) & _WORD) ^ ((word * _GOLDEN) & _WORD))
    return key


def bits(key, position):
    """Draw number ``position``: the state after ``position + 1`` steps of the golden ratio, scrambled."""
    return splitmix64((key + (position + 1) * _GOLDEN) & _WORD)


def uniform(seed, stream, epoch, position):
    """A double in [0, 1) from the high 53 bits."""
    return (bits(absorbed(0, seed, stream, epoch), position) >> 11) / 2**53


def below(key, position, bound):
    """An integer below ``bound`` (Lemire 2019); a rejected draw is replaced from the position's own stream."""
    product = bits(key, position) * bound
    attempt = 0
    while product & _WORD < (1 << 64) % bound:
        product = bits(absorbed(key, position), attempt) * bound
        attempt += 1
    return product >> 64


def fisher_yates(entries, key):
    """Fisher and Yates's shuffle from the front."""
    order = list(entries)
    for first in range(len(order)):
        chosen = first + below(key, first, len(order) - first)
        order[first], order[chosen] = order[chosen], order[first]
    return order


def shuffled_draws(samples, seed, epoch, count):
    """Draws 0 .. count - 1 of an epoch over up to 2^16 samples: pass after pass, each shuffled."""
    key, drawn, number = absorbed(0, seed, _SAMPLER, epoch), [], 0
    while len(drawn) < count:
        drawn += fisher_yates(range(samples), absorbed(key, number))
        number += 1
    return drawn[:count]


def class_probabilities(counts, q):
    """Kang et al. 2020, equation (1): n_c^q over the sum."""
    powers = [float(n) ** q for n in counts]
    return [power / math.fsum(powers) for power in powers]


def class_aware_draws(labels, seed, count):
    """Class-aware sampling (Shen et al. 2016): classes in shuffled rounds, each class in shuffled passes.

    Draws 0 .. count - 1 since the start of training, each class with the same probability.
    """
    members = {}
    for sample, label in enumerate(labels):
        members.setdefault(label, []).append(sample)
    classes, drawn = sorted(members), []
    passes = {label: _passes(members[label], label, seed) for label in classes}
    number = 0
    while len(drawn) < count:
        order = fisher_yates(classes, absorbed(0, seed, _CLASS_ORDER, number))
        drawn += [next(passes[label]) for label in order]
        number += 1
    return drawn[:count]


def _passes(samples, label, seed):
    number = 0
    while True:
        yield from fisher_yates(samples, absorbed(0, seed, _WITHIN_CLASS, label, number))
        number += 1


def m_per_class_draws(labels, m, classes_per_batch, seed, count):
    """P x K batches (Hermans et al. 2017), draws 0 .. count - 1: passes over the classes, cycles over their samples.

    A pass is a shuffle of the classes without its last ``C mod classes_per_batch``. In it a class gives ``m`` of its
    samples: from a cycle, a shuffle that is cut into groups of ``m`` without the rest, or from ``ceil(m / n)`` of them.
    """
    members = {}
    for sample, label in enumerate(labels):
        members.setdefault(label, []).append(sample)
    classes, drawn, number = sorted(members), [], 0
    while len(drawn) < count:
        order = fisher_yates(classes, absorbed(0, seed, _CLASS_ORDER, number))
        for label in order[: len(order) // classes_per_batch * classes_per_batch]:
            cycles = -(-m // len(members[label]))
            groups = max(1, len(members[label]) // m)
            run = []
            for cycle in range(number // groups * cycles, number // groups * cycles + cycles):
                run += fisher_yates(members[label], absorbed(0, seed, _WITHIN_CLASS, label, cycle))
            drawn += run[number % groups * m :][:m]
        number += 1
    return drawn[:count]


def strata_draws(labels, weights, batch_size, seed, count):
    """Batches with the quotas of every class, draws 0 .. count - 1; a class's samples in shuffled passes.

    Blocks of M batches, M the least power of two with which the rarest class comes 16 times a block. A block has whole
    numbers of draws, the differences of W(c) = M * batch_size * (p_0 + .. + p_c-1) to the nearest; a batch with the
    offset r, each of 0 .. M - 1 once a block, floor((W(c + 1) + r) / M) - floor((W(c) + r) / M) of class c.
    """
    largest = max(weights)
    total = sum(weight / largest for weight in weights)
    shares = {label: weight / largest / total for label, weight in enumerate(weights) if weight > 0}
    blocks = math.ceil(16 / min(shares.values()) / batch_size)
    blocks = 1 << (blocks - 1).bit_length()
    upto, reached = [0], 0.0
    for share in shares.values():
        reached += share
        upto.append(min(math.floor(reached * blocks * batch_size + 0.5), blocks * batch_size))
    upto[-1] = blocks * batch_size
    passes = {label: _passes([i for i, own in enumerate(labels) if own == label], label, seed) for label in shares}
    drawn, number = [], 0
    while len(drawn) < count:
        offset = strata_offset(seed, number, blocks)
        edges = [(whole + offset) // blocks for whole in upto]
        quotas = [after - before for before, after in itertools.pairwise(edges)]
        classes = [label for label, quota in zip(shares, quotas, strict=True) for _ in range(quota)]
        drawn += [next(passes[label]) for label in fisher_yates(classes, absorbed(0, seed, _CLASS_ORDER, number))]
        number += 1
    return drawn[:count]


def strata_offset(seed, number, blocks):
    """The offset of a batch: its number within the block of ``blocks``, its bits reversed, xor the block's number."""
    block, inside = divmod(number, blocks)
    width = blocks.bit_length() - 1
    reversed_bits = int(format(inside, f"0{width}b")[::-1], 2) if width else 0
    return reversed_bits ^ bits(absorbed(0, seed, _CLASS_ORDER, _WORD), block) & (blocks - 1)


def class_then_sample_draws(labels, seed, epoch, count):
    """A class and then one of its samples, independently at every draw, each class with the same probability.

    Both come from one 64-bit draw, 32 bits each; the rejection of Lemire 2019, once in 10^7 draws, is left out.
    """
    key, classes = absorbed(0, seed, _SAMPLER, epoch), sorted(set(labels))
    drawn = []
    for position in range(count):
        word = bits(key, position)
        label = classes[(word >> 32) * len(classes) >> 32]
        members = [sample for sample, other in enumerate(labels) if other == label]
        drawn.append(members[(word & 0xFFFFFFFF) * len(members) >> 32])
    return drawn


def confusion_pair_draws(labels, partners, seed, epoch, count):
    """CP-Mix, Algorithm 1, lines 1 to 3: pairs 0 .. count - 1 of an epoch.

    ``partners[c]`` is the one class that c is taken for, or None for any other: the cases without an alias table.
    """
    key, classes = absorbed(0, seed, _CONFUSION_PAIR, epoch), sorted(set(labels))
    members = {label: [sample for sample, other in enumerate(labels) if other == label] for label in classes}
    drawn = []
    for number in range(count):
        word = bits(key, 4 * number)
        first = (word >> 32) * len(classes) >> 32
        own = members[classes[first]]
        if partners[classes[first]] is None:
            others = classes[:first] + classes[first + 1 :]
            second = others[below(key, 4 * number + 2, len(others))]
        else:
            second = partners[classes[first]]
        other = members[second]
        drawn.append((own[(word & 0xFFFFFFFF) * len(own) >> 32], other[below(key, 4 * number + 3, len(other))]))
    return drawn


def confusion_pair_shares(matrix, temperature, uniform_fraction):
    """Probability of each partner class given the first one, both among all classes: (C, C) rows of sum 1."""
    shares = []
    for first, row in enumerate(matrix):
        powers = [0.0 if d == first else float(n) ** (1 / temperature) if n else 0.0 for d, n in enumerate(row)]
        uniform = [0.0 if d == first else 1 / (len(row) - 1) for d in range(len(row))]
        total = math.fsum(powers)
        if total == 0:
            shares.append(uniform)
        else:
            mixed = zip(powers, uniform, strict=True)
            shares.append([(1 - uniform_fraction) * p / total + uniform_fraction * u for p, u in mixed])
    return shares


def error_pair_shares(matrix, temperature, uniform_fraction):
    """Probability of each (true, predicted) pair where errors of all classes are drawn at once: (C, C), sum 1."""
    size = len(matrix)
    cells = [(c, d) for c in range(size) for d in range(size) if c != d]
    powers = {cell: float(matrix[cell[0]][cell[1]]) ** (1 / temperature) for cell in cells if matrix[cell[0]][cell[1]]}
    shares = [[0.0] * size for _ in range(size)]
    for c, d in cells:
        by_count = powers.get((c, d), 0.0) / math.fsum(powers.values())
        shares[c][d] = (1 - uniform_fraction) * by_count + uniform_fraction / len(cells)
    return shares


def weighted_distinct(weights, seed, epoch, count):
    """Efraimidis-Spirakis: the smallest exponential keys E / w, in order."""
    keys = []
    for sample, weight in enumerate(weights):
        word = bits(absorbed(0, seed, 1, epoch), sample)
        if weight > 0:
            keys.append((-math.log(((word >> 12) + 0.5) * 2.0**-52) / weight, sample))
    return [sample for _, sample in sorted(keys)[:count]]


def repeat_factors(label_sets, threshold, *, sqrt=True):
    """LVIS section 3.3: max(1, sqrt(t / f_c)) of the class, the largest of a sample's classes."""

    def of_class(label):
        frequency = sum(label in labels for labels in label_sets) / len(label_sets)
        return max(1.0, (threshold / frequency) ** (0.5 if sqrt else 1))

    return [max([of_class(label) for label in labels], default=1.0) for labels in label_sets]


def progressive_probabilities(counts, start, end, epoch, epochs, kind):
    """Kang et al. equation (2) for "mix"; else the exponent moves."""
    t = min(epoch / epochs, 1)
    if kind == "mix":
        pairs = zip(class_probabilities(counts, start), class_probabilities(counts, end), strict=True)
        return [(1 - t) * a + t * b for a, b in pairs]
    part = {"linear": t, "cosine": (1 - math.cos(math.pi * t)) / 2, "exp": 1 - 100**-t}[kind]
    return class_probabilities(counts, start + part * (end - start))
