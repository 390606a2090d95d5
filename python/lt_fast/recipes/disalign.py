"""DisAlign of Zhang et al. 2021: cross entropy, then factors and offsets of the logits with a confidence."""

from lt_fast.recipes import ldam
from lt_fast.recipes.large_scale import IMAGENET_LT
from lt_fast.recipes.recipe import Paper, Setting, Spec, cited, register

CODE = "Megvii-BaseDetection/DisAlign: classification/imagenetlt/resnext50 ...disalign.10e/config.py"

_STAGE_1 = "Megvii-BaseDetection/DisAlign: classification/imagenetlt/resnext50/resx50.scratch.imagenet_lt.224size.90e"

_IMAGENET_LT: dict[str, Setting] = {
    "batch_size": cited(256, f"{_STAGE_1}/config.py IMS_PER_BATCH"),
    "learning_rate": cited(
        0.1,
        f"{_STAGE_1}/config.py BASE_LR; its blocks begin as the identity (ZERO_INIT_RESIDUAL), torchvision's do not",
    ),
}
_SMALL: dict[str, Setting] = {
    "calibrator": Spec(
        epochs=cited(40, "ours: ten epochs of few images are few steps; as margin calibration there; not tuned"),
        batch_size=cited(64, "ours: as stage 1 of digits-lt"),
    )
}

DISALIGN = register(
    ldam.CE.derive(
        "disalign",
        title="Distribution alignment (DisAlign)",
        paper=Paper(
            "Zhang, Li, Yan, He, Sun 2021, Distribution Alignment: A Unified Framework for Long-tail Visual "
            "Recognition",
            arxiv="2103.16370",
        ),
        equations="Section 3.2, adaptive calibration and generalised re-weighting",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set, then seconds",
        calibrator=Spec(
            "disalign",
            gamma=cited(1.2, f"{CODE} GRW_SCALE"),
            first_scale=cited(1.0, "Megvii-BaseDetection/cvpods: DisAlignLinear logit_scale; the paper has 0"),
            epochs=cited(10, f"{CODE} MAX_EPOCH"),
            lr=cited(0.1, f"{CODE} BASE_LR, a cosine by epochs"),
            batch_size=cited(256, f"{CODE} IMS_PER_BATCH"),
            momentum=cited(0.9, "Megvii-BaseDetection/cvpods: cvpods/configs/base_config.py MOMENTUM"),
            weight_decay=cited(5e-4, f"{CODE} WEIGHT_DECAY"),
            normalization=cited(
                "weights",
                "Megvii-BaseDetection/cvpods: GRWCrossEntropyLoss, F.cross_entropy(weight=...)",
            ),
        ),
        on={"digits-lt": _SMALL, "photographs": _SMALL, IMAGENET_LT: _IMAGENET_LT},
    )
)
