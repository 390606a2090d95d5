"""``cb``: class-balanced cross entropy by the effective number of samples."""

from lt_fast.recipes.recipe import Recipe, Value

RECIPE = Recipe(
    name="cb",
    title="Class-balanced loss (effective number of samples)",
    paper="Cui, Jia, Lin, Song, Belongie 2019, Class-Balanced Loss Based on Effective Number of Samples",
    arxiv="1901.05555",
    equations="Section 4, softmax form",
    loss="class_balanced",
    values={
        "class_weight_beta": Value(
            0.9999,
            "kaidic/LDAM-DRW: cifar_train.py --train_rule Reweight; zhangyongshun/BagofTricks-LT uses 0.999, "
            "and richardaecn/class-balanced-loss chooses among 0.9 to 0.9999 by data set",
        ),
        "normalization": Value(
            "batch",
            "richardaecn/class-balanced-loss: weights of sum C, loss averaged over the batch; "
            "kaidic/LDAM-DRW divides by the batch's weight sum instead",
        ),
    },
)
