"""Factories of the named data sets, all with the same arguments, returning (training set, test set).

``root`` is the folder of the files, ``download`` fetches missing ones; ``seed`` chooses the subset. Each tells its
class sizes before anything is read, by ``training_counts(imbalance_ratio, profile)``: lengths in steps follow from
them.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any, TypeVar

from numpy.typing import NDArray

from lt_fast.datasets.cifar import cifar_lt
from lt_fast.datasets.digits import LARGEST, digits_lt
from lt_fast.datasets.image_set import ImageSet
from lt_fast.datasets.profiles import long_tailed_counts
from lt_fast.errors import UsageError
from lt_fast.registry import register

Factory = TypeVar("Factory", bound=Callable[..., Any])


def with_counts(largest: int, classes: int) -> Callable[[Factory], Factory]:
    """Return a decorator that gives a factory ``training_counts``: the class sizes of a tail, not yet read."""

    def counts(imbalance_ratio: float, profile: str) -> NDArray[Any]:
        return long_tailed_counts(largest, classes, imbalance_ratio=imbalance_ratio, profile=profile)

    def add(factory: Factory) -> Factory:
        factory.training_counts = counts  # type: ignore[attr-defined]
        return factory

    return add


@register("data", "digits-lt")
@with_counts(LARGEST, 10)
def digits_lt_splits(
    imbalance_ratio: float = 50,
    profile: str = "exp",
    seed: int = 0,
) -> tuple[ImageSet, ImageSet]:
    """Digits-LT; see ``digits_lt``."""
    train = digits_lt(imbalance_ratio=imbalance_ratio, profile=profile, seed=seed)
    return train, digits_lt(seed=seed, train=False)


@register("data", "cifar10-lt")
@with_counts(5000, 10)
def cifar10_lt_splits(
    root: str | PathLike[str],
    imbalance_ratio: float = 100,
    profile: str = "exp",
    seed: int = 0,
    download: bool = False,
) -> tuple[ImageSet, ImageSet]:
    """CIFAR-10-LT; see ``cifar_lt``.

    Raises:
        UsageError: if ``root`` is left out.
    """
    return _cifar(10, root, imbalance_ratio=imbalance_ratio, profile=profile, seed=seed, download=download)


@register("data", "cifar100-lt")
@with_counts(500, 100)
def cifar100_lt_splits(
    root: str | PathLike[str],
    imbalance_ratio: float = 100,
    profile: str = "exp",
    seed: int = 0,
    download: bool = False,
) -> tuple[ImageSet, ImageSet]:
    """CIFAR-100-LT; see ``cifar_lt``.

    Raises:
        UsageError: if ``root`` is left out.
    """
    return _cifar(100, root, imbalance_ratio=imbalance_ratio, profile=profile, seed=seed, download=download)


def _cifar(
    classes: int,
    root: str | PathLike[str] | None,
    *,
    imbalance_ratio: float,
    profile: str,
    seed: int,
    download: bool,
) -> tuple[ImageSet, ImageSet]:
    if root is None:
        raise UsageError(
            f"root must be given for cifar{classes}-lt, got None; name the folder of its files: --root DIR"
        )
    train = cifar_lt(
        root, classes=classes, imbalance_ratio=imbalance_ratio, profile=profile, seed=seed, download=download
    )
    return train, cifar_lt(root, classes=classes, train=False)
