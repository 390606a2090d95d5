"""What stage 2 is fitted on: the images as they are or augmented views of them, after batch norm has been shifted."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch
from torch import nn

from lt_fast.data import FixedBatches
from lt_fast.errors import UsageError
from lt_fast.experiment.config import MODE
from lt_fast.methods import TrainingData
from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler
from lt_fast.training import deterministic


def batches_to_fit(
    config: Mapping[str, Any], data: TrainingData, calibrator: Any, source: Any
) -> Iterator[Iterable[Any]]:
    """Yield the batches of each view that ``calibrator`` is fitted on, every image of ``source`` once and in order.

    One view without augmentation, or where the calibrator has ``views`` above 0, that many augmented by the training's
    transform: view v as in epoch ``epochs + v``, which no step of the training has seen. An image's augmentation is a
    function of (seed, view, position).
    """
    views = getattr(calibrator, "views", 0)
    if not views:
        yield data.plain_loader(source)
        return
    in_order = FixedBatches(len(source), batch_size=data.evaluation_batch)
    loader = replace(data, source=source).loader(in_order, mixer=None)
    yield from (loader.batches(config["epochs"] + view) for view in range(views))


def fit_through_network(
    config: Mapping[str, Any], data: TrainingData, calibrator: Any, model: nn.Module, source: Any, *, device: str
) -> bool:
    """Let a calibrator that runs ``as_published`` learn through the network, and return whether it does.

    Every epoch shuffles and augments the images of ``source`` anew: a function of (seed, epoch, position), the epochs
    counted on from the training's.
    """
    if not getattr(calibrator, "as_published", False):
        return False
    size = min(calibrator.batch_size, len(source))
    sampler = ShuffledBatchSampler(source.labels, batch_size=size, output="numpy", seed=config["seed"])
    loader = replace(data, source=source).loader(sampler, mixer=None)

    def passes(epoch: int) -> Iterator[Any]:
        every: Any = loader.batches(config["epochs"] + epoch)
        with closing(every) as batches:  # it reads ahead
            yield from islice(batches, calibrator.batches_of_an_epoch(len(source)))

    with deterministic(torch.device(device)):
        calibrator.fit_network(model, passes, device=device, amp=config["amp"])
    return True


def shift_batch_norm(
    config: Mapping[str, Any], data: TrainingData, calibrator: Any, model: nn.Module, *, device: str
) -> None:
    """Let a calibrator with ``shift_epochs`` above 0 shift batch norm, by class-balanced augmented training images.

    An epoch has N draws; each is a function of (seed, epoch, position), the epochs counted on from the training's.
    """
    epochs = getattr(calibrator, "shift_epochs", 0)
    if not epochs:
        return
    size = min(calibrator.batch_size, len(data.labels))
    sampler = ClassBalancedBatchSampler(
        data.labels, batch_size=size, output="numpy", seed=config["seed"], empty="ignore"
    )
    loader = data.loader(sampler, mixer=None)
    with deterministic(torch.device(device)):
        batches = chain.from_iterable(loader.batches(config["epochs"] + epoch) for epoch in range(epochs))
        calibrator.shift(model, batches, device=device, amp=config["amp"])


def fine_tune(config: Mapping[str, Any], data: TrainingData, calibrator: Any, model: nn.Module, *, device: str) -> None:
    """Let a calibrator with ``finetune_epochs`` above 0 fine-tune the network, by augmented training images.

    An epoch has N draws, class-balanced or each image once; each is a function of (seed, epoch, position), the epochs
    counted on from the training's.
    """
    epochs = getattr(calibrator, "finetune_epochs", 0)
    if not epochs:
        return
    size = min(calibrator.finetune_batch_size, len(data.labels))
    common: dict[str, Any] = {"batch_size": size, "output": "numpy", "seed": config["seed"], "drop_last": False}
    sampler = (
        ClassBalancedBatchSampler(data.labels, empty="ignore", **common)
        if calibrator.balanced
        else ShuffledBatchSampler(data.labels, **common)
    )
    loader = data.loader(sampler, mixer=None)
    passes = (loader.batches(config["epochs"] + epoch) for epoch in range(epochs))
    with deterministic(torch.device(device)):
        calibrator.finetune(model, passes, device=device, amp=config["amp"])


def adapted(calibrator: Any, model: nn.Module) -> nn.Module:
    """Return the network whose features ``calibrator`` takes: ``model``, or what the calibrator makes of it."""
    adapt = getattr(calibrator, "adapted", None)
    network: nn.Module = model if adapt is None else adapt(model)
    return network


def refuse_unfit(config: Mapping[str, Any], calibrator: Any) -> None:
    """Refuse what a frozen network cannot give: moved statistics, or views where none are computed.

    Raises:
        UsageError: naming the setting.
    """
    if config.get(MODE) != "freeze":
        return
    for setting, none in (("shift_epochs", "0"), ("finetune_epochs", "0"), ("as_published", "false")):
        found = getattr(calibrator, setting, 0)
        if found:
            raise UsageError(
                f"calibrator.{setting} must be {none} where the network is frozen, got {str(found).lower()}: its "
                f"features are computed once; set it to {none}, or leave --freeze out"
            )
    if getattr(calibrator, "views", 0) and not config["feature_views"]:
        raise UsageError(
            f"calibrator.views must be 0 where feature_views is 0, got {calibrator.views}: no augmented view is "
            "computed; set feature_views, or leave calibrator.views out"
        )
