"""Images in memory: cropped, flipped, normalised and mixed as torchvision and the plain reference do it."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional

import reference
from lt_fast import _rust
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.data import ArraySource, CropFlip, Loader
from lt_fast.datasets import CIFAR10_STATS
from lt_fast.mixing import Mixup
from lt_fast.sampling import ShuffledBatchSampler

MEAN, STD = CIFAR10_STATS


def noise(shape, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)


IMAGES = noise((40, 9, 11, 3))
LABELS = np.arange(40) % 4


def loader(*, sampler=None, seed=3, mixer=None, **look):
    sampler = ShuffledBatchSampler(40, batch_size=8, output="numpy") if sampler is None else sampler
    transform = CropFlip(**{"mean": MEAN, "std": STD, **look})
    return Loader(ArraySource(IMAGES, LABELS), sampler, transform=transform, seed=seed, mixer=mixer)


def by_torchvision(image, placement, padding):
    """RandomCrop(padding), RandomHorizontalFlip, ToTensor and Normalize for one placement."""
    dy, dx, flip = placement
    pixels = functional.pad(torch.from_numpy(image).permute(2, 0, 1), [padding])
    pixels = functional.crop(pixels, dy + padding, dx + padding, *image.shape[:2])
    pixels = functional.hflip(pixels) if flip else pixels
    return functional.normalize(functional.to_tensor(pixels.permute(1, 2, 0).numpy()), MEAN, STD)


@pytest.mark.parametrize("padding", [0, 1, 4, 9])
def test_pixels_are_torchvisions(padding):
    made = loader(crop_padding=padding, seed=9)
    made.set_epoch(7)
    for step, batch in enumerate(made):
        positions = np.arange(8 * step, 8 * step + 8)
        placements = _rust.placements(positions, (9, 7, 0, padding, True))
        rows = batch.index.numpy()
        expected = [by_torchvision(IMAGES[i], place, padding) for i, place in zip(rows, placements, strict=True)]
        assert torch.equal(batch.x, torch.stack(expected))
        assert batch.target.tolist() == LABELS[rows].tolist()


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    size=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    mixing=st.sampled_from(["none", "blend", "paste"]),
    padding=st.integers(0, 7),
    view=st.integers(0, 2),
)
def test_equals_the_reference(shape, size, seed, mixing, padding, view):
    generator = np.random.Generator(np.random.PCG64(seed))
    images, channels = noise(shape, seed), shape[-1]
    index, partner = generator.integers(0, shape[0], (2, size))
    positions, others = generator.integers(0, 2**40, (2, size))
    mean, std = generator.random(channels, np.float32), generator.random(channels, np.float32) + 0.1
    lam, cropping = generator.random(size, np.float32), (seed, 3, view, padding, True)
    (top, bottom), (left, right) = (sorted(generator.integers(0, edge + 1, 2)) for edge in shape[1:3])
    boxes = np.tile(np.array([[top, left, bottom, right]], np.int32), (size, 1)) if mixing == "paste" else None
    out = torch.empty((size, channels, *shape[1:3]))
    mix = None if mixing == "none" else (partner, others, lam, boxes)
    _rust.fill_batch(images, index, positions, cropping, mean, std, mix, out.numpy())

    def drawn(rows, keys):
        placements = _rust.placements(keys, cropping).tolist()
        return reference.image_batch(images, rows.tolist(), placements, mean.tolist(), std.tolist())

    expected, second = drawn(index, positions), drawn(partner, others)
    if mixing == "blend":
        expected = torch.stack([lam[b] * expected[b] + (1 - lam[b]) * second[b] for b in range(size)])
    if mixing == "paste":
        expected[..., top:bottom, left:right] = second[..., top:bottom, left:right]
    assert torch.equal(out, expected)


def test_a_mixer_mixes_the_augmented_batch():
    mixer = Mixup(per_sample=True, seed=2)
    for step, (plain, mixed) in enumerate(zip(loader(), loader(mixer=mixer), strict=True)):
        rows = np.arange(8)
        plan = mixer.plan(BatchPlan(0, step, rows, rows), plain.target.numpy())
        partner, lam = torch.from_numpy(plan.partner), torch.from_numpy(plan.lam)
        share = lam[:, None, None, None]
        assert torch.equal(mixed.x, share * plain.x + (1 - share) * plain.x[partner])
        assert torch.equal(mixed.lam, lam)
        assert torch.equal(mixed.target, plain.target)
        assert torch.equal(mixed.target_b, plain.target[partner])


class Answers:
    """A mixer that gives what a test wants."""

    def __init__(self, **changed):
        self.changed = changed

    def plan(self, batch, labels):
        size = len(labels)
        usual = {"partner": batch.index[::-1], "position": batch.position[::-1], "lam": np.full(size, 0.5)}
        return MixPlan(**{**usual, **self.changed})


def test_one_coefficient_may_stand_for_the_batch():
    for plain, mixed in zip(loader(), loader(mixer=Answers(lam=0.25)), strict=True):
        assert mixed.lam.tolist() == [0.25] * 8
        assert torch.equal(mixed.x, 0.25 * plain.x + 0.75 * plain.x.flip(0))


@pytest.mark.parametrize(("lam", "flipped"), [(0.0, True), (1.0, False)])
def test_ends_of_the_coefficient_leave_one_image(lam, flipped):
    for plain, mixed in zip(loader(), loader(mixer=Answers(lam=lam)), strict=True):
        assert torch.equal(mixed.x, plain.x.flip(0) if flipped else plain.x)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"partner": np.full(8, 0.5)}, TypeError, "mixer must give integers as partner, got dtype float64"),
        ({"partner": np.arange(3)}, ValueError, "one partner per image of the batch, (8,), got shape (3,)"),
        ({"partner": np.full(8, 40)}, IndexError, "partners in [0, 40), rows of the data set, got 40"),
        ({"position": np.zeros((8, 1), int)}, ValueError, "one position per image of the batch"),
        ({"lam": np.ones(7)}, ValueError, "one lam per image of the batch, (8,), got shape (7,)"),
        ({"lam": np.full(8, 1.5)}, ValueError, "mixer must give lam in [0, 1], got 1.5 at position 0"),
        ({"lam": float("nan")}, ValueError, "mixer must give lam in [0, 1], got nan"),
        ({"boxes": np.zeros((8, 3), np.int32)}, ValueError, "boxes must have rows (top, left, bottom, right)"),
        ({"boxes": np.tile([0, 0, 10, 11], (8, 1))}, ValueError, "inside the image (9, 11), got [0, 0, 10, 11]"),
        ({"boxes": np.zeros((7, 4), int)}, ValueError, "boxes must have one entry per image of the batch (8), got 7"),
    ],
)
def test_refused_answers_of_a_mixer(answer, error, message):
    with pytest.raises(error, match=re.escape(message)):
        next(iter(loader(mixer=Answers(**answer))))


def test_bfloat16_rounds_the_float32_result():
    for exact, rounded in zip(loader(), loader(dtype="bfloat16"), strict=True):
        assert torch.equal(rounded.x, exact.x.to(torch.bfloat16))


def test_crops_and_flips_differ_by_seed_epoch_view_and_position():
    positions = np.arange(50)
    keys = [(seed, epoch, view, 4, True) for seed in (0, 1) for epoch in (0, 1) for view in (0, 1)]
    drawn = {key: _rust.placements(positions, key).tobytes() for key in keys}
    assert len(set(drawn.values())) == 8
    assert len({tuple(row) for row in _rust.placements(positions, keys[0]).tolist()}) > 20


def test_rust_writes_nothing_when_it_refuses():
    out, mean, std = torch.full((2, 3, 9, 11), 7.0), np.float32(MEAN), np.float32(STD)

    def refused(error, message, *, index=(0, 1), positions=(0, 1), images=IMAGES):
        arrays = (images, np.array(index), np.array(positions))
        with pytest.raises(error, match=re.escape(message)):
            _rust.fill_batch(*arrays, (0, 0, 0, 4, True), mean, std, None, out.numpy())

    refused(IndexError, "index must lie in [0, 40), got 40 at position 1", index=(0, 40))
    refused(ValueError, "positions must have one entry per index (2), got 1", positions=(0,))
    refused(IndexError, "position must lie in [0, 2305843009213693952), got -1", positions=(-1, 0))
    refused(TypeError, "images", images=IMAGES.astype(np.int16))
    assert out.eq(7).all()


def test_a_plan_of_no_images_is_a_batch_of_none():
    nothing = np.empty(0, np.int64)
    plan = BatchPlan(0, 0, nothing, nothing)
    assert ArraySource(IMAGES, LABELS).read(plan, CropFlip(mean=MEAN, std=STD), 0)[0].shape == (0, 3, 9, 11)
