"""CP-Mix of Yoon et al. 2024: balanced softmax, then confused pairs are mixed in, then the classifier is fine-tuned.

The paper's table of values was not available and no public code was found: the values that are ours say so.
"""

from typing import Any

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import CODE as RIDE_CODE
from lt_fast.recipes.ride import RIDE

_PAPER = "CP-Mix paper"
_UNKNOWN = "the paper's value was not available"

_DIGITS: dict[str, Setting] = {
    "method": Spec(pairs_per_batch=cited(64, "ours: as many as there are plain images")),
    "calibrator": Spec(batch_size=cited(64, "ours: as stage 1")),
}

_PHOTOGRAPHS: dict[str, Setting] = {
    "method": Spec(pairs_per_batch=cited(32, "ours: as many as there are plain photographs when fine-tuning")),
    "calibrator": Spec(batch_size=cited(64, "ours: as on digits-lt")),
}

CP_MIX = register(
    Recipe(
        "cp_mix",
        Paper(
            "Yoon, Hong, Joo, Qin, Jeong, Lee 2024, Mix from Failure: Confusion-Pairing Mixup for Long-Tailed "
            "Recognition",
            arxiv="2411.07621",
        ),
        "Algorithm 1, eqs. 5 to 16; eqs. 9 and 10 reconstructed from the text around them",
        title="Confusion-pairing mixup",
        cost="stage 2, a third of the epochs: three times the images per step; then seconds for the classifier",
        method=Spec(
            "cp_mix",
            stage_2_from=cited(2 / 3, f"{_PAPER}, appendix B.3: generally two thirds of the epochs, then one third"),
            mix_pairs=cited(True, f"{_PAPER}, eq. 15"),
            regularize=cited(
                True, f"{_PAPER}, eq. 16, with the mixing function, alpha and eta of the pairs (appendix A)"
            ),
            alpha=cited(1.0, f"ours: {_UNKNOWN}; mixup's Beta(1, 1)"),
            per_sample=cited(
                False, f"ours: {_PAPER} says 'as in vanilla mixup', whose code draws one lambda per batch"
            ),
            tau=cited(0.5, f"ours: {_UNKNOWN}; half way between mixup and the class sizes alone, not tuned"),
            eta=cited(1.0, f"ours: {_UNKNOWN}; not tuned"),
            pairs_per_batch=cited(128, f"ours: {_UNKNOWN}; as many as there are plain images"),
            temperature=cited(1.0, f"{_PAPER}, Algorithm 1: pairs by their counts"),
            uniform_fraction=cited(
                0.0, f"{_PAPER}, Algorithm 1: no other pairs; 1 draws class-balanced pairs at random"
            ),
        ),
        loss=Spec("balanced_softmax", normalization=cited("batch", f"{_PAPER}, eqs. 11 and 14: plain means")),
        calibrator=Spec(
            "retraining",
            start=cited("trained", f"{_PAPER}: the classifier is fine-tuned, not initialised again"),
            epochs=cited(10, f"ours: {_UNKNOWN}; as facebookresearch/classifier-balancing"),
            lr=cited(
                0.001,
                f"ours: {_UNKNOWN}; 0.01 and 0.001 tried on digits-lt, seeds 100 to 103: 0.01 took a point off the "
                "accuracy after stage 2, 0.001 added a little",
            ),
            batch_size=cited(128, f"ours: {_UNKNOWN}; as stage 1"),
            momentum=cited(0.9, f"{_PAPER}: SGD with momentum 0.9"),
            weight_decay=cited(5e-4, f"ours: {_UNKNOWN}; as facebookresearch/classifier-balancing"),
        ),
        on={"digits-lt": _DIGITS, "photographs": _PHOTOGRAPHS},
    )
)


def _without(name: str, title: str, **option: Any) -> Recipe:
    """Return an ablation of the paper: CP-Mix with one option of the method changed."""
    changed = {key: cited(value, f"{_PAPER}: this ablation") for key, value in option.items()}
    recipe: Recipe = register(CP_MIX.derive(name, title=title, method=Spec(**changed)))
    return recipe


NO_PAIRS = _without("cp_mix_no_pairs", "CP-Mix without confused pairs", mix_pairs=False)
NO_MIXING_FUNCTION = _without("cp_mix_no_mixing_function", "CP-Mix without its mixing function", tau=0.0)
NO_REGULARIZATION = _without("cp_mix_no_regularization", "CP-Mix without regularisation", regularize=False)

CP_MIX_CE = register(
    CP_MIX.derive(
        "cp_mix_ce",
        title="CP-Mix over cross entropy",
        loss=Spec(
            cited("cross_entropy", f"{_PAPER}: this ablation"),
            normalization=cited("batch", f"{_PAPER}, eqs. 11 and 14: plain means"),
        ),
    )
)

_SIX = f"{_PAPER}: with RIDE, six experts, a normalised head, Nesterov and deferred re-weighting, no fine-tuning"

CP_MIX_RIDE = register(
    RIDE.derive(
        "cp_mix_ride",
        paper=CP_MIX.paper,
        equations=CP_MIX.equations,
        title="CP-Mix with RIDE's experts, six of them",
        cost="as ride with six experts; stage 2, a third of the epochs: three times the images per step",
        method=CP_MIX.settings["method"],
        model=Spec(
            experts=cited(6, _SIX),
            expert_width=cited(0.75, f"{RIDE_CODE}: configs/config_imbalance_cifar100_ride_teacher.json"),
        ),
        loss=Spec(
            diversity=cited(0.45, f"{RIDE_CODE}: configs/config_imbalance_cifar100_ride_teacher.json, six experts"),
            normalization=cited(
                "weights",
                f"ours: {_UNKNOWN}; RIDE's loss for the plain images, as its authors have it, and each expert's "
                "cross entropy, without weights, for both mixtures",
            ),
        ),
        reweight=Spec(beta=cited(0.9999, f"ours: {_UNKNOWN}; as {RIDE_CODE}")),
        on={name: {"method": own["method"]} for name, own in (("digits-lt", _DIGITS), ("photographs", _PHOTOGRAPHS))},
    )
)
