"""The decoder torchvision beside Pillow: the same images within rounding, the same words for what cannot be read."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from data.conftest import LABELS, NORMALIZED, epoch, file_transform
from lt_fast.data import FileSource, FixedBatches, Loader, PhotographTransform, keyed_randomness
from lt_fast.data.decoders import as_picture, as_tensor, pixels_and_remarks
from lt_fast.datasets import read_image
from lt_fast.datasets.image_files import image_and_remarks
from lt_fast.errors import DataError
from lt_fast.sampling import ShuffledBatchSampler

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

LEVELS = 3  # of 255, by which two releases of libjpeg-turbo may differ in a pixel


def scene(height, width, seed=0):
    """An image as photographs are: smooth areas, edges and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = [np.sin(x * (1 + c / 3) + np.cos(y)) + (np.hypot(x - 6, y - 5) < 4) for c in range(3)]
    pixels = 110 + 55 * np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(path, image, **options):
    image.save(path, **options)
    return path


def read(path, **options):
    pixels, remarks = pixels_and_remarks(path, **options)
    assert pixels.dtype == torch.uint8
    return pixels.permute(1, 2, 0).numpy().astype(int), remarks


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": 0, "quality": 95}),
        ("RGB", {"subsampling": 1, "progressive": True}),
        ("L", {}),
        ("L", {"progressive": True}),
    ],
)
@pytest.mark.parametrize("size", [(37, 53), (375, 500), (1, 1)])
def test_a_jpeg_has_pillows_pixels(tmp_path, size, mode, options):
    path = saved(tmp_path / "a.jpg", scene(*size).convert(mode), **options)
    pixels, remarks = read(path)
    assert remarks == []
    assert np.abs(pixels - np.array(read_image(path)).astype(int)).max() <= LEVELS


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_exif_turns_is_turned(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", scene(40, 60), exif=exif)
    pixels, _ = read(path)
    assert pixels.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    assert np.abs(pixels - np.array(read_image(path)).astype(int)).max() <= LEVELS


def test_pillow_reads_what_is_left(tmp_path):
    image = scene(40, 60)
    alpha = image.copy()
    alpha.putalpha(100)
    others = [
        saved(tmp_path / "cmyk.jpg", image.convert("CMYK")),
        saved(tmp_path / "grey.png", image.convert("L")),
        saved(tmp_path / "palette.gif", image.convert("P")),
        saved(tmp_path / "alpha.png", alpha),
        saved(tmp_path / "deep.png", Image.fromarray(np.full((9, 9), 40_000, np.uint16))),
        saved(tmp_path / "named.jpg", image, format="PNG"),
    ]
    for path in others:
        assert np.array_equal(read(path)[0], np.array(read_image(path)))


def test_what_may_be_decoded_smaller_is(tmp_path):
    path = saved(tmp_path / "a.jpg", scene(600, 800))
    for shorter_side, height in ((None, 600), (301, 600), (300, 300), (75, 75)):
        pixels, _ = read(path, shorter_side=shorter_side)
        wanted = np.array(read_image(path, shorter_side=shorter_side)).astype(int)
        assert len(pixels) == height
        assert np.abs(pixels - wanted).max() <= LEVELS


def test_what_cannot_be_read_is_said_in_the_same_words(tmp_path):
    whole = io.BytesIO()
    scene(80, 80).save(whole, "JPEG")
    contents = {"cut.jpg": whole.getvalue()[:-900], "no.jpg": b"\xff\xd8\xffno image", "empty.jpg": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "missing.jpg"):
        with pytest.raises(DataError) as by_pillow:
            read_image(tmp_path / name)
        with pytest.raises(DataError) as by_torchvision:
            pixels_and_remarks(tmp_path / name)
        assert str(by_torchvision.value) == str(by_pillow.value)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_is_remarked_alike(tmp_path, exif):
    path, said = saved(tmp_path / "a.jpg", scene(20, 20), exif=exif), []
    for reader in (image_and_remarks, pixels_and_remarks):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, remarks = reader(path)
        said.append({*remarks, *(str(each.message) for each in caught)})
    assert said[0] == said[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = np.array(read_image(path)).astype(int)
    assert np.abs(image.permute(1, 2, 0).numpy() - wanted).max() <= LEVELS


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("jpegs")
    names = [f"{at}.jpg" for at in range(len(LABELS))]
    for at, name in enumerate(names):
        scene(60 + at, 90 - at, seed=at).save(root / name, quality=92)
    return {kind: FileSource(names, LABELS, root=root, decoder=kind) for kind in ("pillow", "torchvision")}


@pytest.mark.parametrize("augment", ["light", "standard", "strong", "simclr", "autoaugment", "randaugment", "none"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
def test_the_same_crop_and_colours_within_rounding(augment, interpolation):
    image = scene(120, 160)
    transform = PhotographTransform(size=48, augment=augment, interpolation=interpolation)
    for position in range(8):
        results = []
        for given in (image, as_tensor(image)):
            with keyed_randomness(0, 0, 0, position):
                results.append(transform(given))
        assert results[1].shape == (3, 48, 48)
        levels = (results[0] - results[1]).abs() * torch.tensor(transform.std).view(3, 1, 1) * 255
        # A colour operation may enlarge what rounding has changed: a posterized or equalized level is another step.
        assert float(levels.mean()) <= (0.6 if augment in ("light", "none") else 3)
        if augment in ("light", "none"):
            assert float(levels.max()) <= LEVELS
    assert np.array_equal(np.array(as_picture(as_tensor(image))), np.array(image))


def test_a_loader_gives_the_same_images_within_rounding(photographs):
    given = []

    def transform(image):
        given.append(type(image))
        return file_transform()(image)

    sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
    batches = [epoch(Loader(source, sampler, transform=transform, seed=5)) for source in photographs.values()]
    assert set(given) == {Image.Image, torch.Tensor}
    for one, two in zip(*batches, strict=True):
        assert torch.equal(one.target, two.target)
        levels = (one.x - two.x).abs() * torch.tensor(NORMALIZED["std"]).view(3, 1, 1) * 255
        assert float(levels.max()) <= LEVELS


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_no_bit(photographs, workers):
    def make(workers):
        sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
        transform = PhotographTransform(size=24)
        return Loader(photographs["torchvision"], sampler, transform=transform, seed=5, views=2, workers=workers)

    first, loader = epoch(make(0)), make(workers)
    assert all(
        torch.equal(a, b)
        for one, two in zip(first, loader, strict=True)
        for a, b in zip(one.views, two.views, strict=True)
    )


def test_the_decoder_is_part_of_what_a_state_is_of(photographs):
    loaders = {
        kind: Loader(source, FixedBatches(38, batch_size=8), transform=v2.ToImage())
        for kind, source in photographs.items()
    }
    states = {kind: loader.state_dict() for kind, loader in loaders.items()}
    assert "decoder" not in states["pillow"]
    with pytest.raises(ValueError, match="decoder was None, is 'torchvision'"):
        loaders["torchvision"].load_state_dict(states["pillow"])
    with pytest.raises(ValueError, match="decoder was 'torchvision', is absent"):
        loaders["pillow"].load_state_dict(states["torchvision"])
    loaders["torchvision"].load_state_dict(states["torchvision"])
    assert photographs["torchvision"].subset([3]).decoder == "torchvision"
    assert photographs["torchvision"].fingerprint == photographs["pillow"].fingerprint


def test_an_unknown_decoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="decoder must be one of pillow, torchvision, got 'torchvison'; did you mean"):
        FileSource(["a.jpg"], [0], root=tmp_path, decoder="torchvison")
