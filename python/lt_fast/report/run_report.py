"""Tables and plots of one run directory, from its files alone: no network, no data set, no GPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_fast import metrics
from lt_fast.errors import DataError
from lt_fast.experiment.config import groups_of, method_name
from lt_fast.experiment.predictions import Predictions, ReadPredictions, read_answers, read_predictions_of
from lt_fast.records import FRACTION, NUMBER, check, whole
from lt_fast.report import pictures
from lt_fast.report.metrics_table import groups_line, header, metrics_row
from lt_fast.report.tables import percent, text_table
from lt_fast.sampling.confusion_counts import ConfusionCounts, ConfusionEntries
from lt_fast.training import History
from lt_fast.training.run_files import read_confusion_entries, read_result

GROUPS = {"overall": "top1", "many": "many_recall", "medium": "medium_recall", "few": "few_recall"}


def draw_run(run: Path | str) -> list[Path]:
    """Plot a finished run into its ``plots`` folder and return the PNG files.

    Raises:
        DataError: if a file of the run is missing or damaged, or the folder cannot be written.
        MissingExtraError: if matplotlib or safetensors is not installed.
    """
    run = Path(run)
    plots, result = run / "plots", read_result(run)
    title = title_of(result["config"])
    stages = stages_of(result)
    if result["config"]["epochs"]:
        _draw_curves(plots / "curves", run / "metrics.csv", result["config"], title)
    _draw_recall(plots / "recall", stages, title, groups_of(result["config"]))
    saved = read_answers(run, num_classes=len(result["data"]["class_names"]))
    _draw_predictions(plots, saved, stages, title)
    names = ["curves"] * bool(result["config"]["epochs"]) + ["recall", "reliability", "confusion"]
    margins = margins_of(run, result)
    if margins:
        counts = [entry["n_train"] for entry in stages["before"]["per_class"]]
        pictures.margins_by_count(plots / "margins", counts, margins, title=title)
        names.append("margins")
    if "confusions" in result["method"]:
        _draw_confusion_pairs(plots / "confusion_pairs", run, result, title)
        names.append("confusion_pairs")
    return [plots / f"{name}.png" for name in names]


def margins_of(run: Path, result: Mapping[str, Any]) -> dict[str, metrics.ClassMargins]:
    """Return the margins by class before and after calibration; none of a run without it, or of too many logits.

    Raises:
        DataError: if the predictions are missing or damaged.
    """
    if len(stages_of(result)) == 1:
        return {}
    saved = read_predictions_of(run, num_classes=len(result["data"]["class_names"]))
    if not isinstance(saved, Predictions) or saved.calibrated_logits is None:
        return {}
    logits = {"before": saved.logits, "after": saved.calibrated_logits}
    return {stage: metrics.margins_by_class(each, saved.labels) for stage, each in logits.items()}


def run_table(result: Mapping[str, Any]) -> str:
    """Return a run's metrics as text: one row, or two with the row before calibration, then what the groups are."""
    stages = stages_of(result)
    names = {"before": "before calibration", "after": "after calibration"}
    rows = [metrics_row(names[stage] if len(stages) > 1 else "test", stages[stage]) for stage in stages]
    table = text_table(header(method_name(result["config"])), rows)
    return f"{table}\n{groups_line(groups_of(result['config']), result['metrics'])}"


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
    """Return the pairs that were confused most often in training, as text, with counts and fractions of the errors."""
    pairs = result["method"]["confusions"]["most_frequent"][:most]
    rows = [[pair["true"], pair["predicted"], str(pair["count"]), percent(pair["share"])] for pair in pairs]
    return text_table(["class", "predicted as", "times", "% of its errors"], rows, left=2)


def title_of(config: Mapping[str, Any]) -> str:
    """Return the title of a plot: method, data set, imbalance ratio, seed; of photographs, their folder and network."""
    if "mode" in config:
        place, network = Path(config["data_options"]["path"]).stem, config["model"]["name"].rpartition(":")[2]
        how = f"by {config['mode']}" if config["epochs"] else "as given"
        return f"{method_name(config)} on {place}, {network} {how}, seed {config['seed']}"
    tail = f"imbalance ratio {config['imbalance_ratio']:g}, seed {config['seed']}"
    return f"{method_name(config)} on {config['data']}, {tail}"


def stages_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"before": metrics}``, and ``"after"`` if the run was calibrated."""
    before = result["metrics_before_calibration"]
    return {"before": result["metrics"]} if before is None else {"before": before, "after": result["metrics"]}


def _draw_curves(path: Path, table: Path, config: Mapping[str, Any], title: str) -> None:
    history = read_history(table, config["epochs"])
    of = "validation" if any(name.startswith("validation_") for name in history.columns) else "test"
    accuracy = {group: [row.get(f"{of}_{key}") for row in history] for group, key in GROUPS.items()}
    defer = config["defer_until"] * config["epochs"] if "defer_until" in config else None
    losses = [float(row["train_loss"] or 0) for row in history]
    pictures.training_curves(
        path,
        range(1, len(history) + 1),
        losses,
        accuracy,
        title=title,
        mark_epoch=defer,
        limits=groups_of(config),
    )


def read_history(table: Path, epochs: int) -> History:
    """Return a finished run's ``metrics.csv``: a row for each of its ``epochs``.

    Raises:
        DataError: if it is missing or damaged.
    """
    history = History.from_csv(table)
    columns = {f"{of}_{key}?": FRACTION for of in ("test", "validation") for key in GROUPS.values()}
    rules = {"epoch": whole(1), "train_loss": NUMBER} | columns
    try:
        for row in history:
            check(row, rules)
    except ValueError as error:
        raise DataError(f"{table} is damaged: {error}; {_again(table.parent)}") from error
    if [row["epoch"] for row in history] != list(range(1, epochs + 1)):
        raise DataError(f"{table} must have one row per epoch, {epochs}, got {len(history)}; {_again(table.parent)}")
    return history


def _again(folder: Path) -> str:
    return f"remove it and `lt-fast train --resume {folder}` writes it again"


def _draw_recall(path: Path, stages: Mapping[str, Any], title: str, groups: tuple[int, int]) -> None:
    per_class = {stage: found["per_class"] for stage, found in stages.items()}
    n_train = [entry["n_train"] for entry in per_class["before"]]
    recalls = {stage: [entry["recall"] for entry in entries] for stage, entries in per_class.items()}
    pictures.recall_by_count(path, n_train, recalls, title=title, limits=groups)


def _draw_predictions(plots: Path, saved: ReadPredictions, stages: Mapping[str, Any], title: str) -> None:
    answers = {stage: saved.stages.get(stage, saved.stages["before"]) for stage in stages}
    labels, errors = saved.labels, {stage: found["ece15"] for stage, found in stages.items()}
    bins = {
        stage: metrics.reliability_by_confidence(found.confidence, found.predicted == labels)
        for stage, found in answers.items()
    }
    pictures.reliability_diagram(plots / "reliability", bins, errors, title=title)
    final = list(stages)[-1]
    names = [entry["name"] for entry in stages[final]["per_class"]]
    counts = ConfusionCounts(len(names))
    counts.update(labels, answers[final].predicted)
    words = f"{title}{', after calibration' if final == 'after' else ''}"
    pictures.confusion_picture(plots / "confusion", counts.entries(), names, title=words)


def _draw_confusion_pairs(path: Path, run: Path, result: Mapping[str, Any], title: str) -> None:
    names = result["data"]["class_names"]
    entries = read_confusion_entries(run, num_classes=len(names)).numpy()
    pictures.confusion_pairs(path, ConfusionEntries(*entries.T), names, title=title)
