"""A finished or stopped run measured again from its checkpoint, with intervals."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lt_fast import metrics
from lt_fast.errors import DataError
from lt_fast.recipes import assembly, running
from lt_fast.recipes.assembly import Data
from lt_fast.recipes.predictions import Predictions
from lt_fast.recipes.starting import PROTOCOL, newest_of, other_images
from lt_fast.recipes.stored_config import stored_config


def evaluate_run(
    run_dir: str | Path,
    *,
    device: str = "cpu",
    root: str | Path | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Load the newest checkpoint of ``run_dir``, predict the test set and measure.

    Args:
        run_dir: of a run that has at least one checkpoint.
        device: where the network runs.
        root: folder of the data set's files.
        level: of the bootstrap intervals.

    Returns:
        ``config``, ``epochs_done``, ``metrics``, ``metrics_before_calibration`` as in ``result.json``; ``intervals``:
        (low, high) of ``top1`` and of each group's recall, resampling the test images; both data sets' test sets are
        balanced, so that a group's recall is the share of its images that are right. ``per_class`` has intervals of its
        own. ``calibrated``: False where the method calibrates and the checkpoint is from before that, so that the
        network alone was measured. ``not_written``: why the predictions in the folder are not those measured, or None:
        they are written where they are missing or others, the checkpoint is the last, and the folder can be written.

    Raises:
        DataError: if the folder is no run, has no readable checkpoint or lacks its calibrator, or the data are not
            those of the run.
    """
    running.checked_device(device)
    folder = Path(run_dir)
    config = stored_config(folder)
    data = assembly.load_data(config, root=None if root is None else Path(root))
    _compare_images(folder, data)
    model = assembly.make_model(config, data)
    checkpoint = newest_of(folder, model, config=config)
    model.load_state_dict(checkpoint.tensors["model"])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training, to the last bit
    last = checkpoint.epoch == config["epochs"]
    measured = config if last else {**config, "calibrator": None}
    predictions = running.calibrated_predictions(measured, data, model, folder, device=device, fit=False)
    early = f"the checkpoint is that of epoch {checkpoint.epoch} of {config['epochs']}"
    return {
        "config": config,
        "epochs_done": checkpoint.epoch,
        "calibrated": measured["calibrator"] == config["calibrator"],
        **running.measure(measured, data, predictions),
        "intervals": intervals_of(predictions, data, level=level),
        "level": level,
        "not_written": predictions.save_if_other(folder) if last else early,
    }


def _compare_images(folder: Path, data: Data) -> None:
    if not (folder / PROTOCOL).exists():
        warnings.warn(f"{folder / PROTOCOL} is missing: nothing says whether the run had these images", stacklevel=3)
        return
    other = other_images(folder, data)
    if other is not None:
        raise DataError(f"{folder / PROTOCOL} records other images: {other}; name the folder of the run's with --root")


def intervals_of(predictions: Predictions, data: Data, *, level: float = 0.95) -> dict[str, Any]:
    """Return bootstrap intervals of top-1, of each group's recall and of each class's; None where there is no image."""
    final = predictions.logits if predictions.calibrated_logits is None else predictions.calibrated_logits
    labels = predictions.labels.numpy()
    right = (final.argmax(dim=1).numpy() == labels).astype(np.float64)
    groups = data.train.class_counts.groups()
    return {
        "top1": _interval(right, level),
        **{f"{name}_recall": _interval(right[member[labels]], level) for name, member in groups.items()},
        "per_class": [_interval(right[labels == label], level) for label in range(data.train.class_counts.num_classes)],
    }


def _interval(right: NDArray[np.float64], level: float) -> list[float] | None:
    return list(metrics.bootstrap_interval(right, level)) if right.size else None
