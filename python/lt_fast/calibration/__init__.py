"""Calibration, a second training stage: learn a few numbers on the outputs of a trained, frozen network.

Every calibrator has ``fit(features_or_logits, labels) -> self``, ``transform(logits) -> logits`` (given features where
its ``transforms`` says so), ``apply(model) -> model``, ``save(folder)`` and ``load(folder)``; a call is ``transform``,
``state_dict()`` and ``load_state_dict(state)`` are its tensors, and ``load_calibrator(folder)`` finds the class::

    features, logits, labels = collect(model, batches)
    calibrator = MarginCalibration(counts).fit(features, labels, head=model.head)
    calibrated = calibrator.apply(model)

A run asks a calibrator for more where it has it: ``views``, how many augmented views of the images it is fitted to;
``shift_epochs`` and ``shift(model, batches)``; ``adapted(model)``, the network whose features it takes;
``finetune_epochs``, ``finetune_batch_size``, ``balanced`` and ``finetune(model, passes)``, after it has been fitted.
"""

from lt_fast.calibration.affine import LogitAdjustment, TauNormalization, TemperatureScaling
from lt_fast.calibration.balms import BalancedMetaSoftmax, first_sampling_logits
from lt_fast.calibration.batch_norm import shifted_statistics, with_statistics
from lt_fast.calibration.collecting import Collected, collect, collected_batches
from lt_fast.calibration.disalign import AlignedHead, DisAlign, aligned_logits
from lt_fast.calibration.expert_aggregation import ExpertAggregation, prediction_stability
from lt_fast.calibration.expert_assignment import ExpertAssignment
from lt_fast.calibration.fine_tuning import fine_tuned
from lt_fast.calibration.heads import CalibratedHead, weight_norm
from lt_fast.calibration.label_aware_smoothing import (
    LabelAwareSmoothing,
    class_smoothing,
    label_aware_smoothing_loss,
)
from lt_fast.calibration.linear_probe import LinearProbe
from lt_fast.calibration.loading import load_calibrator
from lt_fast.calibration.loce import EquilibriumTuning, equilibrium_loss, updated_mean_score
from lt_fast.calibration.lws import LearnableWeightScaling
from lt_fast.calibration.margin import MarginCalibration
from lt_fast.calibration.margin_formulas import (
    generalized_reweighting,
    margin_calibrated_logits,
    margin_calibration_loss,
)
from lt_fast.calibration.probe_perturbations import uncertainty_perturbation, virtual_adversarial_loss
from lt_fast.calibration.retraining import ClassifierRetraining
from lt_fast.calibration.vector_scaling import VectorScaling
from lt_fast.registry import CALIBRATORS

__all__ = [
    "CALIBRATORS",
    "AlignedHead",
    "BalancedMetaSoftmax",
    "CalibratedHead",
    "ClassifierRetraining",
    "Collected",
    "DisAlign",
    "EquilibriumTuning",
    "ExpertAggregation",
    "ExpertAssignment",
    "LabelAwareSmoothing",
    "LearnableWeightScaling",
    "LinearProbe",
    "LogitAdjustment",
    "MarginCalibration",
    "TauNormalization",
    "TemperatureScaling",
    "VectorScaling",
    "aligned_logits",
    "class_smoothing",
    "collect",
    "collected_batches",
    "equilibrium_loss",
    "fine_tuned",
    "first_sampling_logits",
    "generalized_reweighting",
    "label_aware_smoothing_loss",
    "load_calibrator",
    "margin_calibrated_logits",
    "margin_calibration_loss",
    "prediction_stability",
    "shifted_statistics",
    "uncertainty_perturbation",
    "updated_mean_score",
    "virtual_adversarial_loss",
    "weight_norm",
    "with_statistics",
]
