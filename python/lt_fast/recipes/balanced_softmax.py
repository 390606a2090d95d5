"""Balanced Meta-Softmax of Ren et al. 2020: cross entropy on logits shifted by the log class counts while training.

The paper's second part, the meta sampler, is a second stage after cross entropy, as in the authors' README.
"""

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.strong_augmentation import strongly_augmented

_CODE = "jiawei-ren/BalancedMetaSoftmax-Classification"
_PAPER = Paper(
    "Ren, Yu, Sheng, Ma, Zhao, Yi, Li 2020, Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    arxiv="2007.10740",
)

BALANCED_SOFTMAX = register(
    Recipe(
        "balanced_softmax",
        _PAPER,
        "Section 3.1, Theorem 1",
        title="Balanced softmax",
        loss=Spec(
            "balanced_softmax",
            normalization=cited(
                "batch",
                f"{_CODE}: F.cross_entropy, no weights. The rest is "
                "LDAM-DRW's protocol, so that methods differ in the loss alone: the authors trained 13,000 iterations "
                "with AutoAugment and Cutout, as balanced_softmax_autoaugment does "
                "(50.3 % on CIFAR-100-LT; 43.0 % plain in zhangyongshun/BagofTricks-LT)",
            ),
        ),
    )
)

BALANCED_SOFTMAX_AUTOAUGMENT = register(strongly_augmented(BALANCED_SOFTMAX))


_PLACES = f"{_CODE}: config/Places_LT/balms.yaml"
_CIFAR = f"{_CODE}: config/CIFAR100_LT/balms_imba200.yaml, as machoshi/DB-OT has a copy of it"
_DEFAULT = f"{_CODE}: main.py, data/MetaSampler.py, run_networks.py, where the configs of CIFAR name no value"


def _cifar(epochs: int) -> dict[str, Setting]:
    return {
        "calibrator": Spec(
            sampler_lr=cited(0.01, _DEFAULT),
            init_power=cited(0.0, _DEFAULT),
            meta_batch_size=cited(512, f"{_DEFAULT}: as the batch"),
            epochs=cited(epochs, f"{_CIFAR}: 2,000 steps, at imbalance ratio 100"),
            lr=cited(0.1, f"{_CIFAR}, a cosine by epochs"),
            batch_size=cited(512, _CIFAR),
        )
    }


_SMALL: dict[str, Setting] = {
    "calibrator": Spec(
        sampler_lr=cited(0.01, _DEFAULT),
        init_power=cited(0.0, _DEFAULT),
        meta_batch_size=cited(64, "ours: as the batch"),
        epochs=cited(30, "ours: as the second stages of few images in zhangyongshun/BagofTricks-LT; not tuned"),
        lr=cited(0.1, f"{_CIFAR}, a cosine by epochs"),
        batch_size=cited(64, "ours: few images make few steps; not tuned"),
    )
}

BALMS = register(
    Recipe(
        "balms",
        _PAPER,
        "Section 3.2",
        title="Balanced Meta-Softmax (BALMS)",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set, then batch size "
        "times images of random numbers per step",
        loss=Spec(
            "cross_entropy", normalization=cited("batch", f"{_CODE}: README.md, softmax_imba200.yaml is the base model")
        ),
        calibrator=Spec(
            "balms",
            start=cited("fresh", f"{_PLACES} stage1_weights: false"),
            sampler_lr=cited(0.001, _PLACES),
            init_power=cited(0.3, _PLACES),
            meta_batch_size=cited(512, _PLACES),
            epochs=cited(10, _PLACES),
            lr=cited(0.02, f"{_PLACES}, a cosine by epochs"),
            batch_size=cited(256, _PLACES),
            momentum=cited(0.9, _PLACES),
            weight_decay=cited(5e-4, _PLACES),
        ),
        on={"cifar10-lt": _cifar(84), "cifar100-lt": _cifar(96), "digits-lt": _SMALL, "photographs": _SMALL},
    )
)
