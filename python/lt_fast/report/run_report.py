"""The tables and pictures of one run directory, from its files alone: no network, no data set, no GPU."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import metrics
from lt_fast.errors import DataError, require
from lt_fast.report import pictures
from lt_fast.report.metrics_table import header, metrics_row
from lt_fast.report.tables import percent, text_table

GROUPS = {"overall": "top1", "many": "many_recall", "medium": "medium_recall", "few": "few_recall"}


def draw_run(run: Path | str) -> list[Path]:
    """Draw the pictures of a finished run into its ``plots`` folder and return their PNG files.

    Raises:
        DataError: if a file of the run is missing or damaged, or the folder cannot be written.
        MissingExtraError: if matplotlib or safetensors is not installed.
    """
    run = Path(run)
    plots, result = run / "plots", read_json(run / "result.json")
    title = title_of(result["config"])
    stages = stages_of(result)
    _draw_curves(plots / "curves", run / "metrics.csv", result["config"], title)
    _draw_recall(plots / "recall", stages, title)
    _draw_predictions(plots, read_predictions(run), stages, title)
    names = ["curves", "recall", "reliability", "confusion"]
    if "confusions" in result:
        _draw_confusion_pairs(plots / "confusion_pairs", run, result, title)
        names.append("confusion_pairs")
    return [plots / f"{name}.png" for name in names]


def run_table(result: Mapping[str, Any]) -> str:
    """Return a run's metrics as text: one row, or two with the row before calibration."""
    stages = stages_of(result)
    names = {"before": "before calibration", "after": "after calibration"}
    rows = [metrics_row(names[stage] if len(stages) > 1 else "test", stages[stage]) for stage in stages]
    return text_table(header(result["config"]["method"]), rows)


def class_table(result: Mapping[str, Any]) -> str:
    """Return recall and precision of every class as text, in the order of the data set."""
    rows = [
        [
            entry["name"],
            str(entry["n_train"]),
            str(entry["n_test"]),
            percent(entry["recall"]),
            percent(entry["precision"]),
        ]
        for entry in result["metrics"]["per_class"]
    ]
    return text_table(["class", "train", "test", "recall", "precision"], rows)


def confusion_table(result: Mapping[str, Any], *, most: int = 10) -> str:
    """Return the pairs that a run confused most while it trained, as text: how often, and of which errors."""
    pairs = result["confusions"]["most_frequent"][:most]
    rows = [[pair["true"], pair["predicted"], str(pair["count"]), percent(pair["share"])] for pair in pairs]
    return text_table(["class", "taken for", "times", "% of its errors"], rows, left=2)


def title_of(config: Mapping[str, Any]) -> str:
    """Return what a picture is of: method, data set, imbalance ratio, seed."""
    return (
        f"{config['method']} on {config['data']}, imbalance ratio {config['imbalance_ratio']:g}, seed {config['seed']}"
    )


def stages_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"before": metrics}``, and ``"after"`` where the run was calibrated."""
    before = result["metrics_before_calibration"]
    return {"before": result["metrics"]} if before is None else {"before": before, "after": result["metrics"]}


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; is {path.parent} the directory of a finished run?") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


def read_predictions(run: Path) -> dict[str, NDArray[Any]]:
    """Return ``labels``, ``logits`` and perhaps ``calibrated_logits`` of the test set, as the run saved them.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return _read_tensors(run / "predictions.safetensors", f"`lt-fast eval {run}` writes it again")


def _read_tensors(path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    safetensors = require("safetensors", extra="train", purpose=f"reading {path.name}")
    numpy_files = require("safetensors.numpy", extra="train", purpose=f"reading {path.name}")
    try:
        loaded: dict[str, NDArray[Any]] = numpy_files.load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {remedy}") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}; {remedy}") from error
    return loaded


def _draw_curves(path: Path, table: Path, config: Mapping[str, Any], title: str) -> None:
    rows = _read_rows(table)
    accuracy = {group: [_number(row.get(f"test_{key}")) for row in rows] for group, key in GROUPS.items()}
    defer = config["defer_until"] * config["epochs"] if config["deferred"] else None
    epochs = [int(row["epoch"]) for row in rows]
    losses = [float(row["train_loss"]) for row in rows]
    pictures.training_curves(path, epochs, losses, accuracy, title=title, mark_epoch=defer)


def _read_rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}; was the run moved without it?") from error


def _number(cell: str | None) -> float | None:
    return float(cell) if cell else None


def _draw_recall(path: Path, stages: Mapping[str, Any], title: str) -> None:
    per_class = {stage: found["per_class"] for stage, found in stages.items()}
    n_train = [entry["n_train"] for entry in per_class["before"]]
    recalls = {stage: [entry["recall"] for entry in entries] for stage, entries in per_class.items()}
    pictures.recall_by_count(path, n_train, recalls, title=title)


def _draw_predictions(plots: Path, saved: Mapping[str, NDArray[Any]], stages: Mapping[str, Any], title: str) -> None:
    logits = {"before": saved["logits"], "after": saved.get("calibrated_logits", saved["logits"])}
    labels = saved["labels"]
    bins = {stage: metrics.reliability(softmax(logits[stage]), labels) for stage in stages}
    errors = {stage: found["ece15"] for stage, found in stages.items()}
    pictures.reliability_diagram(plots / "reliability", bins, errors, title=title)
    final = list(stages)[-1]
    names = [entry["name"] for entry in stages[final]["per_class"]]
    matrix = metrics.confusion_matrix(logits[final], labels)
    words = f"{title}{', after calibration' if final == 'after' else ''}"
    pictures.confusion_picture(plots / "confusion", np.asarray(matrix), names, title=words)


def _draw_confusion_pairs(path: Path, run: Path, result: Mapping[str, Any], title: str) -> None:
    target, predicted, counts = read_confusion_entries(run).T
    names = result["data"]["class_names"]
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    matrix[target, predicted] = counts
    pictures.confusion_pairs(path, matrix, names, title=title)


def read_confusion_entries(run: Path) -> NDArray[np.int64]:
    """Return rows of true class, predicted class and count, ``(cells, 3)``, as the run saved them.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return _read_tensors(run / "confusion_counts.safetensors", "a new run makes one")["entries"]


def softmax(logits: Any) -> NDArray[np.float64]:
    """Return the probabilities of each row, in float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
