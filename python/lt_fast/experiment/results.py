"""What a trained network predicts, calibrated where the recipe says so, and the metrics of it."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast import metrics
from lt_fast.calibration import collect, collected_batches, storage
from lt_fast.counts import ClassCounts
from lt_fast.data import Loader
from lt_fast.errors import DataError
from lt_fast.experiment.build import Data, Parts, images_to_fit, source_of
from lt_fast.experiment.predictions import (
    MOST_LOGITS,
    USUAL_GROUPS,
    AnyPredictions,
    Best,
    Scores,
    in_blocks,
    joined,
    keeps_all,
    kept,
    measured,
    predictions,
    scores_in,
)
from lt_fast.experiment.scored_prior import scored_prior
from lt_fast.experiment.second_stage import (
    adapted,
    batches_to_fit,
    fine_tune,
    fit_through_network,
    refuse_unfit,
    shift_batch_norm,
)
from lt_fast.methods import Method
from lt_fast.ranks import Ranks
from lt_fast.training import deterministic
from lt_fast.training.run_directory import identity_of

CALIBRATION = "calibration"
"""Folder of a run that holds its calibrator."""


def predicted(
    config: Mapping[str, Any],
    method: Method,
    loader: Loader,
    *,
    device: str,
    ranks: Ranks = Ranks(),  # noqa: B008
    best: bool = False,
) -> tuple[Scores, Tensor]:
    """Return the scores of ``method.predict`` and the labels of every image once, in the order of the data set.

    Each rank predicts its shard of every batch; all ranks get the whole. The scores are all logits, or with ``best``
    the best classes of each image, block by block: then no rank has a matrix of N x C.
    """
    blocks = in_blocks(scored_batches(config, method, loader, device=device))
    columns = kept(blocks, best=best, rows=len(loader.source) // ranks.world_size)
    if ranks.world_size > 1:
        columns = joined(ranks.gather(columns))
    order = columns[0].argsort()
    if not torch.equal(order, torch.arange(len(order))):  # of one rank it is: then nothing is copied
        columns = tuple(column[order] for column in columns)
    _, *scores, labels = columns
    return scores_in(scores, best=best), labels


def scored_batches(
    config: Mapping[str, Any], method: Method, loader: Loader, *, device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield position in the data set, logits of ``method.predict`` and label of this rank's images, batch by batch."""
    method.eval()
    target = torch.device(device)
    for batch in loader:
        x = batch.x.to(device, non_blocking=True)
        # Entered for each batch: of a pass that an error has left, the collector of garbage would end them in the
        # middle of something else, whose algorithms and gradients they would change.
        with torch.no_grad(), deterministic(target), torch.autocast(target.type, torch.bfloat16, enabled=config["amp"]):
            logits = method.predict(x).float().cpu()
        if batch.weight and batch.index is not None:
            yield batch.index, logits, batch.target


def keeps_best(images: Any, counts: ClassCounts, calibrator: Any, most: int) -> bool:
    """Return whether the logits of ``images`` take more than ``most`` bytes, so that the best alone are kept."""
    stages = 1 if calibrator is None else 2
    return not keeps_all(len(images), len(counts), stages=stages, most=most)


def predictions_of(
    config: Mapping[str, Any],
    data: Data,
    parts: Parts,
    folder: Path,
    *,
    device: str,
    fit: bool,
    best: bool | None = None,
) -> AnyPredictions:
    """Return the test set's predictions, before and after calibration.

    Args:
        config: from ``resolve``.
        data: the run's data.
        parts: the run's parts, the method trained and on ``device``.
        folder: of the run; the calibrator is in its subfolder ``calibration``.
        device: where the model runs.
        fit: learn the calibrator and save it, or read the saved one.
        best: keep the best classes of each image alone; None decides by the size of the logits.
    """
    loader = parts.data.plain_loader(source_of(data.test))
    if best is None:
        best = keeps_best(data.test, data.train.class_counts, parts.calibrator, MOST_LOGITS)
    before = predicted(config, parts.method, loader, device=device, best=best)
    return calibrated(config, data, parts, folder, before, device=device, fit=fit)


def calibrated(
    config: Mapping[str, Any],
    data: Data,
    parts: Parts,
    folder: Path,
    before: tuple[Scores, Tensor],
    *,
    device: str,
    fit: bool,
) -> AnyPredictions:
    """Return the predictions ``before``, scores and labels, with their calibration; see ``predictions_of``."""
    scores, labels = before
    if parts.calibrator is None:
        return predictions(scores, labels, None)
    calibrator, model = parts.calibrator, parts.method.model
    ties = ties_to(config, model)
    if fit:
        fit_calibrator(config, data, parts, calibrator, device=device)
        calibrator.save(folder / CALIBRATION)
        storage.tie(folder / CALIBRATION, ties)
    else:
        calibrator = loaded_calibrator(calibrator, folder / CALIBRATION, ties)
    batches = parts.data.plain_loader(source_of(data.test))
    try:
        after = transformed(config, calibrator, model, batches, device, best=isinstance(scores, Best))
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{folder / CALIBRATION} is not of this run's network: {error}") from error
    return predictions(scores, labels, after)


def fit_calibrator(config: Mapping[str, Any], data: Data, parts: Parts, calibrator: Any, *, device: str) -> str:
    """Fit stage 2 to the run's network, and return the name of the images that it was fitted on.

    Warns where it takes the training frequencies out of scores that do not have them any more.

    Raises:
        UsageError: if it needs validation images, and there are none.
    """
    wanted, images = images_to_fit(calibrator, data)
    if wanted == "unlabelled test":
        warnings.warn(
            f"{calibrator.name} reads the test images, without their labels: its figures hold for these together",
            stacklevel=3,
        )
    _warn_of_second_adjustment(config, data, calibrator)
    refuse_unfit(config, calibrator)
    model = parts.method.model
    if fit_through_network(config, parts.data, calibrator, model, source_of(images), device=device):
        return wanted
    shift_batch_norm(config, parts.data, calibrator, model, device=device)
    network, views = adapted(calibrator, model), batches_to_fit(config, parts.data, calibrator, source_of(images))
    with deterministic(torch.device(device)):
        found = [collect(network, each, device=device, amp=config["amp"], keep_logits=False) for each in views]
    features, _, targets = (torch.cat(column) for column in zip(*found, strict=True))
    calibrator.fit(features, targets, head=model.head)
    fine_tune(config, parts.data, calibrator, model, device=device)
    return wanted


def _warn_of_second_adjustment(config: Mapping[str, Any], data: Data, calibrator: Any) -> None:
    counts = data.train.class_counts
    scored = scored_prior(config, counts, None)
    if not getattr(calibrator, "adjusts_prior", False) or scored.prior is None:
        return
    if not np.allclose(scored.prior, counts.prior):
        warnings.warn(
            f"{calibrator.name} takes the training set's class frequencies out of the scores, which stand for others "
            f"already ({scored.reason}): it favours rare classes a second time",
            stacklevel=4,
        )


def measure(data: Data, found: AnyPredictions, groups: tuple[int, int] = USUAL_GROUPS) -> dict[str, Any]:
    """Return ``metrics`` and ``metrics_before_calibration`` of the predictions; ``groups`` of ``groups_of``."""
    return measured(found, data.train.class_counts, groups)


def intervals_of(
    found: AnyPredictions, data: Data, *, level: float = 0.95, groups: tuple[int, int] = USUAL_GROUPS
) -> dict[str, Any]:
    """Return intervals over the choice of the test images, (low, high) each; None where there is no image.

    Of ``top1`` and of each class's recall (``per_class``) Wilson's, of ``balanced_acc`` and of each group's recall that
    of a mean of recalls: see ``metrics.wilson_interval`` and ``metrics.mean_recall_interval``.
    """
    labels, counts = found.labels.numpy(), data.train.class_counts
    hits = labels[found.final() == labels]
    right, total = (np.bincount(each, minlength=len(counts)) for each in (hits, labels))
    ends = metrics.wilson_interval(right, total, level).tolist()
    members = counts.groups(many=groups[0], few=groups[1])
    of_groups = {name: _of_mean(right[member], total[member], level) for name, member in members.items()}
    return {
        "top1": metrics.wilson_interval(len(hits), len(labels), level).tolist(),
        "balanced_acc": _of_mean(right, total, level),
        **{f"{name}_recall": interval for name, interval in of_groups.items()},
        "per_class": [pair if images else None for pair, images in zip(ends, total, strict=True)],
    }


def loaded_calibrator(wanted: Any, folder: Path, ties: Mapping[str, str]) -> Any:
    """Return the calibrator in ``folder``, one of the settings, class counts and ties of ``wanted``.

    Raises:
        DataError: if it is missing, damaged, or of another run.
    """
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


def ties_to(config: Mapping[str, Any], model: nn.Module) -> dict[str, str]:
    """Return the digests that tie a calibrator to the configuration and the network that it was fitted for."""
    return {"config_sha256": identity_of(config), "model_sha256": _digest_of(model)}


def transformed(
    config: Mapping[str, Any], calibrator: Any, model: nn.Module, batches: Loader, device: str, *, best: bool = False
) -> Scores:
    """Return the calibrated scores of every image: all logits, or with ``best`` the best classes of each image."""
    with deterministic(torch.device(device)):
        _, *scores, _ = kept(
            _transformed_blocks(config, calibrator, model, batches, device), best=best, rows=len(batches.source)
        )
    return scores_in(scores, best=best)


def _transformed_blocks(
    config: Mapping[str, Any], calibrator: Any, model: nn.Module, batches: Loader, device: str
) -> Iterator[tuple[Tensor, ...]]:
    """Yield (labels, calibrated logits, labels) of block after block of images."""
    of_logits = calibrator.transforms == "logits"
    found = collected_batches(
        adapted(calibrator, model), batches, device=device, amp=config["amp"], keep_logits=of_logits
    )
    columns = ((each.logits if of_logits else each.features, each.labels) for each in found)
    for given, labels in in_blocks(columns, classes=len(calibrator.counts)):
        yield labels, calibrator.transform(given), labels


def _digest_of(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _of_mean(right: NDArray[np.int64], total: NDArray[np.int64], level: float) -> list[float] | None:
    found = metrics.mean_recall_interval(right, total, level)
    return None if found is None else list(found)
