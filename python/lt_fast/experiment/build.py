"""From a configuration to the objects it names: data, network, batches, loss, schedule, calibrator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from lt_fast import calibration, datasets, losses, methods, mixing, models, sampling, training
from lt_fast.counts import ClassCounts
from lt_fast.data import ArraySource, CropFlip, FixedBatches, Loader
from lt_fast.datasets import ImageSet
from lt_fast.losses import effective_number_weights
from lt_fast.registry import Registry

SAMPLERS = Registry(
    "sampler",
    {
        "shuffled": "lt_fast.recipes.assembly:_shuffled",
        "class_balanced": "lt_fast.recipes.assembly:_class_balanced",
    },
)

_EVALUATION_BATCH = 512


class Data(NamedTuple):
    """The long-tailed training set, the held-out balanced test set, and the statistics that normalise both."""

    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_data(config: Mapping[str, Any], *, root: Path | None = None, download: bool = False) -> Data:
    """Return the data sets of ``config``.

    Args:
        config: from ``resolve``.
        root: folder of the data set's files; digits-lt needs none.
        download: fetch missing files.

    Raises:
        DataError: if a file is missing or damaged; names it.
    """
    train, test = datasets.DATASETS[config["data"]](
        root=root,
        imbalance_ratio=config["imbalance_ratio"],
        profile=config["profile"],
        seed=config["subset_seed"],
        download=download,
    )
    # CIFAR-10's figures for CIFAR-100 too, as kaidic/LDAM-DRW: cifar_train.py; elsewhere the training images' own.
    known = {"cifar10-lt": datasets.CIFAR10_STATS, "cifar100-lt": datasets.CIFAR10_STATS}
    mean, std = known.get(config["data"]) or datasets.channel_stats(train.images)
    return Data(train, test, mean, std)


def refuse_unfit(config: Mapping[str, Any], data: Data) -> None:
    """Make every part that may refuse its settings, so that it does so before anything is written or trained.

    Raises:
        TypeError, ValueError: if a part does not take its settings.
    """
    make_method(config, data).loaders(training_data(config, data))
    make_schedule(config)
    make_calibrator(config, data.train.class_counts)


def make_model(config: Mapping[str, Any], data: Data) -> nn.Module:
    """Return the network with its first weights, a function of the seed alone."""
    channels = data.train.images.shape[-1]
    model: nn.Module = models.MODELS[config["model"]](
        data.train.class_counts.num_classes,
        head=config["head"],
        in_channels=channels,
        seed=config["seed"],
    )
    return model


def make_mixer(config: Mapping[str, Any], counts: ClassCounts) -> mixing.Mixer | None:
    """Return the mixer, or None."""
    if config["mixer"] is None:
        return None
    shared = {name: config[name] for name in ("alpha", "per_sample", "seed")}
    mixer: mixing.Mixer = (
        mixing.MIXERS["mam"](counts, omega=config["omega"], **shared)
        if config["mixer"] == "mam"
        else mixing.MIXERS[config["mixer"]](**shared)
    )
    return mixer


def make_method(config: Mapping[str, Any], data: Data) -> methods.Method:
    """Return the method: network, losses, and what is special to it."""
    model, counts = make_model(config, data), data.train.class_counts
    if config["mixer"] != "cp_mix":
        return methods.Classification(model, make_criterion(config, counts), logit_scale=logit_scale(config))
    names = ("pairs_per_batch", "mix_pairs", "regularize", "stage_2_from", "alpha", "per_sample", "tau", "eta")
    options = {name: config[name] for name in (*names, "temperature", "uniform_fraction", "seed")}
    return methods.ConfusionPairing(model, counts, _loss({**config, "mixer": None}, counts), **options)


def training_data(config: Mapping[str, Any], data: Data) -> methods.TrainingData:
    """Return the training images and everything that a loader over them needs."""
    return methods.TrainingData(
        source=source_of(data.train),
        sampler=lambda: SAMPLERS[config["sampler"]](config, data.train.labels),
        transform=_augmented(config, data),
        plain_transform=CropFlip(mean=data.mean, std=data.std, crop_padding=0, flip=False),
        mixer=None if config["mixer"] == "cp_mix" else make_mixer(config, data.train.class_counts),
        batch_size=config["batch_size"],
        seed=config["seed"],
    )


def _augmented(config: Mapping[str, Any], data: Data) -> CropFlip:
    return CropFlip(mean=data.mean, std=data.std, crop_padding=config["crop_padding"], flip=config["flip"])


def source_of(images: ImageSet) -> ArraySource:
    """Return a set of images in memory as what a loader reads."""
    return ArraySource(images.images, images.labels, images.classes)


def plain_batches(images: ImageSet, data: Data) -> Loader:
    """Return ``images`` in their order, neither cropped nor flipped nor mixed: what evaluation and stage 2 read."""
    in_order = FixedBatches(len(images), batch_size=_EVALUATION_BATCH)
    still = CropFlip(mean=data.mean, std=data.std, crop_padding=0, flip=False)
    return Loader(source_of(images), in_order, transform=still)


def make_criterion(config: Mapping[str, Any], counts: ClassCounts) -> nn.Module:
    """Return the loss: the plain and the re-weighted one under deferred re-weighting, both stages' for CP-Mix."""
    if not config["deferred"]:
        return _loss(config, counts)
    weight = effective_number_weights(counts, beta=config["class_weight_beta"])
    reweighted = _loss(config, counts, weight=weight)
    return methods.DeferredReweighting(_loss(config, counts), reweighted, defer_until=config["defer_until"])


def make_schedule(config: Mapping[str, Any]) -> training.LearningRate:
    """Return the learning rate as a function of the position."""
    base, epochs, warmup = config["learning_rate"], config["epochs"], config["warmup"]
    if config["schedule"] == "cosine":
        return training.cosine(base, epochs=epochs, warmup=warmup)
    milestones, factor = config["milestones"], config["learning_rate_decay"]
    return training.multistep(base, epochs=epochs, warmup=warmup, milestones=milestones, factor=factor)


def make_calibrator(config: Mapping[str, Any], counts: ClassCounts) -> Any:
    """Return stage 2, unfitted, or None."""
    if config["calibrator"] is None:
        return None
    options = {name: config[f"calibration_{name}"] for name in _CALIBRATOR_OPTIONS[config["calibrator"]]}
    options |= {"lr": config["calibration_learning_rate"], "seed": config["seed"], "scale": logit_scale(config)}
    return calibration.CALIBRATORS[config["calibrator"]](counts, **options)


def logit_scale(config: Mapping[str, Any]) -> float:
    """Return what the softmax multiplies the logits by: LDAM trains ``softmax(scale * cosine)``, and is measured so."""
    return float(config.get("scale", 1.0))


_CALIBRATOR_OPTIONS = {
    "margin": ("gamma", "epochs", "batch_size", "momentum", "weight_decay", "normalization"),
    "retraining": ("start", "epochs", "batch_size", "momentum", "weight_decay"),
}


def _shuffled(config: Mapping[str, Any], labels: Any) -> Any:
    return sampling.ShuffledBatchSampler(labels, drop_last=False, **_sampler_options(config))


def _class_balanced(config: Mapping[str, Any], labels: Any) -> Any:
    return sampling.ClassBalancedBatchSampler(labels, **_sampler_options(config))


def _sampler_options(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"batch_size": config["batch_size"], "output": "numpy", "seed": config["seed"]}


def _loss(config: Mapping[str, Any], counts: ClassCounts, **weights: Any) -> nn.Module:
    names = _LOSS_OPTIONS[config["loss"]]
    options = {option: config[setting] for option, setting in names.items()}
    if config["mixer"] is not None:
        options["label_rule"] = mixing.MIXERS[config["mixer"]].label_rule
        options |= {"omega": config["omega"]} if "omega" in config else {}
    loss: nn.Module = losses.LOSSES[config["loss"]](counts, normalization=config["normalization"], **options, **weights)
    return loss


# Which of a loss's own arguments come from which setting; label rule, weight and normalization are shared by all.
_LOSS_OPTIONS: dict[str, dict[str, str]] = {
    "cross_entropy": {},
    "balanced_softmax": {},
    "class_balanced": {"beta": "class_weight_beta"},
    "ldam": {"max_margin": "max_margin", "scale": "scale"},
    "maximum_margin": {
        "max_margin": "max_margin",
        "gamma": "margin_gamma",
        "scale": "scale",
        "ldam": "ldam_offset",
    },
    "focal": {"gamma": "focal_gamma"},
    "logit_adjusted": {"tau": "prior_tau"},
    "equalization": {"gamma": "drop_probability", "threshold": "rare_below", "seed": "seed"},
    "seesaw": {"p": "mitigation", "q": "compensation", "eps": "probability_floor"},
    "lade": {"regularizer_weight": "regularizer_weight", "remine_lambda": "remine_lambda"},
}
