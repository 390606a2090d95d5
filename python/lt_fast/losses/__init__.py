"""Losses for long-tailed training: each turns the training counts into vectors of length C for one fused op.

Every loss is a function ``xxx_loss(logits, target, class_counts)`` and a module ``XxxLoss(counts)`` that makes its
vectors once. Both take one label a sample, or two and the factor of the first image::

    criterion = lt.losses.LDAMLoss(lt.ClassCounts.from_labels(labels))
    loss = criterion(logits, target)
    loss = criterion(mixed_logits, target_a, target_b, lam)
"""

from lt_fast.losses.balanced_softmax import BalancedSoftmaxLoss, balanced_softmax_loss, log_prior
from lt_fast.losses.class_balanced import ClassBalancedLoss, class_balanced_loss
from lt_fast.losses.class_weights import effective_number_weights, inverse_frequency_weights
from lt_fast.losses.cp_mix import CPMixLoss
from lt_fast.losses.cross_entropy import CrossEntropyLoss, cross_entropy_loss
from lt_fast.losses.equalization import EqualizationLoss, equalization_loss
from lt_fast.losses.focal import FocalLoss, focal_loss
from lt_fast.losses.lade import LADELoss, lade_loss, lade_regularizer
from lt_fast.losses.ldam import LDAMLoss, ldam_loss, ldam_margins
from lt_fast.losses.logit_adjusted import LogitAdjustedLoss, logit_adjusted_loss
from lt_fast.losses.maximum_margin import MaximumMarginLoss, maximum_margin_loss
from lt_fast.losses.seesaw import SeesawLoss, seesaw_loss
from lt_fast.registry import Registry

__all__ = [
    "LOSSES",
    "BalancedSoftmaxLoss",
    "CPMixLoss",
    "ClassBalancedLoss",
    "CrossEntropyLoss",
    "EqualizationLoss",
    "FocalLoss",
    "LADELoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "MaximumMarginLoss",
    "SeesawLoss",
    "balanced_softmax_loss",
    "class_balanced_loss",
    "cross_entropy_loss",
    "effective_number_weights",
    "equalization_loss",
    "focal_loss",
    "inverse_frequency_weights",
    "lade_loss",
    "lade_regularizer",
    "ldam_loss",
    "ldam_margins",
    "log_prior",
    "logit_adjusted_loss",
    "maximum_margin_loss",
    "seesaw_loss",
]

LOSSES = Registry(
    "loss",
    {
        "cross_entropy": "lt_fast.losses.cross_entropy:CrossEntropyLoss",
        "class_balanced": "lt_fast.losses.class_balanced:ClassBalancedLoss",
        "ldam": "lt_fast.losses.ldam:LDAMLoss",
        "balanced_softmax": "lt_fast.losses.balanced_softmax:BalancedSoftmaxLoss",
        "maximum_margin": "lt_fast.losses.maximum_margin:MaximumMarginLoss",
        "logit_adjusted": "lt_fast.losses.logit_adjusted:LogitAdjustedLoss",
        "focal": "lt_fast.losses.focal:FocalLoss",
        "equalization": "lt_fast.losses.equalization:EqualizationLoss",
        "seesaw": "lt_fast.losses.seesaw:SeesawLoss",
        "lade": "lt_fast.losses.lade:LADELoss",
    },
)
"""Name to module class, one line a loss: ``LOSSES["ldam"](counts)``."""
