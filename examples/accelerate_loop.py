"""Balanced softmax in a loop of Accelerate, beside cross entropy: ``python accelerate_loop.py``.

Pass the whole sampler: Accelerate shares its batches out over the processes. ``accelerate launch accelerate_loop.py``
runs the same file on several.
"""

import argparse

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt_fast as lt


def tensors(images: lt.datasets.ImageSet) -> TensorDataset:
    """Return the images as float32 (N, 1, 8, 8) in [0, 1], with their labels."""
    return TensorDataset(torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255, torch.from_numpy(images.labels))


def fit(accelerator: Accelerator, criterion: nn.Module, train: lt.datasets.ImageSet, epochs: int) -> nn.Module:
    """Train a network, two batches of 32 images for each step of the optimizer."""
    model = lt.models.digits_net(10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    sampler = lt.sampling.ShuffledBatchSampler(train.labels, batch_size=32, seed=0)
    loader = DataLoader(tensors(train), batch_sampler=sampler)
    model, optimizer, loader, criterion = accelerator.prepare(model, optimizer, loader, criterion)
    total = epochs * -(-len(loader) // accelerator.gradient_accumulation_steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer.optimizer, max_lr=0.1, total_steps=total)
    model.train()
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward(criterion(model(x), y))  # divides by the number of accumulated batches
                optimizer.step()
                if accelerator.sync_gradients:
                    schedule.step()
                optimizer.zero_grad()
    return accelerator.unwrap_model(model)


@torch.inference_mode()
def measured(accelerator: Accelerator, model: nn.Module, test: lt.datasets.ImageSet, counts: lt.ClassCounts) -> Tensor:
    """Return the mean recall in percent over all classes, and over those with less than 20 training images."""
    evaluation = lt.metrics.Evaluation(counts)
    model.eval()
    for x, y in accelerator.prepare(DataLoader(tensors(test), batch_size=60)):
        evaluation.update(*accelerator.gather_for_metrics((model(x), y)))
    found = evaluation.compute()
    return 100 * torch.tensor([found["balanced_acc"], found["few_recall"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    train = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
    test = lt.datasets.digits_lt(seed=0, train=False)
    counts = train.class_counts
    accelerator.print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")
    for criterion in (lt.losses.CrossEntropyLoss(counts), lt.losses.BalancedSoftmaxLoss(counts)):
        model = fit(accelerator, criterion, train, epochs)
        overall, few = measured(accelerator, model, test, counts)
        accelerator.print(f"{type(criterion).__name__:<32}{overall:>8.1f}{few:>8.1f}")


if __name__ == "__main__":
    main()
