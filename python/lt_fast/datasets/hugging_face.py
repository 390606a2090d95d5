"""Images of a data set of the ``datasets`` library, already on disk, as files and a table."""

import csv
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast._files import make_folder, replace_file
from lt_fast._text import nearest
from lt_fast.errors import DataError, UsageError

PREFIX = "hf:"
TABLE = "table.csv"

_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


def hugging_face_folder(place: str) -> Path:
    """Return the folder that ``hugging_face_files`` writes the images of ``place`` to: one in the user's cache."""
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(usual) / "lt-fast" / "photographs" / hashlib.sha256(place.encode()).hexdigest()[:16]


def hugging_face_files(place: str, *, advance: Callable[[int], Any] = lambda _: None) -> Path:
    """Write the images of a data set to files, unless they are there, and return the table that lists them.

    The table has the columns ``path`` and ``label``, the names of the classes; a run, a report and an inspection then
    read files like any others. The images' own bytes are written, not decoded ones.

    Args:
        place: ``hf:FOLDER`` for what ``save_to_disk`` wrote, ``hf:NAME`` for a data set in the cache of the library;
            ``#SPLIT`` after it names a split, by default ``train``.
        advance: called with the number of images written, for a progress bar.

    Raises:
        DataError: if there is no such data set on disk, or it has no images or no labels.
        UsageError: if it has no such split.
        MissingExtraError: if ``datasets`` is not installed.
    """
    folder = hugging_face_folder(place)
    if (folder / TABLE).exists():
        return folder / TABLE
    rows, image, label = _columns(place, _loaded(place))
    make_folder(folder / "images")
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "label"))
    name = getattr(rows.features[label], "int2str", str)
    for number, row in enumerate(rows):
        data = _bytes(row[image], place, number)
        path = f"images/{number:08}{_ending(data)}"
        (folder / path).write_bytes(data)
        writer.writerow((path, name(row[label])))
        advance(1)
    replace_file(folder / TABLE, table.getvalue().encode())
    return folder / TABLE


def _loaded(place: str) -> Any:
    datasets = require("datasets", extra="photos", purpose=f"reading {place}")
    name, _, split = place.removeprefix(PREFIX).partition("#")
    try:
        if Path(name).is_dir():
            found = datasets.load_from_disk(name)
        else:
            config = datasets.DownloadConfig(local_files_only=True)
            found = datasets.load_dataset(name, download_config=config)
    except Exception as error:  # the library raises many kinds
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise DataError(
            f"{place} is not on this machine ({reason}); get it with: "
            f'python -c "import datasets; datasets.load_dataset({name!r})"'
        ) from error
    if not hasattr(found, "keys"):
        if split:
            raise UsageError(f"{place}: the data set has no splits; leave #{split} out")
        return found
    wanted = split or "train"
    if wanted not in found:
        known = list(found)
        raise UsageError(f"{place}: split must be one of {', '.join(known)}, got {wanted!r}{nearest(wanted, known)}")
    return found[wanted]


def _columns(place: str, rows: Any) -> tuple[Any, str, str]:
    """Return the rows with images as bytes, and the names of the columns of images and labels."""
    datasets = require("datasets", extra="photos", purpose=f"reading {place}")
    images = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)]
    labels += [name for name in ("label", "labels") if name in rows.features and name not in labels]
    if not images or not labels:
        what = "images" if not images else "labels"
        raise DataError(f"{place} must have a column of {what}, got {', '.join(rows.features)}")
    kept = rows.select_columns([images[0], labels[0]]).cast_column(images[0], datasets.Image(decode=False))
    return kept, images[0], labels[0]


def _bytes(image: Any, place: str, number: int) -> bytes:
    data, path = (image or {}).get("bytes"), (image or {}).get("path")
    if data is not None:
        return bytes(data)
    if path and Path(path).is_file():
        return Path(path).read_bytes()
    raise DataError(f"{place}: row {number} has no image: its file {path!r} is missing")


def _ending(data: bytes) -> str:
    pillow = require("PIL.Image", extra="train", purpose="reading images")
    try:
        with pillow.open(io.BytesIO(data)) as image:
            return _ENDINGS.get(image.format, ".jpg")
    except Exception:  # noqa: BLE001  (a damaged image is found when all are checked)
        return ".jpg"
