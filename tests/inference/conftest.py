"""Small runs on the embedded digits, and image files of their test set."""

from types import SimpleNamespace

import pytest
from PIL import Image

from lt_fast import experiment
from lt_fast.experiment.build import load_data


def _trained(folder, method, **changes):
    config = experiment.resolve(method, "digits-lt", {"epochs": 4, **changes})
    experiment.run(config, folder, progress=False)
    return SimpleNamespace(folder=folder, config=config, data=load_data(config))


@pytest.fixture(scope="session")
def balanced(tmp_path_factory):
    """Balanced softmax with validation images."""
    return _trained(tmp_path_factory.mktemp("runs") / "balanced", "balanced_softmax", validation=0.2)


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory):
    """MAMMC, whose recipe calibrates."""
    return _trained(tmp_path_factory.mktemp("runs") / "mammc", "mammc")


@pytest.fixture(scope="session")
def margins(tmp_path_factory):
    """LDAM, whose scores stand for no class prior."""
    return _trained(tmp_path_factory.mktemp("runs") / "ldam", "ldam", epochs=1)


@pytest.fixture
def photos(tmp_path, balanced):
    """Twelve files of the test set in a folder, two damaged ones, and one that is no image."""
    folder = tmp_path / "new"
    (folder / "sub").mkdir(parents=True)
    for row in range(12):
        image = Image.fromarray(balanced.data.test.images[row * 20, ..., 0])
        image.save(folder / ("sub" if row % 2 else ".") / f"{row:02d}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx")
    (folder / "empty.jpg").touch()
    (folder / "notes.md").write_text("no image")
    return folder
