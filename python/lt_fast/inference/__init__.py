"""After a training: its classifier in use on new images.

::

    classifier = lt_fast.load("runs/mammc-digits-lt-50-0")
    found = classifier.predict(paths, target_prior="uniform", max_error=0.05)
    found.to_csv("out.csv")
"""

from lt_fast.experiment.scored_prior import ScoredPrior, scored_prior
from lt_fast.inference.classifier import TrainedClassifier, load
from lt_fast.inference.images import find_images
from lt_fast.inference.predictions import Predictions
from lt_fast.inference.priors import reweighted, target_prior
from lt_fast.inference.thresholds import Threshold, threshold_for

__all__ = [
    "Predictions",
    "ScoredPrior",
    "Threshold",
    "TrainedClassifier",
    "find_images",
    "load",
    "reweighted",
    "scored_prior",
    "target_prior",
    "threshold_for",
]
