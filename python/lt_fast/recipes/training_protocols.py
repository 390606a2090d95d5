"""Training protocols: how one paper or code trains all of its methods, to be laid over any recipe.

``lt-fast train --method ce --protocol marc`` trains cross entropy as MARC's code trains its network. The rows of a
table are comparable where they share one: recipes alone follow each its own authors.
"""

import math

from lt_fast.recipes.large_scale import IMAGENET_LT
from lt_fast.recipes.logit_adjustment import CODE as LA_CODE
from lt_fast.recipes.logit_adjustment import ON_CIFAR as LA_ON_CIFAR
from lt_fast.recipes.mam import IDL
from lt_fast.recipes.mc import MAMMC_PAPER
from lt_fast.recipes.protocols import CIFAR_STATISTICS, CROPS, CROPS_OF_DIGITS, LDAM_CODE, USUAL
from lt_fast.recipes.recipe import Setting, Spec, TrainingProtocol, cited, register
from lt_fast.recipes.strong_augmentation import MARC, autoaugment, stage_1

_CIFAR = ("cifar10-lt", "cifar100-lt")
_ON_CIFAR: dict[str, dict[str, Setting]] = {name: {} for name in _CIFAR}
_PRINTED = "the first rate of its text; its schedule line has 0.05"


def _sgd(weight_decay: float, source: str) -> Spec:
    return Spec(
        cited("sgd", source),
        momentum=cited(0.9, source),
        nesterov=cited(False, source),
        weight_decay=cited(weight_decay, source),
    )


def _cosine(source: str) -> Spec:
    return Spec(cited("cosine", source), warmup=cited(0.0, f"{source}: no warm-up is named"))


# --- the MAMMC paper --------------------------------------------------------------------------------------------------

_SMALL = f"{MAMMC_PAPER}, CIFAR and soil, ResNet-32"
_LARGE = f"{MAMMC_PAPER}, ImageNet-LT, ResNet-50"


def _mammc_stage_2(epochs: int, rate: float, batch: int, source: str) -> Spec:
    return Spec(
        cited("margin", source),
        epochs=cited(epochs, source),
        lr=cited(rate, f"{source}: a cosine, {rate:g} to 0"),
        peak_lr=cited(rate, f"{source}: no warm-up is named"),
        warmup_epochs=cited(0, f"{source}: no warm-up is named"),
        batch_size=cited(batch, source),
        momentum=cited(0.9, source),
        weight_decay=cited(2e-4, source),
    )


_OF_THE_PAPER: dict[str, Setting] = {
    "epochs": cited(200, _SMALL),
    "batch_size": cited(256, _SMALL),
    "learning_rate": cited(0.1, f"{_SMALL}: {_PRINTED}"),
    "schedule": _cosine(_SMALL),
    "optimizer": _sgd(2e-4, _SMALL),
    "defer_until": cited(0.8, f"ours: {LDAM_CODE}, epoch 160 of 200; the {MAMMC_PAPER} names none for MAM-DRW"),
    "calibrator": _mammc_stage_2(10, 0.05, 256, _SMALL),
}
_ON_DIGITS: dict[str, Setting] = {
    "epochs": cited(60, "ours: 420 steps; the paper has no digits"),
    "batch_size": cited(64, "ours: seven steps per epoch from 417 images"),
    "calibrator": _mammc_stage_2(40, 0.05, 64, "ours: 280 steps from 417 images; the rest is the paper's"),
}
_ON_IMAGENET: dict[str, Setting] = {
    "model": Spec(cited("resnet50", _LARGE)),
    "epochs": cited(100, _LARGE),
    "batch_size": cited(128, _LARGE),
    "calibrator": _mammc_stage_2(10, 0.1, 128, _LARGE),
}
_ON_PHOTOGRAPHS: dict[str, Setting] = {
    **_ON_IMAGENET,
    "model": Spec(cited("torchvision:resnet50", _LARGE), weights=cited(None, f"{_LARGE}: from new weights")),
}

MAMMC_TABLE = register(
    TrainingProtocol(
        "mammc-paper",
        MAMMC_PAPER,
        title="MAMMC paper: all rows of its tables alike; augmentation is the recipe's, for it names none",
        on={**_ON_CIFAR, "digits-lt": _ON_DIGITS, IMAGENET_LT: _ON_IMAGENET, "photographs-scratch": _ON_PHOTOGRAPHS},
        **_OF_THE_PAPER,
    )
)

_STRONG: dict[str, Setting] = {"transform": autoaugment({**CROPS, **CIFAR_STATISTICS}, 16)}

MAMMC_TABLE_AUTOAUGMENT = register(
    TrainingProtocol(
        "mammc-paper-autoaugment",
        MAMMC_PAPER,
        title="the same with MARC's AutoAugment and Cutout, at whose level the paper's figures are",
        on={
            **dict.fromkeys(_CIFAR, _STRONG),
            "digits-lt": {**_ON_DIGITS, "transform": autoaugment(CROPS_OF_DIGITS, None)},
        },
        **_OF_THE_PAPER,
    )
)


# --- MARC -------------------------------------------------------------------------------------------------------------

_MARC_IMAGENET = f"{MARC}/config/ImageNet_LT"


def _marc_on_cifar(images: int) -> dict[str, Setting]:
    return {
        **stage_1(images),
        "model": Spec(
            cited("resnet32", f"{MARC}/models/ResNet32Feature.py"),
            uniform_head=cited(True, f"{MARC}/models/DotProductClassifier.py: the first weights of nn.Linear"),
        ),
        "optimizer": _sgd(5e-4, f"{MARC}/config/CIFAR100_LT/softmax_100.yaml"),
        "calibrator": _marc_stage_2(images),
    }


def _marc_stage_2(images: int) -> Spec:
    """The second stage as the code runs it, whose numbers of epochs it rounds up itself."""
    batches = math.ceil(images / 512)
    source = f"{MARC}/config/CIFAR100_LT/MARC_100.yaml"
    rounded = f"iterations in epochs of {batches} batches, rounded up in {MARC}/run_networks.py"
    return Spec(
        cited("margin", source),
        epochs=cited(math.ceil(2000 / batches), f"{source}: 2,000 {rounded}"),
        warmup_epochs=cited(math.ceil(800 / batches), f"{source}: 800 {rounded}"),
        lr=cited(0.05, source),
        peak_lr=cited(0.1, f"{source}: 0.05 to 0.1, then a cosine to 0"),
        batch_size=cited(512, source),
        momentum=cited(0.9, source),
        weight_decay=cited(5e-4, source),
        as_published=cited(True, f"{MARC}/run_networks.py: train mode, new images in every epoch, batches left out"),
    )


_MARC_ON_IMAGENET: dict[str, Setting] = {
    "model": Spec(cited("resnext50", f"{_MARC_IMAGENET}/softmax_resnext50.yaml")),
    "epochs": cited(90, f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
    "batch_size": cited(256, f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
    "learning_rate": cited(0.1, f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
    "schedule": _cosine(f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
    "optimizer": _sgd(5e-4, f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
    "calibrator": Spec(
        cited("margin", f"{_MARC_IMAGENET}/MARC.yaml"),
        epochs=cited(10, f"{_MARC_IMAGENET}/MARC.yaml"),
        lr=cited(0.05, f"{_MARC_IMAGENET}/MARC.yaml"),
        batch_size=cited(256, f"{_MARC_IMAGENET}/MARC.yaml"),
        weight_decay=cited(5e-4, f"{_MARC_IMAGENET}/MARC.yaml"),
    ),
}
_MARC_ON_PHOTOGRAPHS: dict[str, Setting] = {
    **_MARC_ON_IMAGENET,
    "model": Spec(
        cited("torchvision:resnext50_32x4d", f"{_MARC_IMAGENET}/softmax_resnext50.yaml"),
        weights=cited(None, f"{_MARC_IMAGENET}/softmax_resnext50.yaml: from new weights"),
    ),
}

MARC_CODE = register(
    TrainingProtocol(
        "marc",
        MARC,
        title="MARC's code: 13,000 + 2,000 iterations of 512 images, AutoAugment and Cutout",
        on={
            **dict.fromkeys(_CIFAR, _marc_on_cifar),
            IMAGENET_LT: _MARC_ON_IMAGENET,
            "photographs-scratch": _MARC_ON_PHOTOGRAPHS,
        },
    )
)


# --- LDAM-DRW, imbalanced-DL, LADE ------------------------------------------------------------------------------------

_LDAM: dict[str, Setting] = {
    **{name: USUAL.settings[name] for name in ("epochs", "batch_size", "learning_rate", "schedule")},
    "transform": Spec(cited("crop_flip", LDAM_CODE), **CROPS, **CIFAR_STATISTICS),
    "optimizer": _sgd(2e-4, LDAM_CODE),
}

LDAM_DRW_CODE = register(
    TrainingProtocol(
        "ldam-drw",
        LDAM_CODE,
        title="LDAM-DRW's code: 200 epochs of 128 images, two steps of the rate, crops and flips",
        on=_ON_CIFAR,
        defer_until=cited(0.8, f"{LDAM_CODE}: epoch 160 of 200"),
        **_LDAM,
    )
)

_IDL_NETWORK = Spec(
    cited("resnet32", f"{IDL}: net/resnet_cifar.py"),
    bias=cited(False, f"{IDL}: net/network.py, nn.Linear(..., bias=False)"),
    uniform_head=cited(True, f"{IDL}: net/network.py, whose classifier keeps the first weights of nn.Linear"),
)
_IDL_CIFAR100 = f"{IDL}: strategy/trainer.py, config_cifar100.yaml"

IMBALANCED_DL = register(
    TrainingProtocol(
        "imbalanced-dl",
        IDL,
        title="imbalanced-DL's code: as LDAM-DRW's, CIFAR-100 for 300 epochs; no offsets; unmixed images in batch norm",
        on={
            "cifar10-lt": {},
            "cifar100-lt": {
                "epochs": cited(300, _IDL_CIFAR100),
                "schedule": Spec(
                    cited("multistep", _IDL_CIFAR100),
                    warmup=cited(5 / 300, f"{_IDL_CIFAR100}: five epochs"),
                    milestones=cited((150 / 300, 250 / 300), f"{_IDL_CIFAR100}: after epochs 150 and 250 of 300"),
                    factor=cited(0.1, f"{_IDL_CIFAR100}: 0.1, 1e-2, 1e-3"),
                ),
                "defer_until": cited(250 / 300, f"{IDL}: strategy/_mamix_drw.py, epoch 250 of 300"),
            },
        },
        model=_IDL_NETWORK,
        method=Spec(
            cited("classification", "part of the recipe"),
            unmixed_pass=cited(True, f"{IDL}: strategy/_mamix_drw.py, output_prec = self.model(_input) in train mode"),
        ),
        defer_until=cited(0.8, f"{IDL}: strategy/_mamix_drw.py, epoch 160 of 200"),
        **_LDAM,
    )
)

_LADE_CODE = "hyperconnect/LADE: config/CIFAR100_LT/lade.yaml"

LADE_CODE = register(
    TrainingProtocol(
        "lade",
        "hyperconnect/LADE",
        title="LADE's code: 200 epochs of 256 images, rate 0.2, a network with 128 features",
        on=_ON_CIFAR,
        epochs=cited(200, _LADE_CODE),
        batch_size=cited(256, _LADE_CODE),
        learning_rate=cited(0.2, _LADE_CODE),
        schedule=Spec(
            cited("multistep", _LADE_CODE),
            warmup=cited(0.025, f"{_LADE_CODE}: warm_epoch 5 of 200"),
            milestones=cited((0.6, 0.8), f"{_LADE_CODE}: lr_step 120 and 160 of 200"),
            factor=cited(0.01, _LADE_CODE),
        ),
        optimizer=_sgd(5e-4, _LADE_CODE),
        transform=Spec(
            cited("crop_flip", "hyperconnect/LADE: data/ImbalanceCIFAR.py, as kaidic/LDAM-DRW"),
            **CROPS,
            **CIFAR_STATISTICS,
        ),
        model=Spec(
            cited("resnet32", _LADE_CODE),
            last_blocks=cited(2, f"{_LADE_CODE}: feat_dim 128, the network of megvii-research/BBN"),
        ),
    )
)


# --- logit adjustment -------------------------------------------------------------------------------------------------


def _logit_adjustment(data: str) -> dict[str, Setting]:
    stated = LA_ON_CIFAR[data]
    schedule = stated["schedule"]
    assert isinstance(schedule, Spec)
    by_step = cited(True, f"{LA_CODE}/utils.py LearningRateSchedule: a rate for each step of the warm-up")
    named = Spec(cited("multistep", f"{LA_CODE}/utils.py"), **schedule.options, warmup_by_step=by_step)
    return {"epochs": stated["epochs"], "schedule": named}


LOGIT_ADJUSTMENT_CODE = register(
    TrainingProtocol(
        "logit-adjustment",
        LA_CODE,
        title="logit adjustment's code: its bottleneck network, 1,241 or 1,419 epochs of whole batches of 128",
        on={data: _logit_adjustment(data) for data in _CIFAR},
        model=Spec(cited("resnet32_bottleneck", f"{LA_CODE}/models.py cifar_resnet32")),
        batch_size=cited(128, f"{LA_CODE}/main.py --train_batch_size"),
        learning_rate=cited(0.1, f"{LA_CODE}/main.py"),
        sampler=Spec(
            cited("shuffled", f"{LA_CODE}/utils.py: shuffle(10000), nearly the whole set"),
            drop_last=cited(True, f"{LA_CODE}/utils.py: drop_remainder"),
        ),
        optimizer=Spec(
            cited("sgd_no_norm_decay", f"{LA_CODE}/models.py: kernel_regularizer, none on batch norm"),
            momentum=cited(0.9, f"{LA_CODE}/main.py"),
            nesterov=cited(True, f"{LA_CODE}/main.py"),
            weight_decay=cited(2e-4, f"{LA_CODE}/models.py: l2(1e-4), whose gradient is 2e-4 times the weight"),
        ),
        transform=Spec(
            cited("crop_flip", f"{LA_CODE}/utils.py"),
            crop_padding=cited(2, f"{LA_CODE}/utils.py: 36 of 32 pixels; there the border is grey, here black"),
            flip=cited(True, f"{LA_CODE}/utils.py"),
            mean=cited((0.5, 0.5, 0.5), f"{LA_CODE}/utils.py: pixel / 255 - 0.5"),
            std=cited((1.0, 1.0, 1.0), f"{LA_CODE}/utils.py: pixel / 255 - 0.5"),
        ),
    )
)
