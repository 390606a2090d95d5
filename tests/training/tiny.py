"""A model and batches small enough to train hundreds of times, with everything that a resumption can get wrong.

Batch normalisation (running statistics), momentum, mixed and plain batches in turn, a short last batch, images in four
dimensions; every number is a function of its position, and no global generator is read.
"""

from functools import partial

import torch
from torch import nn

from lt_fast.batch import Batch
from lt_fast.methods import Classification
from lt_fast.training import cosine, fit

CLASSES, IMAGES, SIZE = 3, 22, 5
STEPS = 4  # 22 images in batches of 6: the last holds 4


class TinyBatches:
    """Fulfils the contract of the loop's loaders over images in memory, and calls ``before(epoch, step)`` each time."""

    def __init__(self, *, seed=0, before=None):
        self.seed, self.before = seed, before
        draw = torch.Generator().manual_seed(seed)
        self.images = torch.rand(IMAGES, 1, SIZE, SIZE, generator=draw)
        self.labels = torch.randint(CLASSES, (IMAGES,), generator=draw)

    def __len__(self):
        return STEPS

    def identity(self):
        return {"seed": self.seed}

    def batches(self, epoch, start=0):
        for step in range(start, STEPS):
            if self.before is not None:
                self.before(epoch, step)
            yield self.batch(epoch, step)

    def batch(self, epoch, step):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1000 * self.seed + epoch))
        chosen = order[6 * step : 6 * step + 6]
        x, y = self.images[chosen], self.labels[chosen]
        if step % 2 == 0:
            return Batch(views=(x,), target=y)
        lam = torch.rand(len(x), generator=torch.Generator().manual_seed(epoch * STEPS + step))
        shaped = lam.view(-1, 1, 1, 1)
        return Batch(views=(shaped * x + (1 - shaped) * x.flip(0),), target=y, target_b=y.flip(0), lam=lam)


class TinyLoss(nn.Module):
    """Mixed cross entropy that also counts the labels it has seen: a loss with a buffer that changes."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight
        self.register_buffer("seen", torch.zeros(CLASSES, dtype=torch.int64))

    def forward(self, logits, y_a, y_b=None, lam=None):
        assert logits.dtype == torch.float32
        self.seen += torch.bincount(y_a, minlength=CLASSES)
        rows = nn.functional.cross_entropy(logits, y_a, reduction="none")
        if y_b is not None:
            rows = lam * rows + (1 - lam) * nn.functional.cross_entropy(logits, y_b, reduction="none")
        return self.weight * rows.mean()


def tiny_model(seed=0):
    layers = [
        nn.Conv2d(1, 4, 3, padding=1, bias=False, device="meta"),
        nn.BatchNorm2d(4, device="meta"),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * SIZE * SIZE, CLASSES, device="meta"),
    ]
    model = nn.Sequential(*layers).to_empty(device="cpu")
    draw = torch.Generator().manual_seed(seed)
    model[1].reset_running_stats()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3, generator=draw)
    return model


def tiny_fit(model=None, batches=None, criterion=None, *, momentum=0.9, weight_decay=2e-4, nesterov=False, **keywords):
    """Train the tiny parts, or others; returns the method and the history."""
    method = Classification(tiny_model() if model is None else model, TinyLoss() if criterion is None else criterion)
    optimizer = partial(torch.optim.SGD, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    keywords = {"epochs": 3, "optimizer": optimizer, "progress": False} | keywords
    keywords = {"learning_rate": cosine(0.1, epochs=3)} | keywords
    return method, fit(method, {"train": TinyBatches() if batches is None else batches}, **keywords)


def all_state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_bits(left, right):
    """Equal names, types and bits: NaN equals NaN, 0 does not equal -0."""
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        one, two = (t.contiguous().numpy().tobytes() for t in (tensor, right[name]))
        assert one == two, name
