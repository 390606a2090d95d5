"""One run from its configuration to ``result.json``: data, network, training, calibration, metrics."""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lt_fast import metrics, training
from lt_fast.calibration import Collected, collect, storage
from lt_fast.data import Loader
from lt_fast.errors import DataError, UsageError, require
from lt_fast.methods import Method
from lt_fast.recipes import assembly
from lt_fast.recipes.assembly import Data
from lt_fast.recipes.config import sources_of
from lt_fast.recipes.predictions import Predictions
from lt_fast.recipes.starting import CURVES, ROW_RULES, Start, read_start
from lt_fast.recipes.stored_config import START, stored_config
from lt_fast.training import RunDirectory, run_files
from lt_fast.training.durable import CONTINUE, replace_file
from lt_fast.training.run_directory import differences, identity_of
from lt_fast.training.run_files import CONFUSIONS, METRICS, PREDICTIONS
from lt_fast.versions import versions

SELECTION = "last epoch"
"""Which weights are measured: never the best on the test set."""

CALIBRATION = "calibration"
"""Folder of a run that holds its calibrator."""

# Every checkpoint records these itself, as they were when it was written.
_COMPARED_BY_CHECKPOINTS = tuple(
    f"versions.{name}" for name in ("torch", "torch cuda", "gpu", "threads", "op backend", "op instruction set")
)


def run(
    config: Mapping[str, Any],
    run_dir: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
    root: str | Path | None = None,
    download: bool = False,
    start_from: str | Path | None = None,
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
        start_from: another run of the same data and network, whose weights this one begins with instead of new ones.
            Momentum, learning rate and re-weighting start again. The configuration records which weights they are.

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
    folder = Path(run_dir)
    # Data and parts first: what they refuse must not leave a run directory behind that blocks the next attempt.
    data = assembly.load_data(config, root=None if root is None else Path(root), download=download)
    assembly.refuse_unfit(config, data)
    start = None if start_from is None else _start(Path(start_from), folder, config, data)
    config = {**config, **({} if start is None else {START: start.record})}
    if resume and (folder / "config.json").exists():
        recorded = stored_config(folder).get(START)
        config = config | ({START: recorded} if recorded is not None and start is None else {})
    with RunDirectory(folder, config, resume=resume) as directory:
        directory.row_rules = ROW_RULES
        if finished(directory, config):
            directory.tidy()
            return read_result(directory)
        _warn_of_lost_checkpoints(directory)
        with _removed_without_checkpoint(directory):
            directory.write_protocol(protocol_of(config, data), silently=_COMPARED_BY_CHECKPOINTS)
            return _trained(config, directory, data, start, resume=resume, device=device, progress=progress)


def _start(start_from: Path, folder: Path, config: Mapping[str, Any], data: Data) -> Start:
    if start_from.resolve() == folder.resolve():
        raise UsageError(f"--start-from must be another run than --run, got {start_from} for both; name a new --run")
    return read_start(start_from, config, data)


def finished(directory: RunDirectory, config: Mapping[str, Any]) -> bool:
    """Return whether the run in ``directory`` has its result and all files that belong to it.

    Warns of files that are gone, where they can be had again from the last checkpoint.

    Raises:
        DataError: if files are gone, and the checkpoints too.
    """
    if not os.path.lexists(directory.result_path):
        return False
    lacking = [name for name in _files_of(config) if not os.path.lexists(directory.path / name)]
    if not lacking:
        return True
    names = ", ".join(lacking)
    if not directory.checkpoints.paths():
        raise DataError(f"{directory.path} has a result, but neither {names} nor a checkpoint; restore them")
    warnings.warn(f"{directory.path} has a result, but no {names}; made again from its last checkpoint", stacklevel=3)
    return False


def _warn_of_lost_checkpoints(directory: RunDirectory) -> None:
    # Its rows come after the first checkpoint: where they are alone, a training was lost.
    if os.path.lexists(directory.metrics_path) and not directory.checkpoints.paths():
        warnings.warn(f"{directory.checkpoints.folder} is empty: the training starts again at epoch 1", stacklevel=3)


def _files_of(config: Mapping[str, Any]) -> list[str]:
    calibrator = [] if config["calibrator"] is None else [f"{CALIBRATION}/{name}" for name in storage.FILES]
    counted = [CONFUSIONS] if config["mixer"] == "cp_mix" else []
    return ["protocol.json", METRICS, PREDICTIONS, *counted, *calibrator]


def protocol_of(config: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return what a comparable run must share, data, subset hash, groups and selection rule, and every source."""
    return {
        "data": data_summary(data),
        "groups": {"many": "> 100 training images", "medium": "20 to 100", "few": "< 20"},
        "selection": SELECTION,
        "augmentation": {name: config[name] for name in ("crop_padding", "flip")} | {"mixer": config["mixer"]},
        "sources": sources_of(config),
        "versions": versions(),
    } | ({START: config[START]} if START in config else {})


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
    except (ArithmeticError, TypeError, ValueError) as error:
        if not directory.resume and not directory.checkpoints.paths():
            with suppress(OSError):  # the error that is on its way says more
                for name in ("config.json", "protocol.json", "metrics.csv", ".lock"):
                    (directory.path / name).unlink(missing_ok=True)
                for folder in (directory.plots, directory.checkpoints.folder, directory.path):
                    folder.rmdir()
            if CONTINUE in str(error):
                raise DataError(str(error).replace(CONTINUE, "then start the run again")) from error
        raise


def _trained(
    config: Mapping[str, Any], directory: RunDirectory, data: Data, start: Start | None, *, resume: bool, device: str,
    progress: bool,
) -> dict[str, Any]:  # fmt: skip
    method = assembly.make_method(config, data)
    model = method.model
    _first_weights(model, config, directory, start)
    training_data = assembly.training_data(config, data)
    history = training.fit(
        method,
        method.loaders(training_data),
        epochs=config["epochs"],
        learning_rate=assembly.make_schedule(config),
        optimizer=partial(
            torch.optim.SGD,
            momentum=config["momentum"],
            weight_decay=config["weight_decay"],
            nesterov=config["nesterov"],
        ),
        run=directory,
        evaluate=_evaluation(config, data, device),
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
        **_told(method, directory.path),
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


def _first_weights(model: nn.Module, config: Mapping[str, Any], directory: RunDirectory, start: Start | None) -> None:
    if start is not None:
        model.load_state_dict(start.weights)
    elif START in config and not directory.checkpoints.paths():
        source = config[START]["run"]
        raise UsageError(
            f"{directory.path} has no checkpoint yet and begins with the weights of the run {source}; "
            "give --start-from again"
        )


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
    ties = {"config_sha256": identity_of(config), "model_sha256": _digest_of(model)}
    if fit:
        fitted_on, _, targets = _collected(config, model, assembly.plain_batches(data.train, data), device)
        calibrator.fit(fitted_on, targets, head=model.head)
        calibrator.save(folder / CALIBRATION)
        storage.tie(folder / CALIBRATION, ties)
    else:
        calibrator = _loaded_calibrator(calibrator, folder / CALIBRATION, ties)
    given = {"features": features, "logits": logits}[calibrator.transforms]
    try:
        calibrated = calibrator.transform(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{folder / CALIBRATION} is not of this run's network: {error}") from error
    return Predictions(scale * logits, labels, calibrated)


def _digest_of(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _loaded_calibrator(wanted: Any, folder: Path, ties: Mapping[str, str]) -> Any:
    """Return the calibrator in ``folder``, one of the settings, class counts and ties of ``wanted``."""
    for name in storage.FILES:
        if not (folder / name).exists():
            raise DataError(
                f"{folder / name} is missing, and without it the network is not calibrated as config.json says; "
                f"restore it, or `lt-fast train --resume {folder.parent}` learns it again"
            )
    found = type(wanted).load(folder)
    theirs, ours = found.counts.counts.tolist(), wanted.counts.counts.tolist()
    if theirs != ours:
        raise DataError(f"{folder} is not of this run: it was fitted to the class counts {theirs}, these are {ours}")
    if found.scale != wanted.scale:
        raise DataError(f"{folder} is not of this run: its scale is {found.scale:g}, that of the run {wanted.scale:g}")
    if storage.ties_of(folder) != ties:
        raise DataError(
            f"{folder} is not of this run: it was not fitted to the network of its last checkpoint under its "
            f"configuration; remove it and `lt-fast train --resume {folder.parent}` learns it again"
        )
    return found


def _told(method: Method, folder: Path) -> dict[str, Any]:
    """Return what the method tells of itself, and save its tables."""
    for name, table in method.tables().items():
        safetensors = require("safetensors.torch", extra="train", purpose="saving confusion counts")
        replace_file(folder / f"{name}.safetensors", safetensors.save({"entries": table}))
    return dict(method.summary())


def read_result(directory: RunDirectory) -> dict[str, Any]:
    """Return the ``result.json`` of a finished run.

    Raises:
        DataError: if it is missing or damaged, or the result of another configuration.
    """
    result = run_files.read_result(directory.path)
    changed = differences(result["config"], directory.config)
    if changed:
        raise DataError(
            f"{directory.result_path} is not the result of this run: {', '.join(changed.values())}; "
            f"remove it and `lt-fast train --resume {directory.path}` writes it again"
        )
    return result


def _evaluation(config: Mapping[str, Any], data: Data, device: str) -> Callable[[Any], dict[str, float | None]]:
    batches = assembly.plain_batches(data.test, data)

    def evaluate(method: Method) -> dict[str, float | None]:
        _, logits, labels = _collected(config, method.model, batches, device)
        found = metrics.group_recalls(assembly.logit_scale(config) * logits, labels, data.train.class_counts)
        return {f"test_{name}": found[name] for name in CURVES}

    return evaluate


def _collected(config: Mapping[str, Any], model: nn.Module, batches: Loader, device: str) -> Collected:
    with training.deterministic(torch.device(device)):
        return collect(model, batches, device=device, amp=config["amp"])
