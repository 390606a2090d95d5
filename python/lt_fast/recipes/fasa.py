"""FASA of Zang et al. 2021, made for instance segmentation, on the class level: virtual features of rare classes."""

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "yuhangzang/FASA"
_CONFIG = f"{_CODE}: configs/mask_rcnn_r50_fpn_mstrain_2x_lvis_v1_fasa.py"
_HELD_OUT: dict[str, Setting] = {
    "validation": cited(
        0.1, f"ours: {_CODE} adapts to the validation set that it reports, from which nothing may be learnt; not tuned"
    )
}

FASA = register(
    Recipe(
        "fasa",
        Paper(
            "Zang, Huang, Loy 2021, FASA: Feature Augmentation and Sampling Adaptation for Long-Tailed Instance "
            "Segmentation",
            arxiv="2102.12867",
        ),
        "Sections 3.1 and 3.2",
        title="Feature augmentation and sampling adaptation (FASA)",
        cost="one forward and one backward pass per step and a few features through the head; one pass over the "
        "validation images per epoch",
        method=Spec(
            "fasa",
            decay=cited(0.1, f"{_CONFIG}: decay_ratio"),
            weight=cited(0.1, f"{_CONFIG}: loss_aug_weight"),
            power=cited(1.0, f"{_CONFIG}: instance_prob_power"),
            probability_scale=cited(1.0, f"{_CONFIG}: instance_prob_scale"),
            up=cited(1.1, f"{_CONFIG}: dynamic_up"),
            down=cited(0.9, f"{_CONFIG}: dynamic_down"),
            start_at=cited(1 / 24, f"{_CODE}: fasa/fasa_bbox_head.py, not in the first of 24 epochs"),
        ),
        loss=Spec("cross_entropy", normalization=cited("batch", f"{_CONFIG}: cross entropy without class weights")),
        on={"digits-lt": _HELD_OUT, "cifar10-lt": _HELD_OUT, "cifar100-lt": _HELD_OUT},
    )
)
