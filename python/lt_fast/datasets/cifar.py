"""CIFAR-10-LT and CIFAR-100-LT with LDAM-DRW's subsets, read from torchvision's file layout."""

import hashlib
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lt_fast._extras import require
from lt_fast.datasets.image_set import ImageSet, positions_sha256
from lt_fast.datasets.profiles import Profile
from lt_fast.datasets.regular_files import regular
from lt_fast.datasets.subsets import long_tailed_indices
from lt_fast.errors import DataError


def cifar_lt(
    root: str | PathLike[str],
    *,
    classes: int = 100,
    imbalance_ratio: float = 100,
    profile: Profile | str = "exp",
    seed: int = 0,
    train: bool = True,
    download: bool = False,
) -> ImageSet:
    """Return the long-tailed training set of CIFAR-10 or CIFAR-100, or the whole balanced test set.

    The training set is LDAM-DRW's subset with ``rand_number=seed`` bit for bit, in its order. The official files are
    checked by MD5 before anything in them is read.

    Args:
        root: folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``.
        classes: 10, or 100 (the fine labels).
        imbalance_ratio: largest over smallest class, >= 1; the test set does not depend on it.
        profile: see ``long_tailed_counts``.
        seed: chooses the subset, in [0, 2**32).
        train: the long-tailed training set, or the test set of 10,000 images.
        download: fetch the archive into ``root`` unless the files are there.

    Shape:
        images (N, 32, 32, 3) uint8, N = 12,406 or 10,847 at ratio 100; labels (N,) int64, sorted by class.

    Raises:
        DataError: if a file is missing or damaged (it is named), or the download fails.
        MissingExtraError: if torchvision is not installed.
        ValueError: if a value is out of its range.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, imbalance_cifar.py.

    >>> cifar_lt("data", imbalance_ratio=100)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    lt_fast.errors.DataError: ...train is missing; pass download=True ...

    What it returns where the files are, has these sizes:

    >>> from lt_fast.datasets import long_tailed_counts
    >>> counts = long_tailed_counts(500, 100, imbalance_ratio=100)
    >>> counts.sum().item(), counts[[0, 50, 99]].tolist()
    (10847, [500, 48, 5])
    """
    if classes not in (10, 100):
        raise ValueError(f"classes must be 10 or 100, got {classes!r}")
    source = _read(Path(root), classes, train=train, download=download)
    labels = np.asarray(source.targets, dtype=np.int64)
    protocol: dict[str, Any] = {"name": f"cifar{classes}-lt", "split": "train" if train else "test"}
    if train:
        indices = long_tailed_indices(labels, imbalance_ratio=imbalance_ratio, profile=profile, seed=seed)
        protocol |= {"imbalance_ratio": float(imbalance_ratio), "profile": str(profile), "seed": seed, "method": "ldam"}
    else:
        indices = np.arange(len(labels))
        protocol |= {"imbalance_ratio": 1.0, "profile": "balanced", "seed": None, "method": "all"}
    return ImageSet(
        images=source.data[indices],
        labels=labels[indices],
        classes=tuple(source.classes),
        protocol={**protocol, "subset_sha256": positions_sha256(indices)},
        indices=indices,
    )


def _read(root: Path, classes: int, *, train: bool, download: bool) -> Any:
    """Return torchvision's data set; an error names the file that cannot be read."""
    layouts = require("torchvision.datasets", extra="train", purpose="reading CIFAR")
    layout = layouts.CIFAR10 if classes == 10 else layouts.CIFAR100  # noqa: PLR2004
    try:
        with warnings.catch_warnings():
            # The official pickles spell a dtype's alignment as 0 and 1, which newer NumPy deprecates.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed", module="torchvision")
            return layout(root, train=train, download=download)
    except (RuntimeError, OSError) as error:
        fault = _first_fault(root, layout) or f"{root / layout.base_folder} cannot be read"
        reason = f" ({error})" if download else ""
        raise DataError(f"{fault}{reason}; {_how_to_get(root, layout)}") from error


def _first_fault(root: Path, layout: Any) -> str | None:
    """Name the first official file under ``root`` that is missing or differs, or return None."""
    files = [*layout.train_list, *layout.test_list, (layout.meta["filename"], layout.meta["md5"])]
    for name, expected in files:
        path = root / layout.base_folder / name
        try:
            found = _md5(path)
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
        if found != expected:
            return f"{path} is damaged: {path.stat().st_size} bytes with MD5 {found}, expected {expected}"
    return None


def _md5(path: Path) -> str:
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _how_to_get(root: Path, layout: Any) -> str:
    return (
        f"pass download=True (`lt-fast train --download` does), or unpack {layout.url} (MD5 {layout.tgz_md5}) so that "
        f"{root / layout.base_folder} holds its files"
    )
