"""Small photographs on disk and a network for them: what the tests of photograph runs share."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

COLOURS = {"clay": (200, 80, 60), "loam": (90, 60, 40), "peat": (30, 30, 30), "sand": (220, 200, 140)}
COUNTS = {"clay": 12, "loam": 8, "peat": 5, "sand": 3}


class TinyNet(nn.Module):
    """Two convolutions and a classifier, as somebody's own code has them."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.classifier = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x).mean(dim=(2, 3)))


def tiny() -> nn.Module:
    return TinyNet()


def of_four_classes() -> nn.Module:
    return TinyNet(4)


class DeepNorms(nn.Sequential):
    """Batch norms over one value per channel and image, one after the other, as in a deep network of small images."""

    def __init__(self, num_classes: int = 4) -> None:
        width = 8
        layers = [part for _ in range(30) for part in (nn.Linear(width, width, bias=False), nn.BatchNorm1d(width))]
        pooled = (nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(*pooled, *layers, nn.Linear(width, num_classes))


def unannotated():
    return TinyNet()


NET = "experiment.photographs:tiny"


def write_photographs(folder: Path, counts=COUNTS, seed=0) -> Path:
    """Write JPEG files of one colour and noise per class, of sizes between 18 and 40 pixels."""
    draw = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = draw.integers(18, 40, 2)
            noise = draw.normal(0, 25, (height, width, 3))
            pixels = np.clip(np.array(COLOURS.get(name, (120, 120, 200))) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.jpg")
    return folder


class ColourNet(nn.Module):
    """The nearest of four colours, as a linear layer of the mean pixel: right without a training."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean(dim=(2, 3)))


def colour_weights(names, *, mean=0.45, std=0.225):
    """Return the state dict that knows the colours called ``names``, of pixels normalised by ``mean`` and ``std``."""
    colours = (torch.tensor([COLOURS[name] for name in names]) / 255 - mean) / std
    return {"classifier.weight": 4 * colours, "classifier.bias": -2 * (colours**2).sum(dim=1)}
