"""Training methods: what differs from one to the next is inside its ``Method``; the training loop is the same for all.

A method of your own is a subclass of ``Method`` in your own file; ``lt_fast.training.fit`` trains it.
"""

from lt_fast.methods.ace import AllyComplementaryExperts
from lt_fast.methods.bilateral_branches import BilateralBranches
from lt_fast.methods.classification import Classification
from lt_fast.methods.cp_mix import ConfusionPairing
from lt_fast.methods.deferred_reweighting import DeferredReweighting
from lt_fast.methods.distillation import Distillation, distillation_loss
from lt_fast.methods.fasa import FeatureAugmentation
from lt_fast.methods.feature_mixing import FeatureMixer, FeatureMixing
from lt_fast.methods.hybrid_contrast import HybridContrast, HybridPSC, HybridSC
from lt_fast.methods.method import Method, StepOutput
from lt_fast.methods.regmixup import RegMixup
from lt_fast.methods.risda import RISDA
from lt_fast.methods.training_data import TrainingData
from lt_fast.methods.weight_averaging import WeightAveraging

__all__ = [
    "RISDA",
    "AllyComplementaryExperts",
    "BilateralBranches",
    "Classification",
    "ConfusionPairing",
    "DeferredReweighting",
    "Distillation",
    "FeatureAugmentation",
    "FeatureMixer",
    "FeatureMixing",
    "HybridContrast",
    "HybridPSC",
    "HybridSC",
    "Method",
    "RegMixup",
    "StepOutput",
    "TrainingData",
    "WeightAveraging",
    "distillation_loss",
]
