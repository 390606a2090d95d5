"""Photographs for the tests of inspections, and a cache of their own for each test."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the default cache be in a folder of the test."""
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def common_user() -> Iterator[Path]:
    """Give a folder, and act as a user whom rights bind: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() != 0:
            yield folder
            return
        (folder / "home").mkdir()
        os.chown(folder / "home", 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder / "home"
        finally:
            os.seteuid(0)


def picture(seed: int, size: int = 64) -> Image.Image:
    """A smooth random picture, as photographs are."""
    coarse = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def folder_of(root: Path, **sizes: int) -> Path:
    """Write ``sizes[name]`` different pictures into each class folder."""
    seed = 0
    for name, size in sizes.items():
        (root / name).mkdir(parents=True)
        for at in range(size):
            picture(seed).save(root / name / f"p{at:03d}x.png")
            seed += 1
    return root


def tree(root: Path, *names: str) -> Path:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root
