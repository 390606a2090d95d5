"""Losses for long-tailed training: each turns the training counts into vectors of length C for one fused operator.

A loss is made once from the counts and called with one label per row, or with two and the mixing coefficient::

    criterion = lt.losses.LDAMLoss(lt.ClassCounts.from_labels(labels))
    loss = criterion(logits, target)
    loss = criterion(mixed_logits, target_a, target_b, lam)

Soft targets, labels to be ignored and a label per pixel or token are taken as ``torch.nn.CrossEntropyLoss`` takes them.
The options that all losses share are documented in ``Loss``. ``lt.ops.mixed_margin_loss`` is the same as a function.
Losses of embeddings, ``SupConLoss`` and ``PrototypicalSupConLoss``, take no counts.
"""

from lt_fast.losses.ace import ACELoss, nested_classes
from lt_fast.losses.balanced_softmax import BalancedSoftmaxLoss, log_prior
from lt_fast.losses.base import Loss, RowLoss, SharedOptions
from lt_fast.losses.bayias import BayiasLoss
from lt_fast.losses.class_balanced import ClassBalancedLoss
from lt_fast.losses.class_weights import effective_number_weights, inverse_frequency_weights
from lt_fast.losses.cross_entropy import CrossEntropyLoss
from lt_fast.losses.equalization import EqualizationLoss
from lt_fast.losses.experts import ExpertLosses, sum_over_experts
from lt_fast.losses.focal import FocalLoss
from lt_fast.losses.implicit_augmentation import ClassMoments, augmented_logits
from lt_fast.losses.lade import LADELoss, lade_regularizer
from lt_fast.losses.ldam import LDAMLoss, ldam_margins
from lt_fast.losses.logit_adjusted import LogitAdjustedLoss
from lt_fast.losses.maximum_margin import MaximumMarginLoss
from lt_fast.losses.multi_label import MultiLabelBCELoss, MultiLabelLoss, multi_hot, positive_weights
from lt_fast.losses.multi_label_distribution_balanced import DistributionBalancedLoss
from lt_fast.losses.multi_label_focal import AsymmetricLoss, MultiLabelFocalLoss
from lt_fast.losses.multi_label_margin import MultiLabelLDAMLoss
from lt_fast.losses.ride import RIDELoss, class_temperatures
from lt_fast.losses.sade import InverseSoftmaxLoss, SADELoss, log_inverse_prior
from lt_fast.losses.seesaw import SeesawLoss
from lt_fast.losses.supervised_contrastive import PrototypicalSupConLoss, SupConLoss
from lt_fast.losses.targets import two_labels
from lt_fast.registry import LOSSES

__all__ = [
    "LOSSES", "ACELoss", "AsymmetricLoss", "BalancedSoftmaxLoss", "BayiasLoss", "ClassBalancedLoss", "ClassMoments",
    "CrossEntropyLoss", "DistributionBalancedLoss", "EqualizationLoss", "ExpertLosses", "FocalLoss",
    "InverseSoftmaxLoss", "LADELoss", "LDAMLoss", "LogitAdjustedLoss", "Loss", "MaximumMarginLoss", "MultiLabelBCELoss",
    "MultiLabelFocalLoss", "MultiLabelLDAMLoss", "MultiLabelLoss", "PrototypicalSupConLoss", "RIDELoss", "RowLoss",
    "SADELoss", "SeesawLoss", "SharedOptions", "SupConLoss", "augmented_logits", "class_temperatures",
    "effective_number_weights", "inverse_frequency_weights", "lade_regularizer", "ldam_margins", "log_inverse_prior",
    "log_prior", "multi_hot", "nested_classes", "positive_weights", "sum_over_experts", "two_labels",
]  # fmt: skip
