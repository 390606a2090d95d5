"""Which files of a folder are images, and which probably are images but cannot be read."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",  # torchvision's list
    ".jfif", ".jpe", ".gif", ".avif", ".apng", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
    ".mpo", ".avifs", ".dib", ".pbm", ".pnm", ".pfm", ".tga", ".pcx", ".sgi", ".qoi",
)  # fmt: skip
"""What counts as an image, in lower case: torchvision's list, then what else Pillow decodes."""

_NOT_READ = frozenset(
    (".heic", ".heif", ".hif", ".jxl", ".jxr", ".svg", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw",
     ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".psd", ".xcf", ".exr", ".hdr", ".ico", ".cur",
     ".icns", ".eps", ".ai", ".fits", ".fit", ".dcm", ".dds", ".xbm", ".xpm", ".ras", ".wmf", ".emf")
)  # fmt: skip

_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif")  # of HEIF and AVIF
_LOOKED_INTO = 64  # files of other endings that are opened, in all
_EACH_ENDING = 4

_FOLDERS_OF_SYSTEMS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "#recycle",
     "@recycle", "#snapshot", "@__thumb")
)  # fmt: skip


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is skipped: hidden, or made by an operating system or an archiver."""
    return name.startswith(".") or name.casefold() in _FOLDERS_OF_SYSTEMS


def unread_images(root: Path, files: Sequence[str]) -> str | None:
    """Describe those of ``files`` that look like images by their ending or first bytes, or return None.

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
        f"{total} file{'s' * (total > 1)} that look{'s' * (total == 1)} like images ({kinds}; first {found[0][1][0]!r})"
    )


def _has_signature(file: str | PathLike[str]) -> bool:
    try:
        with Path(file).open("rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    return start.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")) or (
        (start[:4], start[8:]) == (b"RIFF", b"WEBP") or (start[4:8] == b"ftyp" and start[8:] in _BRANDS)
    )
