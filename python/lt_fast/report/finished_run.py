"""What the page tells of a run, read from its directory and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import ClassCounts
from lt_fast.datasets.splits import IMAGES, ImageRow, read_images
from lt_fast.errors import DataError
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.report.run_report import read_history, softmax, stages_of
from lt_fast.training import History
from lt_fast.training.run_files import read_predictions, read_result

_PROTOCOL = {"data": OBJECT, "data.construction": OBJECT, "groups": OBJECT, "sources": OBJECT, "sources.*": TEXT}


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run as its files tell of it.

    Attributes:
        folder: of the run.
        result: ``result.json``.
        protocol: ``protocol.json``.
        history: ``metrics.csv``.
        labels: of the test images, (N,) int64.
        probabilities: ``before`` and perhaps ``after`` calibration to (N, C) float64.
        images: rows of ``images.csv``; none where the run has no such file.
        validation: labels (M,) and final probabilities (M, C) of the validation images; none where nothing tells them.
    """

    folder: Path
    result: Mapping[str, Any]
    protocol: Mapping[str, Any]
    history: History
    labels: NDArray[np.int64]
    probabilities: Mapping[str, NDArray[np.float64]]
    images: list[ImageRow]
    validation: tuple[NDArray[np.int64], NDArray[np.float64]]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read the run in ``folder``.

        Raises:
            DataError: if the run has not finished, or a file is missing or damaged.
            MissingExtraError: if safetensors is not installed.
        """
        folder = Path(folder)
        result = read_result(folder)
        saved = read_predictions(folder, num_classes=len(result["data"]["class_names"]))
        logits = {"before": saved["logits"], "after": saved.get("calibrated_logits")}
        stages = stages_of(result)
        for stage in stages:
            if logits[stage] is None:
                raise DataError(f"{folder} holds no predictions {stage} calibration; `lt-fast eval {folder}` does")
        validation = _validation(folder, len(result["data"]["class_names"]), calibrated=len(stages) > 1)
        return cls(
            folder=folder,
            result=result,
            protocol=read_json(folder / PROTOCOL, _PROTOCOL),
            history=read_history(folder / "metrics.csv", result["config"]["epochs"]),
            labels=saved["labels"].numpy(),
            probabilities={stage: softmax(logits[stage]) for stage in stages},
            images=_images(folder, {"test": len(saved["labels"]), "validation": len(validation[0])}),
            validation=validation,
        )

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration."""
        config: Mapping[str, Any] = self.result["config"]
        return config

    @property
    def names(self) -> list[str]:
        """The classes' names."""
        names: list[str] = self.result["data"]["class_names"]
        return names

    @cached_property
    def counts(self) -> ClassCounts:
        """Training images per class."""
        return ClassCounts(self.result["data"]["class_counts"])

    @cached_property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """``many``, ``medium`` and ``few`` to a mask of the classes."""
        return self.counts.groups()

    @property
    def final(self) -> NDArray[np.float64]:
        """The probabilities that the run's metrics are of."""
        return list(self.probabilities.values())[-1]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted class of every test image."""
        predicted: NDArray[np.int64] = self.final.argmax(axis=1)
        return predicted

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class of every test image."""
        highest: NDArray[np.float64] = self.final.max(axis=1)
        return highest

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(C, C) test images: true class by row, predicted class by column."""
        classes = len(self.names)
        counted = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        cells: NDArray[np.int64] = counted.reshape(classes, classes)
        return cells

    @cached_property
    def judged(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Labels and final probabilities of all images that were not trained on: the test images, then validation."""
        labels, probabilities = self.validation
        return np.concatenate([self.labels, labels]), np.concatenate([self.final, probabilities])

    @cached_property
    def judged_images(self) -> list[ImageRow]:
        """Rows of ``images.csv`` that belong to ``judged``; none where there is no such file."""
        return [*self.test_images, *(row for row in self.images if row.split == "validation")]

    @cached_property
    def test_images(self) -> list[ImageRow]:
        """Rows of ``images.csv`` that belong to the predictions, in their order; none where there is no such file."""
        return [row for row in self.images if row.split == "test"]


def _validation(folder: Path, classes: int, *, calibrated: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not (folder / VALIDATION).exists():
        return np.empty(0, np.int64), np.empty((0, classes))
    saved = read_predictions(folder, num_classes=classes, name=VALIDATION)
    return saved["labels"].numpy(), softmax(saved["calibrated_logits" if calibrated else "logits"])


def _images(folder: Path, predicted: Mapping[str, int]) -> list[ImageRow]:
    if not (folder / IMAGES).exists():
        return []
    rows = read_images(folder)
    for split, number in predicted.items():
        found = sum(row.split == split for row in rows)
        if number not in (0, found):
            raise DataError(
                f"{folder / IMAGES} must have one {split} row per prediction, {number}, got {found}; restore the "
                "file, or train again"
            )
    return rows
