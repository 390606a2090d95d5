"""Balanced softmax on two processes, beside cross entropy: ``torchrun --nproc-per-node 2 torchrun_ddp.py``.

``sampler.distributed()`` gives each process its share of the batches, which are the same for any number of processes.
"""

import argparse

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import lt_fast as lt


def pixels(images: lt.datasets.ImageSet) -> Tensor:
    """Return the images as float32 (N, 1, 8, 8) in [0, 1]."""
    return torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255


def fit(criterion: nn.Module, train: lt.datasets.ImageSet, epochs: int) -> nn.Module:
    """Train a network; each step averages the gradients of one batch of 32 images per process."""
    model = DistributedDataParallel(lt.models.digits_net(10, seed=0))  # the same first weights everywhere
    sampler = lt.sampling.ShuffledBatchSampler(train.labels, batch_size=32, seed=0).distributed()
    loader = DataLoader(TensorDataset(pixels(train), torch.from_numpy(train.labels)), batch_sampler=sampler)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * len(loader))
    model.train()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model.module


@torch.inference_mode()
def report(model: nn.Module, test: lt.datasets.ImageSet, counts: lt.ClassCounts, name: str) -> None:
    """Evaluate a share of the test images on each process; the first one prints the recalls of all of them."""
    rows = slice(dist.get_rank(), None, dist.get_world_size())
    evaluation = lt.metrics.Evaluation(counts)
    evaluation.update(model.eval()(pixels(test)[rows]), test.labels[rows])
    shares: list[lt.metrics.Answers | None] = [None] * dist.get_world_size()
    dist.gather_object(evaluation.answers, shares if dist.get_rank() == 0 else None)
    if dist.get_rank() == 0:
        for answers in shares[1:]:
            evaluation.merge(answers)
        found = evaluation.compute()
        print(f"{name:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    dist.init_process_group("gloo")  # "nccl" on GPUs
    train = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
    test = lt.datasets.digits_lt(seed=0, train=False)
    if dist.get_rank() == 0:
        print(f"{f'recall in percent, {dist.get_world_size()} processes':<32}{'all':>8}{'few':>8}", flush=True)
    for criterion in (lt.losses.CrossEntropyLoss, lt.losses.BalancedSoftmaxLoss):
        model = fit(criterion(train.class_counts), train, epochs)
        report(model, test, train.class_counts, criterion.__name__)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
