"""From a configuration to what it names: data, network, loss, method, loaders, optimizer, schedule, calibrator."""

import inspect
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lt_fast.calibration.of_experts import require_experts
from lt_fast.counts import ClassCounts
from lt_fast.data import ArraySource, FileSource, Loader
from lt_fast.datasets import ImageSet, channel_stats, validation_split
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.components import arguments_for, call, component_of, parameters_of
from lt_fast.experiment.config import DATA_OPTIONS, MODE, groups_of, library_name, protocol_of
from lt_fast.experiment.layer_rates import Layerwise, rates_by_layer
from lt_fast.experiment.second_stage import refuse_unfit
from lt_fast.methods import DeferredReweighting, FeatureMixer, FeatureMixing, Method, TrainingData, WeightAveraging
from lt_fast.models import Classifier, Frozen
from lt_fast.models.weights_on_disk import require_weights
from lt_fast.ranks import Ranks
from lt_fast.training import LearningRate

_DECODED_AT_ONCE = 32
_MOST_WORKERS = 16

_RULE_CONSTANTS = ("omega", "kappa", "tau")
"""Attributes of a mixer that its label rule depends on, and options of the losses that compute the rule."""


class Data(NamedTuple):
    """The long-tailed training set, the held-out test set, and the validation set or None.

    What is chosen during a training is chosen on the validation set, never on the test set.
    """

    train: Any
    test: Any
    validation: Any = None

    def measured_each_epoch(self) -> tuple[str, Any]:
        """Return name and images that the curves of a training are measured on: validation, else test."""
        return ("test", self.test) if self.validation is None else ("validation", self.validation)


class Parts(NamedTuple):
    """What a training consists of, made by one configuration."""

    method: Method
    data: TrainingData
    loaders: Mapping[str, Loader]
    optimizer: Any
    schedule: LearningRate
    calibrator: Any


def load_data(
    config: Mapping[str, Any],
    *,
    root: Path | None = None,
    download: bool = False,
    run: Path | None = None,
    progress: bool = False,
) -> Data:
    """Return the data sets of ``config``.

    Args:
        config: from ``resolve``.
        root: folder of the data set's files, where it has files; of photographs, where it is not the one in ``config``.
        download: fetch missing files.
        run: folder of a run that has begun: photographs are split as it has them in ``images.csv``.
        progress: show a bar while photographs are checked.

    Raises:
        UsageError: if the data set needs ``root``.
        DataError: if a file is missing or damaged; names it.
    """
    name = config["data"]
    factory = component_of("data", name)
    if root is None and needs_root(name):
        raise UsageError(how_to_give_root(name))
    options = dict(config.get(DATA_OPTIONS, {})) | ({} if root is None else {"root": str(root)})
    given = {
        "root": root,
        "run": run,
        "progress": progress,
        "validation": config["validation"],
        "imbalance_ratio": config["imbalance_ratio"],
        "profile": config["profile"],
        "seed": config["subset_seed"],
        "download": download,
    }
    _refuse_unused(config, factory)
    train, test, *validation = factory(**arguments_for("data", name, factory, options, given, {}))
    if "validation" in parameters_of(factory):
        return Data(train, test, *validation)
    if validation and config["validation"]:
        raise UsageError(f"validation must be 0 for {name}, which has a validation set of its own; leave it out")
    return Data(train, test, validation[0]) if validation else _divided(Data(train, test), config)


def _refuse_unused(config: Mapping[str, Any], factory: Any) -> None:
    """Refuse a setting of the data that a data set does not take: the run would record what it does not have."""
    usual = {"imbalance_ratio": protocol_of(config["data"], config.get(MODE)).imbalance_ratio, "profile": "exp"}
    for name, value in usual.items():
        if name not in parameters_of(factory) and config[name] != value:
            raise UsageError(
                f"{name} must be left out for {config['data']}, which does not take it, got {config[name]}"
            )


def _divided(data: Data, config: Mapping[str, Any]) -> Data:
    """Hold a fraction of each class of the training set out for validation, where the configuration has one."""
    fraction = config["validation"]
    if not fraction:
        return data
    train, validation = validation_split(data.train.labels, fraction, config["subset_seed"])
    return Data(data.train.subset(train), data.test, data.train.subset(validation))


def takes(name: str, argument: str) -> bool:
    """Return whether the data set called ``name`` has ``argument``: ``root`` where it consists of files in a folder."""
    return argument in parameters_of(component_of("data", name))


def how_to_give_root(name: str) -> str:
    """Return the message that the folder of the data set called ``name`` is needed."""
    hint = (
        "--download fetches them there" if takes(name, "download") else "add --root DIR, which holds lists and images"
    )
    return f"--root is needed for {name}: the folder of its files; {hint}"


def needs_root(name: str) -> bool:
    """Return whether the folder of the data set called ``name`` must be given."""
    root = parameters_of(component_of("data", name)).get("root")
    return root is not None and root.default is root.empty


def build(
    config: Mapping[str, Any],
    data: Data,
    ranks: Ranks = Ranks(),  # noqa: B008  (immutable)
    *,
    first_weights: bool = True,
    workers: int | None = None,
) -> Parts:
    """Return everything that a training needs, so that what a component refuses is refused before anything is written.

    Args:
        config: from ``resolve``.
        data: of the run.
        ranks: of this process.
        first_weights: read the pretrained weights that the configuration names; False where a checkpoint follows.
        workers: processes that decode photographs; by default one for each processor, shared by the machine's ranks.

    Raises:
        UsageError: if a component does not take its options.
        DataError: if pretrained weights are missing; says how to get them.
    """
    try:
        model = make_model(config, data, first_weights=first_weights)
        training_data = make_training_data(config, data, ranks, model=model, workers=workers)
        method = make_method(config, data, training_data.mixer, model=model)
        loaders = method.loaders(training_data)
        _refuse_unused_mixer(config, training_data, loaders)
        _refuse_unused_rule(config)
        optimizer, schedule = make_optimizer(config), make_schedule(config)
        rates = rates_by_layer(model, config["layer_decay"]) if config.get(MODE) == "finetune" else {}
        for parameter, factor in method.learning_rates().items():
            rates[parameter] = factor * rates.get(parameter, 1.0)
        optimizer = Layerwise(optimizer, rates) if rates else optimizer
        _try_out(optimizer, schedule)
        calibrator = make_calibrator(config, data.train.class_counts)
        _refuse_one_group(config, data.train.class_counts)
        refuse_unfit(config, calibrator)
        if getattr(calibrator, "of_experts", False):
            require_experts(getattr(model, "head", None))
    except (TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, UsageError | DataError) else UsageError(str(error)) from error
    return Parts(method, training_data, loaders, optimizer, schedule, calibrator)


def make_method(config: Mapping[str, Any], data: Data, mixer: Any = None, *, model: nn.Module | None = None) -> Method:
    """Return the method: network, losses, and what is special to it."""
    counts = data.train.class_counts
    criterion = make_criterion(config, counts, mixer)
    given = _of_data(counts) | {
        "model": make_model(config, data) if model is None else model,
        "criterion": criterion,
        "logit_scale": logit_scale(config),
        "seed": config["seed"],
    }
    method: Method = _made(config, "method", given)
    if not isinstance(method, Method):
        raise UsageError(f"method {config['method']['name']} must be a lt_fast.methods.Method, got {method!r}")
    if isinstance(mixer, FeatureMixer):
        method = FeatureMixing(method, mixer, counts.num_classes)
    averaging = config.get("averaging", 0.0)
    return WeightAveraging(method, averaging) if averaging else method


def make_model(config: Mapping[str, Any], data: Data, *, first_weights: bool = True) -> nn.Module:
    """Return the network with its first weights: a function of the seed, but for those that were trained before.

    Args:
        config: from ``resolve``.
        data: of the run.
        first_weights: read the pretrained weights that the configuration names; False where a checkpoint follows.

    Raises:
        UsageError: if the network does not fit the images.
        DataError: if pretrained weights are missing; says how to get them.
    """
    channels = _channels(data.train)
    given = _of_data(data.train.class_counts) | {"in_channels": channels, "seed": config["seed"]}
    if not first_weights and "weights" in config["model"]:
        config = {**config, "model": {**config["model"], "weights": None}}
    if config["model"].get("weights") == "pretrained":
        require_weights(library_name(config["model"]["name"]))
    model: nn.Module = _made(config, "model", given)
    if config.get(MODE) == "freeze":
        model = _frozen(config, model)
    expected = getattr(model, "input_size", (channels,))[0]
    if expected != channels:
        raise UsageError(
            f"model {config['model']['name']} takes images of {expected} channels, these have {channels}; give the "
            "network's own option for it, such as in_chans of timm's, or name another model"
        )
    return model


def _frozen(config: Mapping[str, Any], model: nn.Module) -> Frozen:
    name = config["model"]["name"]
    if not isinstance(model, Classifier):
        raise UsageError(f"model {name} must be a lt_fast.models.Classifier to be frozen; leave --freeze out")
    if not hasattr(model, "preset"):
        raise UsageError(
            f"model {name} has no trained weights to freeze; name one of timm or torchvision, or leave --freeze out"
        )
    return Frozen(model)


def make_training_data(
    config: Mapping[str, Any],
    data: Data,
    ranks: Ranks = Ranks(),  # noqa: B008  (immutable)
    *,
    model: nn.Module | None = None,
    workers: int | None = None,
) -> TrainingData:
    """Return the training images and everything that a loader over them needs."""
    transform = make_transform(config, data, model)
    decoded = isinstance(data.train, FileSource)
    reading = {"evaluation_batch": _DECODED_AT_ONCE, "workers": _processors() if workers is None else workers}
    return TrainingData(
        source=source_of(data.train),
        sampler=partial(_sampler, config, data),
        transform=transform,
        plain_transform=plain_of(config, transform),
        mixer=make_mixer(config, data, transform),
        batch_size=config["batch_size"],
        seed=config["seed"],
        ranks=ranks,
        validation=None if data.validation is None else source_of(data.validation),
        **(reading if decoded else {}),
    )


def make_mixer(config: Mapping[str, Any], data: Data, transform: Any = None) -> Any:
    """Return the mixer, or None."""
    given = _of_data(data.train.class_counts) | {"labels": _labels_of(data.train), "seed": config["seed"]}
    shape = shape_of(data.train)
    size = {} if shape is None else {"image_size": shape[:2]}
    if hasattr(transform, "size"):
        size = {"image_size": (transform.size, transform.size)}
    return _made(config, "mixer", given | size)


def _labels_of(images: Any) -> Any:
    """Return the labels of a set of images; of one that is only described, and so never mixed, as many per class."""
    if hasattr(images, "labels"):
        return images.labels
    counts = images.class_counts.counts
    return np.repeat(np.arange(len(counts)), counts)


def make_transform(config: Mapping[str, Any], data: Data, model: nn.Module | None = None) -> Any:
    """Return how images are augmented.

    What the configuration does not state, the network's ``preset`` decides: size, mean, standard deviation, resizing.
    For images in memory, mean and standard deviation are the training images'.
    """
    given = {}
    preset = getattr(model, "preset", None)
    if preset is not None:
        given = preset._asdict()
    parameters = parameters_of(component_of("transform", config["transform"]["name"]))
    if {"mean", "std"} <= parameters.keys() - config["transform"].keys() and shape_of(data.train) is not None:
        given = dict(zip(("mean", "std"), _channel_stats(data.train), strict=True))
    return _made(config, "transform", given)


def source_of(images: Any) -> Any:
    """Return a set of images as what a loader reads: images in memory as an ``ArraySource``."""
    return ArraySource(images.images, images.labels, images.classes) if isinstance(images, ImageSet) else images


def make_criterion(config: Mapping[str, Any], counts: ClassCounts, mixer: Any = None) -> nn.Module:
    """Return the loss, or under deferred re-weighting the plain and the re-weighted one."""
    weights = _made(config, "reweight", _of_data(counts))
    if weights is None:
        return _loss(config, counts, mixer)
    if "weight" in config["loss"]:
        raise UsageError(
            "loss.weight must be left out with reweight, which sets it; leave it out, or remove reweight: "
            "--set reweight=none"
        )
    if "weight" not in parameters_of(component_of("loss", config["loss"]["name"])):
        raise UsageError(
            f"loss {config['loss']['name']} takes no class weights; leave out --set reweight=, or name none"
        )
    reweighted = _loss(config, counts, mixer, weight=weights)
    return DeferredReweighting(_loss(config, counts, mixer), reweighted, defer_until=config["defer_until"])


def make_schedule(config: Mapping[str, Any]) -> LearningRate:
    """Return the learning rate as a function of the position."""
    rate: LearningRate = _made(config, "schedule", {"base": config["learning_rate"], "epochs": config["epochs"]})
    return rate


def make_optimizer(config: Mapping[str, Any]) -> Any:
    """Return the optimizer as a function of the parameters; the loop sets its learning rate at every step."""
    name, options = _named(config, "optimizer")
    component = component_of("optimizer", name)
    required = {"params": None, "lr": config["learning_rate"]}
    arguments = arguments_for("optimizer", name, component, options, {}, required)
    return partial(component, **{key: value for key, value in arguments.items() if key != "params"})


def fused_on(device: str, optimizer: Any) -> Any:
    """Return the optimizer of ``make_optimizer``, on a GPU as one kernel for all parameters where it has one.

    ``step="graph"`` needs it: that kernel reads the learning rate from the device. An optimizer whose configuration
    chooses between the implementations, or needs a gradient through the step, stays as it is.
    """
    if isinstance(optimizer, Layerwise):
        return Layerwise(fused_on(device, optimizer.make), optimizer.rates)
    chosen = optimizer.keywords.keys() & {"fused", "foreach", "differentiable"}
    parameters = parameters_of(optimizer.func)
    if torch.device(device).type != "cuda" or chosen or "fused" not in parameters:
        return optimizer
    # Earlier versions of torch capture no step of Adam without the second option, which changes nothing in its kernel.
    capturable = {"capturable": True} if "capturable" in parameters.keys() - optimizer.keywords.keys() else {}
    return partial(optimizer, fused=True, **capturable)


def make_calibrator(config: Mapping[str, Any], counts: ClassCounts) -> Any:
    """Return stage 2, unfitted, or None."""
    return _made(config, "calibrator", _of_data(counts) | {"seed": config["seed"], "scale": logit_scale(config)})


def images_to_fit(calibrator: Any, data: Data) -> tuple[str, Any]:
    """Return which images stage 2 is fitted on, by name, and those images.

    ``"unlabelled test"`` images are the test images, whose labels such a calibrator does not read.

    Raises:
        UsageError: if they are validation images, and there are none.
    """
    wanted: str = getattr(calibrator, "fitted_on", "training")
    if wanted == "validation" and data.validation is None:
        hint = "give its tau with --set calibrator.tau=1, or " if hasattr(calibrator, "tau") else ""
        raise UsageError(
            f"{calibrator.name} is fitted on validation images, and the run has none: on the training images the "
            f"network looks better than it is; {hint}train with --set validation=0.2"
        )
    chosen = {"validation": data.validation, "unlabelled test": data.test}
    return wanted, chosen.get(wanted, data.train)


def logit_scale(config: Mapping[str, Any]) -> float:
    """Return what the softmax multiplies the logits by: the loss's ``scale``, or 1 where it has none.

    LDAM trains ``softmax(scale * cosine)``, and is measured so.
    """
    name, options = _named(config, "loss")
    parameter = parameters_of(component_of("loss", name)).get("scale")
    usual = 1.0 if parameter is None or parameter.default is parameter.empty else parameter.default
    return float(options.get("scale", usual))


class MixedLabels(nn.Module):
    """A loss of mixed images whose label weights the mixer computes, for label rules that the loss does not have.

    Args:
        criterion: ``criterion(logits, target, target_b, lam)`` with ``lam`` the weight of the first label.
        mixer: has ``label_weight(lam, target, target_b)``.
    """

    def __init__(self, criterion: nn.Module, mixer: Any) -> None:
        super().__init__()
        self.criterion, self.mixer = criterion, mixer
        self.of_experts = getattr(criterion, "of_experts", False)

    def forward(
        self, logits: Tensor, target: Tensor, target_b: Tensor | None = None, lam: Tensor | None = None
    ) -> Tensor:
        """Return the loss."""
        weight = lam if target_b is None else self.mixer.label_weight(lam, target, target_b)
        loss: Tensor = self.criterion(logits, target, target_b, weight)
        return loss


def _refuse_unused_mixer(config: Mapping[str, Any], data: TrainingData, loaders: Mapping[str, Loader]) -> None:
    """Refuse a mixer that the method does not use: a method that mixes by itself reads its own loaders."""
    planners = [getattr(loader, "planner", None) for loader in loaders.values()]  # a method may have other loaders
    used = any(getattr(planner, "mixer", None) is data.mixer for planner in planners)
    if data.mixer is not None and not used:
        raise UsageError(
            f"method {config['method']['name']} does not use a mixer of the run, got {config['mixer']['name']}; "
            "leave it out, or name another method with --set method=classification"
        )


def _refuse_unused_rule(config: Mapping[str, Any]) -> None:
    """Refuse what a loss does with mixed labels where no mixer mixes them: it would change nothing."""
    given = [name for name in config["loss"] if name in _rule_options(config)]
    if given and config["mixer"] is None:
        raise UsageError(
            f"loss.{given[0]} needs a mixer, whose mixed labels it weighs, and this run has none; leave it out, or "
            "name one with --set mixer=NAME"
        )


def _refuse_one_group(config: Mapping[str, Any], counts: ClassCounts) -> None:
    """Refuse thresholds that were chosen and leave all classes in one group: nothing would be compared."""
    limits = {name: config[name] for name in ("many_above", "few_below") if name in config}
    many, few = groups_of(config)
    full = [name for name, member in counts.groups(many=many, few=few).items() if member.any()]
    if limits and len(full) == 1 and len(counts) > 1:
        given = " and ".join(f"{name}={value}" for name, value in limits.items())
        raise UsageError(
            f"many_above and few_below must divide the classes, got {given}, which leaves all {len(counts)} in "
            f"{full[0]!r}: they have {counts.counts.min()} to {counts.counts.max()} training images; set others between"
        )


def _loss(config: Mapping[str, Any], counts: ClassCounts, mixer: Any, **weights: Any) -> nn.Module:
    rule = getattr(mixer, "label_rule", "mixup")
    constants = {name: getattr(mixer, name) for name in _RULE_CONSTANTS if hasattr(mixer, name)}
    own_rule = rule != "mixup" and {"label_rule", *constants} <= _rule_options(config)
    # Every image of a run has a label: looking for others would cost each step on a GPU six small kernels.
    given = _of_data(counts) | {"seed": config["seed"], "ignore_index": None} | weights
    given |= {"label_rule": rule, **constants} if own_rule else {}
    loss: nn.Module = _made(config, "loss", given)
    return loss if rule == "mixup" or own_rule else MixedLabels(loss, mixer)


def _rule_options(config: Mapping[str, Any]) -> set[str]:
    """Return the parameters of the loss that choose a label rule; one of its own may have the name of a constant."""
    component = component_of("loss", config["loss"]["name"])
    shared = getattr(component, "shared_options", None)
    if shared is None:
        return {"label_rule", "omega"} & parameters_of(component).keys()
    own = inspect.signature(vars(component)["__init__"]).parameters
    return {"label_rule", *_RULE_CONSTANTS} & set(shared.__annotations__) - set(own)


def _sampler(config: Mapping[str, Any], data: Data) -> Any:
    labels = data.train.labels
    given = {"labels": labels, "labels_or_len": labels, "output": "numpy", "seed": config["seed"]}
    return _made(config, "sampler", _of_data(data.train.class_counts) | given)


def plain_of(config: Mapping[str, Any], transform: Any) -> Any:
    """Return the transform without augmentation.

    Raises:
        UsageError: if it has no ``plain()``.
    """
    if not hasattr(transform, "plain"):
        name = config["transform"]["name"]
        raise UsageError(f"transform {name} must have plain(), the same without augmentation; got {transform!r}")
    return transform.plain()


def shape_of(images: Any) -> tuple[int, ...] | None:
    """Return (height, width, channels) of images in memory, or of such that are described; None for files."""
    found: Any = images.images.shape[1:] if isinstance(images, ImageSet) else getattr(images, "shape", None)
    return None if found is None else tuple(map(int, found))


def _channels(images: Any) -> int:
    return (shape_of(images) or (3,))[-1]


def _channel_stats(images: Any) -> tuple[Any, Any]:
    return channel_stats(images.images) if isinstance(images, ImageSet) else (images.mean, images.std)


def _of_data(counts: ClassCounts) -> dict[str, Any]:
    return {"counts": counts, "class_counts": counts, "num_classes": counts.num_classes}


def _named(config: Mapping[str, Any], slot: str) -> tuple[str, dict[str, Any]]:
    return config[slot]["name"], {name: value for name, value in config[slot].items() if name != "name"}


def _made(config: Mapping[str, Any], slot: str, given: Mapping[str, Any]) -> Any:
    if config[slot] is None:
        return None
    name, options = _named(config, slot)
    required = {key: config[key] for key in ("batch_size", "learning_rate", "seed")}
    required["epochs"] = max(config["epochs"], 1)  # a schedule has a length, also where nothing is trained
    return call(slot, name, options, given, required)


def _processors() -> int:
    """Return the processors that this rank has, of a machine whose ranks share them."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "1")  # set by torchrun
    ranks = int(sharing) if sharing.isascii() and sharing.isdigit() else 1
    return max(1, min(found // max(1, ranks), _MOST_WORKERS))


def _try_out(optimizer: Any, schedule: LearningRate) -> None:
    """Let both refuse their options now: the optimizer is not made before the training starts."""
    optimizer([nn.Parameter(torch.zeros(1))])
    schedule(0, 0, 1)
