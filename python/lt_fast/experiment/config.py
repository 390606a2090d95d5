"""From (recipe, data set, changes) to one nested, JSON-able configuration, and back to the reason for each value."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lt_fast import _checks
from lt_fast._numbers import integer_option, read_number
from lt_fast._text import nearest, shown
from lt_fast.counts import FEW_BELOW, MANY_ABOVE
from lt_fast.errors import UsageError
from lt_fast.experiment.components import FROM_THE_RUN, component_of, settable, takes_any
from lt_fast.experiment.laid_over import TRAINING_PROTOCOL, laid_over, training_protocol_of
from lt_fast.experiment.lengths import LENGTH, UNITS, epochs_for, in_words, length_of, training_images
from lt_fast.experiment.reading import read_as
from lt_fast.recipes import COMPONENTS, OF_PHOTOGRAPHS, VALUES, Cited, Protocol, Recipe, Spec, cited
from lt_fast.recipes.protocols import AS_SEED, USUAL
from lt_fast.recipes.recipe import flat, merge, plain
from lt_fast.registry import DATASETS, PROTOCOLS, RECIPES, RegisteredFile, load_file

PROFILES = ("exp", "step", "pareto")
"""Shapes of the tail that ``profile`` may name."""

_NOT_OPTIONS = ("imbalance_ratio", "profile", "seed", "validation", "run", "progress", "download")
"""Arguments of a data set that are settings of the run, or of no run."""

RECIPE_FILE = "recipe_file"
"""Setting that records the file which registered the recipe: its path and SHA-256."""

SHORT = {"lr": "learning_rate", "wd": "optimizer.weight_decay"}
"""Common abbreviations, and the settings that they stand for."""

# What no training has use for, and the arithmetic or the memory does not bear: refused before anything is made.
_MOST_EPOCHS = 1_000_000
_MOST_ROWS = 65_536  # of a batch; a batch of the largest CIFAR training set fits
_MOST_VIEWS = 1000
_MOST_RATE = 1e30  # it diverges, and is told so, long before; above 3e38 torch cannot take it
_LARGEST_RATIO = 1_000_000
_SMALLEST_INVERTED = 1e-6  # a ratio below it is no smallest over largest class either
_LONGEST_NAME = 100
_ARGUMENTS = ("method", "recipe", "data", "imbalance_ratio", "profile", "seed", "mode", "protocol")

_OF_THE_DATA = ("transform",)
"""Components whose options describe the images: another one keeps those that it has, too."""

MODES = ("finetune", "freeze", "scratch")
"""How a network is trained on photographs: all of it, its head alone, or all of it from new weights."""

MODE, DATA_OPTIONS = "mode", "data_options"
"""Settings of photographs; options of the data set are recorded for every data set that has some."""

OWN_HEAD = "own"
"""Value of ``model.head`` of a network that keeps the classifier that it has."""


def run_settings(
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    amp: bool = False,
    subset_seed: int,
    validation: float = 0.0,
    defer_until: float = 0.8,
    many_above: int = MANY_ABOVE,
    few_below: int = FEW_BELOW,
    layer_decay: float = 1.0,
    averaging: float = 0.0,
    feature_views: int = 1,
) -> dict[str, Any]:
    """Return the settings of a run that belong to no component, checked.

    Args:
        epochs: passes over the training set; 0 for a network that keeps its own head, which is taken as it is.
        batch_size: images per step.
        learning_rate: the highest rate of the schedule.
        amp: run the forward pass under bfloat16 autocast.
        subset_seed: which images the long-tailed subset keeps, and which are held out for validation.
        validation: fraction of each class's training images held out to measure each epoch; 0 for none.
        defer_until: fraction of the epochs after which class weights set in.
        many_above: classes with more training images are the group "many"; it changes no training.
        few_below: classes with less training images are the group "few"; the rest is "medium".
        layer_decay: learning rate of a network's first layer over that of its head; the layers between fall off evenly.
        averaging: how slowly the averaged weights follow those that are trained, in [0, 1); 0 for no average.
        feature_views: augmented copies of each image whose features a frozen network computes; 0 takes the images as
            they are.

    Raises:
        TypeError, ValueError: naming the setting, its rule and the value.
    """
    if not isinstance(amp, bool):
        raise TypeError(f"amp must be true or false, got {shown(amp)}")
    return {
        "epochs": _checks.integer("epochs", epochs, least=0, most=_MOST_EPOCHS),
        "batch_size": _checks.integer("batch_size", batch_size, least=1, most=_MOST_ROWS),
        "learning_rate": _checks.number("learning_rate", learning_rate, above=0, most=_MOST_RATE),
        "amp": amp,
        "subset_seed": _checks.seed(subset_seed, "subset_seed"),
        "validation": _checks.number("validation", validation, least=0, below=1),
        "defer_until": _checks.number("defer_until", defer_until, least=0, most=1),
        **_group_limits(many_above, few_below),
        "layer_decay": _checks.number("layer_decay", layer_decay, above=0, most=1),
        "averaging": _checks.number("averaging", averaging, least=0, below=1),
        "feature_views": _checks.integer("feature_views", feature_views, least=0, most=_MOST_VIEWS),
    }


_RUN = signature(run_settings).parameters


def _group_limits(many_above: int, few_below: int) -> dict[str, int]:
    limits = {"many_above": many_above, "few_below": few_below}
    found = {name: _checks.integer(name, value, least=1) for name, value in limits.items()}
    if found["few_below"] > found["many_above"] + 1:
        raise ValueError(
            f"few_below must be <= many_above + 1, or a class is in two groups, got few_below={few_below} and "
            f"many_above={many_above}; set both"
        )
    return found


def groups_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return ``(many_above, few_below)``, the thresholds of a run's groups, as ``metrics.evaluate`` takes them.

    >>> groups_of(resolve("ce", "digits-lt")), groups_of(resolve("ce", "digits-lt", {"many_above": 50}))
    ((100, 20), (50, 20))
    """
    return config.get("many_above", MANY_ABOVE), config.get("few_below", FEW_BELOW)


def recipe_of(method: str) -> Recipe:
    """Return the recipe called ``method``; hyphens count as underscores.

    Raises:
        UsageError: if there is none; names the nearest.

    >>> recipe = recipe_of("ldam-drw")
    >>> recipe.name, recipe.paper.arxiv, recipe.settings["loss"].name
    ('ldam_drw', '1906.07413', 'ldam')
    """
    if not isinstance(method, str):
        raise UsageError(f"method must be a name, got {shown(method)}; `lt-fast methods` lists them")
    underscored = method.replace("-", "_")
    found = RECIPES[underscored if underscored in RECIPES else method]
    if not isinstance(found, Recipe):
        raise UsageError(f"method {method!r} must be a Recipe, got {shown(found)} from {RECIPES.where(method)}")
    return found


def protocol_of(data: str, mode: str | None = None, model: str | None = None) -> Protocol:
    """Return the settings that every recipe starts from on ``data``; those of CIFAR where it registers none.

    Args:
        data: name of the data set.
        mode: one of ``MODES``, where the data set has a protocol for each; the first where it is left out.
        model: the network, where the run names its own; options that the protocol states for any network stay.

    Raises:
        UsageError: if there is no such data set or mode; names the nearest.

    >>> protocol_of("cifar100-lt").settings["epochs"]
    Cited(value=200, source='kaidic/LDAM-DRW: cifar_train.py')
    >>> protocol_of("photographs", mode="freeze").name
    'photographs-freeze'
    """
    if data not in DATASETS:
        known = list(DATASETS)
        raise UsageError(f"data must be one of {', '.join(known)}, got {shown(data)}{nearest(data, known)}")
    has_modes = f"{data}-{MODES[0]}" in PROTOCOLS
    name = f"{data}-{mode or MODES[0]}" if has_modes else data
    if mode is not None and not has_modes:
        raise UsageError(f"mode must be left out for {data}, got {shown(mode)}: it is for photographs")
    if mode is not None and mode not in MODES:
        raise UsageError(f"mode must be one of {', '.join(MODES)}, got {shown(mode)}{nearest(mode, MODES)}")
    found: Protocol = PROTOCOLS[name] if name in PROTOCOLS else USUAL.derive(data)
    return found if model is None else _with_model(found, model)


def _with_model(protocol: Protocol, model: str) -> Protocol:
    usual = protocol.settings["model"]
    assert isinstance(usual, Spec)
    factory = component_of("model", model)
    taken = usual.options if takes_any(factory) else settable("model", factory)
    # Weights by name are those of a library; a factory of one's own brings its own.
    of_library = library_name(model).startswith(("timm:", "torchvision:"))
    kept = {
        name: option for name, option in usual.options.items() if name in taken and (name != "weights" or of_library)
    }
    settings = {**protocol.settings, "model": Spec(cited(model, "named by the user"), **kept)}
    return Protocol(protocol.name, imbalance_ratio=protocol.imbalance_ratio, **settings)


def _names_another(model: Any, usual: str) -> bool:
    """Whether an override names another network than the recipe."""
    return isinstance(model, str) and model.lower() not in ("none", "null") and model != usual


def _of_model(stated: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a recipe's settings with ``model`` for the network that it names; its head stays.

    Where a recipe's network is built around another one, ``model`` takes the place of that one: its ``backbone``.
    """
    own, chosen = stated.get("model"), cited(model, "named by the user")
    if not isinstance(own, Spec) or own.name is None or plain(own.name) == model:
        return dict(stated)
    if "backbone" in own.options:
        return {**stated, "model": Spec(own.name, **{**own.options, "backbone": chosen})}
    kept = {name: option for name, option in own.options.items() if name != "weights"}
    return {**stated, "model": Spec(chosen, **kept)}


def library_name(model: str) -> str:
    """Return the name of a network in the library that has pretrained weights of it: ``torchvision:resnet50``.

    A registered network names it as ``weights_of``; every other name is returned as it is.
    """
    found: str = getattr(component_of("model", model), "weights_of", model)
    return found


def values_of(
    method: str,
    data: str,
    *,
    imbalance_ratio: float | None = None,
    profile: str = "exp",
    mode: str | None = None,
    model: str | None = None,
    protocol: str | None = None,
) -> dict[str, Cited]:
    """Return every stated value of ``method`` on ``data`` by its dotted name, with its source, before any change.

    Args:
        method: name in ``RECIPES``.
        data: name in ``DATASETS``.
        imbalance_ratio: largest over smallest class; the data set's own default when left out.
        profile: shape of the tail.
        mode: how a network is trained on photographs.
        model: the network, where the run names its own.
        protocol: training protocol that overrides the recipe, a name in ``TRAINING_PROTOCOLS``.

    Raises:
        UsageError: if method, data, profile or protocol is unknown, the ratio is out of its range, or the protocol does
            not fit the data set or the method.

    >>> values = values_of("ldam_drw", "cifar100-lt")
    >>> values["loss.max_margin"]
    Cited(value=0.5, source='kaidic/LDAM-DRW: losses.py LDAMLoss max_m=0.5')
    """
    recipe, usual = recipe_of(method), protocol_of(data, mode, model)
    ratio = _checked_ratio(usual.imbalance_ratio if imbalance_ratio is None else imbalance_ratio)
    tail = {"imbalance_ratio": ratio, "profile": _checked_profile(profile)}
    own = recipe.settings_for(data, profile, ratio)
    stated = merge(usual.settings, own if model is None else _of_model(own, model))
    if protocol is not None:
        named = training_protocol_of(protocol, usual.name)
        stated = laid_over(named, recipe, stated, usual.name, data, tail, own_network=model is not None)
    return flat({**dict.fromkeys(COMPONENTS), **stated}, owner=recipe.name)


def resolve(
    method: str,
    data: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    imbalance_ratio: float | None = None,
    profile: str = "exp",
    seed: int = 0,
    recipe_file: RegisteredFile | Mapping[str, str] | None = None,
    mode: str | None = None,
    model: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    protocol: str | None = None,
    length: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the whole configuration of a run: nested, plain and JSON-able.

    Args:
        method: name in ``RECIPES``.
        data: name in ``DATASETS``.
        overrides: setting to value, as values or as text from a command line. ``loss.scale`` names an option of a
            component, ``scale`` too where one component alone has it; ``loss`` names the component, and none of the
            options that were stated for another one stays, but the head and the experts of another ``model``.
        imbalance_ratio: largest over smallest class, >= 1; the data set's own default when left out.
        profile: ``"exp"``, ``"step"`` or ``"pareto"``.
        seed: of the subset, the network and every draw; an integer in [0, 2^64), or text that writes one.
        recipe_file: the file that registered the recipe, which the configuration records.
        mode: how a network is trained on photographs, one of ``MODES``.
        model: the network; it keeps the recipe's head and experts, and the weights that a run on this data begins with.
        data_options: arguments of the data set, such as the folder of photographs.
        protocol: training protocol, a name in ``TRAINING_PROTOCOLS``; it overrides the recipe, ``overrides`` both.
        length: ``{"steps": N}`` or ``{"images": N}``, in place of epochs; ``overrides`` may have it as well.

    Raises:
        UsageError: naming the argument, its rule and the value; a setting that the run does not have is one too.

    >>> config = resolve("mammc", "digits-lt", {"epochs": 10, "omega": "0.5"}, seed=1)
    >>> config["loss"]["name"], config["mixer"]["omega"], config["epochs"]
    ('cross_entropy', 0.5, 10)
    >>> config = resolve("ce", "cifar100-lt", {"steps": 13_000}, protocol="mammc-paper")
    >>> config["batch_size"], config["schedule"]["name"], config["epochs"]
    (256, 'cosine', 307)
    """
    recipe, usual = recipe_of(method), protocol_of(data, mode)
    of_data = _of_data(data, usual, mode, data_options)
    ratio = _checked_ratio(usual.imbalance_ratio if imbalance_ratio is None else imbalance_ratio)
    tail: dict[str, Any] = {"imbalance_ratio": ratio, "profile": _checked_profile(profile)}
    seed = integer_option("seed", seed, most=_checks.MAX_SEED)
    named = {} if protocol is None else {TRAINING_PROTOCOL: training_protocol_of(protocol, usual.name).name}
    given: dict[str, Any] = {**tail, MODE: mode, TRAINING_PROTOCOL: named.get(TRAINING_PROTOCOL)}
    values = values_of(method, data, **given, model=model)
    changes = dict(_flat(overrides or {}))
    if model is None and _names_another(changes.get("model"), values["model"].value):
        values = values_of(method, data, **given, model=changes.pop("model"))
    stated = {name: _own(value, seed) for name, (value, _) in values.items()}
    long = length_of({**(length or {}), **{unit: changes.pop(unit) for unit in UNITS if unit in changes}})
    chosen = _changed(stated, changes, recipe.name)
    if long:
        epochs = _epochs_of(long, data, tail, chosen, given="epochs" in changes)
        chosen = _changed(stated, {**changes, "epochs": epochs}, recipe.name)
    file = {} if recipe_file is None else {RECIPE_FILE: record_of(recipe_file)}
    made = {"recipe": recipe.name, **named, **file, "data": data, **of_data, **tail, "seed": seed}
    return made | ({LENGTH: long} if long else {}) | _nested(chosen)


def _epochs_of(
    length: Mapping[str, int], data: str, tail: Mapping[str, Any], chosen: Mapping[str, Any], *, given: bool
) -> int:
    """Return the epochs that a length in steps or images stands for; refuse others where epochs are given too."""
    images = training_images(data, **tail, validation=chosen["validation"])
    epochs = epochs_for(length, chosen["batch_size"], images, data)
    if given and chosen["epochs"] != epochs:
        ((unit, number),) = length.items()
        raise UsageError(f"the length must be given once, got {chosen['epochs']} epochs and {number} {unit}")
    return epochs


def given_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``resolve`` that ``config`` was made with, but method, data set and overrides."""
    found = {name: config[name] for name in ("imbalance_ratio", "profile", "seed")}
    found |= {name: config[name] for name in (TRAINING_PROTOCOL, LENGTH) if name in config}
    if MODE in config:
        found |= {MODE: config[MODE], "model": config["model"]["name"]}
    return found | ({DATA_OPTIONS: config[DATA_OPTIONS]} if DATA_OPTIONS in config else {})


def _of_data(data: str, protocol: Protocol, mode: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return mode and options of a data set that has them, the options complete, read and in the factory's order."""
    has_modes = protocol.name != data
    parameters = options_of(data)
    unknown = [name for name in options or {} if name not in parameters]
    if unknown and not parameters:
        raise UsageError(f"{data} takes no options, got {', '.join(unknown)}; leave them out")
    if unknown:
        raise UsageError(
            f"option of {data} must be one of {', '.join(parameters)}, got {shown(unknown[0])}"
            f"{nearest(unknown[0], parameters)}"
        )
    given = {name: read_as(parameters[name], value, name) for name, value in (options or {}).items()}
    chosen = {name: given.get(name, each.default) for name, each in parameters.items()}
    for name, value in chosen.items():
        _require_json(name, value)
    recorded = {DATA_OPTIONS: chosen} if parameters else {}
    return {MODE: mode or MODES[0], **recorded} if has_modes else recorded


def options_of(data: str) -> dict[str, Parameter]:
    """Return the arguments of a data set that a configuration records: those with a default that JSON holds.

    Settings of the run are none of them, nor is a folder that must be given: its files may move.
    """
    parameters = settable("data", component_of("data", data))
    return {
        name: each
        for name, each in parameters.items()
        if name not in _NOT_OPTIONS and isinstance(each.default, str | int | float | None)
    }


def sources_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the source of every value in ``config`` by its dotted name; a changed one says what the recipe had.

    >>> sources = sources_of(resolve("ldam_drw", "cifar100-lt", {"loss.scale": 20}))
    >>> sources["loss.max_margin"]
    'kaidic/LDAM-DRW: losses.py LDAMLoss max_m=0.5'
    >>> sources["loss.scale"]
    'set by the user; the recipe has 30.0 (kaidic/LDAM-DRW: losses.py LDAMLoss s=30)'
    """
    given = {name: value for name, value in given_of(config).items() if name not in ("seed", DATA_OPTIONS, LENGTH)}
    stated = values_of(config["recipe"], config["data"], **given)
    owner = "recipe" if TRAINING_PROTOCOL not in config else "protocol"
    sources = {}
    for name, value in flattened(config).items():
        if name not in stated:
            sources[name] = "set by the user"
            continue
        usual, source = _plain_json(_own(stated[name].value, config["seed"])), stated[name].source
        same = usual == value
        sources[name] = source if same else f"set by the user; the {owner} has {usual} ({source})"
    if LENGTH in config:
        tail = {name: config[name] for name in ("imbalance_ratio", "profile", "validation")}
        images = training_images(config["data"], **tail)
        sources["epochs"] = in_words(config[LENGTH], config["batch_size"], images or 0)
    return sources


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's settings by dotted name: ``loss`` is the component's name, ``loss.scale`` an option."""
    return dict(_flat({name: config[name] for name in (*VALUES, *COMPONENTS) if name in config}))


def run_name(config: Mapping[str, Any]) -> str:
    """Return a short name for the run of ``config``: method, protocol, data, tail, seed, and every changed setting.

    >>> run_name(resolve("ldam", "digits-lt", {"scale": 20}))
    'ldam-digits-lt-50-0-loss.scale=20'
    >>> run_name(resolve("ce", "cifar100-lt", protocol="marc"))
    'ce-marc-cifar100-lt-100-0'
    """
    given = given_of(config)
    usual = flattened(resolve(config["recipe"], config["data"], **given))
    shape = "" if config["profile"] == "exp" else f"-{config['profile']}"
    tail = f"{shape}-{config['imbalance_ratio']:g}"
    recipe = "-".join(config[key] for key in ("recipe", TRAINING_PROTOCOL) if key in config)
    name = f"{recipe}-{config['data']}{tail}-{config['seed']}"
    now = flattened(config)
    changed = {key: value for key, value in now.items() if key not in usual or usual[key] != value}
    if MODE in config:
        options = config[DATA_OPTIONS]
        tail = tail if config["imbalance_ratio"] > 1 else ""
        network = config["model"]["name"].rpartition(":")[2]
        name = f"{recipe}-{Path(options['path']).stem}{tail}-{network}-{config[MODE]}-{config['seed']}"
    if DATA_OPTIONS in config:
        changed |= _changed_options(config)
    changed = {**config.get(LENGTH, {}), **changed}
    for key, value in changed.items():
        name += f"-{key}={','.join(map(_short, value)) if isinstance(value, list) else _short(value)}"
    safe = re.sub(r"[^A-Za-z0-9._,=+-]", "_", name)
    if safe == name and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()[:8]
    return f"{safe[: _LONGEST_NAME - 9]}-{digest}"


def _changed_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the data set that are not its defaults, but the places of files."""
    parameters = settable("data", component_of("data", config["data"]))
    options = config[DATA_OPTIONS]
    changed = {name: value for name, value in options.items() if value != parameters[name].default}
    places = {name: Path(changed[name]).stem for name in ("test",) if name in changed}
    return {name: value for name, value in changed.items() if name not in ("path", "root", "fold")} | places


def method_name(config: Mapping[str, Any], calibrator: Mapping[str, Any] | None = None) -> str:
    """Return what tables call the method of a run: recipe and protocol; ``network`` where it was trained elsewhere.

    Args:
        config: of the run.
        calibrator: of ``lt-fast calibrate``, in place of the run's own.

    >>> method_name(resolve("mammc", "digits-lt")), method_name(resolve("ce", "digits-lt"), {"name": "retraining"})
    ('mammc', 'ce + retraining')
    >>> method_name(resolve("ce", "cifar10-lt", protocol="marc"))
    'ce by marc'
    """
    trained = config["epochs"] > 0
    added = calibrator if trained else calibrator or config["calibrator"]
    base = config["recipe"] if trained else "network"
    base += f" by {config[TRAINING_PROTOCOL]}" if trained and TRAINING_PROTOCOL in config else ""
    return base if added is None else f"{base} + {added['name']}"


def split_assignment(text: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        UsageError: if there is no ``=`` or no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set must be name=value, got {text!r}; for example --set learning_rate=0.05")
    return name.strip(), value.strip()


def record_of(file: RegisteredFile | Mapping[str, str]) -> dict[str, str]:
    """Return how a configuration records the file that registered its recipe."""
    return dict(file) if isinstance(file, Mapping) else {"path": str(file.path), "sha256": file.sha256}


def load_recorded(record: Mapping[str, str], run: Path) -> RegisteredFile:
    """Run the recipe file that a run's configuration records, so that its recipe and components are registered.

    Raises:
        UsageError: if the file is missing or has changed; says what to give.
    """
    path, step = Path(record["path"]), "give the file with --recipe FILE.py"
    if not path.is_absolute():
        raise UsageError(f"recipe file {path} must be recorded with its whole path; {step}")
    if path.resolve().is_relative_to(run.resolve()):  # a folder that somebody else made must not bring code along
        raise UsageError(f"recipe file {path} must not be in the run directory itself; copy it elsewhere, and {step}")
    if not path.is_file():
        raise UsageError(f"the run needs its recipe file {path}, which is missing; {step}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
        raise UsageError(f"the run needs its recipe file {path} as it was, but it has changed; restore it, or {step}")
    return load_file(path)


def arguments_of(config: Mapping[str, Any]) -> dict[str, dict[str, Parameter]]:
    """Return the arguments of every component of a run that ``--set`` can reach, by component."""
    return {
        slot: settable(slot, component_of(slot, config[slot]["name"]))
        for slot in COMPONENTS
        if config[slot] is not None
    }


def shared_names(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the short names that ``--set`` refuses, since each means several options, with the names of these.

    >>> shared_names(resolve("cp_mix", "digits-lt"))["tau"]
    ['method.tau', 'loss.tau']
    """
    known = arguments_of(config)
    names = dict.fromkeys([*(name for options in known.values() for name in options), *SHORT])
    found = {name: _meanings(name, known) for name in names if name not in (*_RUN, *_ARGUMENTS)}
    return {name: meanings for name, meanings in found.items() if len(meanings) > 1}


# --- changes ----------------------------------------------------------------------------------------------------------


def _changed(stated: Mapping[str, Any], overrides: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Return the stated settings with the overrides over them, all by dotted name."""
    settings = dict(stated)
    named = {name: value for name, value in overrides.items() if name in COMPONENTS}
    for slot, value in named.items():
        _choose(settings, slot, value)
    names = {slot: settings[slot] for slot in COMPONENTS if settings[slot] is not None}
    known = {slot: settable(slot, component_of(slot, name)) for slot, name in names.items()}
    given: dict[str, Any] = {}
    for name, value in overrides.items():
        if name in named:
            continue
        full = _full_name(name, known, recipe, settings)
        if full in given:
            raise UsageError(f"{full} must be set once, got {shown(given[full])} and {shown(value)}")
        given[full] = value
        settings[full] = _read(full, value, known, names)
    if settings["reweight"] is None:
        settings.pop("defer_until", None)
    elif "defer_until" not in settings:
        settings["defer_until"] = _RUN["defer_until"].default
    return _checked(settings, names)


def _choose(settings: dict[str, Any], slot: str, value: Any) -> None:
    """Name another component, or none; what was stated for the one before goes, unless it describes the data."""
    name = None if value is None or (isinstance(value, str) and value.lower() in ("none", "null")) else value
    if name is None and slot not in ("mixer", "reweight", "calibrator"):
        raise UsageError(f"{slot} must be named, got none; every run has one")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{slot} must be a name, got {shown(value)}; options are set as {slot}.NAME")
    if name == settings[slot]:
        return
    if name is not None:
        component_of(slot, name)
    kept = settable(slot, component_of(slot, name)) if slot in _OF_THE_DATA and name is not None else {}
    for stated in [each for each in settings if each.startswith(f"{slot}.")]:
        if stated.partition(".")[2] not in kept:
            del settings[stated]
    settings[slot] = name


def _full_name(
    name: str, known: Mapping[str, Mapping[str, Parameter]], recipe: str, settings: Mapping[str, Any]
) -> str:
    """Return the dotted name of the setting that ``name`` means.

    Raises:
        UsageError: if it means none, with the nearest, or several, with all of them.
    """
    absent = name in OF_PHOTOGRAPHS and name not in settings
    if name in _RUN and not absent and not (name == "defer_until" and settings["reweight"] is None):
        return name
    slot, dot, option = name.partition(".") if isinstance(name, str) else ("", "", "")
    if dot and slot in COMPONENTS:
        _require_option(slot, option, known, settings)
        return name
    found = _meanings(name, known)
    if name in _ARGUMENTS:
        option = name.replace("_", "-")
        hint = f"it is an argument of its own: --{option} on the command line, {name}= in Python"
        raise UsageError(f"setting must be one of this run's, got {shown(name)}; {hint}")
    if len(found) > 1:
        step = " or ".join(f"--set {full}=VALUE" for full in found)
        raise UsageError(f"setting must mean one option, got {name!r}, which means {len(found)}; give {step}")
    if not found:
        raise UsageError(_unknown(name, known, recipe))
    return found[0]


def _meanings(name: str, known: Mapping[str, Mapping[str, Parameter]]) -> list[str]:
    """Return the dotted names of the options that a name without its component may mean."""
    found = [f"{slot}.{name}" for slot, options in known.items() if name in options]
    found = [full for full in found if tuple(full.split(".")) not in FROM_THE_RUN] or found
    full = SHORT.get(name)
    return found if full is None or full in found or not _is_known(full, known) else [*found, full]


def _is_known(full: str, known: Mapping[str, Mapping[str, Parameter]]) -> bool:
    slot, _, option = full.partition(".")
    return full in _RUN or option in known.get(slot, {})


def _require_option(
    slot: str, option: str, known: Mapping[str, Mapping[str, Parameter]], settings: Mapping[str, Any]
) -> None:
    if slot not in known:
        raise UsageError(
            f"setting {slot}.{option} needs a {slot}, but this run has none; name one with --set {slot}=NAME"
        )
    if option not in known[slot] and (not option or takes_any(component_of(slot, settings[slot])) is None):
        hint = nearest(option, known[slot]) or f"; {slot} {settings[slot]} takes {', '.join(known[slot]) or 'none'}"
        raise UsageError(f"setting must be one of this run's, got {shown(f'{slot}.{option}')}{hint}")


def _unknown(name: Any, known: Mapping[str, Mapping[str, Parameter]], recipe: str) -> str:
    every = [*_RUN, *COMPONENTS, *(option for options in known.values() for option in options)]
    every += [f"{slot}.{option}" for slot, options in known.items() for option in options]
    having = [other for other in RECIPES if _states(other, name)]
    if having:
        hint = f"; it is one of {', '.join(having)}: `lt-fast methods {recipe}` lists those of {recipe}"
    else:
        hint = nearest(name, every) or f"; `lt-fast methods {recipe}` lists them"
    return f"setting must be one of this run's, got {shown(name)}{hint}"


def _states(recipe: str, name: Any) -> bool:
    try:
        settings = RECIPES[recipe].settings
    except UsageError:  # of a package that does not load
        return False
    return any(name in (stated, stated.partition(".")[2]) for stated in flat(settings, owner=recipe))


def _read(full: str, value: Any, known: Mapping[str, Mapping[str, Parameter]], names: Mapping[str, str]) -> Any:
    slot, _, option = full.partition(".")
    parameter = _RUN.get(full) or known.get(slot, {}).get(option)
    parameter = parameter or takes_any(component_of(slot, names[slot]))
    assert parameter is not None
    if parameter.kind is Parameter.VAR_KEYWORD:
        parameter = Parameter(option, Parameter.KEYWORD_ONLY)
    return read_as(parameter, value, full)


def _checked(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Check the settings of the run itself, and that all of them are JSON values."""
    lacking = [name for name in VALUES if name not in settings and _RUN[name].default is Parameter.empty]
    if lacking:
        raise UsageError(
            f"the recipe or the data set's protocol must set {lacking[0]}; set it with --set {lacking[0]}=VALUE"
        )
    missing = [slot for slot in COMPONENTS if slot not in names and slot not in ("mixer", "reweight", "calibrator")]
    if missing:
        raise UsageError(
            f"the recipe or the data set's protocol must name {missing[0]}; name it with --set {missing[0]}=NAME"
        )
    try:
        run = run_settings(**{name: settings[name] for name in VALUES if name in settings})
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    found = {name: run.get(name, _plain_json(value)) for name, value in settings.items()}
    if not run["epochs"] and found.get("model.head") != OWN_HEAD:
        raise UsageError(
            "epochs must be >= 1, got 0: only a network that keeps its own head (model.head=own) needs no training"
        )
    for name, value in found.items():
        _require_json(name, value)
    return found


def _require_json(name: str, value: Any) -> None:
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
        raise UsageError(f"{name} must be finite, got {shown(value)}")
    try:
        json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} must be a value that JSON holds, got {shown(value)}") from error


# --- forms ------------------------------------------------------------------------------------------------------------


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give a nested configuration by dotted name; the name of a component under the component itself."""
    for name, value in settings.items():
        if not isinstance(value, Mapping) or name not in COMPONENTS:
            yield name, value
            continue
        yield from ((name if option == "name" else f"{name}.{option}", each) for option, each in value.items())


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {name: settings[name] for name in VALUES if name in settings}
    for slot in COMPONENTS:
        options = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{slot}.")}
        nested[slot] = None if settings[slot] is None else {"name": settings[slot], **options}
    return nested


def _plain_json(value: Any) -> Any:
    return [_plain_json(part) for part in value] if isinstance(value, tuple | list) else value


def _own(value: Any, seed: int) -> Any:
    return seed if value == AS_SEED else value


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- arguments --------------------------------------------------------------------------------------------------------


def _checked_ratio(ratio: Any) -> float:
    rule = "imbalance_ratio must be a finite number >= 1 (largest over smallest class)"
    try:
        number = read_number(ratio)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{rule}, got {ratio if isinstance(ratio, float) else shown(ratio)}") from None
    if number < 1:
        hint = f"; did you mean {1 / number:g}?" if number >= _SMALLEST_INVERTED else ""
        raise UsageError(f"{rule}, got {number:g}{hint}")
    if number > _LARGEST_RATIO:
        raise UsageError(f"imbalance_ratio must be <= {_LARGEST_RATIO}, got {number:g}; the papers have 10 to 500")
    return number


def _checked_profile(profile: Any) -> str:
    if not isinstance(profile, str) or profile not in PROFILES:
        raise UsageError(
            f"profile must be one of {', '.join(PROFILES)}, got {shown(profile)}{nearest(profile, PROFILES)}"
        )
    return profile
