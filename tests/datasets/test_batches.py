import copy
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, SequentialSampler
from torchvision.transforms import functional

import reference
from lt_fast import _rust
from lt_fast.datasets import CIFAR10_STATS, ImageBatches
from lt_fast.mixing import Mixup
from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

MEAN, STD = CIFAR10_STATS


def noise(shape, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)


IMAGES = noise((40, 9, 11, 3))
LABELS = np.arange(40) % 4


def batches(batch_sampler=None, images=IMAGES, labels=LABELS, **options):
    sampler = (
        ShuffledBatchSampler(len(labels), batch_size=8, output="numpy") if batch_sampler is None else batch_sampler
    )
    return ImageBatches(images, labels, sampler, **{"mean": MEAN, "std": STD, **options})


def mixed(batch_sampler=None, **options):
    mixer = Mixup(per_sample=True, seed=2)
    return batches(batch_sampler, partner=mixer.partner, lam=mixer.factor, seed=3, **options)


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for left, right in zip(one, other, strict=True):
            assert (left is None and right is None) or torch.equal(left, right)


def cycle(epoch, step, labels):
    return np.roll(np.arange(len(labels)), 1)


# --- values -----------------------------------------------------------------------------------------------------------


def test_shapes_and_dtypes():
    x, y_a, y_b, lam = next(iter(mixed()))
    assert (x.shape, x.dtype) == ((8, 3, 9, 11), torch.float32)
    assert (y_a.shape, y_a.dtype, y_b.shape, y_b.dtype) == ((8,), torch.int64, (8,), torch.int64)
    assert (lam.shape, lam.dtype) == ((8,), torch.float32)
    assert len(batches()) == 5
    x, y_a, y_b, lam = next(iter(batches()))
    assert (y_b, lam) == (None, None)
    assert x.is_contiguous()


def by_torchvision(image, place, padding):
    """RandomCrop(padding), RandomHorizontalFlip, ToTensor and Normalize for one drawn place."""
    dy, dx, flip = place
    pixels = functional.pad(torch.from_numpy(image).permute(2, 0, 1), [padding])
    pixels = functional.crop(pixels, dy + padding, dx + padding, *image.shape[:2])
    pixels = functional.hflip(pixels) if flip else pixels
    return functional.normalize(functional.to_tensor(pixels.permute(1, 2, 0).numpy()), MEAN, STD)


@pytest.mark.parametrize("padding", [0, 1, 4, 30])
def test_bits_are_torchvisions(padding):
    sampler = ShuffledBatchSampler(40, batch_size=8, output="numpy", seed=5)
    sampler.set_epoch(7)
    order = sampler.epoch_indices().reshape(5, 8)
    for step, (x, y_a, _, _) in enumerate(batches(sampler, crop_padding=padding, seed=9)):
        places = _rust.placements(9, 7, 8 * step, 8, padding, True)
        expected = [by_torchvision(IMAGES[i], place, padding) for i, place in zip(order[step], places, strict=True)]
        assert torch.equal(x, torch.stack(expected))
        assert y_a.tolist() == LABELS[order[step]].tolist()


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    places=st.lists(st.tuples(st.integers(-7, 7), st.integers(-7, 7), st.integers(0, 1)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    mix=st.booleans(),
)
def test_equals_the_reference(shape, places, seed, mix):
    generator = np.random.Generator(np.random.PCG64(seed))
    images, size, channels = noise(shape, seed), len(places), shape[-1]
    indices = generator.integers(0, shape[0], size)
    mean, std = generator.random(channels, np.float32), generator.random(channels, np.float32) + 0.1
    partner, lam = generator.integers(0, size, size), generator.random(size, np.float32)
    out = torch.empty((size, channels, *shape[1:3]))
    pairs = (partner, lam) if mix else None
    _rust.fill_batch(images, indices, np.array(places), mean, std, pairs, out.numpy())
    expected = reference.image_batch(
        images, indices.tolist(), places, mean.tolist(), std.tolist(), *((partner.tolist(), lam) if mix else ())
    )
    assert torch.equal(out, expected)


def test_mixing_is_of_the_augmented_batch():
    plain, both = list(batches(seed=3)), list(mixed())
    mixer = Mixup(per_sample=True, seed=2)
    for step, ((x, y, _, _), (x_mixed, y_a, y_b, lam)) in enumerate(zip(plain, both, strict=True)):
        partner = torch.from_numpy(mixer.partner(0, step, y))
        factor = torch.from_numpy(mixer.factor(0, step, 8))
        share = factor[:, None, None, None]
        assert torch.equal(x_mixed, share * x + (1 - share) * x[partner])
        assert torch.equal(lam, factor)
        assert torch.equal(y_a, y)
        assert torch.equal(y_b, y[partner])


def test_one_factor_for_the_batch_and_tensors_as_answers():
    seen = []

    def partner(epoch, step, labels):
        seen.append((epoch, step, labels.tolist()))
        return torch.arange(len(labels)).flip(0)

    found = list(batches(partner=partner, lam=lambda *_: 0.25, seed=3))
    plain = list(batches(seed=3))
    for (x, y, _, _), (x_mixed, _, y_b, lam) in zip(plain, found, strict=True):
        assert lam.tolist() == [0.25] * 8
        assert torch.equal(x_mixed, 0.25 * x + 0.75 * x.flip(0))
        assert torch.equal(y_b, y.flip(0))
    assert seen == [(0, step, y.tolist()) for step, (_, y, _, _) in enumerate(plain)]


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_ends_of_the_factor(lam):
    plain = next(iter(batches(seed=3)))[0]
    found = next(iter(batches(partner=cycle, lam=lambda *_: lam, seed=3)))[0]
    assert torch.equal(found, plain if lam == 1 else plain.roll(1, 0))


def test_bfloat16_rounds_the_float32_result():
    for (x, *rest), (rounded, *others) in zip(mixed(), mixed(dtype="bfloat16"), strict=True):
        assert rounded.dtype == torch.bfloat16
        assert torch.equal(rounded, x.bfloat16())
        same([rest], [others])


def test_evaluation_shows_the_images_as_they_are():
    rows = [np.arange(0, 16), [39, 0, 0], np.arange(16, 40)]
    found = batches(rows, crop_padding=0, flip=False)
    scaled = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        STD
    ).view(3, 1, 1)
    for (x, y, _, _), indices in zip(found, rows, strict=True):
        assert torch.equal(x, scaled[torch.as_tensor(indices)])
        assert y.tolist() == LABELS[indices].tolist()
    same(list(found), list(found))
    assert (len(found), found.epoch) == (3, 0)


def test_images_and_labels_of_other_kinds():
    expected = list(batches(seed=1))
    strided = IMAGES.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)
    read_only = IMAGES.copy()
    read_only.setflags(write=False)
    for images in (strided, read_only, torch.from_numpy(IMAGES)):
        for labels in (LABELS.tolist(), LABELS.astype(np.uint8), torch.from_numpy(LABELS)):
            same(list(batches(images=images, labels=labels, seed=1)), expected)


# --- draws ------------------------------------------------------------------------------------------------------------


def test_crops_and_flips_differ_by_seed_epoch_and_place():
    still = ShuffledBatchSampler(40, batch_size=40, output="numpy", drop_last=False)
    at = np.argsort(still[0])

    def shown(seed, epoch):
        found = batches([still[0]], seed=seed)
        found.set_epoch(epoch)
        return next(iter(found))[0][at]

    first = shown(0, 0)
    assert torch.equal(first, shown(0, 0))
    for seed, epoch in ((1, 0), (0, 1), (1, 1)):
        assert (first == shown(seed, epoch)).flatten(1).all(1).sum() < 10
    assert not torch.equal(shown(0, 1), shown(1, 0))


def test_no_global_generator_is_read_or_written():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = list(mixed())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    same(list(mixed()), first)


@pytest.mark.parametrize("kind", [ShuffledBatchSampler, ClassBalancedBatchSampler])
@pytest.mark.parametrize("cut", range(6))
def test_resume_at_every_cut(kind, cut):
    def fresh():
        return mixed(kind(LABELS, batch_size=8, seed=4))

    whole = fresh()
    whole.set_epoch(2)
    expected = list(whole)

    first = fresh()
    first.set_epoch(2)
    walk = iter(first)
    head = [next(walk) for _ in range(cut)]
    state = pickle.loads(pickle.dumps(first.state_dict()))

    resumed = fresh()
    resumed.load_state_dict(state)
    same(head + list(resumed), expected)
    following = fresh()
    following.set_epoch(3)
    same(list(resumed), list(following))


def test_a_pass_left_early_is_an_epoch_and_set_epoch_starts_it_again():
    found, whole = mixed(), mixed()
    first, second = list(whole), list(whole)
    walk = iter(found)
    next(walk), next(walk)
    same(list(found), second)
    found.set_epoch(0)
    same(list(found), first)


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_ranks_share_the_global_batches(ranks):
    def sampler():
        return ShuffledBatchSampler(40, batch_size=4, seed=4)

    expected = list(mixed(sampler()))
    for rank in range(ranks):
        same(list(mixed(sampler().shard(rank, ranks))), expected[rank::ranks])


def test_resume_on_another_number_of_ranks():
    sampler = ShuffledBatchSampler(40, batch_size=4, seed=4)
    expected = list(mixed(ShuffledBatchSampler(40, batch_size=4, seed=4)))
    first = mixed(sampler.shard(0, 2))
    walk = iter(first)
    next(walk), next(walk)
    resumed = mixed(ShuffledBatchSampler(40, batch_size=4, seed=4).shard(1, 3))
    resumed.load_state_dict(first.state_dict())
    same(list(resumed), expected[4 + 1 :: 3])


def test_short_last_batch():
    found = list(mixed(ShuffledBatchSampler(40, batch_size=16, drop_last=False)))
    assert [len(x) for x, *_ in found] == [16, 16, 8]


def test_copies_and_pickles():
    rows = [np.arange(8), np.arange(8, 16)]
    found = batches(rows, seed=3)
    expected = list(found)
    same(list(pickle.loads(pickle.dumps(found))), expected)
    same(list(copy.deepcopy(found)), expected)


# --- fixed batches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(4))
def test_fixed_batches_resume(cut):
    rows = [[0, 1, 2], [3, 4], [5, 6, 7]]
    expected = list(mixed(rows))
    first = mixed(rows)
    walk = iter(first)
    head = [next(walk) for _ in range(cut)]
    resumed = mixed(rows)
    resumed.load_state_dict(first.state_dict())
    same(head + list(resumed), expected)
    same(list(resumed), expected)


def test_fixed_batches_take_an_epoch():
    found = mixed([[0, 1, 2], [3, 4]])
    first = list(found)
    found.set_epoch(0)
    same(list(found), first)
    found.set_epoch(1)
    assert found.epoch == 1
    assert not torch.equal(next(iter(found))[0], first[0][0])
    assert found.state_dict() == {"epoch": 1, "position": 1, "num_batches": 2}


def test_fixed_batches_as_a_matrix_and_none_at_all():
    same(list(batches(np.arange(40).reshape(5, 8))), list(batches(list(np.arange(40).reshape(5, 8)))))
    assert (list(batches([])), len(batches([]))) == ([], 0)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 0, "position": 0, "num_batches": 3}, "num_batches was 3, is 2"),
        ({}, "num_batches was None, is 2"),
        ({"epoch": 0, "position": 3, "num_batches": 2}, "state['position'] must lie in [0, 2], got 3"),
        ({"epoch": -1, "position": 0, "num_batches": 2}, "state['epoch'] must lie in [0, 2**63), got -1"),
    ],
)
def test_fixed_batches_refuse_a_foreign_state(state, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        batches([[0], [1]]).load_state_dict(state)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"images": IMAGES.astype(np.float32)},
            TypeError,
            "images must be uint8, pixels from 0 to 255, got dtype float",
        ),
        ({"images": IMAGES[0]}, ValueError, "images must have shape (N, height, width, channels), got (9, 11, 3)"),
        ({"images": IMAGES[:, :0]}, ValueError, "channels), got (40, 0, 11, 3)"),
        ({"images": IMAGES[:5]}, ValueError, "labels must have one entry an image (5), got 40"),
        ({"labels": LABELS / 2}, TypeError, "labels must be integers, got dtype float64"),
        ({"labels": LABELS[:, None]}, ValueError, "labels must be one-dimensional, got shape (40, 1)"),
        ({"mean": (0.5,)}, ValueError, "mean and std must have one entry a channel, got 1 and 3"),
        ({"mean": (0.5,), "std": (0.5,)}, ValueError, "mean and std must have one entry a channel (3), got 1"),
        ({"mean": 0.5}, ValueError, "mean must have one entry a channel, got shape ()"),
        ({"std": (0.5, 0, 0.5)}, ValueError, "std must be positive and finite, got 0 for channel 1"),
        ({"std": (0.5, float("nan"), 0.5)}, ValueError, "std must be positive and finite, got nan for channel 1"),
        ({"mean": (0.5, 0, float("inf"))}, ValueError, "mean must be finite, got inf for channel 2"),
        ({"crop_padding": -1}, ValueError, "crop_padding must lie in [0, 2**32), got -1"),
        ({"crop_padding": 2**32 - 1}, ValueError, "crop_padding must lie in [0, 2147483648], got 4294967295"),
        ({"crop_padding": 1.5}, TypeError, "crop_padding must be a whole number, got 1.5"),
        ({"seed": -1}, ValueError, "seed must lie in [0, 2**64), got -1"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'bfloat16', got 'float16'"),
        ({"lam": lambda *_: 1.0}, ValueError, "partner and lam must be given together, or neither"),
        ({"partner": lambda *_: [0]}, ValueError, "partner and lam must be given together, or neither"),
        ({"batch_sampler": [[0.5]]}, TypeError, "batch_sampler must give integer indices, got dtype float64"),
        ({"batch_sampler": [0, 1]}, ValueError, "batch_sampler must give one-dimensional index arrays, got shape ()"),
        (
            {"batch_sampler": BatchSampler(SequentialSampler(range(40)), 4, drop_last=False)},
            TypeError,
            "got BatchSampler; list(batch_sampler) fixes the batches of one pass",
        ),
    ],
)
def test_refused_settings(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        batches(**options)


@pytest.mark.parametrize(
    ("partner", "lam", "error", "message"),
    [
        (lambda *_: np.full(8, 8), 0.5, IndexError, "must lie in [0, 8), got 8 at position 0"),
        (lambda *_: np.full(8, -1), 0.5, IndexError, "must lie in [0, 8), got -1 at position 0"),
        (lambda *_: np.zeros(3, int), 0.5, ValueError, "partner must give one value an image of the batch, (8,)"),
        (lambda *_: np.zeros(8), 0.5, TypeError, "partner must give integer places in the batch, got dtype"),
        (cycle, -0.1, ValueError, "lam must lie in [0, 1] (factor of the first image), got -0.1 at position 0"),
        (cycle, 1.5, ValueError, "lam must lie in [0, 1] (factor of the first image), got 1.5 at position 0"),
        (cycle, float("nan"), ValueError, "got nan at position 0"),
        (cycle, [0.5] * 7, ValueError, "lam must give one value an image of the batch, (8,), got shape (7,)"),
        (cycle, [0.5] * 7 + [2], ValueError, "got 2 at position 7"),
    ],
)
def test_refused_answers(partner, lam, error, message):
    with pytest.raises(error, match=re.escape(message)):
        next(iter(batches(partner=partner, lam=lambda *_: lam)))


@pytest.mark.parametrize("index", [40, -1, 2**62, -(2**63)])
def test_refused_indices(index):
    message = f"batch_sampler must give indices in [0, 40), got {index} at place 1 of a batch"
    for mixing in ({}, {"partner": cycle, "lam": lambda *_: 0.5}):
        with pytest.raises(IndexError, match=re.escape(message)):
            next(iter(batches([[0, index]], **mixing)))


def test_rust_writes_nothing_when_it_refuses():
    out = torch.full((2, 3, 9, 11), 7.0)
    places, mean, std = np.zeros((2, 3), np.int64), np.zeros(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(IndexError, match=re.escape("index must lie in [0, 40), got 40 at position 1")):
        _rust.fill_batch(IMAGES, np.array([0, 40]), places, mean, std, None, out.numpy())
    with pytest.raises(ValueError, match=re.escape("placements must have one row an index (2), got 1")):
        _rust.fill_batch(IMAGES, np.array([0, 1]), places[:1], mean, std, None, out.numpy())
    with pytest.raises(ValueError, match=re.escape("placements must have rows (dy, dx, flip), got 4 values")):
        _rust.fill_batch(IMAGES, np.array([0, 1]), places[:, :2].copy(), mean, std, None, out.numpy())
    with pytest.raises(ValueError, match=re.escape("out must have shape (1, 3, 9, 11), got 594 values")):
        _rust.fill_batch(IMAGES, np.array([0]), places[:1], mean, std, None, out.numpy())
    with pytest.raises(TypeError):
        _rust.fill_batch(IMAGES.astype(np.int16), np.array([0, 1]), places, mean, std, None, out.numpy())
    with pytest.raises(ValueError, match=re.escape("start + n must be < 2**64 / 3")):
        _rust.placements(0, 0, 2**63, 1, 4, True)
    assert (out == 7).all()
