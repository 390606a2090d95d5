"""A training in a process of its own, for ``test_kill.py``: says each step aloud, exits as the command line does."""

import argparse
import sys
import time
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))  # the folder that pytest puts on the path

from lt_fast.errors import Interrupted
from lt_fast.methods import Classification, DeferredReweighting
from lt_fast.training import RunDirectory, cosine, fit
from training.tiny import TinyBatches, TinyLoss, tiny_model

EPOCHS = 6
PAUSE = 0.02  # seconds: lets a signal arrive in the step it was meant for, or soon after


def announce(*_):
    sys.stdout.write("step\n")
    sys.stdout.flush()
    time.sleep(PAUSE)


class Announced:
    """Batches that say so before each one."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def identity(self):
        return self.loader.identity()

    def batches(self, epoch, start=0):
        for batch in self.loader.batches(epoch, start):
            announce()
            yield batch


def tiny():
    return tiny_model(), TinyBatches(), DeferredReweighting(TinyLoss(), TinyLoss(0.5), defer_until=0.5)


def digits():
    """The package's own parts: real digits, mixed in Rust, a network, the fused loss."""
    from lt_fast import data, datasets, losses, mixing, models, sampling

    train = datasets.digits_lt(imbalance_ratio=50, seed=0)
    mean, std = datasets.channel_stats(train.images)
    mixer = mixing.MAM(train.class_counts, seed=3)
    batches = data.Loader(
        data.ArraySource(train.images, train.labels),
        sampling.ClassBalancedBatchSampler(train.labels, batch_size=64, q=0.5, seed=1),
        transform=data.CropFlip(mean=mean, std=std, crop_padding=1, flip=False),
        mixer=mixer,
        seed=2,
    )
    loss = losses.LDAMLoss(train.class_counts, label_rule=mixer.label_rule)
    return models.digits_net(10, head="cosine", seed=0), batches, loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", choices=("tiny", "digits"))
    parser.add_argument("run")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    model, batches, criterion = {"tiny": tiny, "digits": digits}[arguments.parts]()
    with RunDirectory(arguments.run, {"parts": arguments.parts}, resume=arguments.resume) as run:
        try:
            fit(
                Classification(model, criterion),
                {"train": Announced(batches)},
                epochs=EPOCHS,
                learning_rate=cosine(0.1, epochs=EPOCHS),
                run=run,
                resume=arguments.resume,
                evaluate=lambda trained: {"norm": float(sum(p.norm() for p in trained.parameters()))},
            )
        except Interrupted as interrupted:
            sys.stderr.write(f"{interrupted}\n")
            return 4
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, run.path / "final.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
