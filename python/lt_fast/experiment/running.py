"""One run from its configuration to ``result.json``: data, parts, training, calibration, metrics."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lt_fast import _checks, metrics, training
from lt_fast._extras import require
from lt_fast._files import FOR_RUN, replace_file
from lt_fast.calibration import storage
from lt_fast.datasets.splits import IMAGES, write_images
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import Data, Parts, build, fused_on, images_to_fit, load_data, source_of
from lt_fast.experiment.captured import CapturedPrediction, in_large_batches
from lt_fast.experiment.config import DATA_OPTIONS, MODE, RECIPE_FILE, groups_of, run_name
from lt_fast.experiment.features import with_features
from lt_fast.experiment.for_use import INPUT, VALIDATION, write_input, write_network
from lt_fast.experiment.mirrors import Mirror, checked_log, mirrors_of
from lt_fast.experiment.other_run import NetworkOfRun, network_of_run
from lt_fast.experiment.photographs import home_of, rows_of
from lt_fast.experiment.predictions import MOST_LOGITS
from lt_fast.experiment.protocol import COMPARED_BY_CHECKPOINTS, PROTOCOL, data_summary, protocol_of, selection_of
from lt_fast.experiment.results import (
    CALIBRATION,
    calibrated,
    keeps_best,
    measure,
    predicted,
    predictions_of,
    scored_batches,
)
from lt_fast.experiment.small_batches import last_batch_named
from lt_fast.experiment.start import CURVES, ROW_RULES, Start, read_start
from lt_fast.experiment.stored import START, stored_config
from lt_fast.experiment.teacher import teacher_config
from lt_fast.methods import Method
from lt_fast.ranks import Ranks
from lt_fast.training import Callback, Checkpoints, RunDirectory, process_group, run_files
from lt_fast.training.compiling import check_compiler
from lt_fast.training.run_directory import differences
from lt_fast.training.run_files import METRICS, PREDICTIONS
from lt_fast.training.state import refuse_disagreement
from lt_fast.training.times import NO_TIMES
from lt_fast.versions import versions


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
    step: str = "eager",
    workers: int | None = None,
    log: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    compiler: str | None = None,
    times: training.Times = NO_TIMES,
    most_logits: int = MOST_LOGITS,
    test_curves: bool = False,
) -> dict[str, Any]:
    """Train, calibrate and measure by ``config``, with everything in ``run_dir``.

    Weights and samples depend on the configuration alone; a run that is stopped at any point and resumed gives
    bit-identical results. A finished run is not repeated: with ``resume`` its result is returned.

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
        step: ``"eager"`` or, on a GPU, ``"graph"``: see ``lt_fast.training.fit``.
        workers: processes that decode photographs; one for each processor when left out.
        log: ``"tensorboard"`` and ``"wandb"``: mirrors of ``metrics.csv`` and of the final metrics.
        callbacks: told of the training as it goes; see ``lt_fast.training.Callback``.
        compiler: backend of ``torch.compile`` for the network's steps: see ``lt_fast.training.fit``.
        times: told of the parts of every step: see ``lt_fast.training.Measured``.
        most_logits: bytes of test logits, before and after calibration together, up to which the run stores them all
            (float32); above, the five best classes of each image, and no N x C matrix is made. The metrics are the
            same. ``evaluate_run(..., logits=True)`` stores them later.
        test_curves: measure the test images after every epoch too, where images are held out for validation. Nothing is
            chosen by them: the epoch that is best on the validation images then has its accuracy on the test images.

    Under ``torchrun`` every rank calls this, and rank 0 writes and returns the result; the others return an empty one.

    Returns:
        What ``result.json`` holds: ``config``, ``metrics`` (of the method, after calibration where it has one),
        ``metrics_before_calibration`` (or None), ``method`` what the method tells of itself, ``data``, ``seconds``,
        ``versions``.

    Raises:
        UsageError: if the folder holds another run, a component refuses its options, or the device is not there.
        DataError: if a file is missing or damaged, or the folder cannot be written.
        Interrupted: after a signal, with the state saved.

    >>> from lt_fast.experiment import resolve
    >>> config = resolve("ldam", "digits-lt", {"epochs": 1})
    >>> result = run(config, "runs/ldam", progress=False)
    >>> result["metrics"]["images"], sorted(path.name for path in Path("runs/ldam").glob("*.json"))
    (240, ['config.json', 'input.json', 'protocol.json', 'result.json'])
    >>> run(config, "runs/ldam", resume=True)["metrics"] == result["metrics"]  # a finished run is not repeated
    True
    """
    checked_device(device)
    ranks = Ranks.from_environment()
    if ranks.world_size > 1 and torch.device(device).index is not None:
        raise UsageError(f"device must be cuda on {ranks.world_size} ranks, each with a GPU of its own, got {device!r}")
    told = Told(checked_log(log), tuple(callbacks))
    most = _checks.integer("most_logits", most_logits, least=0)
    place = Place(
        Path(run_dir), resume, device, progress, step, ranks, workers, told, compiler, times, most, test_curves
    )
    with process_group(ranks, device):
        return run_in(config, place, root=root, download=download, start_from=start_from)


class Told(NamedTuple):
    """Who is told of a training: mirrors by name, and callbacks."""

    log: tuple[str, ...] = ()
    callbacks: tuple[Callback, ...] = ()


class Place(NamedTuple):
    """Where and how a run is carried out; nothing here changes its result beyond rounding."""

    folder: Path
    resume: bool
    device: str
    progress: bool
    step: str
    ranks: Ranks
    workers: int | None = None
    told: Told = Told()
    compiler: str | None = None
    times: training.Times = NO_TIMES
    most_logits: int = MOST_LOGITS
    test_curves: bool = False


def run_in(
    config: Mapping[str, Any],
    place: Place,
    *,
    root: str | Path | None = None,
    download: bool = False,
    start_from: str | Path | None = None,
    data: Data | None = None,
) -> dict[str, Any]:
    """Carry a run out at ``place``; see ``run``. ``data`` are its images, where they have been read already."""
    folder, ranks = place.folder, place.ranks
    # Data and parts first: what they refuse must not leave a run directory behind that blocks the next attempt.
    if data is None:
        data = _loaded(config, place, root=None if root is None else Path(root), download=download)
    parts = build(config, data, ranks, first_weights=_first_weights_needed(config, place), workers=place.workers)
    if parts.calibrator is not None:
        images_to_fit(parts.calibrator, data)
    _refuse_other_ranks(config, data, ranks)
    training.check_step(place.step, place.device, parts.method)
    check_compiler(place.compiler)
    start = None if start_from is None else _start(Path(start_from), folder, config, data)
    config = {**config, **({} if start is None else {START: start.record})}
    if not ranks.is_main:
        return _joined(config, data, parts, start, place)
    if place.resume and (folder / "config.json").exists():
        stored = stored_config(folder, config.get(RECIPE_FILE))
        # Neither where a recipe file is now nor that --start-from was left out makes it another run.
        again = (RECIPE_FILE, START) if start is None else (RECIPE_FILE,)
        config = config | {name: stored[name] for name in again if name in stored}
    with RunDirectory(folder, config, resume=place.resume) as directory:
        directory.row_rules = ROW_RULES
        if ranks.broadcast(finished(directory, config)):
            directory.tidy()
            return read_result(directory)
        _warn_of_lost_checkpoints(directory)
        with _removed_without_checkpoint(directory):
            if MODE in config and not os.path.lexists(folder / IMAGES):
                write_images(folder, rows_of(*data, fold=_fold_in(config)))
            directory.write_protocol(protocol_of(config, data), silently=COMPARED_BY_CHECKPOINTS)
            write_input(folder, data)
            _first_weights(parts.method, config, directory, start)
            return _trained(config, directory, data, parts, place)


def _joined(config: Mapping[str, Any], data: Data, parts: Parts, start: Start | None, place: Place) -> dict[str, Any]:
    """Train together with rank 0, which has the run directory; returns nothing that is to be reported."""
    if place.ranks.broadcast(None):
        return {}
    if start is not None:
        parts.method.begin_with(start.weights)
    return _trained(config, None, data, parts, place)


def _loaded(config: Mapping[str, Any], place: Place, *, root: Path | None, download: bool) -> Data:
    """Load the data; of several ranks, the first alone downloads, unpacks and checks them.

    The others get the list of the photographs from the first; other data they read from the disk then.
    """
    ranks, begun = place.ranks, place.folder if place.resume else None
    if ranks.is_main:
        data = load_data(config, root=root, download=download, run=begun, progress=place.progress)
        ranks.broadcast(data if MODE in config else None)
        return data
    listed = ranks.broadcast(None)
    if listed is None:
        return load_data(config, root=root, run=begun)
    options = config[DATA_OPTIONS]
    home = home_of(options["path"], options["root"] if root is None else root)
    return Data(*(None if part is None else part.moved(home) for part in listed))


def _first_weights_needed(config: Mapping[str, Any], place: Place) -> bool:
    """Whether pretrained weights are read: not if a checkpoint has the network's, but for frozen layers' features."""
    begun = place.resume and bool(Checkpoints(place.folder / "checkpoints").paths())
    return config.get(MODE) == "freeze" or not begun


def _fold_in(config: Mapping[str, Any]) -> str:
    fold = config[DATA_OPTIONS]["fold"]
    return "" if fold is None else str(fold)


def _refuse_other_ranks(config: Mapping[str, Any], data: Data, ranks: Ranks) -> None:
    """Raise if the ranks differ in settings or data, or train another loss together than one rank would."""
    if ranks.world_size > 1 and config["loss"].get("normalization") == "weights":
        raise UsageError(
            f"loss.normalization must be 'expected' or 'batch' on {ranks.world_size} ranks, got 'weights', which "
            "divides by the weights of a rank's own rows; add --set loss.normalization=expected"
        )
    if ranks.world_size > 1 and config["loss"].get("reduction", "mean") != "mean":
        found = config["loss"]["reduction"]
        raise UsageError(
            f"loss.reduction must be 'mean' on {ranks.world_size} ranks, whose losses are averaged, got {found!r}; "
            "leave it out"
        )
    images = {"train": data.train.fingerprint, "test": data.test.fingerprint}
    refuse_disagreement(ranks, {"config": dict(config), "images": images})


def finished(directory: RunDirectory, config: Mapping[str, Any]) -> bool:
    """Return whether the run in ``directory`` has its result and all files that belong to it.

    Warns of files that are gone, where they can be had again from the last checkpoint.

    Raises:
        DataError: if files are gone, and the checkpoints too.
    """
    if not os.path.lexists(directory.result_path):
        return False
    lacking = [name for name in _files_of(directory, config) if not os.path.lexists(directory.path / name)]
    if not lacking:
        return True
    names = ", ".join(lacking)
    if not directory.checkpoints.paths():
        raise DataError(f"{directory.path} has a result, but neither {names} nor a checkpoint; restore them")
    warnings.warn(f"{directory.path} has a result, but no {names}; made again from its last checkpoint", stacklevel=3)
    return False


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


def _start(start_from: Path, folder: Path, config: Mapping[str, Any], data: Data) -> Start:
    if start_from.resolve() == folder.resolve():
        raise UsageError(f"--start-from must be another run than --run, got {start_from} for both; name a new --run")
    return read_start(start_from, config, data)


def _warn_of_lost_checkpoints(directory: RunDirectory) -> None:
    # Its rows come after the first checkpoint: where they are alone, a training was lost.
    if os.path.lexists(directory.metrics_path) and not directory.checkpoints.paths():
        warnings.warn(f"{directory.checkpoints.folder} is empty: the training starts again at epoch 1", stacklevel=3)


def _files_of(directory: RunDirectory, config: Mapping[str, Any]) -> list[str]:
    calibrator = [] if config["calibrator"] is None else [f"{CALIBRATION}/{name}" for name in storage.FILES]
    tables = run_files.tables_of(directory.path)
    images = [IMAGES] if MODE in config else []
    return [PROTOCOL, METRICS, PREDICTIONS, *images, *tables, *calibrator]


@contextmanager
def _removed_without_checkpoint(directory: RunDirectory) -> Iterator[None]:
    """On an error before the first checkpoint, leave no folder that blocks the next attempt under other settings."""
    try:
        yield
    except (ArithmeticError, TypeError, ValueError) as error:
        if not directory.resume and not directory.checkpoints.paths():
            with suppress(OSError):  # the error that is on its way says more
                for name in ("config.json", "protocol.json", INPUT, "metrics.csv", IMAGES, training.TRACE, ".lock"):
                    (directory.path / name).unlink(missing_ok=True)
                for folder in (directory.plots, directory.checkpoints.folder, directory.path):
                    folder.rmdir()
            if FOR_RUN.once_free in str(error):
                raise DataError(str(error).replace(FOR_RUN.once_free, "then start the run again")) from error
        raise


def _first_weights(method: Method, config: Mapping[str, Any], directory: RunDirectory, start: Start | None) -> None:
    if start is not None:
        method.begin_with(start.weights)
    elif START in config and not directory.checkpoints.paths():
        source = config[START]["run"]
        raise UsageError(
            f"{directory.path} has no checkpoint yet and begins with the weights of the run {source}; "
            "give --start-from again"
        )


def _trained(
    config: Mapping[str, Any], directory: RunDirectory | None, data: Data, parts: Parts, place: Place
) -> dict[str, Any]:
    data, parts = with_features(config, data, parts, device=place.device, progress=place.progress)
    mirrors = [] if directory is None else mirrors_of(place.told.log, directory.path, config)
    with ExitStack() as stack:
        for mirror in mirrors:
            stack.callback(mirror.close)
        result = _measured(config, directory, data, parts, place, mirrors)
        for mirror in mirrors:
            mirror.result(result)
    return result


def _measured(
    config: Mapping[str, Any],
    directory: RunDirectory | None,
    data: Data,
    parts: Parts,
    place: Place,
    mirrors: Sequence[Mirror],
) -> dict[str, Any]:
    with last_batch_named(config, data.train.class_counts):
        history = _fitted(config, directory, data, parts, place, mirrors)
    started = time.perf_counter()
    with training.deterministic(torch.device(place.device)):
        parts.method.finish(parts.data)
    test = parts.data.plain_loader(source_of(data.test))
    best = keeps_best(data.test, data.train.class_counts, parts.calibrator, place.most_logits)
    scored = predicted(config, parts.method, test, device=place.device, ranks=place.ranks, best=best)
    if directory is None:
        return {}
    alone = parts._replace(data=replace(parts.data, ranks=Ranks()))  # the others have nothing left to do
    predictions = calibrated(config, data, alone, directory.path, scored, device=place.device, fit=True)
    tables = _saved_tables(parts.method, directory.path)
    told: dict[str, Any] = getattr(parts.calibrator, "summary", dict)()  # such as how many experts answer
    measured = {
        **measure(data, predictions, groups_of(config)),
        "method": dict(parts.method.summary()),
        **({"calibration": told} if told else {}),
        "tables": tables,
    }
    result = {"config": dict(config), **measured, **_circumstances(config, data, history, started, place)}
    predictions.save(directory.path)
    save_for_use(config, data, alone, directory.path, device=place.device, most=place.most_logits)
    directory.write_result(result)
    return result


def save_for_use(
    config: Mapping[str, Any], data: Data, parts: Parts, folder: Path, *, device: str, most: int = MOST_LOGITS
) -> None:
    """Write what the finished classifier needs later in place of the data: its input, weights, validation predictions.

    Of these, every logit is stored up to ``most`` bytes, else the best classes of each image.

    Raises:
        DataError: if the folder cannot be written.
    """
    write_input(folder, data)
    write_network(folder, parts.method)
    if data.validation is not None:
        held_out = data._replace(test=data.validation)
        best = keeps_best(data.validation, data.train.class_counts, parts.calibrator, most)
        found = predictions_of(config, held_out, parts, folder, device=device, fit=False, best=best)
        found.save(folder, VALIDATION)


def _fitted(
    config: Mapping[str, Any],
    directory: RunDirectory | None,
    data: Data,
    parts: Parts,
    place: Place,
    mirrors: Sequence[Mirror],
) -> training.History:
    """Train; on every rank, of which the first has the run directory."""
    parts.method.prepare(partial(_network_of, config=config, data=data, place=place))
    return training.fit(
        parts.method,
        parts.loaders,
        epochs=config["epochs"],
        learning_rate=parts.schedule,
        optimizer=fused_on(place.device, parts.optimizer),
        run=directory,
        evaluate=_evaluations(config, data, parts, place),
        amp=config["amp"],
        device=place.device,
        progress=place.progress,
        resume=place.resume and directory is not None,
        ranks=place.ranks,
        step=place.step,
        callbacks=(*place.told.callbacks, *mirrors),
        compiler=place.compiler,
        times=place.times,
        # A frozen network's head is a second of training, and a checkpoint a file of megabytes.
        save_every=max(config["epochs"], 1) if config.get(MODE) == "freeze" else 1,
    )


def _network_of(run: str, *, config: Mapping[str, Any], data: Data, place: Place) -> NetworkOfRun:
    """Return the network of a finished run; one that a recipe describes is trained first, next to this run."""
    teacher = None if Path(run).exists() else teacher_config(run, config)
    if teacher is None:
        return network_of_run(run, data=data)
    folder = place.folder.parent / run_name(teacher)
    begun = (folder / "config.json").exists()
    run_in(teacher, place._replace(folder=folder, resume=begun, told=Told(), test_curves=False), data=data)
    place.ranks.barrier()  # the first rank writes what all read
    return network_of_run(str(folder), data=data)


def _circumstances(
    config: Mapping[str, Any], data: Data, history: training.History, started: float, place: Place
) -> dict[str, Any]:
    """Return what the result tells of the data, the time, the device and the versions."""
    return {
        "data": data_summary(data),
        "selection": selection_of(config),
        "seconds": {
            "train": sum(row["seconds"] or 0.0 for row in history),
            "calibrate_and_measure": time.perf_counter() - started,
        },
        "device": place.device,
        "ranks": place.ranks.world_size,
        "versions": versions(),
    }


def _evaluations(
    config: Mapping[str, Any], data: Data, parts: Parts, place: Place
) -> Callable[[Any], dict[str, float | None]]:
    """Return what measures the method after an epoch: on validation images, else test images; on both if asked for."""
    measured = dict([data.measured_each_epoch()]) | ({"test": data.test} if place.test_curves else {})
    each = [_evaluation(config, data, parts, place, images) for images in measured.items()]
    return lambda method: {name: value for evaluate in each for name, value in evaluate(method).items()}


def _evaluation(
    config: Mapping[str, Any], data: Data, parts: Parts, place: Place, measured: tuple[str, Any]
) -> Callable[[Any], dict[str, float | None]]:
    name, images = measured
    captured = place.step == "graph"
    batches = (in_large_batches(parts.data) if captured else parts.data).plain_loader(source_of(images))
    predicting = CapturedPrediction(parts.method, torch.device(place.device)) if captured else parts.method

    def evaluate(method: Method) -> dict[str, float | None]:  # noqa: ARG001  (it is that of `parts`)
        recalls = metrics.GroupRecalls(data.train.class_counts, groups=groups_of(config))
        for _, logits, labels in scored_batches(config, predicting, batches, device=place.device):
            recalls.add(logits, labels)
        counted = torch.from_numpy(recalls.counted).to(place.device)  # where the ranks exchange tensors
        recalls.counted = place.ranks.sum(counted).cpu().numpy()
        found = recalls.result()
        return {f"{name}_{key}": found[key] for key in CURVES}

    return evaluate


def _saved_tables(method: Method, folder: Path) -> list[str]:
    """Save what the method has recorded as tensors, and return the names of the files."""
    names = []
    for name, table in method.tables().items():
        safetensors = require("safetensors.torch", extra="train", purpose=f"saving {name}")
        names.append(f"{name}.safetensors")
        replace_file(folder / names[-1], safetensors.save({"entries": table}), next_step=FOR_RUN)
    return names
