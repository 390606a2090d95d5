"""What a finished run holds in addition to its checkpoints, read back and held against its rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lt_fast._extras import require
from lt_fast.errors import DataError
from lt_fast.records import (
    FRACTION,
    LIST,
    NUMBER,
    OBJECT,
    POSITIVE,
    TEXT,
    WHOLE,
    Rule,
    TensorRule,
    check_tensors,
    nullable,
    read_json,
    read_tensors,
    whole,
)

RESULT, METRICS = "result.json", "metrics.csv"
PREDICTIONS, CONFUSIONS = "predictions.safetensors", "confusion_counts.safetensors"

CALIBRATED = "calibrated_"
"""Prefix of the tensors after calibration."""

_MEASURED: Mapping[str, Rule] = {
    **dict.fromkeys(("top1", "balanced_acc", "macro_f1", "worst_class_recall", "ece15"), FRACTION),
    **dict.fromkeys(("many_recall", "medium_recall", "few_recall"), nullable(FRACTION)),
    "nll": NUMBER,
    "classes": whole(1),
    "images": whole(1),
    "per_class": LIST,
    "per_class.*.name": TEXT,
    **dict.fromkeys(("per_class.*.recall", "per_class.*.precision", "per_class.*.f1"), nullable(FRACTION)),
    "per_class.*.n_train": WHOLE,
    "per_class.*.n_test": WHOLE,
}

_RESULT: Mapping[str, Rule] = {
    "config": OBJECT,
    "config.recipe": TEXT,
    "config.data": TEXT,
    "config.imbalance_ratio": NUMBER,
    "config.profile": TEXT,
    "config.seed": whole(0, 2**64 - 1),
    "config.epochs": WHOLE,
    "config.defer_until?": FRACTION,
    "config.many_above?": whole(1),
    "config.few_below?": whole(1),
    "metrics": OBJECT,
    **{f"metrics.{name}": rule for name, rule in _MEASURED.items()},
    "metrics_before_calibration": nullable(OBJECT),
    **{f"metrics_before_calibration?.{name}": rule for name, rule in _MEASURED.items()},
    "method": OBJECT,
    "method.confusions?": OBJECT,
    "method.confusions?.predictions": WHOLE,
    "method.confusions?.errors": WHOLE,
    "method.confusions?.most_frequent": LIST,
    "method.confusions?.most_frequent.*.true": TEXT,
    "method.confusions?.most_frequent.*.predicted": TEXT,
    "method.confusions?.most_frequent.*.count": WHOLE,
    "method.confusions?.most_frequent.*.share": FRACTION,
    "tables": LIST,
    "tables.*": TEXT,
    "data": OBJECT,
    "data.train_images": whole(1),
    "data.test_images": whole(1),
    "data.class_counts": LIST,
    "data.class_counts.*": WHOLE,
    "data.class_names": LIST,
    "data.class_names.*": TEXT,
    "selection": TEXT,
    "seconds": OBJECT,
    "seconds.train": POSITIVE,
    "seconds.calibrate_and_measure": POSITIVE,
    "device": TEXT,
    "versions": OBJECT,
}

_FLOATS = ("float32", "float64")


_OF_A_RUN = ("config.json", "protocol.json")  # there from the first step on


def read_result(folder: str | Path) -> dict[str, Any]:
    """Return a finished run's ``result.json``.

    Raises:
        DataError: if it is missing or damaged.
    """
    path = Path(folder) / RESULT
    if not path.exists() and not path.is_symlink():
        if not any((Path(folder) / name).exists() for name in _OF_A_RUN):
            raise DataError(
                f"{folder} holds no run: {path} is missing; name the folder that `lt-fast train` has written"
            )
        raise DataError(f"{path} is missing: the run has not finished; `lt-fast train --resume {folder}` continues it")
    try:
        result = read_json(path, _RESULT)
        _check_lengths(path, result)
    except DataError as error:
        raise DataError(f"{error}; remove it and `lt-fast train --resume {folder}` writes it again") from error
    return result


def tables_of(folder: str | Path) -> list[str]:
    """Return the names of the files that a finished run's method has written, as far as ``result.json`` tells."""
    try:
        tables = read_json(Path(folder) / RESULT, {"tables": LIST, "tables.*": TEXT})["tables"]
    except DataError:  # told in full when the result is read
        return []
    return [name for name in tables if name == Path(name).name]


def _check_lengths(path: Path, result: Mapping[str, Any]) -> None:
    classes = len(result["data"]["class_names"])
    lists = {"data.class_counts": result["data"]["class_counts"]}
    lists |= {f"{name}.per_class": (result[name] or {}).get("per_class") for name in _STAGES}
    for name, entries in lists.items():
        if entries is not None and len(entries) != classes:
            raise DataError(f"{path} is damaged: {name} must have one entry per class, {classes}, got {len(entries)}")


_STAGES = ("metrics", "metrics_before_calibration")


def read_predictions(folder: str | Path, *, num_classes: int, name: str = PREDICTIONS) -> dict[str, Tensor]:
    """Return ``labels`` (N,) int64, ``logits`` (N, C) and perhaps ``calibrated_logits``, of the test set by default.

    Raises:
        DataError: if the file is missing or damaged, or of another number of classes, or holds the best classes of each
            image in place of all logits.
    """
    tensors = read_saved(folder, num_classes=num_classes, name=name)
    if "logits" not in tensors:
        rows, kept = tensors["classes"].shape
        raise DataError(
            f"{Path(folder) / name} holds the {kept} best classes of each image, and the score of every class is "
            f"needed; `lt-fast eval {folder} --logits` writes them ({rows * num_classes * 4 / 1e9:.1f} GB)"
        )
    return tensors


def read_saved(folder: str | Path, *, num_classes: int, name: str = PREDICTIONS) -> dict[str, Tensor]:
    """Return the tensors of predictions: as ``read_predictions``, or the best classes of each image.

    The latter are the columns of ``lt_fast.experiment.predictions.Best``, and perhaps the same with the prefix
    ``calibrated_``.

    Raises:
        DataError: if the file is missing or damaged, or of another number of classes.
    """
    path = Path(folder) / name
    try:
        tensors = read_tensors(path)
        check_tensors(tensors, _rules_of(tensors, num_classes), path)
        for key, tensor in tensors.items():
            if key == "labels" or key.removeprefix(CALIBRATED) in ("classes", "likeliest"):
                _refuse_outside(path, tensor, num_classes)
    except DataError as error:
        raise DataError(f"{error}; `lt-fast eval {folder}` writes it again") from error
    return tensors


def _rules_of(tensors: Mapping[str, Tensor], num_classes: int) -> dict[str, TensorRule]:
    rows = len(tensors["labels"]) if "labels" in tensors and tensors["labels"].ndim else 0
    labels = {"labels": TensorRule(("int64",), (rows,))}
    if "classes" not in tensors or "logits" in tensors:
        logits = TensorRule(_FLOATS, (rows, num_classes))
        return labels | {"logits": logits, "calibrated_logits?": logits}
    stages = ("", CALIBRATED) if any(name.startswith(CALIBRATED) for name in tensors) else ("",)
    best = tensors["classes"].shape[1] if tensors["classes"].ndim > 1 else 0
    return labels | {f"{stage}{name}": rule for stage in stages for name, rule in _rules_of_best(rows, best).items()}


def _rules_of_best(rows: int, best: int) -> dict[str, TensorRule]:
    number = TensorRule(("float64",), (rows,))
    return {
        "classes": TensorRule(("int64",), (rows, best)),
        "log_probabilities": TensorRule(("float64",), (rows, best)),
        **dict.fromkeys(("confidence", "log_likelihood", "log_sum"), number),
        "likeliest": TensorRule(("int64",), (rows,)),
        "kind": TensorRule(("int8",), (rows,)),
    }


def holds_logits(folder: str | Path, name: str = PREDICTIONS) -> bool | None:
    """Return whether a file of predictions has all logits; None where it is not there or cannot be read."""
    safetensors = require("safetensors", extra="train", purpose=f"reading {name}")
    try:
        with safetensors.safe_open(Path(folder) / name, "numpy") as file:
            return "logits" in file.keys()  # noqa: SIM118  (it is no mapping)
    except (OSError, safetensors.SafetensorError):
        return None


def read_confusion_entries(folder: str | Path, *, num_classes: int) -> Tensor:
    """Return rows of true class, predicted class and count, ``(cells, 3)`` int64, as the run saved them.

    Raises:
        DataError: if the file is missing or damaged, or of another number of classes.
    """
    path = Path(folder) / CONFUSIONS
    try:
        tensors = read_tensors(path)
        check_tensors(tensors, {"entries": TensorRule(("int64",), (None, 3))}, path)
        entries = tensors["entries"]
        _refuse_outside(path, entries[:, :2], num_classes)
        _refuse_negative(path, entries[:, 2])
    except DataError as error:
        raise DataError(f"{error}; remove it and `lt-fast train --resume {folder}` writes it again") from error
    return entries


def _refuse_negative(path: Path, counts: Tensor) -> None:
    if int(counts.min()) < 0:
        raise DataError(f"{path} must hold counts >= 0, got {int(counts.min())}")


def _refuse_outside(path: Path, classes: Tensor, num_classes: int) -> None:
    if not classes.numel():
        raise DataError(f"{path} must hold at least one row, got none")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise DataError(f"{path} must hold classes in [0, {num_classes}), got {low if low < 0 else high}")
