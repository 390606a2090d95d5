"""The two stages of CP-Mix put together: what is drawn, mixed, counted and minimised when."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from lt_fast import losses, mixing, sampling, training
from lt_fast.counts import ClassCounts
from lt_fast.datasets import ImageBatches, PairBatches
from lt_fast.sampling import ConfusionCounts, ConfusionPairBatchSampler

Recorder: TypeAlias = training.ConfusionRecorder[ConfusionCounts]

_PAIRS = 0x70616972
"""Changes the run's seed into one for the pairs: their crops, flips and factors are not those of the plain images."""


class ConfusedPairs(PairBatches):
    """Mixed pairs whose table of confusions is that of the training so far, taken anew when an epoch begins.

    Args:
        pair_sampler: whose table is replaced.
        confusion: gives the counts, up to date.
        parts: the rest, as for ``PairBatches``.
    """

    def __init__(
        self, pair_sampler: ConfusionPairBatchSampler, confusion: Callable[[], ConfusionCounts], **parts: Any
    ) -> None:
        super().__init__(pair_sampler=pair_sampler, **parts)
        self._pair_sampler, self._confusion = pair_sampler, confusion

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and at its start the table that counts from there on."""
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
    config: Mapping[str, Any], plain: Callable[..., ImageBatches], recorder: Recorder, **images: Any
) -> training.StagedBatches:
    """Return plain batches, and from ``stage_2_from`` of the epochs on plain, pairs and mixed ones side by side.

    Args:
        config: from ``resolve``.
        plain: makes the plain batches, or with ``mixer`` the same images mixed among themselves.
        recorder: from ``make_recorder``.
        images: ``images``, ``labels``, ``class_counts``, ``mean``, ``std``, ``crop_padding`` and ``flip``.
    """
    first, counts = plain(mixer=None), images.pop("class_counts")
    parts: list[ImageBatches] = [plain(mixer=None)]
    if config["mix_pairs"]:
        parts.append(_pairs(config, counts, len(first), recorder, images))
    if config["regularize"]:
        parts.append(plain(mixer=_mixer(config, counts, config["seed"])))
    second_from = training.epoch_at(config["stage_2_from"], config["epochs"])
    return training.StagedBatches(first, training.JoinedBatches(*parts), second_from=second_from)


def _pairs(
    config: Mapping[str, Any],
    counts: ClassCounts,
    steps: int,
    recorder: Recorder,
    images: Mapping[str, Any],
) -> ConfusedPairs:
    seed = config["seed"] ^ _PAIRS
    sampler = sampling.ConfusionPairBatchSampler(
        images["labels"],
        ConfusionCounts(counts.num_classes),
        pairs_per_batch=config["pairs_per_batch"],
        temperature=config["temperature"],
        uniform_fraction=config["uniform_fraction"],
        num_batches=steps,
        output="numpy",
        seed=config["seed"],
    )
    return ConfusedPairs(sampler, recorder.up_to_date, lam=_mixer(config, counts, seed).factor, seed=seed, **images)


def _mixer(config: Mapping[str, Any], counts: ClassCounts, seed: int) -> mixing.CPMix:
    return mixing.CPMix(counts, tau=config["tau"], alpha=config["alpha"], per_sample=config["per_sample"], seed=seed)
