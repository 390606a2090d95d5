"""``lt-fast make-lt``: cut a long-tailed training list out of a data set."""

import argparse
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_fast._text import nearest
from lt_fast.cli.output import Output
from lt_fast.cli.train import folder
from lt_fast.errors import DataError, UsageError

SUMMARY = "write a long-tailed training list of CIFAR, the digits, a folder of images or a list of them"

_TABLES = (".csv", ".tsv")
_METHODS = ("ldam", "counter")
_MOST_COUNTED = 1 << 63

# What the readers advise in Python, and the options that do it.
_OPTIONS = (
    (r"pass empty='ignore'", "pass --allow-empty"),
    (r"pass delimiter='\\t'", "pass --delimiter tab"),
    (r"pass delimiter=('.')", r"pass --delimiter \1"),
    (r"pass image= with", "pass --image-column with"),
    (r"pass label= with", "pass --label-column with"),
    (r"pass root=('[^']*')", r"pass --root \1"),
    (r"check root, or pass verify=False", "check --root, or omit it to write the list without looking for its images"),
    (r", or name their endings in extensions= where Pillow reads them", ""),
    (r"pass the numbers as names", "pass the numbers as the names in --classes FILE"),
    (r"pass them as names, with empty='ignore'", "go on"),
    (r"pass names", "pass --classes FILE with the names"),
    (r"(one of|\) of) classes,", r"\1 --classes,"),
    (r"\bclasses must", "--classes must"),
    (r"\bdelimiter must", "--delimiter must"),
    (r"(?<![-\w.])imbalance_ratio must", "--imbalance-ratio must"),
    (r"(?<![-\w.])(profile|method|seed|counts) must", r"--\1 must"),
    (r"(?<![-\w.])rate must", "--label-noise: rate must"),
    (r"(?<![-\w.])toward must", "--noise-toward must"),
    (r"; pass num_classes", "; leave --label-noise out"),
)


class Source(NamedTuple):
    """What a list is cut out of. ``paths[i]`` is position i for sets that are not files."""

    paths: Any
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ordered: bool  # the samples of a class already stand in drawn order: keep the first ones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast make-lt``."""
    parser.add_argument(
        "source", nargs="?", help="cifar10, cifar100, digits, a folder of class folders, or a .txt, .csv or .json list"
    )
    parser.add_argument("--out", type=_file, help="list to write (required): `path label` a line")
    parser.add_argument("--root", type=folder, help="folder of CIFAR's files; of a list's images, to look for each")
    parser.add_argument("--image-column", metavar="NAME", help="column of the paths in a .csv table (default: path)")
    parser.add_argument("--label-column", metavar="NAME", help="column of the labels in a .csv table (default: label)")
    parser.add_argument(
        "--delimiter", metavar="MARK", help="mark between the columns of a .csv table: ',' (default), ';', tab"
    )
    parser.add_argument(
        "--classes",
        type=_file,
        metavar="FILE",
        help="names of the classes in the order of their numbers: one per line, or a record of make-lt (.json)",
    )
    parser.add_argument("--allow-empty", action="store_true", help="let a class have no image; it keeps its number")
    parser.add_argument("--download", action="store_true", help="fetch CIFAR's files into --root")
    parser.add_argument(
        "--imbalance-ratio", metavar="R", help="largest over smallest class, >= 1 (default: 100; digits: 50)"
    )
    parser.add_argument("--profile", help="shape of the tail: exp, step or pareto (default: exp)")
    parser.add_argument(
        "--counts",
        metavar="N,N,...",
        help="images of each class, in place of ratio and profile, which start from the smallest class",
    )
    parser.add_argument(
        "--method", help="ldam (default): LDAM-DRW's choice to the bit; counter: lt-fast's own, for digits the only one"
    )
    parser.add_argument("--seed", default="0", help="chooses the images (default: 0)")
    parser.add_argument(
        "--label-noise", metavar="RATE", help="share of labels made wrong: one number, or one per class (0.4,0.4,0.1)"
    )
    parser.add_argument("--noise-toward", help="wrong labels: uniform (default), or by the classes' prior")


def _file(text: str) -> Path:
    """Return the file that ``text`` names.

    Raises:
        argparse.ArgumentTypeError: if it is empty, or can only be a folder.
    """
    if not Path(text).name or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"must name a file, got {text!r}")
    return Path(text)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Choose, write the list, and next to it ``<out>.json`` with how it was chosen."""
    from lt_fast._files import make_folder, replace_file  # noqa: PLC0415
    from lt_fast.datasets import write_image_list  # noqa: PLC0415

    _check(arguments)
    seed = _seed(arguments)
    with _words_of_options():
        source = _source(arguments, seed, output)
    with _words_of_options():
        indices = _chosen(arguments, source, seed)
        clean = source.labels[indices]
        labels = _with_noise(arguments, clean, len(source.classes), seed)
    paths = [source.paths[at] for at in indices.tolist()]
    protocol = _protocol(arguments, source, indices, clean, labels)
    record = _record_of(arguments.out)
    make_folder(arguments.out.parent)
    write_image_list(arguments.out, paths, labels)
    replace_file(record, (json.dumps(protocol, indent=1) + "\n").encode())
    counts = protocol["counts"]
    sizes = f"{len(counts)} classes, {max(counts)} to {min(counts)} per class"
    output.say(
        f"{len(indices)} of {len(source.labels)} images, {sizes}"
        + (f", {protocol['wrong_labels']} labels made wrong" if protocol["wrong_labels"] else "")
        + f"\nlist: {arguments.out}\nrecord: {record}"
    )
    output.result({"list": str(arguments.out), "record": str(record), **protocol})
    return 0


def _record_of(out: Path) -> Path:
    return out.with_name(out.name + ".json")


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.source:
        raise UsageError("a data set is needed: lt-fast make-lt cifar100 --root DIR --out list.txt")
    if arguments.out is None:
        raise UsageError("--out is needed: the list to write")
    if arguments.counts is not None and arguments.imbalance_ratio is not None:
        raise UsageError("--counts and --imbalance-ratio exclude each other; give one of them")
    if arguments.counts is not None and arguments.profile is not None:
        raise UsageError("--counts and --profile exclude each other; give one of them")
    if arguments.label_noise is None and arguments.noise_toward is not None:
        raise UsageError("--noise-toward is for --label-noise, which was not given; leave it out, or give both")
    _check_method(arguments)
    _check_fit(arguments)
    for path in (arguments.out, _record_of(arguments.out)):
        if path.exists():
            raise UsageError(f"--out must be a new file, but {path} exists; name another, or remove it")


def _check_method(arguments: argparse.Namespace) -> None:
    from lt_fast._text import shown  # noqa: PLC0415

    method = arguments.method
    if method not in (None, *_METHODS):
        raise UsageError(
            f"--method must be one of {', '.join(_METHODS)}, got {shown(method)}{nearest(method, list(_METHODS))}"
        )
    if method == "ldam" and arguments.source == "digits":
        raise UsageError("--method must be counter for digits, got 'ldam'; leave it out")


def _check_fit(arguments: argparse.Namespace) -> None:
    """Refuse an option that the source has no use for."""
    source = arguments.source
    cifar, folder = source in ("cifar10", "cifar100"), Path(source).is_dir()
    own = not cifar and source != "digits"
    table = own and not folder and Path(source).suffix.lower() in _TABLES
    fitting = {
        "image_column": (table, ".csv and .tsv tables"),
        "label_column": (table, ".csv and .tsv tables"),
        "delimiter": (table, ".csv and .tsv tables"),
        "classes": (own, "folders and lists"),
        "allow_empty": (own, "folders and lists"),
        "root": (cifar or (own and not folder), "CIFAR and lists"),
        "download": (cifar, "CIFAR"),
    }
    for option, (fits, sources) in fitting.items():
        if getattr(arguments, option) not in (None, False) and not fits:
            raise UsageError(f"--{option.replace('_', '-')} is for {sources}, got {source}; leave it out")


def _seed(arguments: argparse.Namespace) -> int:
    from lt_fast._checks import MAX_SEED  # noqa: PLC0415
    from lt_fast._numbers import integer_option  # noqa: PLC0415

    return integer_option("--seed", arguments.seed, most=MAX_SEED)


def _numbers(name: str, text: str, read: Callable[[str], Any]) -> list[Any]:
    from lt_fast._text import shown  # noqa: PLC0415

    try:
        return [read(part) for part in text.split(",")]
    except (ValueError, OverflowError):
        raise UsageError(f"{name} must be numbers with commas between, got {shown(text)}") from None


@contextmanager
def _words_of_options() -> Iterator[None]:
    """Name options in the words of an error where it names arguments of Python."""
    try:
        yield
    except UsageError:
        raise
    except (ValueError, TypeError) as error:
        kind = DataError if isinstance(error, DataError) else UsageError
        raise kind(in_options(str(error))) from error


def _source(arguments: argparse.Namespace, seed: int, output: Output) -> Source:
    name = arguments.source
    if name in ("cifar10", "cifar100"):
        return _cifar(int(name.removeprefix("cifar")), arguments)
    if name == "digits":
        return _digits(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", category=UserWarning, module="lt_fast")
        try:
            files = _files(arguments)
        finally:
            for warning in caught:
                output.warn(in_options(str(warning.message)))
    return Source(files.paths, files.labels, files.classes, ordered=False)


def _files(arguments: argparse.Namespace) -> Any:
    """Read a folder or a list."""
    from lt_fast import datasets  # noqa: PLC0415

    given = Path(arguments.source)
    settings: dict[str, Any] = {"classes": None if arguments.classes is None else _class_names(arguments.classes)}
    settings["empty"] = "ignore" if arguments.allow_empty else None
    if given.is_dir():
        return datasets.image_folder(given, **settings)
    settings |= {"verify": arguments.root is not None, "root": arguments.root or Path()}
    match given.suffix.lower():
        case ".txt":
            return datasets.image_list(given, **settings)
        case ".csv" | ".tsv" as ending:
            return datasets.csv_table(given, **settings, **_columns(arguments, ending))
        case ".json":
            return datasets.inaturalist(given, **settings)
    raise DataError(f"{given} is neither cifar10, cifar100 nor digits, nor a folder, nor a .txt, .csv or .json list")


def _columns(arguments: argparse.Namespace, ending: str) -> dict[str, Any]:
    mark = arguments.delimiter
    if mark is None:
        mark = "tab" if ending == ".tsv" else ","
    return {
        "image": "path" if arguments.image_column is None else arguments.image_column,
        "label": "label" if arguments.label_column is None else arguments.label_column,
        "delimiter": "\t" if mark in ("tab", "\\t") else mark,
    }


def _class_names(path: Path) -> list[str]:
    """Return the names in a text file, one per line, or those in a record of this command."""
    from lt_fast.datasets.regular_files import regular  # noqa: PLC0415

    try:
        text = regular(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"--classes: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--classes: {path} must be UTF-8 text: {error}; save it as UTF-8") from None
    names = _recorded(path, text) if path.suffix.lower() == ".json" else [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    wrong = next((at for at, name in enumerate(names) if not name or names.index(name) < at), None)
    if wrong is not None or not names:
        found = "no name" if wrong is None else f"{names[wrong]!r} as name {wrong + 1}"
        raise DataError(f"--classes: {path} must hold distinct names, one for each class, got {found}")
    return names


def _recorded(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"--classes: {path} is not JSON: {error}") from None
    names = names.get("classes") if isinstance(names, dict) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'--classes: {path} must hold a list of names, or an object with it as "classes"')
    return names


def in_options(message: str) -> str:
    """Return the readers' ``message`` with this command's options in place of Python's arguments."""
    for pattern, words in _OPTIONS:
        message = re.sub(pattern, words, message)
    return message


def _cifar(classes: int, arguments: argparse.Namespace) -> Source:
    from lt_fast.datasets import cifar_lt  # noqa: PLC0415

    if arguments.root is None:
        raise UsageError(f"--root is needed for cifar{classes}: the folder of its files; --download fetches them there")
    whole = cifar_lt(arguments.root, classes=classes, imbalance_ratio=1, download=arguments.download)
    labels = np.empty_like(whole.labels)
    labels[whole.indices] = whole.labels  # back in the files' order
    return Source(range(len(labels)), labels, whole.classes, ordered=False)


def _digits(seed: int) -> Source:
    # The held-out images and the order of the others depend on the seed: what `digits_lt` would take, first to last.
    from lt_fast.datasets import digits_lt  # noqa: PLC0415

    whole = digits_lt(imbalance_ratio=1, seed=seed)
    return Source(whole.indices.tolist(), whole.labels, whole.classes, ordered=True)


def _chosen(arguments: argparse.Namespace, source: Source, seed: int) -> NDArray[np.int64]:
    """Return positions in ``source``, class after class."""
    from lt_fast.datasets import long_tailed_counts, long_tailed_indices  # noqa: PLC0415

    sizes = np.bincount(source.labels, minlength=len(source.classes))
    present = np.flatnonzero(sizes)
    if arguments.counts is None:
        ratio = _ratio(arguments)
        smallest = int(sizes[present].min())
        counts = long_tailed_counts(smallest, len(present), imbalance_ratio=ratio, profile=arguments.profile or "exp")
    else:
        counts = _of_present(_counts(arguments.counts), sizes, source.classes)
    method = "counter" if source.ordered else arguments.method or "ldam"
    labels = np.searchsorted(present, source.labels)  # without gaps: a class without images takes no part
    kept = long_tailed_indices(labels, counts=counts, seed=seed, method=method)  # checks the counts
    if not source.ordered:
        return kept
    return np.concatenate([np.flatnonzero(source.labels == label)[:count] for label, count in enumerate(counts)])


def _counts(text: str) -> NDArray[Any]:
    from lt_fast._numbers import read_integer  # noqa: PLC0415
    from lt_fast._text import shown  # noqa: PLC0415

    counts = _numbers("--counts", text, read_integer)
    above = next((at for at, count in enumerate(counts) if count >= _MOST_COUNTED), None)
    if above is not None:
        given = shown(text.split(",")[above].strip()).strip("'")
        raise UsageError(
            f"--counts must be integers >= 0 and < 2**63, got {given} for class {above}; pass the samples of each class"
        )
    return np.array(counts, dtype=np.int64)


def _of_present(counts: NDArray[Any], sizes: NDArray[np.int64], classes: tuple[str, ...]) -> NDArray[Any]:
    """Return the counts of the classes that have images."""
    if sizes.all():
        return counts  # checked later
    if len(counts) != len(sizes):
        raise UsageError(f"--counts must have one entry per class, {len(sizes)} with the empty ones, got {len(counts)}")
    wanted = next((at for at, size in enumerate(sizes) if not size and counts[at]), None)
    if wanted is not None:
        raise UsageError(f"--counts must be 0 for a class without images, got {counts[wanted]} for {classes[wanted]}")
    return counts[sizes > 0]


def _ratio(arguments: argparse.Namespace) -> float:
    from lt_fast._numbers import read_number  # noqa: PLC0415

    if arguments.imbalance_ratio is None:
        return 50.0 if arguments.source == "digits" else 100.0
    try:
        return read_number(arguments.imbalance_ratio)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--imbalance-ratio {error}") from None


def _with_noise(
    arguments: argparse.Namespace, labels: NDArray[np.int64], num_classes: int, seed: int
) -> NDArray[np.int64]:
    from lt_fast._numbers import read_number  # noqa: PLC0415
    from lt_fast.datasets import noisy_labels  # noqa: PLC0415

    if arguments.label_noise is None:
        return labels
    rates = _numbers("--label-noise", arguments.label_noise, read_number)
    rate = rates[0] if len(rates) == 1 else rates
    return noisy_labels(labels, rate, toward=arguments.noise_toward or "uniform", num_classes=num_classes, seed=seed)


def _protocol(
    arguments: argparse.Namespace,
    source: Source,
    indices: NDArray[np.int64],
    clean: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, Any]:
    """Return how the list was chosen, in plain JSON values; positions are those in the source's own order."""
    from lt_fast.datasets.image_set import positions_sha256  # noqa: PLC0415

    own = np.asarray(source.paths)[indices] if source.ordered else indices
    explicit = arguments.counts is not None
    return {
        "source": arguments.source,
        "imbalance_ratio": None if explicit else _ratio(arguments),
        "profile": "counts" if explicit else arguments.profile or "exp",
        "method": "counter" if source.ordered else arguments.method or "ldam",
        "seed": _seed(arguments),
        "label_noise": arguments.label_noise,
        "noise_toward": None if arguments.label_noise is None else arguments.noise_toward or "uniform",
        "wrong_labels": int((labels != clean).sum()),
        "classes": list(source.classes),
        "counts": np.bincount(clean, minlength=len(source.classes)).tolist(),
        "subset_sha256": positions_sha256(own),
    }
