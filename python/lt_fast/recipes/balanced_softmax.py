"""``balanced_softmax``: cross entropy on logits shifted by the log class counts while training."""

from lt_fast.recipes.recipe import Recipe, Value

RECIPE = Recipe(
    name="balanced_softmax",
    title="Balanced softmax",
    paper="Ren, Yu, Sheng, Ma, Zhao, Yi, Li 2020, Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    arxiv="2007.10740",
    equations="Section 3.1, Theorem 1",
    loss="balanced_softmax",
    values={
        "normalization": Value(
            "batch",
            "jiawei-ren/BalancedMetaSoftmax-Classification: F.cross_entropy, no weights. The rest is "
            "LDAM-DRW's protocol, so that methods differ in the loss alone: the authors trained 13,000 iterations "
            "with AutoAugment and Cutout (50.3 % on CIFAR-100-LT; 43.0 % plain in zhangyongshun/BagofTricks-LT)",
        ),
    },
)
