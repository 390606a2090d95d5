"""Tiny ImageNet-LT, Places-LT and iNaturalist 2018 on disk, in the layout of the published ones."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((200, 80, 60), (60, 160, 60), (60, 60, 200))
COUNTS = (12, 6, 3)
TRAINED = [(label, at) for label, count in enumerate(COUNTS) for at in range(count)]
OTHERS = [(label, at) for label in range(3) for at in range(2)]
"""Class and number of the images in the training lists, and in each other list."""

SYNSETS = ("n01440764", "n01443537", "n01484850")
CATEGORIES = ("airfield", "airplane_cabin", "airport_terminal")
NAMES = ("1", "0", "2")  # the published file has numbers for names, which are not their ids
SPECIES = ("Aves/2761", "Insecta/1360", "Plantae/7477")


def write_imagenet_lt(root: Path) -> Path:
    """Write images of ``train/<synset>/`` and ``val/``, and the three lists."""
    train = [(f"train/{SYNSETS[label]}/{SYNSETS[label]}_{at}.JPEG", label) for label, at in TRAINED]
    between = [(f"train/{SYNSETS[label]}/{SYNSETS[label]}_9{at}.JPEG", label) for label, at in OTHERS]
    test = [(f"val/ILSVRC2012_val_{3 * at + label:08}.JPEG", label) for label, at in OTHERS]
    return _write(root, {"ImageNet_LT_train": train, "ImageNet_LT_val": between, "ImageNet_LT_test": test})


def write_places_lt(root: Path) -> Path:
    """Write images of ``train/<category>/`` and ``val/``, and the three lists in a folder of their own."""
    train = [(f"train/{CATEGORIES[label]}/{at:08}.jpg", label) for label, at in TRAINED]
    between = [(f"train/{CATEGORIES[label]}/9{at:07}.jpg", label) for label, at in OTHERS]
    test = [(f"val/Places365_val_{3 * at + label:08}.jpg", label) for label, at in OTHERS]
    lists = {"Places_LT_train": train, "Places_LT_val": between, "Places_LT_test": test}
    return _write(root, {f"Places_LT/{name}": rows for name, rows in lists.items()})


def write_inaturalist_2018(root: Path, *, as_json: bool = True) -> Path:
    """Write images of ``train_val2018/`` and the two JSON files, or the lists that are made of them."""
    train = [(f"train_val2018/{SPECIES[label]}/{at:032x}.jpg", label) for label, at in TRAINED]
    test = [(f"train_val2018/{SPECIES[label]}/9{at:031x}.jpg", label) for label, at in OTHERS]
    _write(root, {"iNaturalist18_train": train, "iNaturalist18_val": test})
    if as_json:
        for name, rows in (("train2018", train), ("val2018", test)):
            (root / f"iNaturalist18_{name.removesuffix('2018')}.txt").unlink()
            (root / f"{name}.json").write_text(json.dumps(_as_json(rows)))
    return root


def _as_json(rows):
    return {
        "images": [{"id": at, "file_name": path} for at, (path, _) in enumerate(rows)],
        "annotations": [{"id": at, "image_id": at, "category_id": label} for at, (_, label) in enumerate(rows)],
        "categories": [{"id": label, "name": NAMES[label]} for label in range(3)],
    }


def _write(root, lists):
    draw = np.random.default_rng(0)
    for name, rows in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
        for path, label in rows:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            height, width = draw.integers(20, 40, 2)
            pixels = np.clip(np.array(COLOURS[label]) + draw.normal(0, 20, (height, width, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / path, format="JPEG")
    return root
