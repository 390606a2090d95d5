"""One rank of a real gloo run: ``python gloo_rank.py RANK STORE OUT.npz``.

Four processes take one global batch of 16 rows as 1, 2 and 4 ranks, whole and in accumulated parts, through
``DistributedDataParallel``; rank 0 writes the gradient that each way gives for each loss.
"""

import inspect
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lt_fast.losses import LOSSES, effective_number_weights

WORLD = 4
WAYS = [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2)]  # ranks, accumulated parts a rank
COUNTS = [500, 120, 40, 9, 1]
NORMALIZATIONS = ("expected", "weights", "batch")
ROWS = 16


def criteria() -> Iterator[tuple[str, nn.Module]]:
    """Every loss of rows that are alone with their labels, with class weights, under every normalization."""
    for name, loss in LOSSES.items():
        if name in ("equalization", "lade"):
            continue  # draws are keyed by the row's place in its batch; the regulariser is one of the whole batch
        if name in ("ace", "sade"):
            continue  # of logits (N, E, C)
        weighted = "weight" in inspect.signature(loss).parameters
        weights = {"weight": effective_number_weights(COUNTS)} if weighted else {}
        for normalization in NORMALIZATIONS:
            yield f"{name}/{normalization}", loss(COUNTS, normalization=normalization, label_rule="mam", **weights)


def batch() -> tuple[Tensor, ...]:
    """Features, two labels and a factor a row; the rarest class occurs once."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, 6, generator=generator, dtype=torch.float64)
    target = torch.tensor([0, 0, 1, 0, 2, 0, 0, 1, 3, 0, 4, 0, 1, 0, 2, 0])
    lam = torch.rand(ROWS, generator=generator, dtype=torch.float64)
    return features, target, target.flip(0), lam


def gradient(model: DistributedDataParallel, criterion: nn.Module, parts: list[Tensor]) -> Tensor:
    """Gradient after all parts, each part's loss divided by their number, as accumulation goes."""
    model.zero_grad()
    everything = batch()
    for number, rows in enumerate(parts):
        model.require_backward_grad_sync = number == len(parts) - 1
        features, *labels = (tensor[rows] for tensor in everything)
        (criterion(model(features), *labels) / len(parts)).backward()
    return model.module.weight.grad.clone()


def main(rank: int, store: str, out: str) -> None:
    """Run all ways and losses."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD)
    found = {}
    for ranks, parts in WAYS:
        group = distributed.new_group(range(ranks))
        if rank >= ranks:
            continue
        linear = nn.Linear(6, 5, bias=False, dtype=torch.float64)
        nn.init.orthogonal_(linear.weight, generator=torch.Generator().manual_seed(1))
        model = DistributedDataParallel(linear, process_group=group)
        own = torch.arange(rank, ROWS, ranks)
        for name, criterion in criteria():
            found[f"{ranks}x{parts}/{name}"] = gradient(model, criterion, list(own.chunk(parts))).numpy()
    distributed.barrier()
    if rank == 0:
        np.savez(out, **found)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
