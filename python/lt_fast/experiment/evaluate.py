"""A finished or stopped run measured again from its checkpoint, with intervals."""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import Data, Parts, build, load_data
from lt_fast.experiment.config import groups_of
from lt_fast.experiment.features import with_features
from lt_fast.experiment.folds import refuse_folds
from lt_fast.experiment.for_use import INPUT, NETWORK, VALIDATION, has_second_stage
from lt_fast.experiment.predictions import MOST_LOGITS, AnyPredictions, save_if_other
from lt_fast.experiment.protocol import PROTOCOL, other_images
from lt_fast.experiment.results import intervals_of, measure, predictions_of
from lt_fast.experiment.running import checked_device, save_for_use
from lt_fast.experiment.start import newest_of
from lt_fast.experiment.stored import stored_config
from lt_fast.registry import RegisteredFile
from lt_fast.training import Checkpoint, deterministic, run_files
from lt_fast.training.state import restore_method


def evaluate_run(
    run_dir: str | Path,
    *,
    device: str = "cpu",
    root: str | Path | None = None,
    level: float = 0.95,
    recipe_file: RegisteredFile | None = None,
    logits: bool = False,
) -> dict[str, Any]:
    """Load the newest checkpoint of ``run_dir``, predict the test set and measure.

    Args:
        run_dir: of a run that has at least one checkpoint.
        device: where the network runs.
        root: folder of the data set's files.
        level: of the intervals.
        recipe_file: the file that registers the run's recipe, where it is not in the place that the run records.
        logits: store every logit of the test and validation images, however many. Without it the folder keeps the form
            that it has, and a new file has all up to ``predictions.MOST_LOGITS`` bytes.

    Returns:
        ``config``, ``epochs_done``, ``metrics``, ``metrics_before_calibration`` as in ``result.json``; ``intervals``:
        (low, high) over the choice of the test images of ``top1``, ``balanced_acc`` and each group's recall, and of
        each class's recall in ``per_class``: see ``results.intervals_of``. ``calibrated``: False where the method
        calibrates and the checkpoint is from before that, so that the network alone was measured. ``not_written``: why
        the predictions in the folder are not those measured, or None: they are written where they are missing or
        others, the checkpoint is the last, and the folder can be written.

    Raises:
        UsageError: if the run needs a recipe file that is missing or has changed.
        DataError: if the folder is no run, has no readable checkpoint or lacks its calibrator, or the data are not
            those of the run.

    >>> measured = evaluate_run("runs/mammc-0")  # lt-fast train --method mammc --data digits-lt --run runs/mammc-0
    >>> measured["calibrated"], measured["metrics"]["images"]
    (True, 240)
    >>> low, high = measured["intervals"]["top1"]
    >>> low <= measured["metrics"]["top1"] <= high
    True
    """
    folder = Path(run_dir)
    config, data, parts, checkpoint = opened(folder, device=device, root=root, recipe_file=recipe_file)
    last = checkpoint.epoch == config["epochs"]
    calibrated = last or parts.calibrator is None
    measured = parts if calibrated else parts._replace(calibrator=None)
    best = False if logits else _best_in(folder)
    predictions = predictions_of(config, data, measured, folder, device=device, fit=False, best=best)
    early = f"the checkpoint is that of epoch {checkpoint.epoch} of {config['epochs']}"
    return {
        "config": config,
        "epochs_done": checkpoint.epoch,
        "calibrated": calibrated,
        **measure(data, predictions, groups_of(config)),
        "intervals": intervals_of(predictions, data, level=level, groups=groups_of(config)),
        "level": level,
        "not_written": early
        if not last
        else _not_written(config, data, measured, folder, predictions, device=device, logits=logits),
    }


def _best_in(folder: Path) -> bool | None:
    """Return whether the folder's predictions are the best classes alone; None where there are none."""
    holds = run_files.holds_logits(folder)
    return None if holds is None else not holds


def opened(
    run_dir: str | Path, *, device: str, root: str | Path | None, recipe_file: RegisteredFile | None
) -> tuple[dict[str, Any], Data, Parts, Checkpoint]:
    """Return configuration, data, parts with the newest weights on ``device``, and checkpoint of a run.

    A method's second stage is run again where the checkpoint is the last. Arguments and errors as ``evaluate_run``.
    """
    checked_device(device)
    folder = Path(run_dir)
    config = stored_config(folder, recipe_file)
    refuse_folds(folder, config)
    data = load_data(config, root=None if root is None else Path(root), run=folder)
    _compare_images(folder, data)
    parts = _parts(folder, config, data)
    checkpoint = newest_of(folder, parts.method.model, config=config)
    restore_method(parts.method, checkpoint)
    parts.method.to(device)
    parts.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training, to the last bit
    data, parts = with_features(config, data, parts, device=device)
    if checkpoint.epoch == config["epochs"]:
        with deterministic(torch.device(device)):
            parts.method.finish(parts.data)
    return config, data, parts, checkpoint


def _not_written(
    config: Mapping[str, Any],
    data: Data,
    parts: Parts,
    folder: Path,
    predictions: AnyPredictions,
    *,
    device: str,
    logits: bool,
) -> str | None:
    """Write what is missing or other than measured; return why it could not be written, or None."""
    reason = save_if_other(predictions, folder)
    lacking = [INPUT] + [NETWORK] * has_second_stage(parts.method) + [VALIDATION] * (data.validation is not None)
    wanted = logits and data.validation is not None and run_files.holds_logits(folder, VALIDATION) is False
    if reason is not None or (not wanted and all((folder / name).exists() for name in lacking)):
        return reason
    try:
        save_for_use(config, data, parts, folder, device=device, most=sys.maxsize if logits else MOST_LOGITS)
    except DataError as error:
        cause = error.__cause__  # without the advice to those who train
        return f"{folder} cannot be written ({cause.strerror if isinstance(cause, OSError) else error})"
    return None


def _parts(folder: Path, config: Mapping[str, Any], data: Data) -> Parts:
    try:
        return build(config, data, first_weights=False)
    except UsageError as error:  # no run is started with options that a component refuses
        raise DataError(f"{folder / 'config.json'} is damaged: {error}") from error


def _compare_images(folder: Path, data: Data) -> None:
    if not (folder / PROTOCOL).exists():
        warnings.warn(f"{folder / PROTOCOL} is missing: nothing says whether the run had these images", stacklevel=4)
        return
    other = other_images(folder, data)
    if other is not None:
        raise DataError(f"{folder / PROTOCOL} records other images: {other}; name the folder of the run's with --root")
