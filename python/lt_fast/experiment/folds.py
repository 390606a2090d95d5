"""Cross-validation of photographs: one run for each fold, and one table of all images, each tested once."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from lt_fast import _checks
from lt_fast._files import FOR_RUN, replace_file
from lt_fast._files import read_json as plain_json
from lt_fast.counts import ClassCounts
from lt_fast.datasets.photographs import Columns
from lt_fast.datasets.splits import IMAGES, ImageRow, read_images, write_images
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import Data
from lt_fast.experiment.config import DATA_OPTIONS, groups_of
from lt_fast.experiment.mirrors import checked_log
from lt_fast.experiment.photographs import collect, divide
from lt_fast.experiment.predictions import MOST_LOGITS, measured, pooled, read_predictions_of
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.experiment.running import Place, Told, checked_device, read_result, run_in
from lt_fast.ranks import Ranks
from lt_fast.training import History, RunDirectory, process_group, run_files
from lt_fast.training.compiling import check_compiler
from lt_fast.training.run_files import METRICS, PREDICTIONS


def has_folds(config: Mapping[str, Any]) -> bool:
    """Return whether ``config`` is of a cross-validation, rather than of one run."""
    options = config.get(DATA_OPTIONS, {})
    return bool(options.get("folds")) and options.get("fold") is None


def fold_folders(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the folders of the runs, in the order of the folds."""
    return [folder / f"fold-{number}" for number in range(config[DATA_OPTIONS]["folds"])]


def run_folds(
    config: Mapping[str, Any],
    run_dir: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
    root: str | Path | None = None,
    step: str = "eager",
    workers: int | None = None,
    log: Sequence[str] = (),
    compiler: str | None = None,
    most_logits: int = MOST_LOGITS,
) -> dict[str, Any]:
    """Train once for each fold, on the others, and measure all images together.

    Every fold is a run of its own in ``run_dir/fold-K``. ``run_dir`` has the pooled ``images.csv``,
    ``predictions.safetensors`` and ``result.json``, whose class counts are means over the folds' training sets.

    Args:
        config: from ``resolve``, with ``folds`` among the data's options.
        run_dir: a new folder, or with ``resume`` the one of a cross-validation that was stopped.
        resume: continue; finished folds are not repeated.
        device: see ``run``.
        progress: see ``run``.
        root: where the photographs are now.
        step: see ``run``.
        workers: see ``run``.
        log: see ``run``; every fold has its own.
        compiler: see ``run``.
        most_logits: see ``run``; of each fold, and of all together.

    Returns:
        What ``result.json`` holds, as of ``run``; ``folds`` has the metrics of each.

    Raises:
        As ``run``.

    >>> from PIL import Image
    >>> from lt_fast.experiment import resolve
    >>> for number in range(12):
    ...     path = Path(f"photos/{('beech', 'oak')[number % 2]}/{number}.png")
    ...     path.parent.mkdir(parents=True, exist_ok=True)
    ...     Image.new("RGB", (40, 40), (120 * (number % 2), 20 * number, 90)).save(path)
    >>> settings = {"epochs": 1, "batch_size": 4, "transform.size": 16}
    >>> photos = {"path": "photos", "folds": 2}
    >>> config = resolve("ce", "photographs", settings, mode="scratch", model="digits_net", data_options=photos)
    >>> result = run_folds(config, "runs/photos", progress=False, workers=0)
    >>> [fold["images"] for fold in result["folds"]], result["metrics"]["images"]
    ([6, 6], 12)
    """
    checked_device(device)
    check_compiler(compiler)
    told, most = Told(checked_log(log)), _checks.integer("most_logits", most_logits, least=0)
    ranks, folder = Ranks.from_environment(), Path(run_dir)
    if ranks.world_size > 1:
        raise UsageError("folds must be trained in one process; leave torchrun out")
    places = fold_folders(folder, config)
    # Before the directory is made: what they refuse must not leave one behind that blocks the next attempt.
    every = _data_of_folds(config, places, root=root, progress=progress)
    with (
        RunDirectory(folder, config, resume=resume) as directory,
        process_group(ranks, device),
        _removed_without_fold(directory, places),
    ):
        if _finished(directory):
            return read_result(directory)
        for number, (place, data) in enumerate(zip(places, every, strict=True)):
            own = {**config, DATA_OPTIONS: {**config[DATA_OPTIONS], "fold": number}}
            begun = (place / "config.json").exists()
            there = Place(
                place, begun, device, progress, step, ranks, workers, told, compiler=compiler, most_logits=most
            )
            run_in(own, there, root=root, data=data)
        return _pooled(config, directory, places, most)


def _finished(directory: RunDirectory) -> bool:
    names = (PROTOCOL, METRICS, PREDICTIONS, IMAGES)
    return directory.result_path.exists() and all((directory.path / name).exists() for name in names)


@contextmanager
def _removed_without_fold(directory: RunDirectory, places: list[Path]) -> Iterator[None]:
    """On an error before the first fold has begun, leave no folder that blocks the next attempt."""
    try:
        yield
    except (ArithmeticError, TypeError, ValueError):
        if not directory.resume and not any(place.exists() for place in places):
            with suppress(OSError):
                for name in ("config.json", ".lock"):
                    (directory.path / name).unlink(missing_ok=True)
                for folder in (directory.plots, directory.checkpoints.folder, directory.path):
                    folder.rmdir()
        raise


def _data_of_folds(
    config: Mapping[str, Any], places: list[Path], *, root: str | Path | None, progress: bool
) -> list[Data | None]:
    """Return the images of every fold that has not begun: they are read and checked once for all."""
    begun = [(place / IMAGES).exists() and (place / PROTOCOL).exists() for place in places]
    if all(begun):
        return [None] * len(places)
    options = config[DATA_OPTIONS]
    columns = Columns(*(options[name] for name in ("image_column", "label_column", "delimiter")))
    checks = {name: options[name] for name in ("test", "damaged", "groups")}
    home = options["root"] if root is None else str(root)
    found = collect(options["path"], home, columns=columns, progress=progress, **checks)
    return [
        None
        if done
        else Data(
            *divide(
                found._replace(decoder=options.get("decoder", "pillow")),
                validation=config["validation"],
                folds=options["folds"],
                fold=number,
                imbalance_ratio=config["imbalance_ratio"],
                profile=config["profile"],
                seed=config["subset_seed"],
            )
        )
        for number, done in enumerate(begun)
    ]


def _pooled(config: Mapping[str, Any], directory: RunDirectory, places: list[Path], most: int) -> dict[str, Any]:
    """Write the files of all folds together, and return the result."""
    started = time.perf_counter()
    results = [run_files.read_result(place) for place in places]
    names = results[0]["data"]["class_names"]
    # Each class's mean number of training images over the folds.
    means = torch.tensor([each["data"]["class_counts"] for each in results], dtype=torch.float64).mean(0)
    counts = ClassCounts(means.round().long().tolist(), names=names)
    predictions = pooled([read_predictions_of(place, num_classes=len(names)) for place in places], most=most)
    protocol = _protocol(places, counts, tested=len(predictions.labels))
    seconds = {name: sum(each["seconds"][name] for each in results) for name in results[0]["seconds"]}
    seconds["calibrate_and_measure"] += time.perf_counter() - started
    result = {
        "config": dict(config),
        **measured(predictions, counts, groups_of(config)),
        "method": {},
        "tables": [],
        "data": protocol["data"],
        **{name: results[0][name] for name in ("selection", "device", "ranks", "versions")},
        "seconds": seconds,
        "folds": [{key: each["metrics"][key] for key in ("top1", "balanced_acc", "images")} for each in results],
    }
    write_images(directory.path, _rows(places))
    directory.write_protocol(protocol, may_differ=("versions", "data"))
    predictions.save(directory.path)
    replace_file(directory.metrics_path, _mean_history(places).to_csv().encode(), next_step=FOR_RUN)
    directory.write_result(result)
    return result


def _protocol(places: list[Path], counts: ClassCounts, *, tested: int) -> dict[str, Any]:
    """Return the protocol of the first fold, with what is true of all of them together."""
    protocol: dict[str, Any] = plain_json(places[0] / PROTOCOL)
    data = protocol["data"]
    for name in ("train_fingerprint", "test_fingerprint", "validation_images"):
        data.pop(name, None)
    data |= {
        "train_images": int(counts.counts.sum()),
        "test_images": tested,
        "class_counts": counts.counts.tolist(),
        "construction": {**_without_fold(data["construction"]), "folds": len(places)},
    }
    return protocol


def _without_fold(construction: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in construction.items() if name != "fold"}


def _rows(places: list[Path]) -> list[ImageRow]:
    """Return the images that every training had, then the tested ones, fold by fold."""
    folds = [read_images(place) for place in places]
    tested = [row for rows in folds for row in rows if row.split == "test"]
    seen = {row.path for row in tested}
    always = [row._replace(split="train", fold="") for row in folds[0] if row.path not in seen]
    return [*always, *tested]


def _mean_history(places: list[Path]) -> History:
    """Return the means over the folds, epoch by epoch; None where a fold has no number."""
    tables = [History.from_csv(place / METRICS).rows for place in places]
    if len({len(rows) for rows in tables}) != 1:
        raise DataError(f"{places[0].parent}: the folds must have one number of epochs; train them again")
    rows = []
    for same in zip(*tables, strict=True):
        values = {name: [row.get(name) for row in same] for name in same[0]}
        row: dict[str, Any] = {
            name: None if None in found else sum(map(float, found)) / len(found) for name, found in values.items()
        }
        rows.append({**row, "epoch": same[0]["epoch"]})
    return History(rows)


def finished_folds(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the folders of the runs of a cross-validation that has finished.

    Raises:
        DataError: if one of them, or their common result, is missing.
    """
    places = fold_folders(folder, config)
    lacking = next((place for place in (*places, folder) if not (place / run_files.RESULT).exists()), None)
    if lacking is not None:
        raise DataError(
            f"{folder} has not finished: {lacking / run_files.RESULT} is missing; `lt-fast train --resume {folder}` "
            "continues it"
        )
    return places


def refuse_folds(folder: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Refuse to measure or use a cross-validation as if it were one run.

    Raises:
        UsageError: naming the runs that it has.
    """
    if has_folds(config):
        count = config[DATA_OPTIONS]["folds"]
        raise UsageError(
            f"{folder} is a cross-validation of {count} runs, whose result.json is the result; name one of them, "
            f"such as {Path(folder) / 'fold-0'}"
        )
