"""RIDE of Wang et al. 2021: experts with shared early layers, LDAM losses, a diversity term, deferred re-weighting.

The expert assignment of stage 2 is a calibrator: ``--set calibrator=expert_assignment``. Distillation from a run of
more experts is a method: ``--set method=distillation --set method.teacher=runs/...``, or ``ride_4_distilled``.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

CODE = "frank-xwang/RIDE-LongTailRecognition"
_CIFAR = f"{CODE}: configs/config_imbalance_cifar100_ride.json"
_IMAGENET = f"{CODE}: configs/config_imagenet_lt_resnext50_ride.json"

EXPERTS = Spec(
    head=cited("cosine", f"{_CIFAR} use_norm"),
    experts=cited(3, f"{_CIFAR} num_experts; MODEL_ZOO.md has 3, 4 and 6"),
    expert_width=cited(0.75, f"{_CIFAR} reduce_dimension: 24 and 48 channels of 32 and 64"),
)
"""The network of the authors' configs, which SADE has too."""

AT_FULL_WIDTH = Spec(expert_width=cited(1.0, "ours: pretrained layers have the usual width"))

OPTIMIZER = Spec(
    nesterov=cited(True, f"{_CIFAR} optimizer"),
    weight_decay=cited(5e-4, f"{_CIFAR} optimizer"),
)

_OF_LARGE_SETS = Spec(
    diversity=cited(0.2, f"{_IMAGENET}: the default of model/loss.py"),
    spread=cited(0.02, f"{_IMAGENET} reweight_factor"),
)


def steps_of_100_epochs(source: str) -> Spec:
    """Return the schedule that RIDE's and SADE's configs name ``CustomLR``."""
    return Spec(
        cited("multistep", f"{source} lr_scheduler"),
        warmup=cited(0.05, f"{source} warmup_epoch 5 of 100"),
        milestones=cited((0.6, 0.8), f"{source} step1 60 and step2 80 of 100"),
        factor=cited(0.1, f"{source} gamma"),
    )


def _large(source: str, batch_size: int, learning_rate: float, spread: float) -> dict[str, Setting]:
    return {
        "epochs": cited(100, f"{source} epochs"),
        "batch_size": cited(batch_size, source),
        "learning_rate": cited(learning_rate, f"{source} lr"),
        "optimizer": Spec(nesterov=cited(True, f"{source} optimizer"), weight_decay=cited(2e-4, f"{source} optimizer")),
        "schedule": steps_of_100_epochs(source),
        "loss": Spec(
            diversity=cited(0.2, f"{source}: the default of model/loss.py"),
            spread=cited(spread, f"{source} reweight_factor"),
        ),
    }


_ON_LARGE_SETS: dict[str, dict[str, Setting]] = {
    IMAGENET_LT: _large(_IMAGENET, 256, 0.1, 0.02),
    PLACES_LT: {"model": AT_FULL_WIDTH, "loss": _OF_LARGE_SETS},
    INATURALIST_2018: _large(f"{CODE}: configs/config_iNaturalist_resnet50_ride.json", 512, 0.2, 0.015),
}

_SMALL_IMAGES: dict[str, Setting] = {"optimizer": OPTIMIZER}

RIDE = register(
    Recipe(
        "ride",
        Paper(
            "Wang, Lian, Miao, Liu, Yu 2021, Long-tailed Recognition by Routing Diverse Distribution-Aware Experts",
            arxiv="2010.01809",
        ),
        "eqs. 1 to 4",
        title="Routing diverse experts (RIDE)",
        cost="the layers after the split once per expert, of three quarters of the channels: about 1.6 times the "
        "multiply-adds of one network for three experts",
        model=EXPERTS,
        loss=Spec(
            "ride",
            diversity=cited(0.45, f"{_CIFAR} additional_diversity_factor -0.45; -0.2 in an earlier commit"),
            temperature=cited(1.0, f"{CODE}: model/loss.py RIDELoss base_diversity_temperature"),
            spread=cited(0.05, f"{CODE}: model/loss.py RIDELoss reweight_factor"),
            max_margin=cited(0.5, f"{CODE}: model/loss.py RIDELoss max_m"),
            scale=cited(30.0, f"{CODE}: model/ldam_drw_resnets/ride_resnet_cifar.py s=30"),
            normalization=cited(
                "weights", f"{CODE}: model/loss.py, F.cross_entropy(weight=...) divides by the batch's weight sum"
            ),
        ),
        reweight=Spec("effective_number", beta=cited(0.9999, f"{CODE}: model/loss.py betas = [0, 0.9999]")),
        defer_until=cited(0.8, f"{_CIFAR} reweight_epoch 160 of 200"),
        on={
            "cifar10-lt": _SMALL_IMAGES,
            "cifar100-lt": _SMALL_IMAGES,
            "digits-lt": _SMALL_IMAGES,
            "photographs": {"model": AT_FULL_WIDTH, "loss": _OF_LARGE_SETS},
            **_ON_LARGE_SETS,
        },
    )
)

_DISTILL = f"{CODE}: configs/config_imbalance_cifar100_distill_ride.json"
_SLOW_START = Spec(warmup=cited(0.1, f"{_DISTILL} warmup_epoch 20 of 200"))

RIDE_4_DISTILLED = register(
    RIDE.derive(
        "ride_4_distilled",
        title="RIDE with four experts, distilled from six",
        cost="first a whole training of six experts; then as ride with four experts, and the forward pass of the six",
        method=Spec(
            "distillation",
            teacher=cited("ride:model.experts=6", f"{_DISTILL} distill_arch num_experts 6"),
            temperature=cited(1.5, f"{_DISTILL} distill_temperature"),
            weight=cited(1.0, f"{CODE}: model/loss.py RIDELossWithDistill additional_distill_loss_factor"),
            times_experts=cited(True, f"{CODE}: model/loss.py RIDELossWithDistill adds the whole once per expert"),
        ),
        model=Spec(experts=cited(4, f"{CODE}: MODEL_ZOO.md, RIDE + Distill with 4 experts")),
        loss=Spec(diversity=cited(0.45, f"{_DISTILL} additional_diversity_factor -0.45; -0.2 in an earlier commit")),
        on={name: {"schedule": _SLOW_START} for name in ("cifar10-lt", "cifar100-lt", "digits-lt")},
    )
)
