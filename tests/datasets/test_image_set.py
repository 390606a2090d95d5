import hashlib
import json
import re

import numpy as np
import pytest

from lt_fast import ClassCounts
from lt_fast.datasets import CIFAR10_STATS, CIFAR100_STATS, DIGITS_STATS, ImageSet, channel_stats
from lt_fast.datasets.digits import LARGEST, TEST_PER_CLASS


def image_set(images=None, labels=(0, 1, 1), indices=(0, 1, 2), classes=("cat", "dog")):
    images = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3) if images is None else images
    return ImageSet(
        images=images,
        labels=np.array(labels),
        classes=classes,
        protocol={"name": "test"},
        indices=np.array(indices),
    )


def test_a_map_data_set():
    found = image_set()
    assert len(found) == 3
    image, label = found[1]
    assert image.tolist() == [[[12, 13, 14], [15, 16, 17]], [[18, 19, 20], [21, 22, 23]]]
    assert (label, type(label)) == (1, int)
    assert found.class_counts == ClassCounts([1, 2], names=["cat", "dog"])
    assert "test, 3 images of (2, 2, 3)" in repr(found)


def test_positions_may_be_any_sequence():
    images = np.zeros((2, 1, 1, 1), np.uint8)
    found = ImageSet(images, [0, 1], ("cat", "dog"), {"name": "test"}, indices=[7, 3])
    assert found.subset([1, 0]).indices.tolist() == [3, 7]


def test_fingerprint_is_over_labels_and_pixels():
    found = image_set()
    expected = hashlib.sha256(b"".join(label.to_bytes(8, "little") for label in (0, 1, 1)) + bytes(range(36)))
    assert found.fingerprint == expected.hexdigest()
    assert image_set(labels=(0, 0, 1)).fingerprint != found.fingerprint
    strided = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3).transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)
    assert image_set(strided).fingerprint == found.fingerprint
    assert image_set(strided).images.flags.c_contiguous


def test_frozen():
    with pytest.raises(AttributeError):
        image_set().labels = np.zeros(3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"images": np.zeros((3, 2, 2, 3))},
            TypeError,
            "images must be uint8, pixels from 0 to 255, got dtype float64",
        ),
        ({"images": np.zeros((3, 2, 2), np.uint8)}, ValueError, "shape (N, height, width, channels), got (3, 2, 2)"),
        ({"images": np.zeros((3, 0, 2, 3), np.uint8)}, ValueError, "got (3, 0, 2, 3)"),
        ({"labels": (0, 1)}, ValueError, "labels and indices must have one entry an image (3), got 2 and 3"),
        ({"indices": (0, 1)}, ValueError, "got 3 and 2"),
        ({"indices": (0.0, 1.0, 2.0)}, TypeError, "indices must be integers, got dtype float64"),
        ({"labels": (0, 1, 2)}, ValueError, "labels must lie in [0, 2), got 2 at position 2"),
        ({"labels": (0, 1, -1)}, ValueError, "labels must be >= 0, got -1 at position 2"),
        ({"labels": (0.0, 1.0, 1.0)}, TypeError, "labels must be integers, got dtype float64"),
        ({"classes": ("cat", "cat")}, ValueError, "names must be distinct, got 'cat' twice"),
    ],
)
def test_refused(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        image_set(**change)


def test_channel_stats():
    generator = np.random.Generator(np.random.PCG64(0))
    images = generator.integers(0, 256, (2500, 3, 2, 4), dtype=np.uint8)
    mean, std = channel_stats(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert channel_stats(images[generator.permutation(2500)]) == (mean, std)
    assert channel_stats(np.full((5, 1, 1, 1), 51, np.uint8)) == ((0.2,), (0.0,))
    with pytest.raises(ValueError, match="at least one image, got none"):
        channel_stats(images[:0])
    with pytest.raises(TypeError, match="images must be uint8"):
        channel_stats(images.astype(np.float32))


def test_constants_have_one_entry_a_channel():
    for (mean, std), channels in ((CIFAR10_STATS, 3), (CIFAR100_STATS, 3), (DIGITS_STATS, 1)):
        assert len(mean) == len(std) == channels


def test_protocols_are_plain_json():
    from lt_fast.datasets import digits_lt

    for train in (True, False):
        protocol = digits_lt(train=train).protocol
        assert json.loads(json.dumps(protocol)) == protocol
        assert {"name", "imbalance_ratio", "profile", "seed", "method", "subset_sha256"} <= set(protocol)
    assert (LARGEST, TEST_PER_CLASS) == (150, 24)
