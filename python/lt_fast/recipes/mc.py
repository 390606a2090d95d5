"""Margin calibration (MARC) of Wang et al. 2022: 2 C numbers, learned on cached features; alone and after MAM.

``mammc``, margin-aware mixup and then margin calibration, is the main method of this package. Sources that say "MAMMC
paper" mean the one that joins the two for soil images and numbers its equations 1 to 10.
"""

from lt_fast.recipes import mam
from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.strong_augmentation import MARC, strongly_augmented

MAMMC_PAPER = "MAMMC paper"

_CIFAR: dict[str, Setting] = {
    "schedule": Spec(
        cited("cosine", f"{MAMMC_PAPER}: cosine in both stages; {MARC} too"),
        warmup=cited(0.025, f"ours: as the other methods on CIFAR; {LDAM_CODE}: 5 of 200 epochs"),
    ),
    "batch_size": cited(256, f"{MAMMC_PAPER}; {MARC} has 512"),
    "learning_rate": cited(
        0.1, f"{MAMMC_PAPER}: 'initial learning rate 0.1' (its schedule line says 0.05); {MARC} warms up 0.05 to 0.1"
    ),
    "epochs": cited(200, f"{MAMMC_PAPER}; {MARC} has 13,000 iterations of 512 images"),
    "optimizer": Spec(
        weight_decay=cited(
            2e-4,
            f"{MAMMC_PAPER}; {MARC} has 5e-4. Crops and flips only: both papers' figures are at the level of "
            "AutoAugment and Cutout, which the latter's code uses: mc_autoaugment, mammc_autoaugment",
        )
    ),
}

_DIGITS: dict[str, Setting] = {
    "calibrator": Spec(
        epochs=cited(40, "ours: ten epochs of 417 images are 70 steps; 40 make 280; not tuned"),
        batch_size=cited(64, "ours: as stage 1"),
    )
}

_PHOTOGRAPHS: dict[str, Setting] = {
    "calibrator": Spec(
        epochs=cited(40, "ours: ten epochs of some hundred photographs are few steps; as on digits-lt; not tuned"),
        batch_size=cited(64, "ours: as on digits-lt"),
    )
}

_IMAGENET_LT: dict[str, Setting] = {
    "model": Spec(
        cited("resnet50", f"{MAMMC_PAPER}: ResNet-50; {MARC} has ResNeXt-50, which is --model resnext50"),
        head=cited("linear", f"{MARC}/models/MARCClassifier.py"),
    ),
    "epochs": cited(100, f"{MAMMC_PAPER}: 100 + 10 epochs; {MARC} has 90"),
    "batch_size": cited(128, f"{MAMMC_PAPER}; {MARC} has 256"),
    "learning_rate": cited(0.1, f"{MAMMC_PAPER}: a cosine, 0.1 to 0; {MARC} too"),
    "optimizer": Spec(weight_decay=cited(2e-4, f"{MAMMC_PAPER}; {MARC} has 5e-4")),
    "calibrator": Spec(
        lr=cited(0.1, f"{MAMMC_PAPER}: a cosine, 0.1 to 0; {MARC}/config/ImageNet_LT/MARC.yaml has 0.05"),
        batch_size=cited(128, f"{MAMMC_PAPER}; {MARC} has 256"),
    ),
}
_PLACES_LT: dict[str, Setting] = {
    "calibrator": Spec(
        batch_size=cited(128, f"{MARC}/config/Places_LT/MARC.yaml; 10 epochs, 0.05 and 5e-4 as on ImageNet-LT there")
    )
}
_INATURALIST_2018: dict[str, Setting] = {
    "calibrator": Spec(
        epochs=cited(30, f"{MARC}/config/iNaturalist18/MARC.yaml num_epochs"),
        batch_size=cited(256, f"{MARC}/config/iNaturalist18/MARC.yaml"),
        weight_decay=cited(1e-4, f"{MARC}/config/iNaturalist18/MARC.yaml"),
    )
}

MC = register(
    Recipe(
        "mc",
        Paper(
            "Wang, Zhang, Hou, Wu, Wang, Shinozaki 2022, Margin Calibration for Long-Tailed Visual Recognition",
            arxiv="2112.07225",
        ),
        "omega_j logit_j + beta_j ||W_j||, generalised re-weighting (eqs. 6-10 as the MAMMC paper numbers them)",
        title="Margin calibration of cross entropy",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set, then seconds",
        loss=Spec("cross_entropy", normalization=cited("batch", "torch: F.cross_entropy(reduction='mean')")),
        calibrator=Spec(
            "margin",
            gamma=cited(1.2, f"{MARC}: exp_scale 1.2; {MAMMC_PAPER}, eq. 9"),
            epochs=cited(10, f"{MAMMC_PAPER}; {MARC} has 2,000 iterations on CIFAR and 10 epochs on ImageNet-LT"),
            lr=cited(0.05, f"{MAMMC_PAPER}; {MARC} (ImageNet-LT)"),
            batch_size=cited(256, f"{MAMMC_PAPER}; {MARC} has 512 on CIFAR"),
            momentum=cited(0.9, f"{MARC}; {MAMMC_PAPER}"),
            weight_decay=cited(5e-4, f"{MARC}; {MAMMC_PAPER} has 2e-4"),
            normalization=cited(
                "weights",
                f"{MARC}: F.cross_entropy(weight=...), divided by the batch's weight sum; "
                f"eq. 10 of the {MAMMC_PAPER} has the plain mean",
            ),
        ),
        on={
            "digits-lt": _DIGITS,
            "cifar10-lt": _CIFAR,
            "cifar100-lt": _CIFAR,
            "photographs": _PHOTOGRAPHS,
            IMAGENET_LT: _IMAGENET_LT,
            PLACES_LT: _PLACES_LT,
            INATURALIST_2018: _INATURALIST_2018,
        },
    )
)

MAMMC = register(
    MC.derive(
        "mammc",
        title="Margin-aware mixup and margin calibration",
        paper=Paper(
            "MAMMC: margin-aware mixup (Cheng, Mai, Lin 2023) for the features, margin calibration (Wang et al. 2022, "
            "arXiv:2112.07225) for the classifier",
            arxiv=mam.PAPER.arxiv,
        ),
        equations="MAM: eqs. 1-5; margin calibration: eqs. 6-10; no re-weighting (Table 1 has MAM-DRW apart)",
        mixer=mam.MIXER,
        loss=mam.MAM.settings["loss"],
    )
)

MC_AUTOAUGMENT = register(strongly_augmented(MC, stage_2=True))
MAMMC_AUTOAUGMENT = register(strongly_augmented(MAMMC, stage_2=True))
