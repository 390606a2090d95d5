"""Balanced softmax of Ren et al. 2020: cross entropy on logits shifted by the log class counts while training."""

from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register
from lt_fast.recipes.strong_augmentation import strongly_augmented

BALANCED_SOFTMAX = register(
    Recipe(
        "balanced_softmax",
        Paper(
            "Ren, Yu, Sheng, Ma, Zhao, Yi, Li 2020, Balanced Meta-Softmax for Long-Tailed Visual Recognition",
            arxiv="2007.10740",
        ),
        "Section 3.1, Theorem 1",
        title="Balanced softmax",
        loss=Spec(
            "balanced_softmax",
            normalization=cited(
                "batch",
                "jiawei-ren/BalancedMetaSoftmax-Classification: F.cross_entropy, no weights. The rest is "
                "LDAM-DRW's protocol, so that methods differ in the loss alone: the authors trained 13,000 iterations "
                "with AutoAugment and Cutout, as balanced_softmax_autoaugment does "
                "(50.3 % on CIFAR-100-LT; 43.0 % plain in zhangyongshun/BagofTricks-LT)",
            ),
        ),
    )
)

BALANCED_SOFTMAX_AUTOAUGMENT = register(strongly_augmented(BALANCED_SOFTMAX))
