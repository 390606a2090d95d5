"""The two stages of CP-Mix put together: what is drawn, mixed, counted and minimised when."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lt_fast import losses, mixing, sampling, training
from lt_fast.counts import ClassCounts
from lt_fast.data import ArraySource, CropFlip, Loader, PairPlans
from lt_fast.sampling import ConfusionCounts, ConfusionPairBatchSampler

Recorder: TypeAlias = training.ConfusionRecorder[ConfusionCounts]

_PAIRS = 0x70616972
"""Changes the run's seed into one for the pairs: their crops, flips and factors are not those of the plain images."""


class ConfusedPairs(PairPlans):
    """Plans of mixed pairs by the confusion matrix of the training so far, renewed when an epoch begins.

    Args:
        sampler: whose matrix is replaced.
        labels: (N,) int64 of the training set.
        coefficients: as for ``PairPlans``.
        confusion: gives the counts, up to date.
    """

    def __init__(
        self,
        sampler: ConfusionPairBatchSampler,
        labels: NDArray[np.int64],
        coefficients: Callable[[int, int, int], NDArray[np.float32]],
        confusion: Callable[[], ConfusionCounts],
    ) -> None:
        super().__init__(sampler, labels, coefficients)
        self._pair_sampler, self._confusion = sampler, confusion

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and at its start the matrix that pairs are drawn by from there on."""
        super().set_epoch(epoch)
        if self._pair_sampler.next_step % self._pair_sampler.num_batches == 0:
            self._pair_sampler.update_confusion(self._confusion())


def make_recorder(config: Mapping[str, Any], counts: ClassCounts, plain: nn.Module) -> Recorder:
    """Return the loss of both stages, which counts the confusions of all plain images.

    Args:
        config: from ``resolve``.
        counts: training samples per class.
        plain: loss of the plain images.
    """
    criterion = losses.CPMixLoss(
        counts,
        num_pairs=config["pairs_per_batch"] if config["mix_pairs"] else 0,
        eta=config["eta"],
        tau=config["tau"],
        plain=plain,
        regularize=config["regularize"],
    )
    confusion = ConfusionCounts(counts.num_classes)
    return training.ConfusionRecorder(criterion, confusion, plain_rows=criterion.plain_rows)


def make_batches(
    config: Mapping[str, Any],
    plain: Callable[..., Loader],
    recorder: Recorder,
    *,
    source: ArraySource,
    transform: CropFlip,
) -> training.StagedBatches:
    """Return plain batches, and from ``stage_2_from`` of the epochs on plain, pair and mixed batches together.

    Args:
        config: from ``resolve``.
        plain: makes the loader of the plain images, or with ``mixer`` of the same images mixed among themselves.
        recorder: from ``make_recorder``.
        source: the training images.
        transform: how they are augmented.
    """
    first, counts = plain(mixer=None), source.class_counts
    parts = [plain(mixer=None)]
    if config["mix_pairs"]:
        planner = _pairs(config, counts, len(first), recorder, source.labels)
        parts.append(Loader(source, planner, transform=transform, seed=config["seed"] ^ _PAIRS))
    if config["regularize"]:
        parts.append(plain(mixer=_mixer(config, counts, config["seed"])))
    second_from = training.epoch_at(config["stage_2_from"], config["epochs"])
    return training.StagedBatches(first, training.JoinedBatches(*parts), second_from=second_from)


def _pairs(
    config: Mapping[str, Any], counts: ClassCounts, steps: int, recorder: Recorder, labels: NDArray[np.int64]
) -> ConfusedPairs:
    sampler = sampling.ConfusionPairBatchSampler(
        labels,
        ConfusionCounts(counts.num_classes),
        pairs_per_batch=config["pairs_per_batch"],
        temperature=config["temperature"],
        uniform_fraction=config["uniform_fraction"],
        num_batches=steps,
        output="numpy",
        seed=config["seed"],
    )
    coefficients = _mixer(config, counts, config["seed"] ^ _PAIRS).factor
    return ConfusedPairs(sampler, labels, coefficients, recorder.up_to_date)


def _mixer(config: Mapping[str, Any], counts: ClassCounts, seed: int) -> mixing.CPMix:
    return mixing.CPMix(counts, tau=config["tau"], alpha=config["alpha"], per_sample=config["per_sample"], seed=seed)
