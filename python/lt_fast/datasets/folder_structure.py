"""What a folder of class folders looks like where its classes are probably one level below."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_SPLITS = frozenset(
    ("train", "training", "trainset", "train_set", "test", "testing", "testset", "test_set", "val", "valid",
     "validation", "dev")
)  # fmt: skip
_SHARED = 0.5  # of the inner names: from here on two folders hold the same classes


class Structure(NamedTuple):
    """What folders look like, where that is probably not meant.

    Attributes:
        words: one line with the next step.
        inner: the folder to name instead, or the first of several.
    """

    words: str
    inner: Path


def structure(root: Path, classes: Sequence[str], paths: Iterable[str]) -> Structure | None:
    """Return what the folders look like if the classes are probably one level below, else None.

    Args:
        root: folder of the class folders.
        classes: names of the class folders.
        paths: of the images, relative to ``root``, with ``/`` between the parts.
    """
    if len(classes) > 1 and _SPLITS.issuperset(name.casefold() for name in classes):
        inner = root / classes[0]
        return Structure(
            f"the class folders are called {', '.join(classes)}, as the parts of a data set are; where they hold the "
            f"class folders, name {inner} and the others one by one",
            inner,
        )
    folders = _folders_in_classes(paths)
    return _wrapping(root, folders) if folders else None


def _folders_in_classes(paths: Iterable[str]) -> dict[str, set[str]] | None:
    """Return the folders directly in each class folder, or None where an image is."""
    inner: dict[str, set[str]] = {}
    for path in paths:
        name, *folders, _ = path.split("/")
        if not folders:
            return None
        inner.setdefault(name, set()).add(folders[0])
    return inner


def _wrapping(root: Path, inner: Mapping[str, set[str]]) -> Structure | None:
    names = list(inner)
    first = root / names[0]
    if len(names) == 1:
        folders = sorted(inner[names[0]])
        words = (
            f"{names[0]} is the only class, and its images are in {len(folders)} folders ({folders[0]}, ...); where "
            f"those are the classes, name {first}"
        )
        return Structure(words, first) if len(folders) > 1 else None
    shared = set.intersection(*inner.values())
    if len(shared) < _SHARED * max(map(len, inner.values())):
        return None
    return Structure(
        f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} hold folders of the same names "  # noqa: PLR2004
        f"({min(shared)}, ...): a folder of folders; where those are the classes, name {first} and the others one by "
        "one, or move the images of one class into one folder",
        first,
    )
