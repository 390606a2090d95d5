"""Stage 2 alone: a calibrator for the network of a finished run, or for one that was trained elsewhere."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_fast._files import is_temporary, make_folder, read_json, replace_file
from lt_fast._text import nearest
from lt_fast.calibration import CALIBRATORS, storage
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import Data, Parts, logit_scale, source_of
from lt_fast.experiment.components import call, component_of, refuse_unknown, settable
from lt_fast.experiment.config import OWN_HEAD, groups_of, resolve
from lt_fast.experiment.evaluate import opened
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.photographs import NAME as PHOTOGRAPHS
from lt_fast.experiment.predictions import MOST_LOGITS, AnyPredictions, predictions
from lt_fast.experiment.reading import read_as
from lt_fast.experiment.results import fit_calibrator, keeps_best, measure, predicted, ties_to, transformed
from lt_fast.records import OBJECT, SHA256, TEXT, check
from lt_fast.registry import RegisteredFile
from lt_fast.training.run_files import PREDICTIONS

_SHOWN = 5
_OWN_FILES = frozenset({*storage.FILES, PREDICTIONS, VALIDATION})  # beside the record, which is written last

CALIBRATION_RECORD = "calibration.json"
"""What was calibrated how, and the metrics before and after."""

ALIASES = {
    "mc": "margin", "crt": "retraining", "mislas": "label_aware_smoothing", "tau-norm": "tau_norm",
    "logit-adjustment": "logit_adjustment", "vector-scaling": "vector_scaling",
}  # fmt: skip
"""Names of the papers for calibrators of the registry."""

_RULES = {
    "run": TEXT,
    "calibrator": OBJECT,
    "calibrator.name": TEXT,
    "ties": OBJECT,
    "ties.config_sha256": SHA256,
    "ties.model_sha256": SHA256,
}


def calibrate_run(
    run_dir: str | Path,
    method: str,
    out: str | Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    root: str | Path | None = None,
    recipe_file: RegisteredFile | None = None,
    logits: bool = False,
) -> dict[str, Any]:
    """Fit a calibrator to the network of a finished run, measure before and after, and write both into ``out``.

    Args:
        run_dir: of the run; nothing in it changes unless ``out`` is left out.
        method: of the registry of calibrators: ``margin`` (``mc``), ``retraining`` (``crt``), ``temperature``,
            ``vector_scaling``, ``tau_norm``, ``logit_adjustment``, ``lws``, ``disalign``, ``label_aware_smoothing``
            (``mislas``), ...
        out: a new folder; ``<run_dir>/calibrations/<method>`` when left out.
        options: of the calibrator, as values or as text.
        device: where the network runs.
        root: folder of the data set's files.
        recipe_file: the file that registers the run's recipe, where it is not where the run records it.
        logits: store every logit of the images, however many, as of ``evaluate_run``.

    Returns:
        What ``calibration.json`` holds: ``run``, ``calibrator`` (name and options), ``fitted_on``, ``metrics`` (after),
        ``metrics_before_calibration``, ``ties``; and ``folder``.

    Warns where the calibrator takes the training frequencies out of scores that do not have them any more.

    Raises:
        UsageError: if the method or an option is unknown, ``out`` is there already, or the calibrator needs validation
            images that the run has not.
        DataError: if the folder is no finished run, or the data are not those of the run.
    """
    name = calibrator_name(method)
    folder = Path(run_dir) / "calibrations" / name if out is None else Path(out)
    _refuse_taken(folder)
    component = component_of("calibrator", name)
    refuse_unknown("calibrator", name, component, options or {})
    known = settable("calibrator", component)
    chosen = {key: read_as(known[key], value, f"calibrator.{key}") for key, value in (options or {}).items()}
    config, data, parts, checkpoint = opened(run_dir, device=device, root=root, recipe_file=recipe_file)
    if checkpoint.epoch < config["epochs"]:
        raise DataError(f"{run_dir} has not finished; `lt-fast train --resume {run_dir}` continues it")
    counts = data.train.class_counts
    given = {"counts": counts, "class_counts": counts, "num_classes": len(counts), "seed": config["seed"],
             "scale": logit_scale(config)}  # fmt: skip
    calibrator = call("calibrator", name, chosen, given, {})
    settings = {"name": name, **chosen}
    most = sys.maxsize if logits else MOST_LOGITS
    return _calibrated(config, data, parts, calibrator, folder, device, settings, Path(run_dir), most)


def network_config(
    weights: str | Path,
    method: str,
    *,
    model: str,
    data: str,
    overrides: Mapping[str, Any] | None = None,
    **given: Any,
) -> dict[str, Any]:
    """Return the configuration of a run that trains nothing: a network as its weights are, then stage 2.

    ``lt_fast.experiment.run`` carries it out: the run directory is one like any other, for ``lt_fast.load``, the report
    and every command. The network keeps its own head, found without its name (see ``lt_fast.models.adapt``); output c
    of the network stands for class c of the data. Photographs are split as for a training.

    Args:
        weights: file with the network's state dict: ``.safetensors``, or ``.pth`` read without running code.
        method: the calibrator, as of ``calibrate_run``.
        model: ``timm:NAME``, ``torchvision:NAME`` or ``package.module:factory``.
        data: name in the registry of data sets; ``"photographs"`` with ``data_options={"path": ...}``.
        overrides: settings as of ``resolve``; an option of the calibrator by its name alone, such as ``tau``.
        given: other arguments of ``resolve``: ``seed``, ``data_options``, ``imbalance_ratio``, ``profile``.

    Raises:
        UsageError: if method, model, data or a setting is unknown, or a setting would train the network.

    Example::

        config = network_config(
            "soil.pth", "mc", model="timm:resnet50", data="photographs", data_options={"path": "photos"}
        )
        result = lt_fast.experiment.run(config, "runs/calibrated")
    """
    name = calibrator_name(method)
    if ":" not in model:
        raise UsageError(f"model must be timm:NAME, torchvision:NAME or package.module:factory, got {model!r}")
    options = settable("calibrator", component_of("calibrator", name))
    changes = {f"calibrator.{key}" if key in options else key: value for key, value in (overrides or {}).items()}
    fixed = {"epochs": 0, "calibrator": name, "model.head": OWN_HEAD, "model.weights": os.path.abspath(weights)}  # noqa: PTH100
    if data == PHOTOGRAPHS:
        fixed["feature_views"] = 0
        given |= {"mode": "freeze", "model": model}
    else:
        fixed["model"] = model
    wrong = next((key for key in changes if key in fixed), None)
    if wrong is not None:
        raise UsageError(f"{wrong} must be left out: nothing is trained, and the network keeps its own head")
    return resolve("ce", data, {**fixed, **changes}, **given)


def chance_in(result: Mapping[str, Any]) -> str | None:
    """Return a line for a network that is no better than chance on the test images, or None.

    Chance is a mean recall of ``1 / C``. The usual reason is another order of the classes.
    """
    before = result["metrics_before_calibration"] or result["metrics"]
    names = result["data"]["class_names"]
    if before["balanced_acc"] > 1 / len(names) or len(names) == 1:
        return None
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return (
        f"the network alone is no better than chance ({100 * before['balanced_acc']:.1f} % mean recall of {len(names)} "
        f"classes): its outputs must be in the order of the data's classes, {listed}; a LIST.txt of paths and numbers "
        "gives another order"
    )


def calibrator_name(method: str) -> str:
    """Return the name in the registry of calibrators that ``method`` means.

    Raises:
        UsageError: if there is none; names the nearest.
    """
    name = ALIASES.get(method, method)
    if name not in CALIBRATORS:
        known = [*CALIBRATORS, *ALIASES]
        raise UsageError(f"--method must be one of {', '.join(known)}, got {method!r}{nearest(method, known)}")
    return name


def read_calibration(folder: Path) -> dict[str, Any]:
    """Return what ``calibrate_run`` recorded in ``folder``.

    Raises:
        DataError: if there is nothing, or it is damaged.
    """
    path = folder / CALIBRATION_RECORD
    if not path.exists():
        raise DataError(f"{folder} holds no calibration: {path} is missing; `lt-fast calibrate` writes one")
    record = read_json(path)
    try:
        check(record, _RULES)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    found: dict[str, Any] = record
    return found


def _refuse_taken(folder: Path) -> None:
    """Raise unless ``folder`` is new, empty, or holds what an interrupted call wrote before its record."""
    if not os.path.lexists(folder):
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    own = {name for name in names if name in _OWN_FILES or any(is_temporary(name, folder / one) for one in _OWN_FILES)}
    begun = PREDICTIONS in names or not names & _OWN_FILES  # a calibrator alone was saved by its user
    if own < names or not begun:
        raise UsageError(f"{folder} is there already; name a new folder with --out, or remove it")


def _calibrated(
    config: Mapping[str, Any], data: Data, parts: Parts, calibrator: Any, folder: Path, device: str,
    settings: dict[str, Any], run: Path, most: int,
) -> dict[str, Any]:  # fmt: skip
    fitted_on = fit_calibrator(config, data, parts, calibrator, device=device)
    if getattr(calibrator, "tau", None) is not None:
        settings = {**settings, "tau": calibrator.tau}
    test = _predictions(config, data.test, parts, calibrator, device, most)
    measured = measure(data, test, groups_of(config))
    told: dict[str, Any] = getattr(calibrator, "summary", dict)()
    ties = ties_to(config, parts.method.model)
    record = {
        "run": str(run.resolve()), "calibrator": settings, "fitted_on": fitted_on, "ties": ties, **measured,
        **({"summary": told} if told else {}),
    }  # fmt: skip
    validation = None
    if data.validation is not None:
        validation = _predictions(config, data.validation, parts, calibrator, device, most)
    make_folder(folder)
    test.save(folder, PREDICTIONS)  # first: they tell the rest of an interrupted call from a calibrator of the user's
    if validation is not None:
        validation.save(folder, VALIDATION)
    calibrator.save(folder)
    storage.tie(folder, ties)
    replace_file(folder / CALIBRATION_RECORD, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    return {**record, "folder": str(folder)}


def _predictions(
    config: Mapping[str, Any], images: Any, parts: Parts, calibrator: Any, device: str, most: int
) -> AnyPredictions:
    batches = parts.data.plain_loader(source_of(images))
    best = keeps_best(images, calibrator.counts, calibrator, most)
    scores, labels = predicted(config, parts.method, batches, device=device, best=best)
    after = transformed(config, calibrator, parts.method.model, batches, device, best=best)
    return predictions(scores, labels, after)
