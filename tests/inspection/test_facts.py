"""What one file is: sizes, hashes and times beside those of the libraries themselves."""

import base64
import hashlib
import os
import sys

import imagehash
import numpy as np
import pytest
from PIL import Image
from tests.inspection.conftest import picture

from lt_fast.datasets import read_image
from lt_fast.inspection.facts import look_at


def test_facts_of_an_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[271], exif[272] = "Canon", "EOS 550D"
    details = exif.get_ifd(34665)
    details[36867], details[37521], details[42033] = "2017:12:12 11:11:40", "81", "17"
    file = tmp_path / "a.jpg"
    picture(0, 80).crop((0, 0, 80, 48)).save(file, exif=exif)
    facts, shown = look_at(str(file)), read_image(file)
    assert (facts.problem, facts.warning, facts.mode, facts.format) == (None, None, "RGB", "JPEG")
    assert (facts.width, facts.height) == shown.size == (48, 80)
    assert facts.content == hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    assert facts.pixels == hashlib.blake2b(b"48x80" + shown.tobytes(), digest_size=16).hexdigest()
    assert f"{facts.looks:016x}" == str(imagehash.phash(shown))
    grey = np.asarray(shown.convert("L").resize((16, 16), Image.Resampling.LANCZOS), float)
    small = np.frombuffer(base64.b64decode(facts.small), np.uint8).reshape(16, 16)
    assert np.corrcoef(grey.ravel(), small.ravel())[0, 1] > 0.99
    assert facts.taken == 1513077100.81  # date -u -d "2017-12-12 11:11:40" +%s
    assert facts.camera == "Canon EOS 550D 17"


def test_equal_pixels_have_equal_hashes_whatever_the_file(tmp_path):
    picture(1).save(tmp_path / "a.png")
    picture(1).save(tmp_path / "a.bmp")
    picture(1).convert("RGBA").save(tmp_path / "b.png")
    found = [look_at(str(tmp_path / name)) for name in ("a.png", "a.bmp", "b.png")]
    assert len({each.content for each in found}) == 3
    assert len({each.pixels for each in found}) == 1


def test_an_image_of_one_colour_has_no_looks(tmp_path):
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 20, (400, 400), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "dark.png")  # a lens cap: only the sensor's noise
    Image.new("RGB", (9, 9), "white").save(tmp_path / "white.png")
    for name in ("dark.png", "white.png"):
        facts = look_at(str(tmp_path / name))
        assert (facts.problem, facts.looks, facts.small) == (None, None, "")
        assert facts.pixels


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"cannot be read (UnidentifiedImageError: cannot identify image file); .*it has 0 bytes"),
    (b"<html>", r"cannot be read (UnidentifiedImageError: cannot identify image file); replace it"),
    (None, r"cannot be read (OSError: image file is truncated"),
])  # fmt: skip
def test_damage_is_a_fact(tmp_path, content, message):
    file = tmp_path / "a.jpg"
    if content is None:
        picture(2, 200).save(file, quality=95)
        content = file.read_bytes()[:3000]
    file.write_bytes(content)
    facts = look_at(str(file))
    begin, *rest = message.split(".*")
    assert f"image {file} {begin}" in facts.problem
    assert all(part in facts.problem for part in rest)
    assert facts.content == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert (facts.pixels, facts.looks, facts.width) == ("", None, 0)


def test_what_is_no_file_is_a_fact_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert look_at(str(tmp_path / "pipe.jpg")).problem.endswith("is no regular file; take it out of the list")
    assert look_at(str(tmp_path / "gone.jpg")).problem.endswith("is missing; take it out of the list")
    (tmp_path / "folder.jpg").mkdir()
    assert "folder.jpg cannot be read (IsADirectoryError" in look_at(str(tmp_path / "folder.jpg")).problem


def test_a_file_that_may_not_be_read_says_what_to_do(common_user):
    picture(3).save(common_user / "a.png")
    (common_user / "a.png").chmod(0)
    problem = look_at(str(common_user / "a.png")).problem
    assert "a.png cannot be read (PermissionError: " in problem
    assert problem.endswith("allow it: chmod u+r, or take it out of the list")


def test_damaged_exif_is_a_warning(tmp_path):
    picture(4).save(tmp_path / "a.png", exif=b"garbage")
    facts = look_at(str(tmp_path / "a.png"))
    assert facts.problem is None
    assert "its EXIF data cannot be read" in facts.warning
    assert (facts.taken, facts.camera) == (None, None)


def test_heic_without_the_extra_is_a_fact(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    assert look_at(str(tmp_path / "a.jpg")).problem.endswith("run: pip install 'lt-fast[photos]'")
