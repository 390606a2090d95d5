"""MiSLAS of Zhong et al. 2021: mixup, then the classifier by label-aware smoothing, with shifted batch norm."""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

CODE = "dvlab-research/MiSLAS"

_CONFIGS = {
    ("cifar10-lt", 100.0): ("cifar10_imb001", 0.3, 0.0, 0.5),
    ("cifar10-lt", 50.0): ("cifar10_imb002", 0.2, 0.0, 0.2),
    ("cifar10-lt", 10.0): ("cifar10_imb01", 0.1, 0.0, 0.2),
    ("cifar100-lt", 100.0): ("cifar100_imb001", 0.4, 0.1, 0.2),
    ("cifar100-lt", 50.0): ("cifar100_imb002", 0.3, 0.0, 0.1),
    ("cifar100-lt", 10.0): ("cifar100_imb01", 0.2, 0.0, 0.1),
}
"""Data and ratio to the authors' config, smooth_head, smooth_tail, lr_factor."""


def _tuned(file: str, smooth_head: float, smooth_tail: float, head_lr_factor: float, also: str = "") -> Spec:
    source = f"{CODE}: config/{file.split('_', maxsplit=1)[0]}/{file}_stage2_mislas.yaml"
    return Spec(
        smooth_head=cited(smooth_head, f"{source}{also}"),
        smooth_tail=cited(smooth_tail, f"{source}{also}"),
        head_lr_factor=cited(head_lr_factor, f"{source} lr_factor{also}"),
    )


def _cifar(shift_epochs: int, how: str) -> dict[str, Setting]:
    return {
        "schedule": Spec(factor=cited(0.1, f"{CODE}: train_stage1.py adjust_learning_rate, 0.1 and 0.01")),
        "calibrator": Spec(shift_epochs=cited(shift_epochs, f"{CODE}: stage-2 configs of this data set, {how}")),
    }


def _large(folder: str, network: str, smooth: tuple[float, float], **own: Setting) -> dict[str, Setting]:
    source = f"{CODE}: config/{folder}/{folder}_{network}"
    second = f"{source}_stage2_mislas.yaml"
    weight_decay = 1e-4 if folder == "ina2018" else 5e-4
    return {
        **own,
        "mixer": Spec(alpha=cited(0.2, f"{source}_stage1_mixup.yaml alpha")),
        "calibrator": Spec(
            smooth_head=cited(smooth[0], second),
            smooth_tail=cited(smooth[1], second),
            head_lr_factor=cited(0.05, f"{second} lr_factor"),
            shift_epochs=cited(1, f"{second} shift_bn; ours: as one pass of N class-balanced draws before stage 2"),
            batch_size=cited(256, second),
            weight_decay=cited(weight_decay, second),
        ),
    }


def _stage_1(folder: str, epochs: int) -> dict[str, Setting]:
    source = f"{CODE}: config/{folder}/{folder}_resnet50_stage1_mixup.yaml"
    return {
        "model": Spec(
            cited("resnet50", f"{source} backbone"), head=cited("linear", f"{CODE}: models/resnet.py Classifier")
        ),
        "epochs": cited(epochs, f"{source} num_epochs"),
        "batch_size": cited(256, source),
        "learning_rate": cited(0.1, f"{source} lr, a cosine"),
    }


_LARGE: dict[str, dict[str, Setting]] = {
    IMAGENET_LT: _large("imagenet", "resnet50", (0.3, 0.0), **_stage_1("imagenet", 180)),
    PLACES_LT: _large("places", "resnet152", (0.4, 0.1)),
    INATURALIST_2018: _large("ina2018", "resnet50", (0.3, 0.0), **_stage_1("ina2018", 200)),
}
"""On Places-LT stage 1 is the protocol's: the authors train one new block on the frozen network, for 90 epochs."""

_SMALL: dict[str, Setting] = {
    "calibrator": Spec(batch_size=cited(64, "ours: as stage 1 of digits-lt; few images make few steps; not tuned")),
}
_STAGE_2 = f"{CODE}: config/*/*_stage2_mislas.yaml of CIFAR"
_FIRST = _CONFIGS["cifar100-lt", 100.0]

MISLAS = register(
    Recipe(
        "mislas",
        Paper("Zhong, Cui, Liu, Jia 2021, Improving Calibration for Long-Tailed Recognition", arxiv="2104.00466"),
        "eqs. 3 and 5, Section 3.4",
        title="Mixup, label-aware smoothing and shifted batch norm (MiSLAS)",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set, two with shifted "
        "batch norm, then seconds",
        loss=Spec("cross_entropy", normalization=cited("batch", f"{CODE}: methods.py mixup_criterion, plain mean")),
        mixer=Spec(
            "mixup",
            alpha=cited(1.0, f"{CODE}: config/*/*_stage1_mixup.yaml"),
            per_sample=cited(False, f"{CODE}: methods.py mixup_data, one lambda per batch"),
        ),
        calibrator=Spec(
            "label_aware_smoothing",
            **_tuned(*_FIRST, also="; also where the authors published no setting").options,
            shift_epochs=cited(0, "ours: networks may be frozen or pretrained; on where the authors' configs have it"),
            epochs=cited(10, f"{_STAGE_2} num_epochs"),
            lr=cited(0.1, f"{_STAGE_2}, a cosine by epochs"),
            batch_size=cited(128, _STAGE_2),
            momentum=cited(0.9, _STAGE_2),
            weight_decay=cited(2e-4, _STAGE_2),
        ),
        on={
            "digits-lt": _SMALL,
            "photographs": _SMALL,
            **_LARGE,
            "cifar10-lt": _cifar(0, "shift_bn False"),
            "cifar100-lt": _cifar(1, "shift_bn True; ours: as one pass of N class-balanced draws before stage 2"),
        },
        at={(data, "exp", ratio): {"calibrator": _tuned(*config)} for (data, ratio), config in _CONFIGS.items()},
    )
)
