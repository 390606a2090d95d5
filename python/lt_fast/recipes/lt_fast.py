"""``lt_fast``: the recommended recipe for training from scratch, put together from published parts.

Margin-aware mixup trains the features on strongly augmented images, margin calibration the classifier on ten augmented
views of them. What the parts are and how strong is to be chosen by ``python -m benches.experiments.lt_fast_choice``, on
images of CIFAR-10-LT held out of training and on no other data set; a value that no run has chosen yet says so.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.mam import IDL
from lt_fast.recipes.mc import MAMMC, MAMMC_AUTOAUGMENT
from lt_fast.recipes.recipe import Paper, Setting, Spec, cited, register
from lt_fast.recipes.strong_augmentation import BALMS, MARC

_YET = "ours: not yet chosen by a run"

_ONE_VIEW: dict[str, Setting] = {
    "calibrator": Spec(views=cited(0, "ours: each view would decode every photograph again, and hold its features"))
}

_STRONG: dict[str, Setting] = {
    "transform": Spec(cited("autoaugment", f"{_YET}; {MARC} and {BALMS} have AutoAugment and Cutout"))
}

LT_FAST = register(
    MAMMC_AUTOAUGMENT.derive(
        "lt_fast",
        paper=Paper(
            "Put together here: margin-aware mixup (Cheng, Mai, Lin 2023, arXiv:2308.15457), AutoAugment (Cubuk et al. "
            "2019, arXiv:1805.09501), margin calibration (Wang et al. 2022, arXiv:2112.07225)"
        ),
        equations=f"{MAMMC.equations}; stage 2 on augmented views",
        title="Recommended for training from scratch",
        cost="one forward and one backward pass per step; stage 2: ten passes over the training set, memory for ten "
        "times its features, then seconds",
        mixer=Spec(
            cited("mam", f"{_YET}; as mammc"), omega=cited(0.25, f"{_YET}; {IDL}: mamix_ratio -0.25 on CIFAR-10-LT")
        ),
        loss=Spec(cited("cross_entropy", f"{_YET}; as mammc")),
        calibrator=Spec(
            cited("margin", f"{_YET}; as mammc"),
            gamma=cited(1.2, f"{_YET}; {MARC}: exp_scale 1.2"),
            views=cited(10, f"{_YET}; {MARC} has augmented images in every epoch of stage 2"),
        ),
        on={
            **dict.fromkeys(("cifar10-lt", "cifar100-lt", "digits-lt"), _STRONG),
            "photographs": _ONE_VIEW,
            **dict.fromkeys((IMAGENET_LT, PLACES_LT, INATURALIST_2018), _ONE_VIEW),
        },
    )
)
