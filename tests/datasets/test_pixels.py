"""Pixels of every mode, upright: what the file shows is what training sees."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lt_fast.datasets import ImageFiles, channel_stats, image_folder, read_image
from lt_fast.datasets.image_set import image_array
from lt_fast.errors import DataError

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
QUARTERS = np.zeros((32, 48, 3), np.uint8)
QUARTERS[:16, :24], QUARTERS[:16, 24:], QUARTERS[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# What EXIF 2.32 says of the first row and column, as steps of NumPy.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: x.transpose(1, 0, 2)[::-1],
}


def shown(file: Path) -> np.ndarray:
    image = read_image(file)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(file: Path) -> np.ndarray:
    pixels = shown(file)
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    return pixels[..., 0]


def tiff(file: Path, pixels: bytes, *, bits: int, photometric: int, size: int, order: str = "<") -> Path:
    """Write a grey TIFF of one strip, ``size`` pixels in a row."""
    tags = [(256, size), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(pixels)))
    entries = b"".join(
        struct.pack(order + "HHI", tag, 3, 1) + struct.pack(order + "HH", value, 0) for tag, value in tags
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(pixels))
    file.write_bytes(head + pixels + struct.pack(order + "H", len(tags)) + entries + bytes(4))
    return file


@pytest.mark.parametrize("ending", ["png", "tif", "jp2", "pgm"])
def test_sixteen_bits_are_their_high_byte(tmp_path: Path, ending: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / f"a.{ending}")
    assert np.array_equal(grey(tmp_path / f"a.{ending}"), RAMP >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_in_either_byte_order_and_sense(tmp_path: Path, order: str) -> None:
    values = np.array([0, 255, 256, 0x7FFF, 0xFFFF], np.uint16)
    pixels = values.astype(order + "u2").tobytes()
    assert grey(tiff(tmp_path / "a.tif", pixels, bits=16, photometric=1, size=5, order=order)).tolist() == [
        [0, 0, 1, 127, 255]
    ]
    if order == "<":  # Pillow knows white-is-zero in this order alone
        file = tiff(tmp_path / "b.tif", pixels, bits=16, photometric=0, size=5, order=order)
        assert grey(file).tolist() == [[255, 255, 254, 128, 0]]


@pytest.mark.parametrize(("kind", "values", "expected"), [
    (2, [0x0100, 0x7FFF, 0xFFFF], [1, 127, 255]),  # RGB
    (6, [0x0100, 0x7FFF, 0xFFFF, 0xFFFF], [1, 127, 255]),  # RGBA
    (6, [0x0100, 0x7FFF, 0xFFFF, 0], [255, 255, 255]),  # RGBA, transparent: white
    (4, [0x7FFF, 0xFFFF], [127, 127, 127]),  # grey with alpha
])  # fmt: skip
def test_sixteen_bits_of_colour(tmp_path: Path, kind: int, values: list[int], expected: list[int]) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(b"\0" + struct.pack(f">{len(values)}H", *values))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, kind, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert shown(tmp_path / "a.png").tolist() == [[expected]]


def test_twelve_bits_that_the_file_names(tmp_path: Path) -> None:
    file = tiff(tmp_path / "a.tif", bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x10]), bits=12, photometric=1, size=4)
    assert grey(file).tolist() == [[0, 128, 255, 1]]


@pytest.mark.parametrize(("largest", "bits"), [(4095, 12), (1023, 10), (200, 8)])
def test_few_bits_in_sixteen_are_warned_of(tmp_path: Path, largest: int, bits: int) -> None:
    Image.fromarray((RAMP % (largest + 1)).astype(np.uint16)).save(tmp_path / "a.png")
    message = rf"a\.png has mode 'I;16' and pixels of at most {largest}, .* almost black .* are {bits}-bit values"
    with pytest.warns(UserWarning, match=message):
        assert grey(tmp_path / "a.png").max() == largest >> 8


def test_a_black_image_of_sixteen_bits_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "a.png")
    assert not grey(tmp_path / "a.png").any()


def test_floats_of_the_unit_interval(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for ending in ("tif", "pfm"):
        Image.fromarray(values).save(tmp_path / f"a.{ending}")
        assert grey(tmp_path / f"a.{ending}").reshape(-1).tolist() == list(range(256))


@pytest.mark.parametrize("values", [[[0, 255.0]], [[-0.1, 0.5]], [[np.nan, 0.5]], [[np.inf, 0]]])
def test_other_floats_are_refused(tmp_path: Path, values: list[list[float]]) -> None:
    Image.fromarray(np.array(values, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has mode 'F' \(floats beyond \[0, 1\]: .*; scale it to 0\.\.255"):
        read_image(tmp_path / "a.tif")
    pixels = np.nan_to_num(np.array(values), posinf=1).clip(0, 255)  # the advice, followed
    Image.fromarray((pixels / max(pixels.max(), 1) * 255).astype(np.uint8)).save(tmp_path / "a.tif")
    assert grey(tmp_path / "a.tif").shape == (1, 2)


def test_integers_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-5, 70_000]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has mode 'I' \(32-bit integers: -5 to 70000\)"):
        read_image(tmp_path / "a.tif")


def test_modes_of_eight_bits_are_as_pillow_converts_them(tmp_path: Path) -> None:
    colours = Image.fromarray(QUARTERS)
    for mode in ("1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"):
        image = colours.convert(mode)
        image.save(tmp_path / "a.tif")
        assert np.array_equal(shown(tmp_path / "a.tif"), np.asarray(image.convert("RGB"))), mode


def test_transparent_pixels_are_on_white(tmp_path: Path) -> None:
    alpha = np.zeros(QUARTERS.shape[:2], np.uint8)
    alpha[:16], alpha[16:, :24] = 255, 128
    expected = np.round(255 + (QUARTERS.astype(float) - 255) * (alpha[..., None] / 255))
    for ending in ("png", "tif"):
        Image.fromarray(np.dstack([QUARTERS, alpha])).save(tmp_path / f"a.{ending}")
        assert np.abs(shown(tmp_path / f"a.{ending}") - expected).max() <= 1


def test_a_transparent_colour_is_white(tmp_path: Path) -> None:
    palette = Image.fromarray(QUARTERS).quantize(4)
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128, 255, 0]))
    colours, indices = np.array(palette.getpalette()[:12]).reshape(4, 3), np.asarray(palette)
    alpha = np.array([0, 128, 255, 0])[:, None] / 255
    assert np.abs(shown(tmp_path / "p.png") - (255 + (colours - 255) * alpha)[indices]).max() <= 1
    Image.fromarray(QUARTERS).save(tmp_path / "c.png", transparency=(255, 0, 0))  # PNG: one colour is transparent
    expected = np.where((QUARTERS == (255, 0, 0)).all(axis=2, keepdims=True), 255, QUARTERS)
    assert np.array_equal(shown(tmp_path / "c.png"), expected)


def test_the_first_frame_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(QUARTERS), Image.new("RGB", (48, 32), (9, 9, 9))
    for ending in ("gif", "png", "webp", "tif"):
        first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
        difference = np.abs(shown(tmp_path / f"a.{ending}").astype(int) - QUARTERS)
        assert difference.mean() < 8, ending


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    Image.fromarray(QUARTERS).save(file, exif=exif, **({} if ending in ("png", "tif") else {"quality": 95}))
    expected = UPRIGHT[orientation](QUARTERS)
    assert shown(file).shape == expected.shape
    assert np.abs(shown(file).astype(int) - expected).mean() < 8
    assert np.array_equal(np.asarray(ImageFiles(["a." + ending], [0], ("x",), tmp_path)[0][0]), shown(file))


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP[:4]).save(tmp_path / "a.png", exif=exif)
    with pytest.warns(UserWarning, match="at most 1023"):
        assert np.array_equal(grey(tmp_path / "a.png"), (RAMP[:4] >> 8).T[:, ::-1])


def test_damaged_exif_is_named_and_the_image_read(tmp_path: Path) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / "a.png", exif=b"garbage")
    with pytest.warns(UserWarning, match=r"image .*a\.png: its EXIF data cannot be read .* read as stored"):
        assert np.array_equal(shown(tmp_path / "a.png"), QUARTERS)


def test_a_decompression_bomb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png cannot be read \(Decompression.*raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(tmp_path / "a.png")


def test_files_without_an_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"a\.jpg cannot be read .* take it out of the list: it has 0 bytes"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a not decoded by Pillow")
    with pytest.raises(DataError, match=r"a\.jxl cannot be read .* does not decode its format: convert it to PNG"):
        read_image(tmp_path / "a.jxl")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with pytest.raises(DataError, match=r"a\.heic cannot be read .*; replace it, or take it out of the list"):
        read_image(tmp_path / "a.heic")
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match=r"x\.jpg cannot be read \(IsADirectoryError"):
        read_image(tmp_path / "x.jpg")
    Image.fromarray(np.random.Generator(np.random.PCG64(0)).integers(0, 256, (64, 64, 3), np.uint8)).save(
        tmp_path / "t.jpg"
    )
    (tmp_path / "t.jpg").write_bytes((tmp_path / "t.jpg").read_bytes()[:2000])
    with pytest.raises(
        DataError, match=r"t\.jpg cannot be read \(OSError: .*truncated.*\); replace it, or take it out"
    ):
        read_image(tmp_path / "t.jpg")


def test_what_a_folder_gives_is_upright(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(QUARTERS).save(tmp_path / "cat" / "1.png", exif=exif)
    assert np.array_equal(np.asarray(image_folder(tmp_path)[0][0]), UPRIGHT[8](QUARTERS))


@pytest.mark.parametrize(
    ("images", "advice", "expected"),
    [
        (np.array([0, 256, 65535], np.uint16), r"\(images >> 8\)\.astype\('uint8'\)", [0, 1, 255]),
        (np.array([0, 0.5, 1]), r"\(images \* 255\)\.round\(\)\.astype\('uint8'\)", [0, 128, 255]),
        (np.array([0, 0.5, 1], np.float32), r"\(images \* 255\)\.round\(\)\.astype\('uint8'\)", [0, 128, 255]),
        (np.array([False, True, True]), r"images\.astype\('uint8'\) \* 255", [0, 255, 255]),
        (np.array([0, 7, 255]), r"images\.astype\('uint8'\) where they lie in \[0, 255\]", [0, 7, 255]),
    ],
)
def test_arrays_of_other_types_are_told_how(images: np.ndarray, advice: str, expected: list[int]) -> None:
    images = images.reshape(1, 1, 3, 1)
    with pytest.raises(TypeError, match=f"images must be uint8, .*got dtype {images.dtype}; pass {advice}") as caught:
        channel_stats(images)
    expression = str(caught.value).partition("; pass ")[2].partition(" where")[0].partition(" for")[0]
    assert image_array(eval(expression, {"images": images})).reshape(-1).tolist() == expected


def deep_png(file: Path, kind: int, pixels: list[list[int]]) -> Path:
    """Write a PNG of one row with 16 bits a channel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    values = [value for pixel in pixels for value in pixel]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", len(pixels), 1, 16, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(f">{len(values)}H", *values)))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))
    return file


@pytest.mark.parametrize(("kind", "alpha"), [(2, []), (6, [0xFFFF]), (4, [0xFFFF])])
@pytest.mark.parametrize("largest", [255, 1023, 4095, 16383])
def test_few_bits_in_sixteen_bits_of_colour_are_warned_of(
    tmp_path: Path, kind: int, alpha: list[int], largest: int
) -> None:
    colours = 1 if kind == 4 else 3
    file = deep_png(tmp_path / "a.png", kind, [[largest] * colours + alpha, [0] * colours + alpha])
    bits = largest.bit_length()
    with pytest.warns(UserWarning, match=rf"image .*a\.png has mode '\w+;16' and .* at most {largest}, .* {bits}-bit"):
        assert shown(file).max() == largest >> 8


@pytest.mark.parametrize(("kind", "alpha"), [(2, []), (6, [0xFFFF]), (4, [0xFFFF])])
def test_bright_colours_of_sixteen_bits_are_not_warned_of(tmp_path: Path, kind: int, alpha: list[int]) -> None:
    colours = 1 if kind == 4 else 3
    pixels = [[0] * colours + alpha, [1 << 14] * colours + alpha]
    assert shown(deep_png(tmp_path / "a.png", kind, pixels)).max() == 64


def test_dark_colours_of_eight_bits_are_not_warned_of(tmp_path: Path) -> None:
    for mode, black in (("RGB", 0), ("RGBA", (0, 0, 0, 255)), ("LA", (0, 255)), ("L", 0)):
        Image.new(mode, (2, 2), black).save(tmp_path / "a.png")
        assert not shown(tmp_path / "a.png").any()


@pytest.mark.parametrize(("largest", "bits"), [(16383, 14), (8191, 13)])
def test_fourteen_bits_are_warned_of_and_more_are_not(tmp_path: Path, largest: int, bits: int) -> None:
    Image.fromarray((RAMP % (largest + 1)).astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=rf"pixels of at most {largest}, .* are {bits}-bit values"):
        read_image(tmp_path / "a.png")
    Image.fromarray((RAMP % 16385).astype(np.uint16)).save(tmp_path / "b.png")
    assert grey(tmp_path / "b.png").max() == 64


def test_floats_whose_zero_is_white_are_turned_over(tmp_path: Path) -> None:
    values = np.array([[0, 0.5, 1]], np.float32)
    for photometric, expected in ((1, [[0, 128, 255]]), (0, [[255, 127, 0]])):
        Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: photometric})
        with Image.open(tmp_path / "a.tif") as image:
            assert image.tag_v2[262] == photometric
        assert grey(tmp_path / "a.tif").tolist() == expected


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_whatever_its_ending(tmp_path: Path, orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.heic", "a.jpg"):  # phones' exports rename without converting
        heif.from_pillow(Image.fromarray(QUARTERS)).save(tmp_path / name, exif=exif.tobytes(), quality=95)
        pixels = shown(tmp_path / name)
        expected = UPRIGHT[orientation](QUARTERS)
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).mean() < 8
    assert ".HEIC" not in Image.registered_extensions()  # Pillow is left as it was


def test_heic_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    message = r"a\.jpg is HEIC, which needs pillow-heif; run: pip install 'lt-fast\[photos\]'"
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("shorter_side", "size"), [(None, (640, 480)), (300, (640, 480)), (240, (320, 240)),
                                                    (100, (160, 120)), (1, (80, 60))])  # fmt: skip
def test_a_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path, shorter_side: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = np.add.outer(np.arange(480), np.arange(640)).astype(float)
    Image.fromarray((ramp / ramp.max() * 255).astype(np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.jpg", shorter_side=shorter_side)
    assert image.size == size[::-1]  # upright
    whole = read_image(tmp_path / "a.png", shorter_side=shorter_side)
    assert whole.size == (480, 640)
    assert np.abs(np.asarray(image, int) - np.asarray(whole.resize(image.size, Image.Resampling.BOX), int)).max() <= 3


@pytest.mark.parametrize("shorter_side", [0, -1, 2.5, True, "8"])
def test_the_shorter_side_is_an_integer(tmp_path: Path, shorter_side: object) -> None:
    with pytest.raises((ValueError, TypeError), match="shorter_side must be "):
        read_image(tmp_path / "a.jpg", shorter_side=shorter_side)
