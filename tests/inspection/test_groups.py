"""Photographs that belong together, from real files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lt_fast.inspection import groups_of
from lt_fast.inspection.facts import Facts, look_at
from lt_fast.inspection.groups import grouped, stem


def picture(seed: int, size: int = 96) -> Image.Image:
    """A smooth random picture, as photographs are."""
    generator = np.random.Generator(np.random.PCG64(seed))
    coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, *, taken: str = "", camera: str = "", fraction: str = "", **options) -> str:
    exif = Image.Exif()
    if camera:
        exif[272] = camera
    if taken:
        exif.get_ifd(34665)[36867] = taken
        exif.get_ifd(34665)[37521] = fraction
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, **options)
    return path.name


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def groups_in(root: Path, **options) -> dict[str, str]:
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return dict(zip(paths, groups_of(paths, root, **options), strict=True))


def test_copies_are_together_whatever_their_class(tmp_path):
    save(tmp_path / "a" / "x.png", picture(0))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y.png").write_bytes((tmp_path / "a" / "x.png").read_bytes())
    save(tmp_path / "b" / "z.tif", picture(0))  # the same pixels in other bytes
    save(tmp_path / "b" / "other.png", picture(1))
    assert groups_in(tmp_path) == {
        "a/x.png": "a/x.png", "b/other.png": "b/other.png", "b/y.png": "a/x.png", "b/z.tif": "a/x.png",
    }  # fmt: skip


def test_near_duplicates_are_together(tmp_path):
    save(tmp_path / "a" / "p.jpg", picture(0), quality=95)
    save(tmp_path / "a" / "q.jpg", picture(0).resize((60, 60)), quality=40)
    save(tmp_path / "a" / "r.jpg", picture(0).convert("L"), quality=80)
    save(tmp_path / "a" / "s.jpg", picture(1))
    assert list(groups_in(tmp_path).values()) == ["a/p.jpg"] * 3 + ["a/s.jpg"]


def test_pictures_of_one_colour_are_not_near(tmp_path):
    for shade in (10, 20, 30):
        save(tmp_path / f"{shade}.png", Image.new("RGB", (32, 32), (shade, 0, 0)))
    assert len(set(groups_in(tmp_path).values())) == 3


def test_bursts_are_of_one_camera_and_two_seconds_apart(tmp_path):
    moments = [("k", "12:00:01", ""), ("l", "12:00:03", ""), ("m", "12:00:05", "1"), ("n", "12:00:00", "9")]
    for at, (name, moment, fraction) in enumerate(moments):
        save(tmp_path / f"class{at}" / f"{name}.jpg", picture(at), taken=f"2026:01:02 {moment}", camera="A",
             fraction=fraction)  # fmt: skip
    save(tmp_path / "class0" / "b.jpg", picture(10), taken="2026:01:02 12:00:01", camera="B")
    found = groups_in(tmp_path)
    assert found["class1/l.jpg"] == found["class0/k.jpg"] == found["class3/n.jpg"] == "class0/k.jpg"
    assert found["class2/m.jpg"] == "class2/m.jpg"  # 2.1 seconds later
    assert found["class0/b.jpg"] == "class0/b.jpg"
    assert groups_in(tmp_path, burst_seconds=3)["class2/m.jpg"] == "class0/k.jpg"


def test_without_a_camera_bursts_are_of_one_folder(tmp_path):
    for number, folder in enumerate(("a", "a/deep", "b")):
        for at in (1, 2):
            name = f"{at}{folder[-1]}x.jpg"
            save(tmp_path / folder / name, picture(at + 10 * number), taken=f"2026:01:02 12:00:0{at}")
    assert list(groups_in(tmp_path).values()) == ["a/1ax.jpg"] * 2 + ["a/deep/1px.jpg"] * 2 + ["b/1bx.jpg"] * 2


def test_a_clock_that_was_never_set_makes_no_burst(tmp_path):
    for at in range(2):
        save(tmp_path / f"x{at}y.jpg", picture(at), taken="0000:00:00 00:00:00", camera="A")
    assert len(set(groups_in(tmp_path).values())) == 2


@pytest.mark.parametrize("name", [
    "IMG_0012.jpg", "img_0012_a.png", "IMG_0012b.jpg", "IMG_0012-crop.jpg", "IMG_0012_cropped2.jpg",
    "IMG_0012 copy.jpg", "IMG_0012 - Kopie.jpg", "IMG_0012_edited.jpg", "IMG_0012-1024x768.jpg", "IMG_0012_rot90.jpg",
    "IMG_0012_flip_aug3.jpg", "IMG_0012~2.jpg", "IMG_0012_BURST001.jpg", "IMG_0012.PORTRAIT-01.COVER.jpg",
    "IMG_0012_jpg.rf.0123456789abcdef0123456789abcdef.jpg",
])  # fmt: skip
def test_versions_have_one_stem(name):
    assert stem(name) in ("img_0012", "img_0012.portrait-01")


@pytest.mark.parametrize("name", ["IMG_0013.jpg", "IMG_00121.jpg", "sample_12_1.jpg", "oak.jpg", "a.jpg", "_copy.jpg"])
def test_other_names_are_left_alone(name):
    assert stem(name) == Path(name).stem.lower()


def test_versions_are_of_one_folder():
    paths = ["a/1.jpg", "a/1_crop.jpg", "b/1.jpg", "a/1.heic", "a/2.jpg"]
    facts = [Facts(None) for _ in paths]
    assert grouped(paths, facts).names == ["a/1.jpg", "a/1.jpg", "b/1.jpg", "a/1.jpg", "a/2.jpg"]


def test_numbered_copies_need_their_original():
    paths = ["a/x.jpg", "a/x (1).jpg", "a/x(2).jpg", "a/oak (1).jpg", "a/oak (2).jpg"]
    found = grouped(paths, [Facts(None) for _ in paths])
    assert found.names == ["a/x.jpg"] * 3 + ["a/oak (1).jpg", "a/oak (2).jpg"]
    assert found.by == {"copies": 0, "near_duplicates": 0, "bursts": 0, "versions": 3, "consecutive": 0}


def test_consecutive_numbers_need_less_likeness(tmp_path):
    facts = look_at(str(tmp_path / save(tmp_path / "x.png", picture(0))))
    other = facts._replace(looks=facts.looks ^ 0b11_1111_1111, content="other", pixels="other")
    paths = ["a/IMG_9.jpg", "a/IMG_10.jpg", "a/IMG_12.jpg", "b/IMG_11.jpg"]
    found = grouped(paths, [facts, other, other._replace(content="3", pixels="3", looks=facts.looks ^ (0b1111 << 40)),
                            facts._replace(looks=None)])  # fmt: skip
    assert found.names[:2] == ["a/IMG_9.jpg"] * 2
    assert found.by["consecutive"] == 2
    far = [facts, facts._replace(looks=facts.looks ^ 0b111_1111_1111, content="o", pixels="o")]
    assert len(set(grouped(paths[:2], far).names)) == 2


def test_damaged_files_are_groups_of_their_own(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert list(groups_in(tmp_path).values()) == ["a.jpg", "b.jpg"]
    (tmp_path / "c.jpg").write_bytes(b"nothing")
    assert groups_of(["c.jpg", "gone.jpg"], tmp_path) == ["c.jpg", "gone.jpg"]
