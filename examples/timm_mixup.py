"""timm's network, optimizer, schedule and Mixup, with a loss that knows the class counts: ``python timm_mixup.py``.

timm's ``Mixup`` returns soft targets (N, C), which the losses take as they are. ``lt.mixing`` returns two labels and a
coefficient, drawn from (seed, epoch, step) and not from a global generator.
"""

import argparse
from collections.abc import Callable
from functools import partial

import timm
import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt_fast as lt

Step = Callable[[nn.Module, Tensor, Tensor, int, int], Tensor]  # network, images, labels, epoch, step -> loss


def pixels(images: lt.datasets.ImageSet) -> Tensor:
    """Return the images as float32 (N, 1, 16, 16) in [0, 1]."""
    return nn.functional.interpolate(torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255, scale_factor=2)


def soft(mixup: Mixup, criterion: nn.Module, model: nn.Module, x: Tensor, y: Tensor, *_: int) -> Tensor:
    """Return the loss of a batch that timm has mixed."""
    x, target = mixup(x, y)  # target: (N, 10), rows of sum 1
    return criterion(model(x), target)


def margin_aware(
    criterion: nn.Module, counts: lt.ClassCounts, model: nn.Module, x: Tensor, y: Tensor, *at: int
) -> Tensor:
    """Return the loss of a batch mixed by margin-aware mixup: two labels, and the coefficient of the images."""
    mix = lt.mixing.mam(y, counts, alpha=0.2, seed=0, epoch=at[0], step=at[1])
    return criterion(model(mix.apply(x)), y, y[mix.partner], mix.lam_input)


def fit(step: Step, train: lt.datasets.ImageSet, epochs: int) -> nn.Module:
    """Train one of timm's networks, with its own optimizer and schedule."""
    timm.utils.random_seed(0)  # timm's Mixup draws from NumPy's global generator
    sizes = {"layers": (1, 1, 1, 1), "channels": (16, 32, 48, 64)}
    model = timm.create_model("resnet18", in_chans=1, num_classes=10, **sizes).train()
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, warmup_t=2, warmup_lr_init=0.02)
    sampler = lt.sampling.ShuffledBatchSampler(train.labels, batch_size=64, seed=0)  # timm's Mixup needs an even number
    loader = DataLoader(TensorDataset(pixels(train), torch.from_numpy(train.labels)), batch_sampler=sampler)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        schedule.step(epoch)
        for number, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            step(model, x, y, epoch, number).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    train = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
    test = lt.datasets.digits_lt(seed=0, train=False)
    counts = train.class_counts
    mixup = Mixup(mixup_alpha=0.2, label_smoothing=0.1, num_classes=10)
    balanced = lt.losses.BalancedSoftmaxLoss(counts, label_rule="mam")
    steps: dict[str, Step] = {
        "timm's Mixup and its loss": partial(soft, mixup, SoftTargetCrossEntropy()),
        "timm's Mixup, balanced softmax": partial(soft, mixup, lt.losses.BalancedSoftmaxLoss(counts)),
        "our mam, balanced softmax": partial(margin_aware, balanced, counts),
    }
    print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")
    for name, step in steps.items():
        model = fit(step, train, epochs)
        with torch.inference_mode():
            found = lt.metrics.evaluate(model(pixels(test)), test.labels, counts)
        print(f"{name:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}")


if __name__ == "__main__":
    main()
