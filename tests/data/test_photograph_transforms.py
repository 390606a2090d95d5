"""``PhotographTransform``: sizes, presets against torchvision, keyed randomness, functions of one's own."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lt_fast.data import FileSource, keyed_randomness, sources
from lt_fast.data.loader import Loader
from lt_fast.data.photograph_transforms import AUGMENTATIONS, PhotographTransform
from lt_fast.data.plans import FixedBatches
from lt_fast.errors import UsageError
from lt_fast.registry import TRANSFORMS


@pytest.fixture(scope="module")
def photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_it_is_registered():
    assert TRANSFORMS["photograph"] is PhotographTransform


@pytest.mark.parametrize("augment", [*AUGMENTATIONS, "none"])
def test_every_preset_gives_a_tensor_of_one_size(photograph, augment):
    transform = PhotographTransform(size=32, augment=augment)
    with keyed_randomness(0, 0, 0, 0):
        tensor = transform(photograph)
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32


def test_without_augmentation_it_is_torchvisions_resize_and_centre_crop(photograph):
    tensor = PhotographTransform(size=28, crop_share=0.875, interpolation="bilinear").plain()(photograph)
    resized = F.center_crop(F.resize(photograph, 32, interpolation=v2.InterpolationMode.BILINEAR), 28)
    wanted = F.normalize(
        F.to_dtype(F.to_image(resized), torch.float32, scale=True), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    assert torch.equal(tensor, wanted)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_the_key_alone_decides_the_pixels(photograph, augment):
    transform = PhotographTransform(size=24, augment=augment)

    def made(position):
        with keyed_randomness(3, 1, 0, position):
            return transform(photograph)

    assert torch.equal(made(5), made(5))
    assert not torch.equal(made(5), made(6))


def test_an_image_smaller_than_the_size_is_enlarged():
    assert PhotographTransform(size=64).plain()(Image.new("RGB", (3, 5))).shape == (3, 64, 64)


def test_worker_processes_give_the_same_batches(tmp_path, photograph):
    for name in "abcd":
        photograph.save(tmp_path / f"{name}.png")
    source = FileSource([f"{name}.png" for name in "abcd"], [0, 1, 0, 1], root=tmp_path)
    transform = PhotographTransform(size=16, augment="strong")
    loaders = [
        Loader(source, FixedBatches(4, batch_size=2), transform=transform, workers=workers) for workers in (0, 2)
    ]
    inline, processes = ([batch.x for batch in loader] for loader in loaders)
    assert all(torch.equal(one, other) for one, other in zip(inline, processes, strict=True))


def test_large_jpeg_files_are_decoded_no_larger_than_needed(tmp_path, monkeypatch):
    seen = []
    read = sources.image_and_remarks

    def noted(*args, **named):
        image, remarks = read(*args, **named)
        seen.append(image)
        return image, remarks

    monkeypatch.setattr(sources, "image_and_remarks", noted)
    Image.new("RGB", (1600, 1200), (200, 40, 30)).save(tmp_path / "large.jpg")
    source = FileSource(["large.jpg"], [0], root=tmp_path)
    for augment, least in (("none", 37), ("standard", 72), ("light", 55), ("imagenet", 114)):
        transform = PhotographTransform(size=32, augment=augment, mean=(0, 0, 0), std=(1, 1, 1))
        x = next(iter(Loader(source, FixedBatches(1, batch_size=1), transform=transform.plain()))).x
        next(iter(Loader(source, FixedBatches(1, batch_size=1), transform=transform)))
        assert least <= min(seen[-1].size) < 400
        assert np.allclose(x[0].mean(dim=(1, 2)), np.array([200, 40, 30]) / 255, atol=0.02)


def test_it_is_pickled_without_torchvisions_objects(photograph):
    transform = PhotographTransform(size=16)
    transform.plain()(photograph)
    transform(photograph)
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform
    assert "_pipeline" not in vars(again)


OWN = """
from torchvision.transforms import v2

NUMBER = 7

def centre(size):
    return v2.Compose([v2.Resize(size), v2.CenterCrop(size)])

def whole(size):
    return lambda image: image

def nothing(size):
    return None

def bare():
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_augmentation.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_augmentation"


def test_a_function_of_ones_own_is_taken(photograph, own):
    tensor = PhotographTransform(size=20, augment=f"{own}:centre", mean=(0, 0, 0), std=(1, 1, 1))(photograph)
    wanted = np.asarray(v2.CenterCrop(20)(v2.Resize(20)(photograph))).transpose(2, 0, 1) / 255
    assert np.allclose(tensor.numpy(), wanted, atol=1e-6)


def test_a_function_that_gives_another_size_is_refused(photograph, own):
    with pytest.raises(
        UsageError, match=r"must give images of 20 x 20 pixels in RGB, got a tensor of shape \(3, 61, 97"
    ):
        PhotographTransform(size=20, augment=f"{own}:whole")(photograph)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augment": "storng"}, "augment must be one of light, standard, strong, .*, none or .*did you mean 'strong'"),
        ({"augment": "no_such_module:f"}, "must name an importable function as package.module:function"),
        ({"augment": "own_augmentation:missing"}, "has no attribute 'missing'"),
        ({"augment": "own_augmentation:NUMBER"}, "must name a function with the parameter size, .* a int; define"),
        ({"augment": "own_augmentation:bare"}, "which has none; define bare"),
        ({"augment": "os:abort"}, "a builtin_function_or_method; define abort"),
        ({"augment": "own_augmentation:nothing"}, "must return a callable from a PIL image, got NoneType"),
        ({"size": 0}, "size must be"),
        ({"crop_share": 0}, "crop_share must lie in"),
        ({"std": (1, 0, 1)}, "std must be|std must lie"),
        ({"mean": (0.5,)}, r"mean must have one entry per channel \(3\), got 1"),
        ({"interpolation": "cubic"}, "interpolation must be one of"),
    ],
)
def test_a_wrong_value_is_named(own, photograph, changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        PhotographTransform(**changes)(photograph)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_odd_about_a_file_is_warned_of_once(tmp_path, workers):
    for name in "abcd":
        Image.fromarray(np.full((40, 40), 4095, np.uint16)).save(tmp_path / f"{name}.png")
    source = FileSource([f"{name}.png" for name in "abcd"], [0, 1, 0, 1], root=tmp_path)
    loader = Loader(source, FixedBatches(4, batch_size=2), transform=PhotographTransform(size=16), workers=workers)
    with pytest.warns(UserWarning, match="which come out almost black") as said:
        list(itertools.chain(*(iter(loader) for _ in range(3))))
    assert sorted(str(each.message).split()[1][-5:] for each in said) == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.parametrize("kind", ["light", "standard", "simclr", "inception", "imagenet", "none"])
def test_it_is_torchvisions_pipeline_bit_for_bit(photograph, kind):
    mode = v2.InterpolationMode.BICUBIC
    crops = {
        least: [v2.RandomResizedCrop(48, scale=(least, 1.0), interpolation=mode), v2.RandomHorizontalFlip()]
        for least in (0.2, 0.35, 0.08)
    }
    strong = v2.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    blur = v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 2.0))], 0.5)
    placing = {
        "light": crops[0.35],
        "standard": [*crops[0.2], v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05)],
        "simclr": [*crops[0.2], v2.RandomApply([strong], 0.8), v2.RandomGrayscale(0.2), blur],
        "inception": crops[0.08],
        "imagenet": [*crops[0.08], v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0)],
        "none": [v2.Resize(54, interpolation=mode), v2.CenterCrop(48)],
    }
    own = PhotographTransform(size=48, augment=kind)
    finish = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(own.mean), list(own.std))]
    theirs = v2.Compose([*placing[kind], *finish])
    for position in range(8):
        with keyed_randomness(1, 0, 0, position):
            wanted = theirs(photograph)
        with keyed_randomness(1, 0, 0, position):
            assert torch.equal(own(photograph), wanted)
