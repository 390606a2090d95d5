"""Published policies of augmentation as data: which operations, how likely, with which values.

A policy is a list of stages. A stage is ``(probability, shuffled, alternatives)``: with that probability one of the
alternatives is chosen, all equally likely, or with ``shuffled`` each of them is applied, in random order. An
alternative is a list of steps ``(operation, probability, values, between)``: with that probability the operation is
applied with one of the values, or with ``between`` with a value uniform between the two.

Each operation equals Pillow's, bit for bit. Its value is:

- ``identity``, ``invert``, ``autocontrast``, ``equalize``, ``grayscale``: none;
- ``posterize``: the bits that are kept, 1 to 8;
- ``solarize``: the first pixel value that is inverted;
- ``brightness``, ``contrast``, ``saturation``, ``sharpness``: the factor of ``PIL.ImageEnhance``; 1 changes nothing;
- ``hue``: a turn of the circle, -0.5 to 0.5, as torchvision's ``adjust_hue`` has it for PIL images;
- ``gaussian_blur``: the radius of ``PIL.ImageFilter.GaussianBlur``, which is the standard deviation;
- ``shear_x``, ``shear_y``: the tangent, to the nearest pixel, as torchvision's policies have it;
- ``shear_x_bicubic``, ``shear_y_bicubic``: the tangent in ``PIL.Image.transform``, with bicubic interpolation;
- ``translate_x``, ``translate_y``: pixels to the right, down, to the nearest pixel;
- ``rotate``: degrees counter-clockwise, to the nearest pixel.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

Step: TypeAlias = tuple[str, float, list[float], bool]
Stage: TypeAlias = tuple[float, bool, list[list[Step]]]

_MAGNITUDES = 10  # of AutoAugment: 0 to 9

_CIFAR10: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("saturation", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("saturation", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("saturation", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("saturation", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("saturation", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)
"""The 25 sub-policies for CIFAR-10 of Cubuk et al. 2019, arXiv:1805.09501, Table 7: probability and magnitude."""

_NOTHING = ("identity", "invert", "autocontrast", "equalize", "grayscale")
_ENHANCEMENTS = ("brightness", "saturation", "contrast", "sharpness")


def autoaugment(height: int, width: int) -> list[Stage]:
    """Return AutoAugment for CIFAR-10 as ``microsoft/robustlearn: marc/data/autoaugment.py`` has it.

    One of 25 pairs of operations, each with its own probability. That code, which many others share, shears with
    bicubic interpolation and rotates in one direction; the sign of the other magnitudes is random.
    """
    pairs = [[_of_autoaugment(*step, height, width) for step in pair] for pair in _CIFAR10]
    return [(1.0, False, pairs)]


def _of_autoaugment(name: str, probability: float, magnitude: int, height: int, width: int) -> Step:
    def scaled(start: float, end: float) -> float:
        return float(np.linspace(start, end, _MAGNITUDES)[magnitude])

    if name in _NOTHING:
        return (name, probability, [], False)
    if name in _ENHANCEMENTS:
        return (name, probability, [1 + scaled(0.0, 0.9), 1 - scaled(0.0, 0.9)], False)
    if name == "shear_y":
        return ("shear_y_bicubic", probability, _both(scaled(0, 0.3)), False)
    if name.startswith("translate"):
        side = width if name == "translate_x" else height
        return (name, probability, _both(scaled(0, 150 / 331) * side), False)
    value = {"rotate": scaled(0, 30), "posterize": round(scaled(8, 4)), "solarize": scaled(256, 0)}[name]
    return (name, probability, [float(value)], False)


def randaugment(height: int, width: int, *, num_ops: int, magnitude: int, num_magnitude_bins: int) -> list[Stage]:
    """Return RandAugment (Cubuk et al. 2019, arXiv:1909.13719) as ``torchvision.transforms.v2.RandAugment`` has it.

    ``num_ops`` times one of 14 operations, each with the same magnitude and a random sign.
    """
    sizes = (150.0 / 331.0 * height, 150.0 / 331.0 * width)
    space = _space(num_magnitude_bins, shear=0.3, translate=sizes, rotate=30.0, strength=0.9, fewer_bits=4)
    alternatives = [
        [(name, 1.0, [float(values[magnitude]) for values in signs], False)] for name, signs in space.items()
    ]
    return [(1.0, False, alternatives)] * num_ops


def trivialaugment(*, num_magnitude_bins: int) -> list[Stage]:
    """Return TrivialAugmentWide (Müller and Hutter 2021, arXiv:2103.10158) as torchvision has it.

    One of 14 operations, with a magnitude and a sign that are random.
    """
    space = _space(num_magnitude_bins, shear=0.99, translate=(32.0, 32.0), rotate=135.0, strength=0.99, fewer_bits=6)
    alternatives = [
        [(name, 1.0, [float(value) for values in signs for value in values], False)] for name, signs in space.items()
    ]
    return [(1.0, False, alternatives)]


def _space(
    bins: int, *, shear: float, translate: tuple[float, float], rotate: float, strength: float, fewer_bits: int
) -> dict[str, list[Sequence[float]]]:
    """Return torchvision's operations, each with its values for every magnitude; signed ones have two such lists."""
    magnitudes: dict[str, list[float]] = {
        "shear_x": _line(shear, bins),
        "shear_y": _line(shear, bins),
        "translate_x": [int(pixels) for pixels in _line(translate[1], bins)],
        "translate_y": [int(pixels) for pixels in _line(translate[0], bins)],
        "rotate": _line(rotate, bins),
    }
    signed: dict[str, list[Sequence[float]]] = {
        name: [values, [-value for value in values]] for name, values in magnitudes.items()
    }
    factors = _line(strength, bins)
    bits = (8 - (torch.arange(bins) / ((bins - 1) / fewer_bits))).round().int().tolist()
    return {
        "identity": [],
        **signed,
        **{name: [[1.0 + by for by in factors], [1.0 - by for by in factors]] for name in _ENHANCEMENTS},
        "posterize": [bits],
        "solarize": [[255.0 * share for share in torch.linspace(1.0, 0.0, bins).tolist()]],
        "autocontrast": [],
        "equalize": [],
    }


def _line(end: float, bins: int) -> list[float]:
    """Return torchvision's magnitudes from 0 to ``end``: numbers of float32."""
    values: list[float] = torch.linspace(0.0, end, bins).tolist()
    return values


def simclr(
    *, jitter: float, jitter_probability: float, grayscale: float, blur: float, sigma: tuple[float, float]
) -> list[Stage]:
    """Return the colours of SimCLR (Chen et al. 2020, arXiv:2002.05709, appendix A): jitter, grayscale, blur.

    Each factor of the jitter is uniform, and the four operations are in random order, as in torchvision's
    ``ColorJitter(0.8 s, 0.8 s, 0.8 s, 0.2 s)`` with ``s = jitter`` on PIL images.
    """
    spread, turn = 0.8 * jitter, 0.2 * jitter
    factors = [max(0.0, 1.0 - spread), 1.0 + spread]
    steps: list[Step] = [(name, 1.0, factors, True) for name in ("brightness", "contrast", "saturation")]
    steps.append(("hue", 1.0, [-turn, turn], True))
    return [
        (jitter_probability, True, [[step] for step in steps]),
        (grayscale, False, [[("grayscale", 1.0, [], False)]]),
        (blur, False, [[("gaussian_blur", 1.0, list(sigma), True)]]),
    ]


def _both(value: float) -> list[float]:
    return [value, -value]
