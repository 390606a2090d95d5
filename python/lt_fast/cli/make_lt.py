"""``lt-fast make-lt``: cut a long-tailed training list out of a data set."""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_fast.cli.output import Output
from lt_fast.errors import DataError, UsageError

SUMMARY = "write a long-tailed training list of CIFAR, the digits, a folder of images or a list of them"


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
    parser.add_argument("--out", type=Path, help="list to write (required): `path label` a line")
    parser.add_argument("--root", type=Path, help="folder of CIFAR's files; of a list's images, to look for each")
    parser.add_argument("--download", action="store_true", help="fetch CIFAR's files into --root")
    parser.add_argument(
        "--imbalance-ratio", metavar="R", help="largest over smallest class, >= 1 (default: 100; digits: 50)"
    )
    parser.add_argument("--profile", default="exp", help="shape of the tail: exp, step or pareto (default: exp)")
    parser.add_argument(
        "--counts",
        metavar="N,N,...",
        help="images of each class, in place of ratio and profile, which start from the smallest class",
    )
    parser.add_argument("--method", default="ldam", help="ldam: LDAM-DRW's choice to the bit; counter: lt-fast's own")
    parser.add_argument("--seed", default="0", help="chooses the images (default: 0)")
    parser.add_argument(
        "--label-noise", metavar="RATE", help="share of labels made wrong: one number, or one a class (0.4,0.4,0.1)"
    )
    parser.add_argument("--noise-toward", default="uniform", help="wrong labels: uniform, or by the classes' prior")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Choose, write the list and, beside it, ``<out>.json`` with how it was chosen."""
    from lt_fast.datasets import write_image_list  # noqa: PLC0415

    _check(arguments)
    seed = _whole("--seed", arguments.seed)
    source = _source(arguments, seed)
    indices = _chosen(arguments, source, seed)
    clean = source.labels[indices]
    labels = _with_noise(arguments, clean, len(source.classes), seed)
    paths = [source.paths[at] for at in indices.tolist()]
    protocol = _protocol(arguments, source, indices, clean, labels)
    record = _record_of(arguments.out)
    try:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_image_list(arguments.out, paths, labels)
        record.write_text(json.dumps(protocol, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{arguments.out} and its record cannot be written: {error.strerror}") from error
    counts = protocol["counts"]
    output.say(
        f"{len(indices)} of {len(source.labels)} images, {len(counts)} classes, {max(counts)} to {min(counts)} a class"
        + (f", {protocol['wrong_labels']} labels made wrong" if protocol["wrong_labels"] else "")
        + f"\nlist: {arguments.out}\nrecord: {record}"
    )
    output.result({"list": str(arguments.out), "record": str(record), **protocol})
    return 0


def _record_of(out: Path) -> Path:
    return out.with_name(out.name + ".json")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.source is None:
        raise UsageError("a data set is needed: lt-fast make-lt cifar100 --root DIR --out list.txt")
    if arguments.out is None:
        raise UsageError("--out is needed: the list to write")
    if arguments.counts is not None and arguments.imbalance_ratio is not None:
        raise UsageError("--counts and --imbalance-ratio exclude each other; give one of them")
    for path in (arguments.out, _record_of(arguments.out)):
        if path.exists():
            raise UsageError(f"--out must be a new file, but {path} exists; name another, or remove it")


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{name} must be a whole number >= 0, got {text!r}")
    return int(text)


def _numbers(name: str, text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{name} must be numbers with commas between, got {text!r}") from None


def _source(arguments: argparse.Namespace, seed: int) -> Source:
    from lt_fast import datasets  # noqa: PLC0415

    name = arguments.source
    if name in ("cifar10", "cifar100"):
        return _cifar(int(name.removeprefix("cifar")), arguments)
    if name == "digits":
        return _digits(seed)
    given = Path(name)
    verify, root = arguments.root is not None, arguments.root or Path()
    match given.suffix.lower():
        case _ if given.is_dir():
            files = datasets.image_folder(given)
        case ".txt":
            files = datasets.image_list(given, root, verify=verify)
        case ".csv":
            files = datasets.csv_table(given, root, verify=verify)
        case ".json":
            files = datasets.inaturalist(given, root, verify=verify)
        case _:
            raise DataError(
                f"{name} is neither cifar10, cifar100 nor digits, nor a folder, nor a .txt, .csv or .json list"
            )
    return Source(files.paths, files.labels, files.classes, ordered=False)


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
    if arguments.counts is None:
        ratio = _ratio(arguments)
        counts = long_tailed_counts(int(sizes.min()), len(sizes), imbalance_ratio=ratio, profile=arguments.profile)
    else:
        counts = np.array(_numbers("--counts", arguments.counts, int))
    method = "counter" if source.ordered else arguments.method
    kept = long_tailed_indices(source.labels, counts=counts, seed=seed, method=method)  # checks the counts
    if not source.ordered:
        return kept
    return np.concatenate([np.flatnonzero(source.labels == label)[:count] for label, count in enumerate(counts)])


def _ratio(arguments: argparse.Namespace) -> float:
    if arguments.imbalance_ratio is None:
        return 50.0 if arguments.source == "digits" else 100.0
    try:
        return float(arguments.imbalance_ratio)
    except ValueError:
        raise UsageError(f"--imbalance-ratio must be a number, got {arguments.imbalance_ratio!r}") from None


def _with_noise(
    arguments: argparse.Namespace, labels: NDArray[np.int64], num_classes: int, seed: int
) -> NDArray[np.int64]:
    from lt_fast.datasets import noisy_labels  # noqa: PLC0415

    if arguments.label_noise is None:
        return labels
    rates = _numbers("--label-noise", arguments.label_noise, float)
    rate = rates[0] if len(rates) == 1 else rates
    return noisy_labels(labels, rate, toward=arguments.noise_toward, num_classes=num_classes, seed=seed)


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
        "profile": "counts" if explicit else arguments.profile,
        "method": "counter" if source.ordered else arguments.method,
        "seed": int(arguments.seed),
        "label_noise": arguments.label_noise,
        "noise_toward": None if arguments.label_noise is None else arguments.noise_toward,
        "wrong_labels": int((labels != clean).sum()),
        "classes": list(source.classes),
        "counts": np.bincount(clean, minlength=len(source.classes)).tolist(),
        "subset_sha256": positions_sha256(own),
    }
