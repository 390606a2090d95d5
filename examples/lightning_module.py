"""Margin-aware mixup over class-balanced batches in Lightning, beside plain training: ``python lightning_module.py``.

The data module shares the batches out over the devices, so Lightning's own sampler is switched off.
"""

import argparse

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import lt_fast as lt

Batch = list[Tensor]


class Digits(LightningDataModule):
    """Long-tailed digits: shuffled batches, or class-balanced ones (every class as often as any other)."""

    def __init__(self, *, balanced: bool) -> None:
        super().__init__()
        self.train_set = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
        self.test_set = lt.datasets.digits_lt(seed=0, train=False)
        kind = lt.sampling.ClassBalancedBatchSampler if balanced else lt.sampling.ShuffledBatchSampler
        self.sampler = kind(self.train_set.labels, batch_size=64, seed=0)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        share = self.sampler.shard(self.trainer.global_rank, self.trainer.world_size)  # also right on one device
        return DataLoader(tensors(self.train_set), batch_sampler=share)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(tensors(self.test_set), batch_size=240)


def tensors(images: lt.datasets.ImageSet) -> TensorDataset:
    """Return the images as float32 (N, 1, 8, 8) in [0, 1], with their labels."""
    return TensorDataset(torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255, torch.from_numpy(images.labels))


class Classifier(LightningModule):
    """A network trained by cross entropy, on images as they are or mixed by margin-aware mixup."""

    def __init__(self, counts: lt.ClassCounts, *, mixed: bool) -> None:
        super().__init__()
        self.counts, self.mixed = counts, mixed
        self.model = lt.models.digits_net(10, seed=0)
        self.criterion = lt.losses.CrossEntropyLoss(counts, label_rule="mam")
        self.evaluation = lt.metrics.Evaluation(counts)

    def training_step(self, batch: Batch, step: int) -> Tensor:
        x, y = batch
        if not self.mixed:
            return self.criterion(self.model(x), y)
        mix = lt.mixing.mam(y, self.counts, alpha=0.2, seed=self.global_rank, epoch=self.current_epoch, step=step)
        return self.criterion(self.model(mix.apply(x)), y, y[mix.partner], mix.lam_input)

    def test_step(self, batch: Batch) -> None:
        x, y = batch
        self.evaluation.update(self.model(x), y)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "max_epochs": parser.parse_args().epochs, "accelerator": "cpu"}
    print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")
    for name, better in (("shuffled batches", False), ("balanced and mixed batches", True)):
        data = Digits(balanced=better)
        model = Classifier(data.train_set.class_counts, mixed=better)
        trainer = Trainer(use_distributed_sampler=False, **quiet)
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        found = model.evaluation.compute()
        print(f"{name:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}")


if __name__ == "__main__":
    main()
