"""Logit adjustment in the Trainer of Hugging Face, beside its own loss: ``python hf_trainer.py``.

The Trainer passes ``num_items_in_batch``, the images of a whole step: of all accumulated batches, on all processes. It
does not divide a loss of ``compute_loss_func`` by the number of accumulated batches, so the loss has to: a batch's mean
times the batch's share of the images. The mean alone would be too large by ``gradient_accumulation_steps``.
"""

import argparse
import tempfile

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import lt_fast as lt


class Digits(Dataset[dict[str, Tensor]]):
    """Images and labels by the names that the network takes."""

    def __init__(self, images: lt.datasets.ImageSet) -> None:
        pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
        self.pixels = nn.functional.interpolate(pixels, scale_factor=2)  # the network begins by two halvings
        self.labels = torch.from_numpy(images.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.pixels[index], "labels": self.labels[index]}


class LongTailTrainer(Trainer):
    """A Trainer that reads the batches of a sampler of ``lt_fast``; it shares them out over the processes."""

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        size = self.args.per_device_train_batch_size
        sampler = lt.sampling.ShuffledBatchSampler(self.train_dataset.labels, batch_size=size, seed=self.args.seed)
        loader = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)


class ScaledLoss:
    """A loss of ``lt_fast`` as the Trainer calls it: divided by the images of the whole step."""

    def __init__(self, criterion: lt.losses.Loss) -> None:
        self.criterion = criterion

    def __call__(self, outputs: dict[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int) -> Tensor:
        return self.criterion(outputs["logits"], labels) * (len(labels) / num_items_in_batch)


def network() -> ResNetForImageClassification:
    """Return a small network with new weights, the same ones each time."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=10, **sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    options = {"num_train_epochs": parser.parse_args().epochs, "per_device_train_batch_size": 32}
    options |= {"gradient_accumulation_steps": 2, "optim": "sgd", "optim_args": "momentum=0.9"}
    options |= {"learning_rate": 0.1, "lr_scheduler_type": "cosine", "warmup_steps": 20, "use_cpu": True}
    options |= {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}

    train = lt.datasets.digits_lt(imbalance_ratio=50, seed=0)
    test = lt.datasets.digits_lt(seed=0, train=False)
    counts = train.class_counts
    print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")
    for criterion in (lt.losses.CrossEntropyLoss(counts), lt.losses.LogitAdjustedLoss(counts, tau=1.0)):
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(output_dir=folder, **options)
            loss = ScaledLoss(criterion)
            trainer = LongTailTrainer(network(), arguments, train_dataset=Digits(train), compute_loss_func=loss)
            trainer.train()
            logits = trainer.predict(Digits(test)).predictions
        found = lt.metrics.evaluate(logits, test.labels, counts)
        print(f"{type(criterion).__name__:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}")


if __name__ == "__main__":
    main()
