"""CIFAR on disk: a small tree in its format for every test, the official files where they can be had."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

CLONE = Path(__file__).resolve().parents[2]
PER_CLASS = 20


class Tree(NamedTuple):
    """A folder in CIFAR's layout and what it holds."""

    root: Path
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    layout: type


def _write(path: Path, images: np.ndarray, labels: np.ndarray, key: str) -> str:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return _dump(path, {"data": np.ascontiguousarray(planes), key: labels.tolist()})


def _dump(path: Path, content: dict) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def _tree(root: Path, monkeypatch: pytest.MonkeyPatch, layout: type, classes: int, key: str) -> Tree:
    """Write a tree of ``layout`` and teach torchvision its checksums."""
    generator = np.random.Generator(np.random.PCG64(classes))
    labels = generator.permutation(np.repeat(np.arange(classes), PER_CLASS))
    images = generator.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    test_labels = generator.permutation(np.repeat(np.arange(classes), 4))
    test_images = generator.integers(0, 256, (len(test_labels), 32, 32, 3), dtype=np.uint8)
    folder = root / layout.base_folder
    folder.mkdir(parents=True)
    names = [name for name, _ in layout.train_list]
    parts = zip(names, np.split(images, len(names)), np.split(labels, len(names)), strict=True)
    train_list = [[name, _write(folder / name, x, y, key)] for name, x, y in parts]
    test_name = layout.test_list[0][0]
    test_list = [[test_name, _write(folder / test_name, test_images, test_labels, key)]]
    meta = {layout.meta["key"]: [f"class {i}" for i in range(classes)]}
    digest = _dump(folder / layout.meta["filename"], meta)
    monkeypatch.setattr(layout, "train_list", train_list)
    monkeypatch.setattr(layout, "test_list", test_list)
    monkeypatch.setattr(layout, "meta", {**layout.meta, "md5": digest})
    return Tree(root, images, labels, test_images, test_labels, layout)


@pytest.fixture
def cifar10_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    from torchvision.datasets import CIFAR10

    return _tree(tmp_path / "data", monkeypatch, CIFAR10, 10, "labels")


@pytest.fixture
def cifar100_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    from torchvision.datasets import CIFAR100

    return _tree(tmp_path / "data", monkeypatch, CIFAR100, 100, "fine_labels")


@pytest.fixture(scope="session")
def official_cifar10(request: pytest.FixtureRequest) -> Path:
    """The folder of the official CIFAR-10 files: ``LT_FAST_DATA``, or restored once by a script beside the clone."""
    given = os.environ.get("LT_FAST_DATA")
    if given and (Path(given) / "cifar-10-batches-py").is_dir():
        return Path(given)
    script = next(CLONE.parent.glob("*/data/restore_cifar.py"), None)
    if script is None:
        pytest.skip("needs the official CIFAR-10 files: set LT_FAST_DATA to the folder of cifar-10-batches-py")
    root = Path(request.config.cache.mkdir("cifar"))
    if not (root / "complete").exists():
        subprocess.run([sys.executable, str(script), str(root), "--only", "cifar10"], check=True, capture_output=True)
        (root / "complete").touch()
    return root
