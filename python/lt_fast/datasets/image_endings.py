"""Which files of a folder are images, and which probably are images but cannot be read."""

import importlib.util
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",  # torchvision's list
    ".jfif", ".jpe", ".gif", ".avif", ".apng", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
    ".mpo", ".avifs", ".dib", ".pbm", ".pnm", ".pfm", ".tga", ".pcx", ".sgi", ".qoi",
)  # fmt: skip
"""What counts as an image, in lower case: torchvision's list, then what else Pillow decodes."""

HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
"""What phones write; images where pillow-heif is installed (the extra ``photos``)."""

HEIF_INSTALL = "pip install 'lt-fast[photos]'"

_NOT_READ = frozenset(
    (*HEIF_EXTENSIONS, ".jxl", ".jxr", ".svg", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw",
     ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".psd", ".xcf", ".exr", ".hdr", ".ico", ".cur",
     ".icns", ".eps", ".ai", ".fits", ".fit", ".dcm", ".dds", ".xbm", ".xpm", ".ras", ".wmf", ".emf")
)  # fmt: skip

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BRANDS = (*_HEIF_BRANDS, b"avif", b"avis")
_LOOKED_INTO = 64  # files of other endings that are opened, in all
_EACH_ENDING = 4

_FOLDERS_OF_SYSTEMS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "#recycle",
     "@recycle", "#snapshot", "@__thumb")
)  # fmt: skip


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is skipped: hidden, or made by an operating system or an archiver."""
    return name.startswith(".") or name.casefold() in _FOLDERS_OF_SYSTEMS


def has_heif_reader() -> bool:
    """Whether HEIC files can be read: pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def image_endings() -> tuple[str, ...]:
    """Return the endings of what can be read here: ``IMAGE_EXTENSIONS``, and HEIC's where pillow-heif is installed."""
    return IMAGE_EXTENSIONS + (HEIF_EXTENSIONS if has_heif_reader() else ())


def is_heif(start: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of HEIC or HEIF (not AVIF, which Pillow reads itself)."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


def looks_like_image(file: str | PathLike[str]) -> bool:
    """Whether a file that has no ending of an image is one by another ending, or by its first bytes."""
    return Path(file).suffix.lower() in _NOT_READ or _has_signature(file)


def unread_images(root: Path, files: Sequence[str]) -> str | None:
    """Describe those of ``files`` that look like images by their ending or first bytes, with advice, or return None.

    A few files of each unknown ending are opened, and at most 64 in all.
    """
    by_ending: dict[str, list[str]] = {}
    for file in files:
        by_ending.setdefault(Path(file).suffix.lower(), []).append(file)
    unknown = [(ending, file) for ending, those in by_ending.items() for file in those[:_EACH_ENDING]]
    unknown = [(ending, file) for ending, file in unknown if ending not in _NOT_READ]
    seen = {ending for ending, file in unknown[:_LOOKED_INTO] if _has_signature(root / file)}
    found = [(ending, those) for ending, those in by_ending.items() if ending in _NOT_READ or ending in seen]
    if not found:
        return None
    total = sum(len(those) for _, those in found)
    kinds = ", ".join(f"{len(those)} {ending or 'without ending'}" for ending, those in found)
    return (
        f"{total} file{'s' * (total > 1)} that look{'s' * (total == 1)} like images ({kinds}; first "
        f"{found[0][1][0]!r}); {_how_to_read([ending for ending, _ in found])}"
    )


def _how_to_read(endings: Sequence[str]) -> str:
    heif = [ending for ending in endings if ending in HEIF_EXTENSIONS]
    if not heif or has_heif_reader():  # with a reader they were left out by the caller's choice of endings
        return "convert them to PNG or JPEG"
    others = "" if len(heif) == len(endings) else "; convert the others to PNG or JPEG"
    return f"HEIC needs pillow-heif: {HEIF_INSTALL}{others}"


def _has_signature(file: str | PathLike[str]) -> bool:
    try:
        with Path(file).open("rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    return start.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")) or (
        (start[:4], start[8:]) == (b"RIFF", b"WEBP") or (start[4:8] == b"ftyp" and start[8:] in _BRANDS)
    )
