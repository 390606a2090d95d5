"""Which photographs belong together and must be on one side of a split: copies, bursts, versions of one file."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

from lt_fast.inspection.duplicates import alike, linked, near, same
from lt_fast.inspection.facts import Facts
from lt_fast.inspection.scanning import facts_of

BURST_SECONDS = 2.0
"""Seconds between two photographs of one camera up to which they are one burst.

Ours: phones take ten a second, and a person who takes one scene again needs about as long.
"""

CONSECUTIVE_DISTANCE = 10
"""Differing bits of 64 up to which two photographs with consecutive numbers are near duplicates.

Source: Krawetz 2011, "Looks Like It": from 10 on "that's probably a different picture".
"""

# What programs append to the name of a file from which they make another; letters in lower case.
_VERSION = re.compile(
    r"""(?: [\ _-]*(?:copy|kopie|copie)(?:[\ _-]?\d{1,3})?
          | [\ ._-](?:crop|cropped|edit|edited|resized?|scaled|small|thumb|thumbnail|cover|collage|portrait|hdr|bokeh
                    |flip|flipped|hflip|vflip|mirror|mirrored|rot|rotated?|aug|augmented|bright|dark|blur|noise
                    |original|orig|enhanced?|night|mp)[\ _-]?\d{0,4}
          | [\ _-]burst\d*
          | (?<=\d)[\ _-]?[a-f]                              # "IMG_0012_a", "sample12b"
          | [\ _-]\d{2,5}x\d{2,5}                            # "photo-1024x768"
          | ~\d{1,2}
          | \.rf\.[0-9a-f]{32}                               # Roboflow's versions of one photograph
          | _(?:jpe?g|png|webp|bmp|tiff?)                    # and how it keeps their ending
        )$""",
    re.VERBOSE,
)
_COPY = re.compile(r"(.+?)[ _-]?\(\d{1,3}\)")  # "IMG_1 (2).jpg" where "IMG_1.jpg" is, not the 500 of "oak (1).jpg"
_NUMBER = re.compile(r"(\d{1,12})(?=\D*$)")


class Groups(NamedTuple):
    """Photographs that belong together.

    Attributes:
        names: the group of each file: the path of its first file, which is its own for a file in no group.
        by: how many files each rule put together with another file: ``copies``, ``near_duplicates``, ``bursts``,
            ``versions``, ``consecutive``.
    """

    names: list[str]
    by: dict[str, int]


def groups_of(
    paths: Sequence[str | PathLike[str]],
    root: str | PathLike[str] = "",
    *,
    cache: str | PathLike[str] | None = None,
    processes: int | None = None,
    burst_seconds: float = BURST_SECONDS,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Return the group of each photograph: photographs of one group must not be split.

    A group is named by the path of its first photograph in the order of ``paths``; a photograph that belongs to no
    other is its own group. Together are, whatever their classes:

    - copies: equal bytes, or equal pixels;
    - near duplicates: see ``lt_fast.inspection.duplicates.near``;
    - bursts: photographs of one camera that were taken at most ``burst_seconds`` one after the other, by EXIF's
      DateTimeOriginal. Without a camera's name only those of one folder;
    - versions: files of one folder whose names differ in what programs append: ``IMG_0012.jpg``, ``IMG_0012_a.jpg``,
      ``IMG_0012-crop.jpg``, ``IMG_0012 (1).heic``, ``IMG_0012_jpg.rf.<hash>.jpg``;
    - consecutive: files of one folder with consecutive numbers whose hashes differ in at most 10 bits.

    Every file is read once. ``lt-fast inspect`` has read them already: what it found is taken from its cache.

    Args:
        paths: relative to ``root`` or absolute.
        root: folder that the paths start from.
        cache: file with what was found before; by default the one of ``lt-fast inspect`` for this folder.
        processes: how many read at a time; by default one per processor.
        burst_seconds: >= 0.
        advance: called with the number of files that were done, for a progress bar.

    Raises:
        MissingExtraError: if imagehash is not installed (the extra ``photos``).

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> for at, name in enumerate(["photos/a/1.jpg", "photos/a/1_crop.jpg", "photos/b/7.jpg"]):
    ...     Path(name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.linear_gradient("L").rotate(60 * at).save(name)
    >>> groups_of(["a/1.jpg", "a/1_crop.jpg", "b/7.jpg"], "photos", processes=1)
    ['a/1.jpg', 'a/1.jpg', 'b/7.jpg']
    """
    names = [os.fspath(path) for path in paths]
    facts = facts_of(names, root, cache=cache, processes=processes, advance=advance)
    return grouped(names, facts, burst_seconds=burst_seconds).names


def grouped(
    paths: Sequence[str],
    facts: Sequence[Facts],
    *,
    burst_seconds: float = BURST_SECONDS,
    near_duplicates: Sequence[Sequence[int]] | None = None,
) -> Groups:
    """Return the groups of files whose facts are known; see ``groups_of``.

    Args:
        paths: of the files.
        facts: of each.
        burst_seconds: >= 0.
        near_duplicates: groups of positions, where ``near`` has found them already.
    """
    if near_duplicates is None:
        near_duplicates = near([each.looks for each in facts], [each.small for each in facts])
    rules: dict[str, Sequence[Sequence[int]]] = {
        "copies": [
            *same([None if each.problem else each.content or None for each in facts]),
            *same([each.pixels or None for each in facts]),
        ],
        "near_duplicates": near_duplicates,
        "bursts": _bursts(paths, facts, burst_seconds),
        "versions": same(_versions(paths)),
        "consecutive": _consecutive(paths, facts),
    }
    labels = linked([group for groups in rules.values() for group in groups], len(paths)).tolist()
    first: dict[int, str] = {}
    names = [first.setdefault(label, path) for label, path in zip(labels, paths, strict=True)]
    return Groups(names, {rule: len({at for group in groups for at in group}) for rule, groups in rules.items()})


def stem(name: str) -> str:
    """Return a file's name without its ending and without what programs append to make another version's name.

    >>> [stem(name) for name in ("IMG_0012.jpg", "IMG_0012_a.JPG", "img_0012-crop.png", "IMG_0012 copy 2.heic")]
    ['img_0012', 'img_0012', 'img_0012', 'img_0012']
    >>> stem("IMG_0013.jpg"), stem("sample_12_1.jpg")
    ('img_0013', 'sample_12_1')
    """
    left = os.path.splitext(name)[0].lower()  # noqa: PTH122
    while True:
        shorter = _VERSION.sub("", left)
        if shorter in ("", left):
            return left
        left = shorter


def _versions(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return folder and stem of each path; of a numbered copy those of its original, where that is there."""
    stems = [(os.path.dirname(path), stem(os.path.basename(path))) for path in paths]  # noqa: PTH119, PTH120
    there = set(stems)
    copies = {key: (key[0], match[1]) for key in there if (match := _COPY.fullmatch(key[1]))}
    return [copies[key] if copies.get(key) in there else key for key in stems]


def _bursts(paths: Sequence[str], facts: Sequence[Facts], most: float) -> list[list[int]]:
    timed = [
        (each.camera or f"/{os.path.dirname(path)}", each.taken, at)  # noqa: PTH120
        for at, (path, each) in enumerate(zip(paths, facts, strict=True))
        if each.taken is not None
    ]
    return _several(_chains(sorted(timed), lambda one, other: one[0] == other[0] and other[1] - one[1] <= most))


def _consecutive(paths: Sequence[str], facts: Sequence[Facts]) -> list[list[int]]:
    numbered = []
    for at, path in enumerate(paths):
        folder, name = os.path.split(path)
        left = os.path.splitext(name)[0]  # noqa: PTH122
        found = _NUMBER.search(left)
        if found is not None:
            numbered.append((folder, left[: found.start()], left[found.end() :], int(found[1]), at))

    def follow(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        return (
            one[:3] == other[:3] and other[3] - one[3] == 1
            and alike(facts[one[4]], facts[other[4]], distance=CONSECUTIVE_DISTANCE)
        )  # fmt: skip

    return _several(_chains(sorted(numbered), follow))


def _several(chains: Iterator[list[int]]) -> list[list[int]]:
    return [chain for chain in chains if len(chain) > 1]


def _chains(entries: Sequence[Any], follow: Callable[[Any, Any], bool]) -> Iterator[list[int]]:
    """Yield the last items of sorted entries, chain by chain, where each entry follows the one before it."""
    chain: list[Any] = []
    for entry in entries:
        if chain and not follow(chain[-1], entry):
            yield [each[-1] for each in chain]
            chain = []
        chain.append(entry)
    if chain:
        yield [each[-1] for each in chain]
