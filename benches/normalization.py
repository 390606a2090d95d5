"""What the three normalizations of a weighted loss do when a batch is split: no times, figures for the page.

CIFAR-100-LT's class counts at imbalance ratio 100, effective-number weights with beta 0.9999 (deferred re-weighting),
a global batch of 128 rows drawn from the training set, split over ranks or accumulated parts of equal size.
"""

import numpy as np
import torch
from benches.harness import write_csv
from torch import Tensor

import lt_fast as lt
from lt_fast.losses import CrossEntropyLoss, effective_number_weights

BATCH = 128
BATCHES = 200  # for the deviation of the gradient
DRAWS = 4000  # for the effective weight of a class

COUNTS = lt.ClassCounts(lt.datasets.long_tailed_counts(500, 100, imbalance_ratio=100))
WEIGHT = effective_number_weights(COUNTS, beta=0.9999)
COMMON, RARE = 0, 99


def main() -> None:
    """Print the table and write it."""
    rows = [row_of(BATCH // parts) for parts in (1, 2, 4, 8, 16, 32, 64, 128)]
    print(f"weight of the rarest class over that of the commonest, as set: {WEIGHT[RARE] / WEIGHT[COMMON]:.1f}")
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{value:>{len(name)}}" for name, value in row.items()))
    print(f"written to {write_csv('normalization.csv', rows)}")


def row_of(size: int) -> dict[str, str]:
    """Return one row of the table: a batch in parts of ``size`` rows."""
    whole, split = criterion("weights"), [criterion(name) for name in ("expected", "weights")]
    against = [criterion("expected"), whole]
    deviations = [deviation(one, other, size) for one, other in zip(split, against, strict=True)]
    ratios = [effective_ratio(one, size) for one in split]
    return {
        "rows per part": str(size),
        "parts": str(BATCH // size),
        "expected: gradient off by": f"{100 * deviations[0]:.1f} %",
        "weights: gradient off by": f"{100 * deviations[1]:.1f} %",
        "expected: rarest over commonest": f"{ratios[0]:.1f}",
        "weights: rarest over commonest": f"{ratios[1]:.1f}",
    }


def criterion(normalization: str) -> CrossEntropyLoss:
    """Return re-weighted cross entropy."""
    return CrossEntropyLoss(COUNTS, weight=WEIGHT, normalization=normalization)


def gradient(loss: CrossEntropyLoss, logits: Tensor, target: Tensor) -> Tensor:
    """Return the gradient for the logits."""
    leaf = logits.clone().requires_grad_()
    loss(leaf, target).backward()
    assert leaf.grad is not None
    return leaf.grad


def labels(rng: np.random.Generator, size: int) -> Tensor:
    """Draw labels as a shuffled training set gives them."""
    return torch.from_numpy(rng.choice(len(COUNTS), size, p=COUNTS.prior))


def deviation(loss: CrossEntropyLoss, whole: CrossEntropyLoss, size: int) -> float:
    """Mean over batches of the gradient's distance from the whole batch's, relative to the latter's length."""
    rng, found = np.random.default_rng(0), []
    for _ in range(BATCHES):
        logits, target = torch.from_numpy(rng.standard_normal((BATCH, len(COUNTS)))), labels(rng, BATCH)
        exact = gradient(whole, logits, target)
        parts = [gradient(loss, z, y) for z, y in zip(logits.split(size), target.split(size), strict=True)]
        found.append(float((torch.cat(parts) * size / BATCH - exact).norm() / exact.norm()))
    return float(np.mean(found))


def effective_ratio(loss: CrossEntropyLoss, size: int) -> float:
    """How much more a sample of the rarest class moves the logits than one of the commonest, on average."""
    return pull(loss, RARE, size) / pull(loss, COMMON, size)


def pull(loss: CrossEntropyLoss, label: int, size: int) -> float:
    """Mean gradient of a sample of class ``label`` on its own logit, the rest of its part drawn as ever."""
    rng, total = np.random.default_rng(1), 0.0
    logits = torch.zeros(size, len(COUNTS), dtype=torch.float64)
    for _ in range(DRAWS):
        target = labels(rng, size)
        target[0] = label
        total -= float(gradient(loss, logits, target)[0, label])
    return total / DRAWS


if __name__ == "__main__":
    main()
