"""Strong augmentation in memory: each operation beside Pillow's, policies beside a plain reference, keys, formats."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torchvision.transforms import autoaugment, v2

import reference
from lt_fast import _rust
from lt_fast.batch import BatchPlan
from lt_fast.data import (
    ArraySource,
    AutoAugment,
    CropFlip,
    Loader,
    RandAugment,
    SimCLR,
    StrongTransform,
    TrivialAugmentWide,
    policies,
)
from lt_fast.mixing import CutMix, Mixup
from lt_fast.sampling import ShuffledBatchSampler

MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.21, 0.25)
LOOK = {"mean": MEAN, "std": STD}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pictures():
    """Digits in colour, noise, a slope of few values, one value alone, two values."""
    digits = (load_digits().images[:2] * 15.9).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    coloured = np.stack([digits, 255 - digits, digits // 2 + 40], -1)
    slope = np.add.outer(np.arange(32) * 3, np.arange(32)).astype(np.uint8)
    slope = np.stack([slope, slope[::-1] // 3 + 90, slope.T], -1)
    flat, two = np.full((32, 32, 3), 77, np.uint8), np.where(noise(32, 32, 3) > 99, 12, 200).astype(np.uint8)
    return np.stack([*coloured, noise(32, 32, 3), noise(32, 32, 3, seed=1), slope, flat, two])


COLOURED = pictures()
SETS = {
    "colour": COLOURED,
    "photographs": np.stack(
        [load_sample_image("china.jpg")[100:132, 300:332], load_sample_image("flower.jpg")[:32, 90:122]]
    ),
    "grey": COLOURED[..., :1].copy(),
    "wide": noise(2, 7, 12, 3),
    "high": noise(2, 33, 9, 1),
    "small": noise(2, 2, 3, 3),
    "one pixel": noise(2, 1, 1, 3),
}
_FACTORS = (*np.linspace(0, 2, 21).tolist(), 2.7, 0.01, 9.0)
_SHEARS = (*torch.linspace(-1, 1, 15).tolist(), 5.0, 1e-9)
_PIXELS = (*np.linspace(-15, 15, 13).tolist(), 0.5, 1 / 3, 31.5, 40.0)
VALUES = {
    **dict.fromkeys(["identity", "invert", "autocontrast", "equalize", "grayscale"], (None,)),
    "posterize": range(1, 9),
    "solarize": (*np.linspace(0, 256, 10).tolist(), 127.5, 255.0, 1.0),
    **dict.fromkeys(["brightness", "contrast", "saturation", "sharpness"], _FACTORS),
    "hue": np.linspace(-0.5, 0.5, 11).tolist(),
    "gaussian_blur": (0.0, 0.1, 0.3, 0.5, 0.71, 1.0, 1.3, 1.999, 2.0, 3.3, 40.0),
    **dict.fromkeys(["shear_x", "shear_y", "shear_x_bicubic", "shear_y_bicubic"], _SHEARS),
    **dict.fromkeys(["translate_x", "translate_y"], _PIXELS),
    "rotate": (*np.linspace(-135, 135, 19).tolist(), 0.0, 30.0, 60.0, 90.0, 180.0, 270.0, 360.0, -90.0, 1e-7, 400.0),
}


def changed(images, name, value, fill=0):
    step = (name, 1.0, [] if value is None else [value], False)
    augmentation = _rust.Augmentation([(1.0, False, [[step]])], fill, 0)
    return _rust.augmented(images, np.arange(len(images)), augmentation, 0, 0, 0)


def by_pillow(images, name, value, fill):
    return np.stack(
        [
            reference.augmented(image, [(1.0, False, [[(name, 1.0, [value], False)]])], fill, 0, (0, 0, 0, 0))
            for image in images
        ]
    )


@pytest.mark.parametrize("images", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", VALUES)
def test_each_operation_is_pillows(name, images):
    for value, fill in product(VALUES[name], (0, 128)):
        np.testing.assert_array_equal(
            changed(images, name, value, fill), by_pillow(images, name, value, fill), err_msg=f"{name} {value} {fill}"
        )


def test_the_table_of_values_has_every_operation():
    with pytest.raises(ValueError, match="operation must be one of") as refused:
        _rust.Augmentation([(1.0, False, [[("mirror", 1.0, [], False)]])], 0, 0)
    named = str(refused.value).partition("one of ")[2].partition(", got")[0].split(", ")
    assert set(named) == set(VALUES) == set(reference.OPERATIONS)


TRANSFORMS = {
    "autoaugment": AutoAugment(**LOOK),
    "randaugment": RandAugment(**LOOK, num_ops=3, magnitude=14, cutout=7),
    "trivialaugment": TrivialAugmentWide(**LOOK, fill=99),
    "simclr": SimCLR(**LOOK, blur=0.5, cutout=10),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("key", [(0, 0, 0), (2**63 + 5, 7, 1)])
def test_policies_equal_the_reference(name, key):
    transform = TRANSFORMS[name]
    images = np.concatenate([COLOURED, noise(57, 32, 32, 3)])
    positions = np.arange(len(images)) * 2**40
    got = _rust.augmented(images, positions, transform.policy(32, 32), *key)
    cutout = 16 if transform.cutout is None else transform.cutout
    stages = transform.stages(32, 32)
    for image, position, pixels in zip(images, positions.tolist(), got, strict=True):
        expected = reference.augmented(image, stages, transform.fill, cutout, (*key, position))
        np.testing.assert_array_equal(pixels, expected, err_msg=str(position))


def test_autoaugment_has_the_pairs_that_torchvision_has():
    names = {
        "Color": "saturation",
        "TranslateX": "translate_x",
        "TranslateY": "translate_y",
        "ShearY": "shear_y_bicubic",
    }
    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    scales = theirs._augmentation_space(10, (32, 32))
    ((_, _, pairs),) = policies.autoaugment(32, 32)
    assert len(pairs) == 25
    for pair, expected in zip(pairs, theirs.policies, strict=True):
        for (name, probability, values, _), (their_name, chance, magnitude) in zip(pair, expected, strict=True):
            assert name == names.get(their_name, their_name.lower())
            assert probability == chance
            if magnitude is not None:
                strength = float(scales[their_name][0][magnitude])
                offset = 1 if name in {"saturation", "brightness", "contrast", "sharpness"} else 0
                limit = 1 if name == "solarize" else 1e-5  # theirs begins at 255
                assert max(values) - offset == pytest.approx(strength, abs=limit)


@pytest.mark.parametrize(
    "theirs", [v2.RandAugment(num_ops=1), v2.TrivialAugmentWide()], ids=lambda each: type(each).__name__
)
def test_spaces_are_torchvisions(theirs):
    names = {
        "Color": "saturation", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x",
        "TranslateY": "translate_y",
    }  # fmt: skip
    wide = isinstance(theirs, v2.TrivialAugmentWide)
    made = [
        policies.trivialaugment(num_magnitude_bins=31)
        if wide
        else policies.randaugment(24, 32, num_ops=1, magnitude=magnitude, num_magnitude_bins=31)
        for magnitude in range(31)
    ]
    image = COLOURED[2][:24]
    for magnitude, ((_, _, alternatives),) in enumerate(made):
        assert len(alternatives) == len(theirs._AUGMENTATION_SPACE) == 14
        for ((name, _, values, _),), (their_name, (scale, signed)) in zip(
            alternatives, theirs._AUGMENTATION_SPACE.items(), strict=True
        ):
            assert name == names.get(their_name, their_name.lower())
            strengths = scale(31, 24, 32)
            assert len(values) == (0 if strengths is None else (1 + signed) * (31 if wide else 1))
            for sign in (1, -1) if signed else (1,):
                strength = 0.0 if strengths is None else sign * float(strengths[magnitude])
                chosen = (magnitude if wide else 0) + (len(values) // 2 if sign < 0 else 0)
                expected = theirs._apply_image_or_video_transform(
                    Image.fromarray(image), their_name, strength, theirs.interpolation, theirs._fill
                )
                value = values[chosen] if values else None
                np.testing.assert_array_equal(
                    changed(image[None], name, value)[0], np.asarray(expected), err_msg=f"{name} {strength}"
                )


# --- in a batch -------------------------------------------------------------------------------------------------------

IMAGES = noise(40, 32, 32, 3, seed=2)
LABELS = np.arange(40) % 4


def loader(transform, *, mixer=None, workers=0, views=1, seed=3, images=IMAGES):
    sampler = ShuffledBatchSampler(40, batch_size=8, output="numpy")
    source = ArraySource(images, LABELS)
    return Loader(source, sampler, transform=transform, seed=seed, mixer=mixer, workers=workers, views=views)


def test_a_batch_is_cropped_then_augmented_then_normalised():
    transform = AutoAugment(**LOOK, crop_padding=4)
    for step, batch in enumerate(loader(transform)):
        positions = np.arange(8 * step, 8 * step + 8)
        rows, key = batch.index.numpy(), (3, 0, 0)
        placements = _rust.placements(positions, (*key, 4, True))
        cropped = np.stack([placed(IMAGES[row], *place) for row, place in zip(rows, placements.tolist(), strict=True)])
        pixels = _rust.augmented(cropped, positions, transform.policy(32, 32), *key)
        unit = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        channels = (1, 3, 1, 1)
        expected = (unit - torch.tensor(MEAN).view(channels)) / torch.tensor(STD).view(channels)
        assert torch.equal(batch.x, expected)


def placed(image, dy, dx, flip):
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    cut = padded[4 + dy : 36 + dy, 4 + dx : 36 + dx]
    return cut[:, ::-1] if flip else cut


@pytest.mark.parametrize(
    "mixer", [None, Mixup(per_sample=True, seed=2), CutMix(32, seed=2)], ids=["none", "blend", "paste"]
)
def test_partners_keep_their_own_augmentation(mixer):
    transform = AutoAugment(**LOOK)
    for step, (plain, mixed) in enumerate(zip(loader(transform), loader(transform, mixer=mixer), strict=True)):
        expected = plain.x
        if mixer is not None:
            rows = plain.index.numpy()
            plan = mixer.plan(BatchPlan(0, step, rows, np.arange(8 * step, 8 * step + 8)), plain.target.numpy())
            own = dict(zip(rows.tolist(), plain.x, strict=True))
            second = torch.stack([own[row] for row in plan.partner.tolist()])
            if plan.boxes is None:
                share = torch.from_numpy(np.asarray(plan.lam)).view(-1, 1, 1, 1)
                expected = share * plain.x + (1 - share) * second
            else:
                expected = plain.x.clone()
                for b, (top, left, bottom, right) in enumerate(plan.boxes.tolist()):
                    expected[b, :, top:bottom, left:right] = second[b, :, top:bottom, left:right]
        assert torch.equal(mixed.x, expected)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_batches_depend_on_the_key_alone(name):
    transform = TRANSFORMS[name]
    first, threaded = list(loader(transform, views=2)), list(loader(transform, views=2, workers=2))
    assert all(
        torch.equal(a, b) for x, y in zip(first, threaded, strict=True) for a, b in zip(x.views, y.views, strict=True)
    )
    positions = np.arange(40)
    whole = _rust.augmented(IMAGES, positions, transform.policy(32, 32), 5, 1, 1)
    parts = [
        _rust.augmented(IMAGES[a:b].copy(), positions[a:b], transform.policy(32, 32), 5, 1, 1)
        for a, b in ((0, 3), (3, 40))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    others = [
        _rust.augmented(IMAGES, positions, transform.policy(32, 32), *key) for key in ((6, 1, 1), (5, 2, 1), (5, 1, 0))
    ]
    assert all((whole != other).any(axis=(1, 2, 3)).sum() > 5 for other in others)


@pytest.mark.parametrize("transform", [CropFlip(**LOOK), AutoAugment(**LOOK)], ids=["plain", "autoaugment"])
@pytest.mark.parametrize("mixer", [None, Mixup(seed=1)], ids=["single", "mixed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_formats_hold_the_same_numbers(transform, mixer, dtype):
    changes = {name: getattr(transform, name) for name in ("mean", "std")}
    for exact, last, usual in zip(
        loader(transform, mixer=mixer),
        loader(type(transform)(**changes, dtype=dtype, memory_format="channels_last"), mixer=mixer),
        loader(type(transform)(**changes, dtype=dtype), mixer=mixer),
        strict=True,
    ):
        rounded = exact.x.to(getattr(torch, dtype))
        assert torch.equal(usual.x, rounded)
        assert torch.equal(last.x, rounded)
        assert usual.x.is_contiguous()
        assert last.x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "std"), [("bfloat16", 3e-38), ("float16", 1e-7), ("float16", 2e5), ("float16", 3e7)])
def test_half_formats_round_large_and_small_numbers_as_torch_does(dtype, std):
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    plan, source = BatchPlan(0, 0, np.zeros(1, int), np.zeros(1, int)), ArraySource(images, [0])
    look = {"mean": (0.5,), "std": (std,), "crop_padding": 0, "flip": False}
    exact, half = (source.read(plan, CropFlip(**look, dtype=name), 0)[0] for name in ("float32", dtype))
    assert torch.equal(half, exact.to(half.dtype))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_last_of_any_number_of_channels(channels):
    images, look = noise(3, 9, 70, channels), {"mean": (0.5,) * channels, "std": (0.2,) * channels}
    plan, source = BatchPlan(0, 0, np.arange(3), np.arange(3)), ArraySource(images, [0, 0, 0])
    usual, last = (
        source.read(plan, CropFlip(**look, memory_format=name), 0)[0] for name in ("contiguous_format", "channels_last")
    )
    assert torch.equal(usual, last)


def test_plain_has_no_augmentation():
    for transform in TRANSFORMS.values():
        plain = transform.plain()
        assert type(plain) is CropFlip
        assert (plain.mean, plain.std, plain.crop_padding, plain.flip) == (MEAN, STD, 0, False)


def test_a_policy_of_your_own():
    class Upside(StrongTransform):
        def stages(self, height, width):
            return [(1.0, False, [[("rotate", 1.0, [180], False)]])]

    look = {**LOOK, "crop_padding": 0, "flip": False}
    for turned, usual in zip(loader(Upside(**look)), loader(CropFlip(**look)), strict=True):
        assert torch.equal(turned.x, usual.x.flip(2, 3))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([(1.0, False, [[("turn", 1.0, [], False)]])], "operation must be one of identity, autocontrast, equalize"),
        ([(1.5, False, [[("invert", 1.0, [], False)]])], "probability must lie in [0, 1], got 1.5"),
        ([(1.0, False, [[("invert", float("nan"), [], False)]])], "probability must lie in [0, 1], got nan"),
        ([(1.0, False, [])], "alternatives of a stage must be 1 to 4096, got 0"),
        ([(1.0, True, [[]] * 17)], "alternatives of a shuffled stage must be at most 16, got 17"),
        ([(1.0, False, [[("rotate", 1.0, [], False)]])], "values of an operation must be 1 to 4096, got 0"),
        ([(1.0, False, [[("rotate", 1.0, [np.inf], False)]])], "rotate must have a value in [-3600, 3600], got inf"),
        ([(1.0, False, [[("posterize", 1.0, [9], False)]])], "posterize must have a value in [1, 8], got 9"),
        ([(1.0, False, [[("invert", 1.0, [3], False)]])], "invert takes no value, got 3; leave it out"),
        ([(1.0, False, [[("hue", 1.0, [0.2, 0.1], True)]])], "values between must be two, the smaller one first"),
    ],
)  # fmt: skip
def test_refuses_a_policy(stages, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        _rust.Augmentation(stages, 0, 0)


def test_refuses_what_does_not_fit():
    def refused(message, transform, images=IMAGES):
        with pytest.raises(ValueError, match=re.escape(message)):
            loader(transform, images=images)

    refused("cutout must be at most the images' shorter side (32), got 33", RandAugment(**LOOK, cutout=33))
    refused("crop_padding must be at most the images' shorter side (32), got 33", CropFlip(**LOOK, crop_padding=33))
    two = {"mean": (0.5, 0.5), "std": (0.5, 0.5)}
    refused("augmentation takes images of 1 or 3 channels, got 2", AutoAugment(**two), noise(40, 32, 32, 2))
    refused("mean and std must have one entry per channel (3), got 2", AutoAugment(**two))
    for options, message in [
        ({"fill": 256}, "fill must be <= 255, got 256"),
        ({"cutout": -1}, "cutout must be >= 0, got -1"),
        ({"magnitude": 31}, "magnitude must be <= 30, got 31"),
        ({"dtype": "float64"}, "dtype must be one of"),
        ({"memory_format": "nhwc"}, "memory_format must be one of"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            RandAugment(**LOOK, **options)
    with pytest.raises(ValueError, match=re.escape("most_sigma must lie in [2, 100], got 1.0")):
        SimCLR(**LOOK, least_sigma=2.0, most_sigma=1.0)


def test_rust_refuses_other_memory():
    arrays = (IMAGES, np.zeros(2, int), np.arange(2), (0, 0, 0, 4, True), np.float32(MEAN), np.float32(STD), None)
    policy = AutoAugment(**LOOK).policy(32, 32)
    with pytest.raises(TypeError, match="out must be an array of four dimensions with numbers of 16 bits"):
        _rust.fill_batch(*arrays, np.zeros((2, 3, 32, 32), np.float32), policy, "bfloat16")
    with pytest.raises(ValueError, match='dtype must be float32, bfloat16 or float16, got "float64"'):
        _rust.fill_batch(*arrays, np.zeros((2, 3, 32, 32), np.float32), policy, "float64")
    with pytest.raises(ValueError, match=re.escape("out must have shape (2, 32, 32, 3), got 3072 values")):
        _rust.fill_batch(*arrays, np.zeros((1, 3, 32, 32), np.float32), policy, "float32", channels_last=True)
    with pytest.raises(ValueError, match=re.escape("positions must have one entry per image (40), got 2")):
        _rust.augmented(IMAGES, np.arange(2), policy, 0, 0, 0)
