"""What the page says of a finished run: numbers with their intervals, and the rows of its tables."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_fast import metrics
from lt_fast.experiment.config import DATA_OPTIONS, MODE
from lt_fast.report.confusion_map import reduced_shares
from lt_fast.report.finished_run import FinishedRun
from lt_fast.report.run_report import stages_of

MOST_CLASSES = 1000
"""Rows of the table of classes at most; of more classes, the weakest are listed."""
MOST_CELLS, MOST_IN_CELL = 12, 6
"""Cells of the confusion matrix that are listed with their pictures, and pictures of each."""
MOST_ERRORS = 24
MOST_LABEL_ERRORS = 24
MOST_NAMED = 10
"""Files that are listed by name, of each kind."""
MATRIX_AS_TABLE = 15
_GIVEN = ("recipe", "protocol", "data", MODE, DATA_OPTIONS, "imbalance_ratio", "profile", "seed", "length")
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


class Estimate(NamedTuple):
    """A fraction with the ends of its 95 % interval; None where no test image tells."""

    value: float | None
    ends: tuple[float, float] | None = None


class ClassRow(NamedTuple):
    """One class in the table: counts of images, recall with its interval, and where its images go instead."""

    name: str
    group: str
    n_train: int
    n_test: int
    right: int
    recall: float | None
    ends: tuple[float, float]
    precision: float | None
    mistaken_for: str | None
    mistaken: int


class Cell(NamedTuple):
    """A cell of the confusion matrix off its diagonal: classes, images, share of the true class, rows to show."""

    true: str
    predicted: str
    images: int
    share: float
    rows: list[int]


class Doubt(NamedTuple):
    """An image to look at: its row in ``FinishedRun.judged``, its label, another class, and a probability."""

    row: int
    given: str
    other: str
    probability: float


def accuracy(run: FinishedRun) -> Estimate:
    """Return the share of the test images that are predicted right."""
    right, total = int((run.predicted == run.labels).sum()), len(run.labels)
    return Estimate(right / total, _pair(metrics.wilson_interval(right, total)))


def mean_recall(run: FinishedRun, member: NDArray[np.bool_] | None = None) -> Estimate:
    """Return the mean recall over the classes, or those of a mask, that have test images."""
    right, total = _right(run), _tested(run)
    chosen = total > 0 if member is None else member & (total > 0)
    if not chosen.any():
        return Estimate(None)
    mean = float((right[chosen] / total[chosen]).mean())
    return Estimate(mean, metrics.mean_recall_interval(right[chosen], total[chosen]))


def group_rows(run: FinishedRun) -> list[dict[str, Any]]:
    """Return rows of the table of groups: all images, mean over classes, many, medium, few."""
    before = stages_of(run.result)["before"] if len(run.answers) > 1 else None
    total, counts = _tested(run), run.counts.counts
    everything = np.ones(len(total), np.bool_)
    rows = [("All test images", accuracy(run), everything, "top1")]
    rows += [("Mean over the classes", mean_recall(run), everything, "balanced_acc")]
    words = {"many": "Many", "medium": "Medium", "few": "Few"}
    limits = run.protocol["groups"]
    for name, member in run.groups.items():
        rows.append((f"{words[name]} ({limits.get(name, '')})", mean_recall(run, member), member, f"{name}_recall"))
    return [
        {
            "name": name,
            "estimate": estimate,
            "classes": int(member.sum()),
            "n_train": int(counts[member].sum()),
            "n_test": int(total[member].sum()),
            "before": None if before is None else before[key],
        }
        for name, estimate, member, key in rows
    ]


def class_rows(run: FinishedRun) -> list[ClassRow]:
    """Return the rows of the table of classes, the class with most training images first.

    Of more than ``MOST_CLASSES`` classes, those of the lowest recall.
    """
    entries = run.result["metrics"]["per_class"]
    right, total = _right(run), _tested(run)
    ends = metrics.wilson_interval(right, total)
    order = np.argsort(-run.counts.counts, kind="stable")
    if len(order) > MOST_CLASSES:
        recall = np.where(total > 0, right / np.maximum(total, 1), 2)  # what was not tested comes last
        weakest = np.zeros(len(order), np.bool_)
        weakest[np.argsort(recall, kind="stable")[:MOST_CLASSES]] = True
        order = order[weakest[order]]
    return [_class_row(run, entries[at], int(at), int(right[at]), _pair(ends[at])) for at in order]


def classes_csv(run: FinishedRun) -> str:
    """Return a table of all classes as CSV, in the order of the data set; fractions, empty where nothing tells them."""
    entries, right = run.result["metrics"]["per_class"], _right(run).tolist()
    ends = metrics.wilson_interval(right, _tested(run)).tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "training", "test", "right", "recall", "low", "high", "precision", "f1"])
    for entry, hits, (low, high) in zip(entries, right, ends, strict=True):
        interval = [low, high] if entry["n_test"] else [None, None]
        numbers = [entry["n_train"], entry["n_test"], hits, entry["recall"], *interval]
        writer.writerow([entry["name"], *numbers, entry["precision"], entry["f1"]])
    return text.getvalue()


def weakest(run: FinishedRun) -> tuple[ClassRow, int] | None:
    """Return the class of the lowest recall, of several the one with most test images, and how many have that recall.

    None where every tested class is right throughout.
    """
    right, total = _right(run), _tested(run)
    tested = np.flatnonzero(total > 0)
    recall = right[tested] / total[tested]
    lowest = tested[recall == recall.min()]
    if recall.min() == 1:
        return None
    at = int(lowest[total[lowest].argmax()])
    entry = run.result["metrics"]["per_class"][at]
    ends = _pair(metrics.wilson_interval(right[at], total[at]))
    return _class_row(run, entry, at, int(right[at]), ends), len(lowest)


def untested(run: FinishedRun) -> list[str]:
    """Return the names of the classes without a test image."""
    return [run.names[at] for at in np.flatnonzero(_tested(run) == 0)]


def test_sizes(run: FinishedRun) -> tuple[int, int]:
    """Return the fewest and the most test images of a class that has any."""
    total = _tested(run)
    return int(total[total > 0].min()), int(total.max())


def largest_cells(run: FinishedRun) -> list[Cell]:
    """Return the largest cells off the diagonal of the confusion matrix, each with its most confident errors."""
    true, predicted, images = _errors(run)
    total = _tested(run)
    found = []
    for at in np.argsort(-images, kind="stable")[:MOST_CELLS]:
        own, other, count = int(true[at]), int(predicted[at]), int(images[at])
        rows = np.flatnonzero((run.labels == own) & (run.predicted == other))
        rows = rows[np.argsort(-run.confidence[rows], kind="stable")]
        shown = rows[:MOST_IN_CELL].tolist()
        found.append(Cell(run.names[own], run.names[other], count, count / int(total[own]), shown))
    return found


def confusion_shares(run: FinishedRun) -> NDArray[np.float64]:
    """Return the confusion matrix with rows as shares of the true class, reduced to 500 entries a side at most.

    A reduced entry is the largest of those that it stands for, so that no large cell disappears.
    """
    classes, (true, predicted, images) = len(run.names), run.confusion
    return reduced_shares(true, predicted, images / np.maximum(_tested(run), 1)[true], classes)


def confusion_table(run: FinishedRun) -> NDArray[np.int64]:
    """Return the confusion matrix (C, C) of a few classes, true class by row."""
    table = np.zeros((len(run.names),) * 2, np.int64)
    table[run.confusion.target, run.confusion.predicted] = run.confusion.counts
    return table


def confident_errors(run: FinishedRun) -> list[Doubt]:
    """Return the errors of the highest confidence."""
    wrong = np.flatnonzero(run.predicted != run.labels)
    rows = wrong[np.argsort(-run.confidence[wrong], kind="stable")][:MOST_ERRORS]
    names = run.names
    return [
        Doubt(int(row), names[run.labels[row]], names[run.predicted[row]], float(run.confidence[row])) for row in rows
    ]


def label_errors(run: FinishedRun) -> tuple[list[Doubt], int]:
    """Return the labels that are most probably wrong among ``run.judged``, and how many were found."""
    labels, answers = run.judged
    found = answers.label_errors(labels, len(run.names))
    columns = zip(*(column[:MOST_LABEL_ERRORS] for column in vars(found).values()), strict=True)
    doubts = [Doubt(int(row), run.names[given], run.names[other], float(own)) for row, given, other, own in columns]
    return doubts, len(found)


def coverage_rows(curve: metrics.RiskCoverage) -> list[dict[str, Any]]:
    """Return for some coverages the threshold, the images decided, and the accuracy among them."""
    rows = []
    for wanted in _COVERAGES:
        at = curve.at(wanted)
        count = int(curve.count[at])
        right = count - round(float(curve.risk[at]) * count)
        row = {"coverage": float(curve.coverage[at]), "threshold": float(curve.threshold[at]), "count": count}
        rows.append(row | {"estimate": Estimate(right / count, _pair(metrics.wilson_interval(right, count)))})
    return [row for at, row in enumerate(rows) if at == 0 or row["count"] != rows[at - 1]["count"]]


def folds(run: FinishedRun) -> int:
    """Return the number of folds that a cross-validation pools; 0 for one run, also of one fold."""
    construction = run.protocol["data"]["construction"]
    number = construction.get("folds", 0)
    return number if isinstance(number, int) and "fold" not in construction else 0


def split_rows(run: FinishedRun) -> list[dict[str, Any]]:
    """Return for each part of the data its images, classes, groups and fingerprint; None where it is not known."""
    data, rows = run.protocol["data"], []
    for name, words in _PARTS.items():
        members = [row for row in run.images if row.split == name]
        known = bool(members) and not (name == "train" and folds(run))
        part = {"name": words, "images": data.get(f"{name}_images", 0)}
        part |= {"fingerprint": str(data.get(f"{name}_fingerprint", "-"))[:16]}
        part |= {"classes": len({row.class_name for row in members}) if known else None}
        part |= {"groups": len({row.group for row in members if row.group}) if known else None}
        rows += [part] if part["images"] else []
    return rows


def data_notes(run: FinishedRun) -> list[dict[str, Any]]:
    """Return what is to be told of the images: damaged ones that were left out, and those that belong together."""
    notes = []
    damaged = run.protocol["data"]["construction"].get("damaged")
    if isinstance(damaged, Mapping) and damaged:
        names = [f"{path}: {reason}" for path, reason in list(damaged.items())[:MOST_NAMED]]
        heading = f"Left out because they cannot be read: {len(damaged):,}"
        notes.append({"heading": heading, "names": names, "more": len(damaged) - len(names)})
    counted = Counter(row.group for row in run.images if row.group)
    groups = Counter({name: count for name, count in counted.items() if count > 1})
    if groups:
        several = [f"{count} like {name}" for name, count in groups.most_common(MOST_NAMED)]
        words = "1 group" if len(groups) == 1 else f"{len(groups):,} groups"
        heading = f"Images that belong together, such as copies or a burst: {groups.total():,} in {words}"
        notes.append({"heading": heading, "names": several, "more": len(groups) - len(several)})
    return notes


_PARTS = {"train": "Training", "validation": "Validation", "test": "Test"}


def settings(config: Mapping[str, Any], sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every setting by its dotted name, with its value, its source, and whether the user chose it."""
    rows = []
    for name, value in _flat(config):
        source = sources.get(name, "chosen for this run" if name.partition(".")[0] in _GIVEN else "")
        rows.append({"name": name, "value": value, "source": source, "changed": source.startswith("set by the user")})
    return rows


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the entries of nested JSON values by their dotted name, as text; long lists are shortened."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", as_text(value)))
    return found


_LONGEST_LIST = 12


def as_text(value: Any) -> str:
    """Return a JSON value as text for a table."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list():
            more = f", ... ({len(value)} in all)" if len(value) > _LONGEST_LIST else ""
            return ", ".join(map(as_text, value[:_LONGEST_LIST])) + more
    return str(value)


def _flat(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """As ``flat``, with the name of a component under the component's own name."""
    found = []
    for name, text in flat(config):
        component = name.removesuffix(".name")
        found.append((component if isinstance(config.get(component), Mapping) else name, text))
    return found


def _class_row(run: FinishedRun, entry: Mapping[str, Any], at: int, right: int, ends: tuple[float, float]) -> ClassRow:
    other, mistaken = _mistaken_for(run, at)
    return ClassRow(
        name=run.names[at],
        group=next(name for name, member in run.groups.items() if member[at]),
        n_train=entry["n_train"],
        n_test=entry["n_test"],
        right=right,
        recall=entry["recall"],
        ends=ends,
        precision=entry["precision"],
        mistaken_for=run.names[other] if mistaken else None,
        mistaken=mistaken,
    )


def _mistaken_for(run: FinishedRun, at: int) -> tuple[int, int]:
    """Return the class that images of class ``at`` are most often taken for, of several the first, and how often."""
    true, predicted, images = run.confusion
    own = slice(*np.searchsorted(true, [at, at + 1]))  # the pairs are sorted by the true class
    wrong = np.where(predicted[own] == at, 0, images[own])
    if not wrong.any():
        return at, 0
    first = int(wrong.argmax())
    return int(predicted[own][first]), int(wrong[first])


def _errors(run: FinishedRun) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of classes off the diagonal: true class, predicted class, images."""
    true, predicted, images = run.confusion
    wrong = true != predicted
    return true[wrong], predicted[wrong], images[wrong]


def _right(run: FinishedRun) -> NDArray[np.int64]:
    return np.bincount(run.labels[run.predicted == run.labels], minlength=len(run.names))


def _tested(run: FinishedRun) -> NDArray[np.int64]:
    return np.bincount(run.labels, minlength=len(run.names))


def _pair(ends: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])
