"""CP-Mix of Yoon et al. 2024: balanced softmax, then confused pairs are mixed in, then the classifier is fine-tuned.

The paper's table of values was not available and no public code was found: the values that are ours say so.
"""

from typing import Any

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import CODE as RIDE_CODE
from lt_fast.recipes.ride import RIDE

_PAPER = "CP-Mix paper"
_UNKNOWN = "the paper's value was not available"

_CIFAR: dict[str, Setting] = {
    "epochs": cited(
        200,
        f"ours: {_PAPER}, appendix B.3, trains longer on CIFAR-LT and ImageNet-LT; its number was not available, so "
        "the length of LDAM-DRW stays and methods are comparable; --set epochs=400 is twice that",
    )
}

_DIGITS: dict[str, Setting] = {
    "method": Spec(pairs_per_batch=cited(64, "ours: as many as there are plain images")),
    "calibrator": Spec(batch_size=cited(64, "ours: as stage 1")),
}

_PHOTOGRAPHS: dict[str, Setting] = {
    "method": Spec(pairs_per_batch=cited(32, "ours: as many as there are plain photographs when fine-tuning")),
    "calibrator": Spec(batch_size=cited(64, "ours: as on digits-lt")),
}

_IMAGENET_LT: dict[str, Setting] = {
    "model": Spec(
        cited("resnet50", f"{_PAPER}: ResNet-50"),
        head=cited("linear", f"ours: {_PAPER} names a normalised classifier on iNaturalist 2018 alone"),
    ),
    "batch_size": cited(256, f"ours: {_UNKNOWN}; what other codes have with this rate (microsoft/robustlearn: marc)"),
    "learning_rate": cited(0.1, f"{_PAPER}: 0.1, a cosine"),
    "method": Spec(pairs_per_batch=cited(256, "ours: as many as there are plain images")),
}
_PLACES_LT: dict[str, Setting] = {"calibrator": None}  # the paper: the classifier is not fine-tuned on Places-LT
_INATURALIST_2018: dict[str, Setting] = {
    "model": Spec(
        head=cited("linear", f"ours: {_PAPER} has a normalised classifier, whose scale was not available"),
    ),
    "batch_size": cited(256, f"ours: {_UNKNOWN}; as on ImageNet-LT"),
    "learning_rate": cited(0.1, f"{_PAPER}: 0.1"),
    "schedule": Spec(
        cited("multistep", f"{_PAPER}: steps after a warm-up"),
        warmup=cited(0.05, f"ours: {_UNKNOWN}; naver-ai/cmo: inat18_train.py, 5 of 100 epochs"),
        milestones=cited((0.75,), f"ours: {_UNKNOWN}; naver-ai/cmo: inat18_train.py, epoch 75 of 100"),
        factor=cited(0.1, f"{_PAPER}: by 0.1"),
    ),
    "method": Spec(pairs_per_batch=cited(256, "ours: as many as there are plain images")),
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
            stage_1_loss=cited(
                "same",
                f"ours: {_PAPER} has balanced softmax for the plain images (eq. 14), but stage 1 should 'follow ERM "
                "training': cross_entropy is that reading",
            ),
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
            condition=cited(
                "true",
                f"ours: {_PAPER}, Algorithm 1, draws the pairs of a class from 'a subset'; by the true class, as eq. 6 "
                "has pairs; either and none are the other readings",
            ),
            temperature=cited(1.0, f"{_PAPER}, Algorithm 1: pairs by their counts"),
            uniform_fraction=cited(
                0.0, f"{_PAPER}, Algorithm 1: no other pairs; 1 draws class-balanced pairs at random"
            ),
        ),
        loss=Spec("balanced_softmax", normalization=cited("batch", f"{_PAPER}, eqs. 11 and 14: plain means")),
        calibrator=Spec(
            "retraining",
            start=cited(
                "trained",
                f"{_PAPER}: the classifier is fine-tuned, not initialised again, by the method of Trivedi et al. 2023 "
                "(arXiv:2303.13500), which has three probes, and it does not say which: --set calibrator=linear_probe "
                "has them; cross entropy alone is ours",
            ),
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
        on={
            "cifar10-lt": _CIFAR,
            "cifar100-lt": _CIFAR,
            "digits-lt": _DIGITS,
            "photographs": _PHOTOGRAPHS,
            IMAGENET_LT: _IMAGENET_LT,
            PLACES_LT: _PLACES_LT,
            INATURALIST_2018: _INATURALIST_2018,
        },
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
