"""``TrainedClassifier``: the classifier of a run, ready to predict; no training image is needed."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast.datasets.decoding import in_one_line
from lt_fast.errors import UsageError
from lt_fast.experiment.config import DATA_OPTIONS, method_name
from lt_fast.experiment.folds import has_folds
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import read_answers
from lt_fast.experiment.running import checked_device
from lt_fast.experiment.scored_prior import scored_prior
from lt_fast.inference import priors
from lt_fast.inference.images import ForFiles, ForMemory, Prepared, as_items, read_batches
from lt_fast.inference.network import Restored, RestoredFolds, restored, restored_folds, scored
from lt_fast.inference.predictions import Predictions, joined
from lt_fast.inference.thresholds import Threshold, threshold_for
from lt_fast.registry import RegisteredFile
from lt_fast.training import deterministic, read_config
from lt_fast.training.run_files import PREDICTIONS, holds_logits, read_predictions

_MOST_WORKERS = 256


def load(
    run: str | Path,
    *,
    device: str = "cpu",
    calibration: str | Path | None = None,
    recipe_file: RegisteredFile | None = None,
) -> "TrainedClassifier":
    """Return the classifier of a run: network with the newest checkpoint's weights, calibrator, classes, preprocessing.

    Nothing is read but the run directory: the images that it was trained on need not be there.

    Of a cross-validation (``lt-fast train --folds 5``) the classifier is all of its runs together: the mean of their
    calibrated probabilities. Its accuracy has not been measured: the result of a cross-validation is that of single
    runs on the images that they were not trained on. ``max_error`` chooses the threshold on those out-of-fold
    predictions, where every image is answered by one run. The largest probability of a mean is at most the mean of the
    runs' largest ones, so that it answers fewer images than is said there. ``scored_prior`` is that of the mean class
    counts, from which those of a fold differ by rounding.

    Args:
        run: directory of a run with at least one checkpoint, or of a finished cross-validation.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        calibration: folder that ``lt-fast calibrate`` wrote, in place of the run's own calibrator; not of a
            cross-validation.
        recipe_file: the file that registers the run's recipe, where it is not where the run records it.

    Warns when the run has not finished: such a classifier is not calibrated.

    Raises:
        UsageError: if the device is not there, a calibration is given for a cross-validation, or the run needs a recipe
            file that is missing or has changed.
        DataError: if the folder is no run, has no checkpoint, is a cross-validation that has not finished, or a file is
            missing or damaged.

    Source of the mean: Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474 (deep ensembles), there of
    networks that are trained on all images.

    Example::

        classifier = lt_fast.load("runs/mammc-digits-lt-50-0")
        found = classifier.predict("new/", target_prior="uniform", threshold=0.7)
        found.to_csv("out.csv")

    >>> classifier = load("runs/mammc-0")  # lt-fast train --method mammc --data digits-lt --run runs/mammc-0
    >>> classifier.classes[:3], classifier.calibration["name"], classifier.class_counts.counts[:3]
    (('0', '1', '2'), 'margin', array([120,  78,  50]))
    """
    checked_device(device)
    if _is_cross_validation(Path(run)):
        if calibration is not None:
            raise UsageError(
                f"calibration must be left out for the cross-validation {run}, got {calibration}, which is of one run; "
                f"name that run, such as {Path(run) / 'fold-0'}"
            )
        return TrainedClassifier(restored_folds(Path(run), recipe_file=recipe_file), device, Path(run))
    found = restored(run, calibration=calibration, recipe_file=recipe_file)
    if found.epoch < found.config["epochs"]:
        calibrated = "" if found.config["calibrator"] is None else ", and not calibrated"
        warnings.warn(
            f"{run} has not finished: this is the network after epoch {found.epoch} of {found.config['epochs']}"
            f"{calibrated}; `lt-fast train --resume {run}` continues it",
            stacklevel=2,
        )
    return TrainedClassifier(found, device, Path(run if calibration is None else calibration))


def _is_cross_validation(folder: Path) -> bool:
    options = read_config(folder).get(DATA_OPTIONS)
    return isinstance(options, Mapping) and has_folds({DATA_OPTIONS: options})


class TrainedClassifier:
    """The classifier of a run, or of the runs of a cross-validation; made by ``lt_fast.load``.

    Attributes:
        config: configuration of the run.
        classes: names of the classes, in the order of their numbers.
        class_counts: training images per class.
        network: module from prepared images (N, Ch, H, W) to calibrated logits (N, C).
        transform: prepares an image without augmentation: the run's transform, ``plain()``.
        prepare: makes upright images in RGB what the network takes: called for each, then ``prepare.stacked(list)``.
        image_shape: (height, width, channels) that the network takes, or None where the transform makes the size.
        scored_prior: the class prior that the probabilities stand for, and why; see ``lt_fast.inference.scored_prior``.
        epoch: epochs that the network was trained for.
        calibration: settings of the calibrator, or None where there is none.
        folder: of the run, or of its calibration.
        run: directory of the run.
        checkpoint: SHA-256 of the weights.
        device: where it runs.

    >>> from PIL import Image
    >>> classifier = load("runs/mammc-0")
    >>> Image.new("L", (8, 8)).save("dark.png")
    >>> found = classifier.predict(["dark.png"], target_prior="uniform", threshold=0.7)
    >>> isinstance(classifier, TrainedClassifier), found.paths, found.probabilities.shape
    (True, ('dark.png',), (1, 10))
    """

    def __init__(self, found: Restored | RestoredFolds, device: str, folder: Path) -> None:
        self.config: Mapping[str, Any] = found.config
        self.class_counts = found.images.class_counts
        self.classes: tuple[str, ...] = self.class_counts.names
        self.device, self.epoch, self.transform = torch.device(device), found.epoch, found.transform
        self.image_shape = found.images.shape
        self.network: nn.Module = found.network().to(self.device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as it was measured
        self.scored_prior = scored_prior(found.config, self.class_counts, found.calibration)
        self.checkpoint, self.calibration = found.checkpoint, found.calibration
        self.prepare: Any = (
            ForFiles(found.transform, decoder=found.config.get(DATA_OPTIONS, {}).get("decoder", "pillow"))
            if self.image_shape is None
            else ForMemory(self.image_shape, found.transform)
        )
        self.folder, self.run = folder, found.folder

    def predict(
        self,
        images: Any,
        *,
        batch_size: int = 32,
        workers: int = 0,
        target_prior: Any = None,
        threshold: float | None = None,
        max_error: float | None = None,
        trained_prior: Any = None,
        progress: bool = False,
    ) -> Predictions:
        """Return the class probabilities of images.

        Args:
            images: paths, ``PIL.Image`` or uint8 arrays (H, W), (H, W, 1) or (H, W, 3), in any mixture; or one folder,
                list or image. An image of another size than the training images is scaled and cropped around its
                centre, with a warning that counts them. A damaged file is in ``errors``.
            batch_size: images per forward pass.
            workers: processes that decode; 0 decodes here.
            target_prior: class frequencies where the classifier is used: ``"train"``, ``"uniform"``, C weights, a
                mapping from class names, or a file (see ``lt_fast.inference.target_prior``). The probabilities are
                re-weighted by Bayes' rule. None leaves them as they were trained.
            threshold: answers with a smaller probability are ``unsure``.
            max_error: in place of ``threshold``, the smallest one whose answers on the run's validation images are
                wrong in at most this share; of a cross-validation, on its out-of-fold predictions (see ``load``).
            trained_prior: the prior that the probabilities stand for, where ``scored_prior`` is not known: the same
                forms as ``target_prior``.
            progress: show a bar on stderr (needs tqdm).

        Raises:
            TypeError, ValueError: if an image or a number is of another kind or range.
            UsageError: if a prior does not fit, or the run has no validation images for ``max_error``.
            DataError: if the folder holds no image.

        Source: re-weighting by Saerens et al. 2002, Neural Computation 14(1).

        >>> classifier = load("runs/mammc-0")
        >>> images = [np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)]
        >>> found = classifier.predict(images, target_prior="uniform", threshold=0.99)
        >>> found.paths, found.probabilities.shape, found.confidence.shape
        (('image 0', 'image 1'), (2, 10), (2,))
        """
        items = as_items(images)
        ask = self.question(
            target_prior=target_prior, threshold=threshold, max_error=max_error, trained_prior=trained_prior
        )
        parts = list(self.batches(items, ask, batch_size=batch_size, workers=workers, progress=progress))
        return joined(parts)

    def question(
        self,
        *,
        target_prior: Any = None,
        threshold: float | None = None,
        max_error: float | None = None,
        trained_prior: Any = None,
    ) -> "Question":
        """Check what is asked of a prediction, and choose the threshold; arguments and errors as ``predict``."""
        if threshold is not None and max_error is not None:
            raise UsageError("threshold and max_error must not both be given; leave one out")
        ratio = self._priors(target_prior, trained_prior)
        chosen = None
        if threshold is not None:
            threshold = _checks.number("threshold", threshold, least=0, most=1)
        elif max_error is not None:
            chosen = self._threshold_for(max_error, ratio)
            threshold = chosen.value
        return Question(ratio, threshold, chosen)

    def batches(
        self, items: list[Any], ask: "Question", *, batch_size: int = 32, workers: int = 0, progress: bool = False
    ) -> Iterator[Predictions]:
        """Yield the predictions of ``items`` batch by batch; see ``predict``."""
        batch_size = _checks.integer("batch_size", batch_size, least=1)
        workers = _checks.integer("workers", workers, least=0, most=_MOST_WORKERS)
        names = [item if isinstance(item, str) else f"image {place}" for place, item in enumerate(items)]
        done, resized, remarks = 0, 0, list[str]()
        with _bar(len(items), enabled=progress) as bar:
            for prepared in read_batches(items, self.prepare, batch_size=batch_size, workers=workers):
                yield self._answered(names[done : done + len(prepared)], prepared, ask)
                done += len(prepared)
                resized += sum(image.resized for image in prepared)
                remarks += [image.remarks[0] for image in prepared if image.remarks]
                bar.update(len(prepared))
        if resized:
            warnings.warn(f"{resized} of {done} images had another size and were {self.prepare.words}", stacklevel=2)
        if remarks:
            warnings.warn(in_one_line(remarks, done), stacklevel=2)

    def _answered(self, names: list[str], prepared: list[Prepared], ask: "Question") -> Predictions:
        errors = {name: image.error for name, image in zip(names, prepared, strict=True) if image.error is not None}
        good = [place for place, image in enumerate(prepared) if image.error is None]
        probabilities = np.full((len(prepared), len(self.classes)), np.nan)
        if good:
            x = self.prepare.stacked([prepared[place].pixels for place in good])
            with deterministic(self.device):
                logits = scored(self.network, x, device=self.device, amp=bool(self.config["amp"]))
            probabilities[good] = ask.answered(logits.double().softmax(dim=1).numpy())
        return Predictions(tuple(names), self.classes, probabilities, errors, ask.threshold)

    def _priors(self, target: Any, trained: Any) -> "_Priors | None":
        if target is None:
            if trained is not None:
                raise UsageError("trained_prior must be left out without target_prior, which alone needs it")
            return None
        wanted = priors.target_prior(target, self.class_counts)
        if trained is not None:
            return _Priors(priors.target_prior(trained, self.class_counts, argument="trained_prior"), wanted)
        if self.scored_prior.prior is None:
            raise UsageError(
                "target_prior needs the class frequencies that the probabilities stand for, and "
                f"{self.scored_prior.reason}; name them with trained_prior (uniform or train), or calibrate the run "
                "with `lt-fast calibrate RUN --method retraining`, whose probabilities stand for uniform ones"
            )
        return _Priors(self.scored_prior.prior, wanted)

    def _threshold_for(self, max_error: float, ratio: "_Priors | None") -> Threshold:
        _checks.number("max_error", max_error, least=0, below=1)
        folds = has_folds(self.config)
        name, measured_on = (PREDICTIONS, "out-of-fold") if folds else (VALIDATION, "validation")
        if not (self.folder / name).exists():
            raise UsageError(
                f"max_error needs validation images, and {self.folder} has no {VALIDATION}; give a threshold, or "
                "train with --set validation=0.2"
            )
        labels, predicted, confidence = self._judged(name, ratio)
        weight = None if ratio is None else ratio.weights_of(labels, len(self.classes))
        return threshold_for(confidence, predicted == labels, max_error, weight=weight, measured_on=measured_on)

    def _judged(self, name: str, ratio: "_Priors | None") -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return labels, predicted classes and confidence of stored predictions, re-weighted where that is asked."""
        if ratio is None and not holds_logits(self.folder, name):
            found = read_answers(self.folder, num_classes=len(self.classes), name=name)
            return found.labels, found.final.predicted, found.final.confidence
        saved = read_predictions(self.folder, num_classes=len(self.classes), name=name)
        logits = saved.get("calibrated_logits", saved["logits"])
        probabilities = Question(ratio, None, None).answered(logits.double().softmax(dim=1).numpy())
        return saved["labels"].numpy(), probabilities.argmax(axis=1), probabilities.max(axis=1)

    def __repr__(self) -> str:
        return (
            f"TrainedClassifier({method_name(self.config)} on {self.config['data']}, {len(self.classes)} classes, "
            f"epoch {self.epoch} of {self.config['epochs']})"
        )


class _Priors:
    """The prior that probabilities stand for, and the one that is wanted."""

    def __init__(self, scored: NDArray[np.float64], target: NDArray[np.float64]) -> None:
        self.scored, self.target = scored, target

    def weights_of(self, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
        """Return the weight of each validation image that gives its class the wanted frequency."""
        counts = np.bincount(labels, minlength=num_classes)
        per_class = np.divide(self.target, counts, out=np.zeros(num_classes), where=counts > 0)
        weights: NDArray[np.float64] = per_class[labels] * len(labels)
        return np.maximum(weights, np.finfo(np.float64).tiny)


class Question:
    """What is asked of a prediction: re-weighting and threshold.

    Attributes:
        threshold: or None.
        chosen: what the threshold gave on the validation images, where it was chosen on them; else None.
    """

    def __init__(self, ratio: _Priors | None, threshold: float | None, chosen: Threshold | None) -> None:
        self._ratio, self.threshold, self.chosen = ratio, threshold, chosen

    @property
    def priors_sha256(self) -> str | None:
        """Digest of the re-weighting, which tells one prediction from another; None without."""
        if self._ratio is None:
            return None
        return hashlib.sha256(np.concatenate([self._ratio.scored, self._ratio.target]).tobytes()).hexdigest()

    def answered(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities, re-weighted where that is asked."""
        if self._ratio is None:
            return probabilities
        return priors.reweighted(probabilities, scored=self._ratio.scored, target=self._ratio.target)


def _bar(total: int, *, enabled: bool) -> Any:
    tqdm = require("tqdm", extra="train", purpose="the progress bar").tqdm
    return tqdm(total=total, unit="image", dynamic_ncols=True, disable=not enabled)
