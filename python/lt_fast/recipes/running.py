"""One run from its configuration to ``result.json``: data, network, training, calibration, metrics."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lt_fast import metrics, training
from lt_fast.calibration import Collected, collect
from lt_fast.datasets import ImageBatches
from lt_fast.errors import DataError, UsageError
from lt_fast.recipes import assembly, confusions
from lt_fast.recipes.assembly import Data
from lt_fast.recipes.config import sources_of
from lt_fast.recipes.predictions import Predictions
from lt_fast.training import RunDirectory
from lt_fast.versions import versions

CURVES = ("top1", "many_recall", "medium_recall", "few_recall")
"""Metrics of the test set that every epoch's row of ``metrics.csv`` holds, as ``test_<name>``."""

SELECTION = "last epoch"
"""Which weights are measured: never the best on the test set."""


def run(
    config: Mapping[str, Any],
    run_dir: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
    root: str | Path | None = None,
    download: bool = False,
) -> dict[str, Any]:
    """Train, calibrate and measure by ``config``, keeping everything in ``run_dir``.

    The weights and draws depend on the configuration alone; stopped at any point and resumed, a run ends in the same
    bits. A finished run is not repeated: with ``resume`` its result is returned as it stands.

    Args:
        config: from ``resolve``.
        run_dir: a new folder, or with ``resume`` the one of a stopped run of the same configuration.
        resume: continue what is in ``run_dir``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        progress: show it on stderr.
        root: folder of the data set's files.
        download: fetch missing files into ``root``.

    Returns:
        What ``result.json`` holds: ``config``, ``metrics`` (of the method, after calibration where it has one),
        ``metrics_before_calibration`` (or None), ``confusions`` where the method counts them, ``data``, ``seconds``,
        ``versions``.

    Raises:
        UsageError: if the folder holds another run, or the device is not there.
        DataError: if a file is missing or damaged, or the folder cannot be written.
        Interrupted: after a signal, with the state saved.
    """
    checked_device(device)
    # Data and parts first: what they refuse must not leave a run directory behind that blocks the next attempt.
    data = assembly.load_data(config, root=None if root is None else Path(root), download=download)
    assembly.refuse_unfit(config, data)
    with RunDirectory(run_dir, config, resume=resume) as directory:
        if directory.result_path.exists():
            return read_result(directory.path)
        with _removed_without_checkpoint(directory):
            directory.write_protocol(protocol_of(config, data))
            return _trained(config, directory, data, resume=resume, device=device, progress=progress)


def protocol_of(config: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return what a comparable run must share, data, subset hash, groups and selection rule, and every source."""
    return {
        "data": data_summary(data),
        "groups": {"many": "> 100 training images", "medium": "20 to 100", "few": "< 20"},
        "selection": SELECTION,
        "augmentation": {name: config[name] for name in ("crop_padding", "flip")} | {"mixer": config["mixer"]},
        "sources": sources_of(config),
        "versions": versions(),
    }


def data_summary(data: Data) -> dict[str, Any]:
    """Return sizes, fingerprints and the construction of the training subset."""
    return {
        "train_images": len(data.train),
        "test_images": len(data.test),
        "class_counts": data.train.class_counts.counts.tolist(),
        "class_names": list(data.train.classes),
        "train_fingerprint": data.train.fingerprint,
        "test_fingerprint": data.test.fingerprint,
        "construction": data.train.protocol,
    }


def measure(
    config: Mapping[str, Any],
    data: Data,
    predictions: Predictions,
) -> dict[str, Any]:
    """Return ``metrics`` and ``metrics_before_calibration`` of the predictions."""
    counts = data.train.class_counts
    before = metrics.evaluate(predictions.logits, predictions.labels, counts)
    if config["calibrator"] is None:
        return {"metrics": before, "metrics_before_calibration": None}
    assert predictions.calibrated_logits is not None
    after = metrics.evaluate(predictions.calibrated_logits, predictions.labels, counts)
    return {"metrics": after, "metrics_before_calibration": before}


def checked_device(name: str) -> str:
    """Return ``name`` if torch knows such a device and it is there.

    Raises:
        UsageError: naming the device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device must be cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device must be cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise UsageError(f"device must be present, got {name!r} with {found} GPUs here; try --device cpu")
    return name


@contextmanager
def _removed_without_checkpoint(directory: RunDirectory) -> Iterator[None]:
    """On an error before the first checkpoint, leave no folder that blocks the next attempt under other settings."""
    try:
        yield
    except (ArithmeticError, TypeError, ValueError):
        if not directory.resume and not directory.checkpoints.paths():
            with suppress(OSError):  # the error that is on its way says more
                for name in ("config.json", "protocol.json", "metrics.csv", ".lock"):
                    (directory.path / name).unlink(missing_ok=True)
                for folder in (directory.plots, directory.checkpoints.folder, directory.path):
                    folder.rmdir()
        raise


def _trained(
    config: Mapping[str, Any], directory: RunDirectory, data: Data, *, resume: bool, device: str, progress: bool,
) -> dict[str, Any]:  # fmt: skip
    model = assembly.make_model(config, data)
    criterion = assembly.make_criterion(config, data.train.class_counts)
    history = training.fit(
        model,
        assembly.make_batches(config, data, criterion),
        criterion,
        epochs=config["epochs"],
        learning_rate=assembly.make_schedule(config),
        run=directory,
        evaluate=_evaluation(config, data, device),
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        nesterov=config["nesterov"],
        amp=config["amp"],
        device=device,
        progress=progress,
        resume=resume,
    )
    started = time.perf_counter()
    predictions = calibrated_predictions(config, data, model, directory.path, device=device, fit=True)
    result = {
        "config": dict(config),
        **measure(config, data, predictions),
        **_confusions(criterion, data, directory.path),
        "data": data_summary(data),
        "selection": SELECTION,
        "seconds": {
            "train": sum(row["seconds"] or 0.0 for row in history),
            "calibrate_and_measure": time.perf_counter() - started,
        },
        "device": device,
        "versions": versions(),
    }
    predictions.save(directory.path)
    directory.write_result(result)
    return result


def calibrated_predictions(
    config: Mapping[str, Any], data: Data, model: nn.Module, folder: Path, *, device: str, fit: bool,
) -> Predictions:  # fmt: skip
    """Return the test set's logits, before and after calibration.

    Args:
        config: from ``resolve``.
        data: the run's data.
        model: trained, on ``device``.
        folder: of the run; the calibrator is kept in its subfolder ``calibration``.
        device: where the model runs.
        fit: learn the calibrator and save it, or read the saved one.
    """
    features, logits, labels = _collected(config, model, assembly.plain_batches(data.test, data), device)
    scale = assembly.logit_scale(config)
    calibrator = assembly.make_calibrator(config, data.train.class_counts)
    if calibrator is None:
        return Predictions(scale * logits, labels, None)
    if fit:
        fitted_on, _, targets = _collected(config, model, assembly.plain_batches(data.train, data), device)
        calibrator.fit(fitted_on, targets, head=model.head)
        calibrator.save(folder / "calibration")
    else:
        calibrator = type(calibrator).load(folder / "calibration")
    given = {"features": features, "logits": logits}[calibrator.transforms]
    return Predictions(scale * logits, labels, calibrator.transform(given))


def _confusions(criterion: nn.Module, data: Data, folder: Path) -> dict[str, Any]:
    """Return and save what a criterion has counted that does count."""
    if not isinstance(criterion, training.ConfusionRecorder):
        return {}
    confusion = criterion.up_to_date()
    confusions.save(confusion, folder)
    return {"confusions": confusions.summary_of(confusion, data.train.classes)}


def read_result(folder: Path) -> dict[str, Any]:
    """Return a finished run's ``result.json``.

    Raises:
        DataError: if it is missing or damaged.
    """
    path = folder / "result.json"
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the run has not finished; `lt-fast train --resume` continues it") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; remove it and `lt-fast train --resume` writes it again"
        ) from error
    return result


def _evaluation(config: Mapping[str, Any], data: Data, device: str) -> Callable[[nn.Module], dict[str, float | None]]:
    batches = assembly.plain_batches(data.test, data)

    def evaluate(model: nn.Module) -> dict[str, float | None]:
        _, logits, labels = _collected(config, model, batches, device)
        found = metrics.group_recalls(assembly.logit_scale(config) * logits, labels, data.train.class_counts)
        return {f"test_{name}": found[name] for name in CURVES}

    return evaluate


def _collected(config: Mapping[str, Any], model: nn.Module, batches: ImageBatches, device: str) -> Collected:
    with training.deterministic(torch.device(device)):
        return collect(model, batches, device=device, amp=config["amp"])
