"""What the page tells of a run, read from its directory and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import ClassCounts
from lt_fast.errors import DataError
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.experiment.splits import IMAGES, ImageRow, read_images
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
    """

    folder: Path
    result: Mapping[str, Any]
    protocol: Mapping[str, Any]
    history: History
    labels: NDArray[np.int64]
    probabilities: Mapping[str, NDArray[np.float64]]
    images: list[ImageRow]

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
        return cls(
            folder=folder,
            result=result,
            protocol=read_json(folder / PROTOCOL, _PROTOCOL),
            history=read_history(folder / "metrics.csv", result["config"]["epochs"]),
            labels=saved["labels"].numpy(),
            probabilities={stage: softmax(logits[stage]) for stage in stages},
            images=_images(folder, len(saved["labels"])),
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
    def test_images(self) -> list[ImageRow]:
        """Rows of ``images.csv`` that belong to the predictions, in their order; none where there is no such file."""
        return [row for row in self.images if row.split == "test"]


def _images(folder: Path, tested: int) -> list[ImageRow]:
    if not (folder / IMAGES).exists():
        return []
    rows = read_images(folder)
    found = sum(row.split == "test" for row in rows)
    if found != tested:
        raise DataError(
            f"{folder / IMAGES} must have one test row per prediction, {tested}, got {found}; restore the file, or "
            "train again"
        )
    return rows
