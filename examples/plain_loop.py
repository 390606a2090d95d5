"""LDAM-DRW in a plain PyTorch loop, beside cross entropy: ``python plain_loop.py``.

A batch sampler, a loss that knows the class counts, class weights for the last fifth of the epochs, and the metrics.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt_fast as lt


def pixels(images: lt.datasets.ImageSet) -> Tensor:
    """Return the images as float32 (N, 1, 8, 8) in [0, 1]."""
    return torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255


def fit(model: nn.Module, losses: tuple[nn.Module, nn.Module], train: lt.datasets.ImageSet, epochs: int) -> None:
    """Train by SGD with the first loss, and from 80 % of the epochs on with the second one."""
    sampler = lt.sampling.ShuffledBatchSampler(train.labels, batch_size=64, seed=0)
    loader = DataLoader(TensorDataset(pixels(train), torch.from_numpy(train.labels)), batch_sampler=sampler)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * len(loader))
    model.train()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        criterion = losses[epoch >= 0.8 * epochs]
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def report(name: str, model: nn.Module, test: lt.datasets.ImageSet, counts: lt.ClassCounts) -> None:
    """Print the mean recall over all classes, and over those with less than 20 training images."""
    found = lt.metrics.evaluate(model.eval()(pixels(test)), test.labels, counts)
    print(f"{name:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    train = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
    test = lt.datasets.digits_lt(seed=0, train=False)
    counts = train.class_counts
    print(f"training images of each digit: {counts.counts.tolist()}")
    print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")

    model = lt.models.digits_net(10, seed=0)
    cross_entropy = nn.CrossEntropyLoss()
    fit(model, (cross_entropy, cross_entropy), train, epochs)
    report("cross entropy", model, test, counts)

    model = lt.models.digits_net(10, head="cosine", seed=0)  # the margins of LDAM are on cosines
    ldam = lt.losses.LDAMLoss(counts, max_margin=0.5, scale=30)
    weight = lt.losses.effective_number_weights(counts, beta=0.9999)
    reweighted = lt.losses.LDAMLoss(counts, max_margin=0.5, scale=30, weight=weight)
    fit(model, (ldam, reweighted), train, epochs)
    report("LDAM, deferred re-weighting", model, test, counts)


if __name__ == "__main__":
    main()
