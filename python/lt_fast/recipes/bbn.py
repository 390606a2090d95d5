"""BBN of Zhou et al. 2020: a branch of uniform and one of reversed sampling, mixed by a share that falls."""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "megvii-research/BBN"
_CONFIG = f"{_CODE}: configs/cifar10.yaml and cifar100.yaml"

_CIFAR: dict[str, Setting] = {
    "epochs": cited(200, f"{_CONFIG}, MAX_EPOCH"),
    "batch_size": cited(128, f"{_CONFIG}, BATCH_SIZE, of each of the two"),
    "learning_rate": cited(0.1, f"{_CONFIG}, BASE_LR"),
    "schedule": Spec(
        warmup=cited(
            0.025,
            f"{_CONFIG}, WARM_EPOCH 5 of 200; lib/utils/lr_scheduler.py begins at a third of the rate, here at a fifth",
        ),
        milestones=cited((0.6, 0.8), f"{_CONFIG}, LR_STEP 120 and 160 of 200"),
        factor=cited(0.01, f"{_CONFIG}, LR_FACTOR"),
    ),
    "optimizer": Spec(
        momentum=cited(0.9, f"{_CONFIG}, MOMENTUM"), weight_decay=cited(2e-4, f"{_CONFIG}, WEIGHT_DECAY")
    ),
    "model": Spec(
        cited("bbn", f"{_CONFIG}, BACKBONE bbn_res32_cifar"),
        backbone=cited("resnet32", f"{_CONFIG}, BACKBONE bbn_res32_cifar"),
        head=cited("linear", f"{_CONFIG}, CLASSIFIER FC with BIAS True"),
    ),
}

_DIGITS: dict[str, Setting] = {
    "model": Spec(
        cited("bbn", f"as on CIFAR: {_CONFIG}"),
        backbone=cited("digits_net", "ours: 8 x 8 images need no ResNet-32"),
        head=cited("linear", f"as on CIFAR: {_CONFIG}"),
    ),
    "schedule": Spec(milestones=cited((0.6, 0.8), f"as on CIFAR: {_CONFIG}")),
}

_INATURALIST = f"{_CODE}: configs/iNaturalist2018.yaml"


def _network(backbone: str, source: str) -> Spec:
    return Spec(
        cited("bbn", source),
        backbone=cited(backbone, source),
        head=cited("linear", f"{_INATURALIST}, CLASSIFIER FC with BIAS True"),
    )


_ON_LARGE_SETS: dict[str, dict[str, Setting]] = {
    IMAGENET_LT: {"model": _network("resnet50", f"ours: as {_INATURALIST}; the authors have no ImageNet-LT")},
    INATURALIST_2018: {
        "model": _network("resnet50", f"{_INATURALIST}, BACKBONE bbn_res50"),
        "epochs": cited(180, f"{_INATURALIST}, MAX_EPOCH"),
        "batch_size": cited(128, f"{_INATURALIST}, BATCH_SIZE, of each of the two"),
        "learning_rate": cited(0.05, f"{_INATURALIST}, BASE_LR"),
        "schedule": Spec(
            cited("multistep", f"{_INATURALIST}, LR_SCHEDULER"),
            warmup=cited(0.0, f"{_INATURALIST}: none"),
            milestones=cited((120 / 180, 160 / 180), f"{_INATURALIST}, LR_STEP 120 and 160 of 180"),
            factor=cited(0.1, f"{_INATURALIST}, LR_FACTOR"),
        ),
        "optimizer": Spec(weight_decay=cited(1e-4, f"{_INATURALIST}, WEIGHT_DECAY")),
        "method": Spec(share_length=cited(200 / 180, f"{_CODE}: lib/core/combiner.py div_epoch, 200 for 180 epochs")),
    },
}

BBN = register(
    Recipe(
        "bbn",
        Paper(
            "Zhou, Cui, Wei, Chen 2020, BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual "
            "Recognition",
            arxiv="1912.02413",
        ),
        "Section 4",
        title="Bilateral-branch network (BBN)",
        cost="twice the images per step; a last block more in the network",
        method=Spec(
            "bbn",
            q=cited(-1.0, f"{_CODE}: lib/dataset/imbalance_cifar.py get_weight, DUAL_SAMPLER reverse: max / n"),
            share_length=cited(1.0, f"{_CODE}: lib/core/combiner.py div_epoch, except for 90 and 180 epochs"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited(
                "batch", f"{_CODE}: lib/loss/loss.py, F.cross_entropy; without weights all three agree"
            ),
        ),
        on={
            "cifar10-lt": _CIFAR,
            "cifar100-lt": _CIFAR,
            "digits-lt": _DIGITS,
            **_ON_LARGE_SETS,
        },
    )
)
