"""What a run keeps of its predictions: every score where they are small, else the best classes of each image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import metrics
from lt_fast._columns import Columns
from lt_fast._extras import require
from lt_fast._files import FOR_RUN, read_bytes, replace_file
from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts
from lt_fast.errors import DataError
from lt_fast.metrics.label_errors import LabelErrors, class_thresholds, errors_among, most_confident
from lt_fast.training.run_files import CALIBRATED, PREDICTIONS, read_saved

MOST_LOGITS = 1 << 28
"""Bytes of logits, before and after calibration together, up to which a run keeps every one: 256 MiB."""

USUAL_GROUPS = (MANY_ABOVE, FEW_BELOW)
"""Thresholds of the groups of classes where none are given."""

BEST = 5
"""Classes of each image that are kept where the logits are not."""

_BLOCK = 1 << 24  # scores that are worked on at once: 64 MiB of float32
_BYTES = 4


def keeps_all(rows: int, classes: int, *, stages: int, most: int) -> bool:
    """Return whether the logits of ``rows`` images in all ``stages`` fit into ``most`` bytes."""
    return rows * classes * stages * _BYTES <= most


class Best(NamedTuple):
    """The rows of logits (N, C) in short: O(N) for any number of classes. All tensors, floats are float64.

    Attributes:
        classes: (N, K) int64, the classes of the largest logits, the largest first; of equal ones the lowest.
        log_probabilities: (N, K), theirs.
        confidence: (N,), the largest probability.
        log_likelihood: (N,), the log-probability of the true class.
        log_sum: (N,), the log of the sum of all exponentials: a logit is its log-probability plus this.
        likeliest, kind: (N,) int64 and int8, see ``metrics.Answers``.
    """

    classes: Tensor
    log_probabilities: Tensor
    confidence: Tensor
    log_likelihood: Tensor
    log_sum: Tensor
    likeliest: Tensor
    kind: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, *, most: int = BEST) -> Self:
        """Return the rows of logits (N, C), of labels (N,), in short, with ``most`` classes at most.

        Raises:
            DataError: if a logit is NaN or infinite.
        """
        answers = metrics.Answers.of(logits, labels)
        prediction = torch.from_numpy(answers.prediction)
        classes = _largest(logits, prediction, min(most, logits.shape[1]))
        scores = logits.gather(1, classes).double()
        confidence = torch.from_numpy(answers.confidence)
        log_sum = scores[:, 0] - confidence.log()
        own = (torch.from_numpy(column) for column in (answers.log_likelihood, answers.likeliest, answers.kind))
        likelihood, likeliest, kind = own
        shares = scores - scores[:, :1] + confidence.log()[:, None]
        return cls(classes, shares, confidence, likelihood, log_sum, likeliest, kind)

    def answers(self, labels: Tensor) -> metrics.Answers:
        """Return what the metrics need, exactly as it was of the logits."""
        columns = (labels, self.classes[:, 0], self.likeliest, self.confidence, self.log_likelihood, self.kind)
        return metrics.Answers(*(column.numpy() for column in columns))


def _largest(logits: Tensor, prediction: Tensor, most: int) -> Tensor:
    """Return the classes of the ``most`` largest logits of each row, the first of them the prediction."""
    classes = logits.topk(most, dim=1).indices
    lost = ~(classes == prediction[:, None]).any(dim=1)  # more classes share the largest logit than there is room for
    classes[lost, -1] = prediction[lost]
    classes = classes.sort(dim=1).values  # then, of equal logits, the lowest class comes first
    order = logits.gather(1, classes).sort(dim=1, descending=True, stable=True).indices
    return classes.gather(1, order)


Scores: TypeAlias = Tensor | Best


class Predictions(NamedTuple):
    """Logits ``(N, C)`` float32 before and, where there is a calibrator, after calibration; labels ``(N,)`` int64."""

    logits: Tensor
    labels: Tensor
    calibrated_logits: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the file."""
        return {name: tensor.contiguous() for name, tensor in self._asdict().items() if tensor is not None}

    def measured(self, counts: ClassCounts, groups: tuple[int, int] = USUAL_GROUPS) -> list[dict[str, Any]]:
        """Return the metrics, before and perhaps after calibration; ``groups`` as of ``metrics.evaluate``."""
        stages = (self.logits, self.calibrated_logits)
        return [metrics.evaluate(logits, self.labels, counts, groups=groups) for logits in stages if logits is not None]

    def final(self) -> NDArray[np.int64]:
        """Return the predicted class of each image, after calibration where there is one."""
        last = self.logits if self.calibrated_logits is None else self.calibrated_logits
        return last.argmax(dim=1).numpy()

    def save(self, folder: Path, name: str = PREDICTIONS) -> None:
        """Write them into ``folder``, to a temporary file that is renamed to ``name``.

        Raises:
            DataError: if the folder cannot be written.
        """
        _save(self, folder, name)


class BestPredictions(NamedTuple):
    """The same of many classes: ``Best`` before and perhaps after calibration, labels ``(N,)`` int64."""

    before: Best
    labels: Tensor
    after: Best | None

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the file."""
        found = {"labels": self.labels, **self.before._asdict()}
        later = {} if self.after is None else self.after._asdict()
        found |= {f"{CALIBRATED}{name}": tensor for name, tensor in later.items()}
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def measured(self, counts: ClassCounts, groups: tuple[int, int] = USUAL_GROUPS) -> list[dict[str, Any]]:
        """Return the metrics, before and perhaps after calibration; ``groups`` as of ``metrics.evaluate``."""
        stages = (each.answers(self.labels) for each in (self.before, self.after) if each is not None)
        return [metrics.Evaluation(counts, groups=groups).merge(answers).compute() for answers in stages]

    def final(self) -> NDArray[np.int64]:
        """Return the predicted class of each image, after calibration where there is one."""
        last = self.before if self.after is None else self.after
        return last.classes[:, 0].numpy()

    def save(self, folder: Path, name: str = PREDICTIONS) -> None:
        """As ``Predictions.save``."""
        _save(self, folder, name)


AnyPredictions: TypeAlias = Predictions | BestPredictions


def predictions(before: Scores, labels: Tensor, after: Scores | None) -> AnyPredictions:
    """Return the predictions of either form, both stages of the same one."""
    if isinstance(before, Best):
        assert after is None or isinstance(after, Best)
        return BestPredictions(before, labels, after)
    assert not isinstance(after, Best)
    return Predictions(before, labels, after)


def measured(found: AnyPredictions, counts: ClassCounts, groups: tuple[int, int] = USUAL_GROUPS) -> dict[str, Any]:
    """Return ``metrics`` and ``metrics_before_calibration`` of the predictions."""
    stages = found.measured(counts, groups)
    return {"metrics": stages[-1], "metrics_before_calibration": stages[0] if len(stages) > 1 else None}


def _encoded(found: AnyPredictions) -> bytes:
    safetensors = require("safetensors.torch", extra="train", purpose="saving predictions")
    data: bytes = safetensors.save(found.tensors())
    return data


def _save(found: AnyPredictions, folder: Path, name: str) -> None:
    replace_file(folder / name, _encoded(found), next_step=FOR_RUN)


def save_if_other(found: AnyPredictions, folder: Path) -> str | None:
    """Write the predictions into ``folder`` unless they are there; return why they could not be written, or None."""
    data = _encoded(found)
    try:
        if read_bytes(folder / PREDICTIONS) == data:
            return None
    except DataError:
        pass  # missing or damaged: all the more to be written
    try:
        replace_file(folder / PREDICTIONS, data, next_step=FOR_RUN)
    except DataError as error:
        cause = error.__cause__  # without the advice to those who train
        return f"{folder} cannot be written ({cause.strerror if isinstance(cause, OSError) else error})"
    return None


def kept(blocks: Iterable[tuple[Tensor, ...]], *, best: bool, rows: int = 0) -> tuple[Tensor, ...]:
    """Return what is kept of blocks of (other columns..., logits, labels), as columns; logits in short if ``best``.

    The columns of ``Best`` take the place of the logits, so that nothing of size N x C is ever there. ``rows`` is their
    number, where it is known.
    """
    columns = Columns(rows)
    for *others, logits, labels in blocks:
        short = Best.of(logits, labels) if best else (logits,)
        columns.add((*others, *short, labels))
    return columns.tensors()


def scores_in(columns: Sequence[Tensor], *, best: bool) -> Scores:
    """Return the scores among ``columns``, which ``kept`` returned without its other columns and labels."""
    return Best(*columns) if best else columns[0]


def joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the columns of several parts, one below the other."""
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def in_blocks(batches: Iterable[tuple[Tensor, ...]], classes: int | None = None) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches joined to some 16 million scores: one block of a small set, so that its results are of one call.

    Args:
        batches: tuples of columns.
        classes: scores of a row; the width of the column before the last when left out.
    """
    parts: list[tuple[Tensor, ...]] = []
    rows = 0
    for batch in batches:
        parts.append(batch)
        rows += len(batch[-1])
        if rows * (batch[-2].shape[1] if classes is None else classes) >= _BLOCK:
            yield joined(parts)
            parts, rows = [], 0
    if parts:
        yield joined(parts)


class Answered(NamedTuple):
    """What a run answered to its images, as far as its file tells.

    Attributes:
        predicted: (N,) int64.
        confidence: (N,) float64, the probability of the predicted class.
        own: (N,) float64, that of the label.
        parts: the scores, one below the other.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    own: NDArray[np.float64]
    parts: tuple[Scores, ...]

    @classmethod
    def of(cls, scores: Scores, labels: NDArray[np.int64]) -> Self:
        """Return the answers of logits (N, C), or of rows in short."""
        if isinstance(scores, Best):
            predicted, confidence = scores.classes[:, 0].numpy(), scores.confidence.numpy()
            return cls(predicted, confidence, scores.log_likelihood.exp().numpy(), (scores,))
        found, done = [], 0
        for _, block in _probabilities(scores):
            own = block[np.arange(len(block)), labels[done : done + len(block)]]
            found.append((block.argmax(axis=1), block.max(axis=1), own))
            done += len(block)
        predicted, confidence, own = (np.concatenate(column) for column in zip(*found, strict=True))
        return cls(predicted, confidence, own, (scores,))

    def followed_by(self, others: "Answered") -> "Answered":
        """Return the rows of both, these first."""
        predicted, confidence, own = (np.concatenate(pair) for pair in zip(self[:3], others[:3], strict=True))
        return Answered(predicted, confidence, own, (*self.parts, *others.parts))

    def label_errors(self, labels: NDArray[np.int64], num_classes: int) -> LabelErrors:
        """Return the labels that are probably wrong; of rows in short, judged by their best classes."""
        thresholds = class_thresholds(self.own, labels, num_classes)
        blocks = (block for scores in self.parts for block in _probabilities(scores))
        found = [most_confident(probabilities, thresholds, classes) for classes, probabilities in blocks]
        suggested, confidence = (np.concatenate(column) for column in zip(*found, strict=True))
        return errors_among(suggested, confidence, self.own, labels)


def _probabilities(scores: Scores) -> Iterator[tuple[NDArray[np.int64] | None, NDArray[np.float64]]]:
    """Yield the probabilities of some rows after others, and their classes; None where they are all."""
    if isinstance(scores, Best):
        yield scores.classes.numpy(), scores.log_probabilities.exp().numpy()
        return
    rows = max(1, _BLOCK // scores.shape[1])
    for start in range(0, len(scores), rows):
        yield None, softmax(scores[start : start + rows])


class ReadPredictions(NamedTuple):
    """Labels (N,) int64, and the answers ``before`` and perhaps ``after`` calibration."""

    labels: NDArray[np.int64]
    stages: Mapping[str, Answered]

    @property
    def final(self) -> Answered:
        """The answers after calibration, where there are some."""
        return list(self.stages.values())[-1]


def read_answers(folder: str | Path, *, num_classes: int, name: str = PREDICTIONS) -> ReadPredictions:
    """Return the answers in a run's file, of the test set by default.

    Raises:
        DataError: if the file is missing or damaged, or of another number of classes.
    """
    found = read_predictions_of(folder, num_classes=num_classes, name=name)
    labels = found.labels.numpy()
    if isinstance(found, BestPredictions):
        stages: dict[str, Scores | None] = {"before": found.before, "after": found.after}
    else:
        stages = {"before": found.logits, "after": found.calibrated_logits}
    answers = {stage: Answered.of(scores, labels) for stage, scores in stages.items() if scores is not None}
    return ReadPredictions(labels, answers)


def read_predictions_of(folder: str | Path, *, num_classes: int, name: str = PREDICTIONS) -> AnyPredictions:
    """Return the predictions in a run's file, of either form. Raises as ``read_answers``."""
    saved = read_saved(folder, num_classes=num_classes, name=name)
    if "logits" in saved:
        return Predictions(saved["logits"], saved["labels"], saved.get("calibrated_logits"))
    later = f"{CALIBRATED}classes" in saved
    stages = [Best(*(saved[prefix + field] for field in Best._fields)) for prefix in ("", CALIBRATED)[: 1 + later]]
    return BestPredictions(stages[0], saved["labels"], stages[1] if later else None)


def pooled(parts: Sequence[AnyPredictions], *, most: int = MOST_LOGITS) -> AnyPredictions:
    """Return the predictions of several runs, one below the other: in short where one is or all would be too large."""
    whole = [part for part in parts if isinstance(part, Predictions)]
    stages = 2 if all(part.calibrated_logits is not None for part in whole) else 1
    size = (sum(len(part.labels) for part in whole), whole[0].logits.shape[1] if whole else 0)
    if len(whole) == len(parts) and keeps_all(*size, stages=stages, most=most):
        columns = [part if stages > 1 else part[:2] for part in whole]
        return Predictions(*joined(columns), *[None] * (2 - stages))  # type: ignore[arg-type]
    short = [in_short(part) for part in parts]
    labels = torch.cat([part.labels for part in short])
    before, after = ([getattr(part, stage) for part in short] for stage in ("before", "after"))
    later = None if None in after else Best(*joined(after))
    return BestPredictions(Best(*joined(before)), labels, later)


def in_short(found: AnyPredictions) -> BestPredictions:
    """Return predictions of which the best classes alone are kept."""
    if isinstance(found, BestPredictions):
        return found
    before, after = (
        None if logits is None else Best.of(logits, found.labels) for logits in (found.logits, found.calibrated_logits)
    )
    assert before is not None
    return BestPredictions(before, found.labels, after)


def softmax(logits: Any) -> NDArray[np.float64]:
    """Return the probabilities of each row, in float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
