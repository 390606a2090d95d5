"""Some of a run's own test images as an exported program takes them, with the run's answers."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.datasets.splits import IMAGES
from lt_fast.errors import DataError, MissingExtraError, UsageError
from lt_fast.experiment.build import load_data, needs_root
from lt_fast.experiment.config import MODE
from lt_fast.inference.classifier import TrainedClassifier
from lt_fast.inference.images import read_batches
from lt_fast.inference.network import scored
from lt_fast.training.run_files import read_predictions, read_result

_MOST = 64
_EXACT = 1e-3  # of a pixel's 255 steps: what rounding leaves of a pixel that was one


class Tested(NamedTuple):
    """Test images and the run's answers.

    Attributes:
        pixels: (N, H, W, Ch) uint8, as the network's images were before they were normalised.
        probabilities: (N, C) that the run stored; what its network answers here where it was measured in bfloat16 or
            on a GPU, whose rounding is another.
    """

    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float64]


def own_test_images(classifier: TrainedClassifier, root: str | Path | None = None) -> Tested | str:
    """Return up to 64 test images, evenly spread over the test set, or why there are none.

    Args:
        classifier: of one run.
        root: where the photographs of the run are now.

    Raises:
        UsageError, DataError: if ``root`` is given, and they are not there.
    """
    try:
        images, place = _of_run(classifier, root)
    except (UsageError, DataError, MissingExtraError) as error:
        if root is not None:
            raise
        return str(error)
    rows = np.unique(np.linspace(0, len(images) - 1, _MOST).astype(np.int64))
    if place is None:
        pixels = images.images[rows]
        return Tested(pixels, _answers(classifier, rows, classifier.prepare.stacked(list(pixels))))
    return _read(classifier, rows, [str(place / images.paths[row]) for row in rows])


def _of_run(classifier: TrainedClassifier, root: str | Path | None) -> tuple[Any, Path | None]:
    """Return the test set, and the folder that its paths start from; None of images in memory."""
    config, run = classifier.config, classifier.run
    if MODE in config and not (run / IMAGES).exists():
        raise DataError(f"{run / IMAGES} is missing")
    if MODE not in config and needs_root(config["data"]) and root is None:
        raise UsageError(f"--root does not name the folder of {config['data']}")
    test = load_data(config, root=None if root is None else Path(root), run=run).test
    return test, None if classifier.image_shape is not None else Path(test.root)


def _read(classifier: TrainedClassifier, rows: NDArray[np.int64], paths: list[str]) -> Tested | str:
    (prepared,) = read_batches(paths, classifier.prepare, batch_size=len(paths), workers=0)
    good = [at for at, image in enumerate(prepared) if image.error is None]
    if not good:
        return f"none of them can be read, the first {paths[0]}"
    x = classifier.prepare.stacked([prepared[at].pixels for at in good])
    mean, std = (torch.tensor(getattr(classifier.transform, name)).view(1, -1, 1, 1) for name in ("mean", "std"))
    levels = 255 * (x * std + mean)
    pixels = levels.round().clamp(0, 255)
    if float((levels - pixels).abs().max()) > 255 * _EXACT:
        return "the run's transform does more than to resize, crop and normalise"
    answers = _answers(classifier, rows[good], x)
    return Tested(pixels.byte().permute(0, 2, 3, 1).contiguous().numpy(), answers)


def _answers(classifier: TrainedClassifier, rows: NDArray[np.int64], x: Tensor) -> NDArray[np.float64]:
    logits = _stored(classifier)
    if logits is None:
        found = scored(classifier.network, x, device=classifier.device, amp=False)
    else:
        found = logits[torch.from_numpy(rows)]
    probabilities: NDArray[np.float64] = found.double().softmax(dim=1).numpy()
    return probabilities


def _stored(classifier: TrainedClassifier) -> Tensor | None:
    if classifier.config["amp"] or classifier.epoch < classifier.config["epochs"]:
        return None
    try:
        saved = read_predictions(classifier.folder, num_classes=len(classifier.classes))
        device = read_result(classifier.run)["device"]
    except DataError:  # the run has not finished, or has not kept every score
        return None
    return saved.get("calibrated_logits", saved["logits"]) if device == "cpu" else None
