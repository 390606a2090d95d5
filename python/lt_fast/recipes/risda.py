"""RISDA of Chen et al. 2022: cross entropy, then features augmented by the variety of confused classes."""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "xiaohua-chen/RISDA"
_MAIN = f"{_CODE}: RISDA.py"
_TWICE = "which resnet.py adds to the features and loss.py to the logits: twice, hence 1 here"

_CIFAR: dict[str, Setting] = {
    "subset_seed": cited(42, f"{_MAIN} --rand_number 42"),
    "epochs": cited(200, f"{_MAIN} --epochs"),
    "batch_size": cited(100, f"{_MAIN} --batch-size"),
    "learning_rate": cited(0.1, f"{_CODE}: README.md --lr 0.1"),
    "schedule": Spec(
        warmup=cited(0.0, f"{_MAIN} adjust_learning_rate: none"),
        milestones=cited((0.795, 0.895), f"{_MAIN} adjust_learning_rate: before the epochs 160 and 180 counted from 1"),
        factor=cited(0.01, f"{_MAIN} adjust_learning_rate"),
    ),
    "optimizer": Spec(
        momentum=cited(0.9, f"{_MAIN} --momentum"),
        nesterov=cited(True, f"{_MAIN} --nesterov"),
        weight_decay=cited(5e-4, f"{_MAIN} --weight-decay"),
    ),
}

_LARGE = f"{_CODE}: RISDA_ImageNet_AAAI"
_TRAIN = f"{_LARGE}/imagenet_ISDA_train.py"
_COMMAND = f"{_LARGE}/README.md"

_IMAGENET_LT: dict[str, Setting] = {
    "model": Spec(cited("resnet50", f"{_COMMAND} --model resnet50"), head=cited("linear", _TRAIN)),
    "epochs": cited(100, f"{_COMMAND} --epochs"),
    "batch_size": cited(128, f"{_COMMAND} --batch-size"),
    "learning_rate": cited(0.1, f"{_COMMAND} --lr"),
    "schedule": Spec(
        cited("multistep", f"{_TRAIN} adjust_learning_rate"),
        warmup=cited(0.05, f"{_TRAIN} adjust_learning_rate: five of 100 epochs"),
        milestones=cited((0.59, 0.79), f"{_TRAIN} adjust_learning_rate: before the epochs 60 and 80 counted from 1"),
        factor=cited(0.1, f"{_TRAIN} adjust_learning_rate"),
    ),
    "optimizer": Spec(weight_decay=cited(2e-4, f"{_TRAIN} --wd")),
    "transform": Spec(augment=cited("inception", f"{_TRAIN}: RandomResizedCrop, RandomHorizontalFlip")),
    "method": Spec(
        alpha=cited(0.0, f"{_COMMAND} --alpha_0 0"),
        beta=cited(7.5, f"{_COMMAND} --beta_0 7.5"),
        start_at=cited(0.8, f"{_COMMAND} --stage1 80 of 100 epochs"),
        head_fraction=cited(0.385, f"{_TRAIN} --head 385 of 1,000 classes"),
        diagonal=cited(True, f"{_LARGE}/ISDA_imagenet.py EstimatorCV"),
        freeze_from=cited(0.9, f"{_COMMAND} --stage2 90 of 100 epochs"),
    ),
}
_DIAGONAL = Spec(
    diagonal=cited(True, f"ours: as on ImageNet-LT, {_LARGE}/ISDA_imagenet.py; covariances need gigabytes")
)

RISDA = register(
    Recipe(
        "risda",
        Paper(
            "Chen, Zhou, Wu, Zhang, Zhou, Li, Wang 2022, Imagine by Reasoning: A Reasoning-Based Implicit Semantic "
            "Data Augmentation for Long-Tailed Classification",
            arxiv="2112.07928",
        ),
        "Section on stages I and II, in the form of RISDA.py and loss.py",
        title="Reasoning-based implicit semantic augmentation (RISDA)",
        cost="one forward pass over the training images, once; C * D ** 2 floats of covariances, also in checkpoints",
        method=Spec(
            "risda",
            alpha=cited(1.0, f"{_CODE}: README.md --alpha 0.5 on CIFAR-100, {_TWICE}"),
            beta=cited(0.75, f"{_CODE}: README.md --beta 0.75 on CIFAR-100 of ratio 100"),
            start_at=cited(0.8, f"{_MAIN}: from epoch 160 of 200"),
            head_fraction=cited(0.2, f"{_MAIN} --head 20 of 100 classes; with ten classes that code would fail"),
            compound=cited(True, f"{_CODE}: loss.py, the estimator's covariances are replaced in every step"),
            diagonal=cited(False, f"{_CODE}: loss.py, whole covariances"),
            freeze_from=cited(
                1.0,
                f"{_MAIN} goes through named_parameters() to freeze, of which resnet.py has none: weights are buffers",
            ),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited("weights", f"{_CODE}: loss.py, F.cross_entropy(weight=...)"),
        ),
        reweight=Spec("effective_number", beta=cited(0.9999, f"{_MAIN}, rho")),
        defer_until=cited(0.8, f"{_MAIN}: class weights in train_RISDA alone, from epoch 160 of 200"),
        on={
            "cifar10-lt": _CIFAR,
            "cifar100-lt": _CIFAR,
            IMAGENET_LT: _IMAGENET_LT,
            PLACES_LT: {"method": _DIAGONAL},
            INATURALIST_2018: {"method": _DIAGONAL},
        },
        at={
            ("cifar100-lt", "exp", 200.0): {
                "method": Spec(beta=cited(1.0, f"{_CODE}: README.md --beta 1 on CIFAR-100 of ratio 200"))
            }
        },
    )
)
