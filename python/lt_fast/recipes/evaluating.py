"""A finished or stopped run measured again from its checkpoint, with intervals."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lt_fast import metrics
from lt_fast.errors import DataError
from lt_fast.recipes import assembly, running
from lt_fast.recipes.assembly import Data
from lt_fast.recipes.config import resolve
from lt_fast.recipes.predictions import Predictions
from lt_fast.training import Checkpoints, read_config


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
        own. The predictions in the run directory are written anew.

    Raises:
        DataError: if the folder is no run, has no readable checkpoint, or the data are not those of the run.
    """
    running.checked_device(device)
    folder = Path(run_dir)
    config = _checked_config(read_config(folder), folder)
    checkpoint = Checkpoints(folder / "checkpoints").newest()
    if checkpoint is None:
        raise DataError(f"{folder} has no checkpoint yet; continue it: lt-fast train --resume")
    data = assembly.load_data(config, root=None if root is None else Path(root))
    model = assembly.make_model(config, data)
    model.load_state_dict(checkpoint.tensors["model"])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training, to the last bit
    calibrated = config["calibrator"] is not None and (folder / "calibration").is_dir()
    measured = config if calibrated else {**config, "calibrator": None}
    predictions = running.calibrated_predictions(measured, data, model, folder, device=device, fit=False)
    predictions.save(folder)
    return {
        "config": config,
        "epochs_done": checkpoint.epoch,
        **running.measure(measured, data, predictions),
        "intervals": intervals_of(predictions, data, level=level),
        "level": level,
    }


def _checked_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    try:
        missing = resolve(config["method"], config["data"]).keys() - config.keys()
    except KeyError as error:
        missing = set(error.args)
    if missing:
        words = f"has no {', '.join(sorted(missing))}; it was written by another version or by hand"
        raise DataError(f"{folder / 'config.json'} {words}")
    return config


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
