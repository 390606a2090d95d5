"""``focal``: focal loss in its softmax form, the baseline of LDAM's tables."""

from lt_fast.recipes.recipe import Recipe, Value

RECIPE = Recipe(
    name="focal",
    title="Focal loss",
    paper="Lin, Goyal, Girshick, He, Dollar 2017, Focal Loss for Dense Object Detection",
    arxiv="1708.02002",
    equations="eq. 4, softmax form",
    loss="focal",
    values={
        "focal_gamma": Value(
            1.0,
            "kaidic/LDAM-DRW: cifar_train.py FocalLoss(gamma=1), softmax form; the detection paper's best is 2, and "
            "zhangyongshun/BagofTricks-LT takes 2 with the sigmoid form",
        ),
        "normalization": Value("batch", "kaidic/LDAM-DRW: losses.py, loss.mean()"),
    },
)
