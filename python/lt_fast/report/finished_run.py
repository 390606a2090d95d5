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
from lt_fast.experiment.config import groups_of
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import Answered, read_answers
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.metrics import ClassMargins
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.report.run_report import margins_of, read_history, stages_of
from lt_fast.sampling.confusion_counts import ConfusionCounts, ConfusionEntries
from lt_fast.training import History
from lt_fast.training.run_files import read_result

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
        answers: ``before`` and perhaps ``after`` calibration to what the run answered to these images.
        images: rows of ``images.csv``; none where the run has no such file.
        validation: labels (M,) and final answers of the validation images; None where nothing tells them.
    """

    folder: Path
    result: Mapping[str, Any]
    protocol: Mapping[str, Any]
    history: History
    labels: NDArray[np.int64]
    answers: Mapping[str, Answered]
    images: list[ImageRow]
    validation: tuple[NDArray[np.int64], Answered] | None

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read the run in ``folder``.

        Raises:
            DataError: if the run has not finished, or a file is missing or damaged.
            MissingExtraError: if safetensors is not installed.
        """
        folder = Path(folder)
        result = read_result(folder)
        classes = len(result["data"]["class_names"])
        saved = read_answers(folder, num_classes=classes)
        stages = list(stages_of(result))
        for stage in stages:
            if stage not in saved.stages:
                raise DataError(f"{folder} holds no predictions {stage} calibration; `lt-fast eval {folder}` does")
        validation = _validation(folder, classes, stage=stages[-1])
        held_out = 0 if validation is None else len(validation[0])
        return cls(
            folder=folder,
            result=result,
            protocol=read_json(folder / PROTOCOL, _PROTOCOL),
            history=read_history(folder / "metrics.csv", result["config"]["epochs"]),
            labels=saved.labels,
            answers={stage: saved.stages[stage] for stage in stages},
            images=_images(folder, {"test": len(saved.labels), "validation": held_out}),
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
        many, few = groups_of(self.config)
        return self.counts.groups(many=many, few=few)

    @cached_property
    def margins(self) -> dict[str, ClassMargins]:
        """Margins by class before and after calibration; none of a run without it, or of too many logits."""
        return margins_of(self.folder, self.result)

    @property
    def final(self) -> Answered:
        """The answers that the run's metrics are of."""
        return list(self.answers.values())[-1]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted class of every test image."""
        return self.final.predicted

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class of every test image."""
        return self.final.confidence

    def right(self, stage: str) -> NDArray[np.bool_]:
        """Return which test images are predicted right at a stage of ``answers``."""
        right: NDArray[np.bool_] = self.answers[stage].predicted == self.labels
        return right

    @cached_property
    def confusion(self) -> ConfusionEntries:
        """Test images by true and predicted class: the pairs of classes that occur."""
        counts = ConfusionCounts(len(self.names))
        counts.update(self.labels, self.predicted)
        return counts.entries()

    @cached_property
    def judged(self) -> tuple[NDArray[np.int64], Answered]:
        """Labels and final answers of all images that were not trained on: the test images, then validation."""
        if self.validation is None:
            return self.labels, self.final
        labels, answers = self.validation
        return np.concatenate([self.labels, labels]), self.final.followed_by(answers)

    @cached_property
    def judged_images(self) -> list[ImageRow]:
        """Rows of ``images.csv`` that belong to ``judged``; none where there is no such file."""
        return [*self.test_images, *(row for row in self.images if row.split == "validation")]

    @cached_property
    def test_images(self) -> list[ImageRow]:
        """Rows of ``images.csv`` that belong to the predictions, in their order; none where there is no such file."""
        return [row for row in self.images if row.split == "test"]


def _validation(folder: Path, classes: int, *, stage: str) -> tuple[NDArray[np.int64], Answered] | None:
    if not (folder / VALIDATION).exists():
        return None
    saved = read_answers(folder, num_classes=classes, name=VALIDATION)
    return saved.labels, saved.stages[stage]


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
