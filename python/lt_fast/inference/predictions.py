"""``Predictions``: what a trained classifier says of some images."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast._files import replace_file

_FIRST = ("path", "class", "label", "probability", "second_class", "second_probability", "margin", "unsure")
_NONE = -1


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities of N images, and what follows from them.

    Attributes:
        paths: N names: the paths as given, or ``image 0``, ``image 1``, ... of images in memory.
        classes: C names of classes.
        probabilities: ``(N, C)`` float64, calibrated and re-weighted as asked; NaN in the row of a damaged image.
        errors: path to message, of the images that could not be read.
        threshold: answers with a smaller probability are ``unsure``; None asks for no such answer.

    Example:
        >>> found = Predictions(("a.png",), ("marl", "peat"), np.array([[0.25, 0.75]]))
        >>> found.names, found.margin.tolist(), found.unsure.tolist()
        (('peat',), [0.5], [False])
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    errors: Mapping[str, str] = ()  # type: ignore[assignment]
    threshold: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "errors", dict(self.errors))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> NDArray[np.int64]:
        """``(N,)`` most probable class of each image; -1 for a damaged image."""
        return self.ranked(1)[:, 0]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the most probable class of each image; empty for a damaged image."""
        return self._named(self.labels)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """``(N,)`` probability of the most probable class; NaN for a damaged image."""
        return self.of_rank(0)

    @property
    def second_labels(self) -> NDArray[np.int64]:
        """``(N,)`` second most probable class; -1 for a damaged image, or where there is one class."""
        return self.ranked(2)[:, 1] if len(self.classes) > 1 else np.full(len(self), _NONE)

    @property
    def second_names(self) -> tuple[str, ...]:
        """Name of the second most probable class of each image; empty for a damaged image."""
        return self._named(self.second_labels)

    @property
    def margin(self) -> NDArray[np.float64]:
        """``(N,)`` probability of the first class minus that of the second."""
        return self.confidence - (self.of_rank(1) if len(self.classes) > 1 else 0.0)

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """``(N,)`` whether the first probability is below the threshold; False for a damaged image."""
        if self.threshold is None:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.confidence < self.threshold)

    def ranked(self, most: int) -> NDArray[np.int64]:
        """Return ``(N, most)`` class numbers, the most probable first; among equal ones the lower number first.

        Raises:
            ValueError: if ``most`` is not in [1, C].
        """
        most = _checks.integer("most", most, least=1, most=max(len(self.classes), 1))
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :most]
        return np.where(np.isnan(self.probabilities[:, :1]), _NONE, order).astype(np.int64)

    def of_rank(self, rank: int) -> NDArray[np.float64]:
        """Return ``(N,)`` the probability of the class at ``rank``, from 0."""
        places = np.maximum(self.ranked(rank + 1)[:, rank], 0)
        found: NDArray[np.float64] = self.probabilities[np.arange(len(self)), places]
        return found

    def rows(self, top: int = 2) -> list[dict[str, Any]]:
        """Return one dictionary per image: the columns of ``to_csv`` with values of Python; None where there is none.

        Args:
            top: classes per image; from the third on as ``class_3``, ``probability_3``, ...
        """
        top = min(_checks.integer("top", top, least=1), len(self.classes))
        order, values = self.ranked(top), [self.of_rank(rank).tolist() for rank in range(top)]
        columns: dict[str, Sequence[Any]] = {
            "path": self.paths, "class": self.names, "label": self.labels.tolist(), "probability": values[0],
            "second_class": self.second_names,
            "second_probability": (self.of_rank(1) if len(self.classes) > 1 else np.full(len(self), np.nan)).tolist(),
            "margin": self.margin.tolist(), "unsure": self.unsure.tolist(),
        }  # fmt: skip
        for rank in range(2, top):
            columns[f"class_{rank + 1}"] = self._named(order[:, rank])
            columns[f"probability_{rank + 1}"] = values[rank]
        columns["error"] = [self.errors.get(path) for path in self.paths]
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        return [row if row["error"] is None else _without_answer(row) for row in rows]

    def to_csv(self, file: str | PathLike[str], *, top: int = 2) -> None:
        """Write one row per image, UTF-8 with a header; the file is complete or as it was.

        Columns: ``path, class, label, probability, second_class, second_probability, margin, unsure``, then
        ``class_3, probability_3, ...`` for ``top`` above 2, then ``error``: the message of a damaged image, whose other
        columns are empty.

        Raises:
            DataError: if the file cannot be written.
        """
        text = csv_text([dict.fromkeys(columns(top, len(self.classes)))], header_only=True) + csv_text(self.rows(top))
        replace_file(Path(file), text.encode("utf-8", "surrogateescape"))

    def to_frame(self, *, top: int = 2) -> Any:
        """Return the columns of ``to_csv`` as a ``pandas.DataFrame``.

        Raises:
            MissingExtraError: if pandas is not installed.
        """
        pandas = require("pandas", extra="compare", purpose="a data frame of predictions")
        return pandas.DataFrame(self.rows(top), columns=list(columns(top, len(self.classes))))

    def _named(self, labels: NDArray[np.int64]) -> tuple[str, ...]:
        return tuple("" if label < 0 else self.classes[label] for label in labels.tolist())

    def __repr__(self) -> str:
        return f"Predictions({len(self)} images, {len(self.classes)} classes, {len(self.errors)} damaged)"


def columns(top: int, num_classes: int) -> tuple[str, ...]:
    """Return the columns of a table of predictions."""
    more = [f"{name}_{rank}" for rank in range(3, min(top, num_classes) + 1) for name in ("class", "probability")]
    return (*_FIRST, *more, "error")


def csv_text(rows: Iterable[Mapping[str, Any]], *, header_only: bool = False) -> str:
    """Return rows as CSV text without a header, or the header of their columns alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(list(row) if header_only else [_cell(value) for value in row.values()])
    return text.getvalue()


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several batches as one."""
    first = parts[0]
    errors = {path: message for part in parts for path, message in part.errors.items()}
    paths = tuple(path for part in parts for path in part.paths)
    return Predictions(paths, first.classes, np.concatenate([part.probabilities for part in parts]), errors,
                       first.threshold)  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _without_answer(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name in ("path", "error") else None for name, value in row.items()}
