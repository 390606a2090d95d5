"""``cp_mix``: balanced softmax, then confused pairs mixed beside it, then the classifier fine-tuned on balanced draws.

The paper's table of values was not available and no public code was found: the values that are ours say so.
"""

from collections.abc import Mapping
from typing import Any

from lt_fast.recipes.recipe import Recipe, Value

_PAPER = "CP-Mix paper"
_UNKNOWN = "the paper's value was not available"

VALUES: Mapping[str, Value] = {
    "normalization": Value("batch", f"{_PAPER}, eqs. 11 and 14: plain means"),
    "stage_2_from": Value(2 / 3, f"{_PAPER}, appendix B.3: generally two thirds of the epochs, then one third"),
    "mix_pairs": Value(True, f"{_PAPER}, eq. 15"),
    "regularize": Value(True, f"{_PAPER}, eq. 16, with the mixing function, alpha and eta of the pairs (appendix A)"),
    "alpha": Value(1.0, f"ours: {_UNKNOWN}; mixup's Beta(1, 1)"),
    "per_sample": Value(False, f"ours: {_PAPER} says 'as in vanilla mixup', whose code draws one lambda a batch"),
    "tau": Value(0.5, f"ours: {_UNKNOWN}; half way between mixup and the class sizes alone, not tuned"),
    "eta": Value(1.0, f"ours: {_UNKNOWN}; not tuned"),
    "pairs_per_batch": Value(128, f"ours: {_UNKNOWN}; as many as there are plain images"),
    "temperature": Value(1.0, f"{_PAPER}, Algorithm 1: pairs by their counts"),
    "uniform_fraction": Value(0.0, f"{_PAPER}, Algorithm 1: no other pairs; 1 draws class-balanced pairs at random"),
    "calibration_start": Value("trained", f"{_PAPER}: the classifier is fine-tuned, not made anew"),
    "calibration_epochs": Value(10, f"ours: {_UNKNOWN}; as facebookresearch/classifier-balancing"),
    "calibration_learning_rate": Value(
        0.001,
        f"ours: {_UNKNOWN}; 0.01 and 0.001 tried on digits-lt, seeds 100 to 103: 0.01 took a point off the accuracy "
        "after stage 2, 0.001 added a little",
    ),
    "calibration_batch_size": Value(128, f"ours: {_UNKNOWN}; as stage 1"),
    "calibration_momentum": Value(0.9, f"{_PAPER}: SGD with momentum 0.9"),
    "calibration_weight_decay": Value(5e-4, f"ours: {_UNKNOWN}; as facebookresearch/classifier-balancing"),
}

_DIGITS = {
    "pairs_per_batch": Value(64, "ours: as many as there are plain images"),
    "calibration_batch_size": Value(64, "ours: as stage 1"),
}

VALUES_ON = {"digits-lt": _DIGITS}


def variant(name: str, title: str, *, loss: str = "balanced_softmax", **changes: Any) -> Recipe:
    """Return ``cp_mix`` with some values changed.

    Args:
        name: of the recipe.
        title: its name in words.
        loss: of the plain images.
        changes: setting to value.
    """
    changed = {setting: Value(value, f"{_PAPER}: this ablation") for setting, value in changes.items()}
    return Recipe(
        name=name,
        title=title,
        paper="Yoon, Hong, Joo, Qin, Jeong, Lee 2024, Mix from Failure: Confusion-Pairing Mixup for Long-Tailed "
        "Recognition",
        arxiv="2411.07621",
        equations="Algorithm 1, eqs. 5 to 16; eqs. 9 and 10 reconstructed from the text around them",
        cost="stage 2, a third of the epochs: three times the images a step; then seconds for the classifier",
        loss=loss,
        mixer="cp_mix",
        calibrator="retraining",
        values={**VALUES, **changed},
        values_on=VALUES_ON,
    )


RECIPE = variant("cp_mix", "Confusion-pairing mixup")
