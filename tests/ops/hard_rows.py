"""Random rows, hard ones among them, and the exact loss and gradient of each.

Every row for itself: the error of its loss relative to its loss, and the error of its gradient relative to the largest
entry of its gradient, however small they are; what lies below float32's smallest normal number may be 0.

The oracle evaluates the formula in float64 on the very numbers that the op was given, in a form that cancels nowhere:
with d the logarithm of the sum of the other classes' exponentials less the label's own score, cross entropy is
softplus(d), and its gradient is sigmoid(d) times (softmax of the others - one-hot).
"""

import torch
from torch import Tensor

BOUND = 2e-6
SMALLEST = 2.0**-126  # float32's smallest normal number: what lies below is 0
LARGEST = torch.finfo(torch.float32).max
LABEL_RULES = ("mixup", "mam", "remix", "unimix", "cp_mix")
NUMBERS = {"omega": 0.25, "kappa": 3.0, "tau": 0.5, "max_margin": 0.75, "gamma": 1.5}  # exact in float32


def rows_of(generator: torch.Generator, rows: int, classes: int) -> Tensor:
    """Logits of every kind: usual, huge, tiny, well classified, tied, and -inf in all columns but a few or one."""
    kinds = torch.randint(7, (rows, 1), generator=generator)
    z = torch.randn(rows, classes, generator=generator)
    scales = torch.tensor([1.0, 1e4, 1e-30, 30.0, 0.0, 5.0, 5.0])
    z = z * scales[kinds]
    gone = torch.rand(rows, classes, generator=generator) < 0.5
    z = torch.where((kinds == 5) & gone, -torch.inf, z)
    last = torch.randint(classes, (rows, 1), generator=generator)
    alone = torch.full_like(z, -torch.inf).scatter(1, last, z.gather(1, last))
    return torch.where(kinds == 6, alone, z)


def labels_of(generator: torch.Generator, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Random labels; a third of the first ones are the largest logit, a fifth of the second ones equal the first."""
    rows, classes = logits.shape
    first, second = (torch.randint(classes, (rows,), generator=generator) for _ in range(2))
    first = torch.where(torch.rand(rows, generator=generator) < 1 / 3, logits.argmax(1), first)
    second = torch.where(torch.rand(rows, generator=generator) < 1 / 5, first, second)
    return first, second


def bias_of(generator: torch.Generator, classes: int) -> Tensor:
    """A bias as wide as the logits' usual range, or a thousand times wider; now and then one class is taken out."""
    width = 10.0 if torch.rand((), generator=generator) < 0.5 else 1e4
    bias = width * torch.randn(classes, generator=generator)
    if classes > 3 and torch.rand((), generator=generator) < 0.5:
        bias[torch.randint(classes, (), generator=generator)] = -torch.inf
    return bias


def options_of(generator: torch.Generator, rows: int, classes: int, round_: int) -> dict:
    """Vectors and numbers, in changing company."""
    lam = torch.rand(rows, generator=generator)
    lam = torch.where(lam < 0.1, 0.0, torch.where(lam > 0.9, 1.0, lam))
    return NUMBERS | {
        "lam": lam,
        "label_rule": LABEL_RULES[round_ % 5],
        "class_counts": torch.randint(1, 5000, (classes,), generator=generator).float(),
        "margin": 0.5 * torch.rand(classes, generator=generator) if round_ % 2 else None,
        "margin_rule": "maximum" if round_ % 7 == 3 else "fixed",
        "weight": torch.rand(classes, generator=generator) if round_ % 3 else None,
        "bias": bias_of(generator, classes) if round_ % 4 == 1 else None,
        "scale": (1.0, 30.0, 5.0)[round_ % 3],
        "label_smoothing": 0.125 if round_ % 6 == 4 else 0.0,
        "focal_gamma": (0.0, 0.0, 1.0, 2.0, 0.0)[round_ // 5 % 5],
    }


# ---------------------------------------------------------------------------------------------------------- the oracle


def _factors(first: Tensor, second: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """What multiplies the losses of the two labels."""
    lam, counts, tau = options["lam"].double(), options["class_counts"].double(), options["tau"]
    n_a, n_b = counts[first], counts[second]
    rule, share = options["label_rule"], n_b / (n_a + n_b)
    if rule == "mam":
        ratio = (n_b / n_a) ** options["omega"]
        b = 1 / (1 + ratio)
        f = torch.where(lam < b, lam / (2 * b), 1 - (1 - lam) / (2 * (1 - b)))
    elif rule == "remix":
        f = torch.where((n_b >= options["kappa"] * n_a) & (1 - lam < tau), 1.0, lam)
        f = torch.where((n_a >= options["kappa"] * n_b) & (lam < tau), 0.0, f)
    elif rule == "unimix":
        f = torch.where(lam + share > 1, lam + share - 1, lam + share)
    else:
        f = (1 - tau) * lam + tau * share if rule == "cp_mix" else lam
    weight = options["weight"]
    return (f, 1 - f) if weight is None else (f * weight.double()[first], (1 - f) * weight.double()[second])


def _margin(z: Tensor, own: Tensor, label: Tensor, options: dict) -> Tensor:
    fixed = torch.zeros(len(z), dtype=z.dtype) if options["margin"] is None else options["margin"].double()[label]
    if options["margin_rule"] == "fixed":
        return fixed
    gap = z[own] - z.masked_fill(own, -torch.inf).amax(1)
    offset = options["max_margin"] - fixed
    right = torch.exp(-gap - options["gamma"] * offset)
    return torch.where(gap > 0, right, torch.where(gap < 0, torch.exp(gap - offset), 0.0))


def _branch(z: Tensor, label: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """Loss of each row against one label, and its gradient."""
    own = torch.nn.functional.one_hot(label, z.shape[1]).bool()
    scores = options["scale"] * z + (0 if options["bias"] is None else options["bias"].double())
    scores = scores - own * (options["scale"] * _margin(z, own, label, options))[:, None]
    others = scores.masked_fill(own, -torch.inf)
    d = others.logsumexp(1) - scores[own]
    miss, hit = torch.sigmoid(d), torch.sigmoid(-d)
    towards = torch.softmax(others, 1).nan_to_num() - own.double()  # NaN only where there is no other: miss is 0 then
    loss, gradient = torch.logaddexp(torch.zeros_like(d), d), miss[:, None] * towards
    if (smoothing := options["label_smoothing"]) > 0:
        loss = (1 - smoothing) * loss + smoothing * (scores.logsumexp(1)[:, None] - scores).mean(1)
        gradient = gradient + smoothing * (own.double() - 1 / z.shape[1])
    if (power := options["focal_gamma"]) > 0:
        slope = power * miss**power * hit * loss
        gradient = miss[:, None] ** power * gradient + slope[:, None] * towards
        loss = miss**power * loss
    return loss, options["scale"] * gradient


def exact(logits: Tensor, first: Tensor, second: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """Loss of each row, and gradient of their sum."""
    factor_a, factor_b = _factors(first, second, options)
    loss_a, gradient_a = _branch(logits.double(), first, options)
    loss_b, gradient_b = _branch(logits.double(), second, options)
    cost_a = torch.where(factor_a == 0, 0.0, factor_a * loss_a)
    cost_b = torch.where(factor_b == 0, 0.0, factor_b * loss_b)
    return cost_a + cost_b, factor_a[:, None] * gradient_a + factor_b[:, None] * gradient_b


def assert_every_row_exact(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    """Hold each row's loss to ``BOUND`` of itself, and its gradient to ``BOUND`` of its own largest entry."""
    (loss, grad), (exact_loss, exact_grad) = found, wanted
    finite, finite_grad = exact_loss < LARGEST, exact_grad.isfinite().all(1)
    assert loss[finite].isfinite().all()
    assert grad[finite_grad].isfinite().all()
    assert ((loss - exact_loss).abs() <= BOUND * exact_loss + SMALLEST)[finite].all()
    off = (grad - exact_grad).abs().amax(1)
    assert (off <= BOUND * exact_grad.abs().amax(1) + SMALLEST)[finite_grad].all()
