"""An image set that is larger than the memory trains from files, with and without workers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.larger_than_memory import MORE_BYTES, SHAPE

IMAGES = 500


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Smooth images: 3 kB as a file, 0.9 MB as pixels."""
    root = tmp_path_factory.mktemp("photographs")
    ramp = np.linspace(0, 255, np.prod(SHAPE[:2])).reshape(SHAPE[:2])
    Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1).astype(np.uint8)).save(root / "0.jpg")
    content = (root / "0.jpg").read_bytes()
    for at in range(1, IMAGES):
        (root / f"{at}.jpg").write_bytes(content)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_set_larger_than_the_memory_trains(photographs, workers):
    assert IMAGES * np.prod(SHAPE) > 3 * MORE_BYTES
    script = Path(__file__).with_name("larger_than_memory.py")
    command = [sys.executable, str(script), str(photographs), str(IMAGES), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (0, "16\n"), done.stderr
