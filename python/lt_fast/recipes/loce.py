"""LOCE of Feng et al. 2021, a method for detection, on the class level: equilibrium loss and features from a memory."""

from lt_fast.recipes import ldam
from lt_fast.recipes.recipe import Paper, Setting, Spec, cited, register

_CODE = "fcjian/LOCE"
_CONFIG = f"{_CODE}: configs/loce/loce_mask_rcnn_r50_fpn_normed_mask_mstrain_2x_lvis_v1.py"
_HEAD = f"{_CODE}: mmdet/models/roi_heads/loce_roi_head.py"
_DETECTION = "ours: a detector's value fits no classifier; as zhangyongshun/BagofTricks-LT's second stages; not tuned"

_SMALL: dict[str, Setting] = {
    "calibrator": Spec(batch_size=cited(64, "ours: as stage 1 of digits-lt; few images make few steps; not tuned")),
}

LOCE = register(
    ldam.CE.derive(
        "loce",
        title="Classification equilibrium (LOCE)",
        paper=Paper(
            "Feng, Zhong, Huang 2021, Exploring Classification Equilibrium in Long-Tailed Object Detection",
            arxiv="2108.07507",
        ),
        equations="Sections 3.2 and 3.3",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set, then seconds",
        calibrator=Spec(
            "loce",
            queue_size=cited(80, _CONFIG),
            classes_per_step=cited(8, f"{_CONFIG}: sampled_num_classes"),
            features_per_class=cited(4, f"{_CONFIG}: sampled_num_features"),
            first_score=cited(0.01, f"{_HEAD}: mean_score"),
            decay=cited(0.9, f"{_HEAD}: alpha"),
            epochs=cited(6, f"{_CONFIG}: total_epochs, with steps at 3 and 5"),
            lr=cited(0.1, _DETECTION),
            batch_size=cited(128, _DETECTION),
            momentum=cited(0.9, "open-mmlab/mmdetection: configs/_base_/schedules, which the configs are over"),
            weight_decay=cited(1e-4, "open-mmlab/mmdetection: configs/_base_/schedules, which the configs are over"),
        ),
        on={"digits-lt": _SMALL, "photographs": _SMALL},
    )
)
