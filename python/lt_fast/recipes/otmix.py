"""OTMix of Gao et al. 2023 over cross entropy; ``--set loss=NAME`` puts it over any other loss.

The authors' other settings: ``--set loss=balanced_softmax``, and LDAM with deferred re-weighting.
"""

from lt_fast.recipes.large_scale import INATURALIST_2018
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import RIDE

_CODE = "JintongGao/Enhancing-Minority-Classes-by-Mixing"
_VALIDATION = cited(
    0.1, f"ours: {_CODE} has the confusions of the test set, from which nothing may be learnt; not tuned"
)
_CIFAR: dict[str, Setting] = {
    "validation": _VALIDATION,
    "epochs": cited(240, f"{_CODE}: opts.py --epochs"),
    "schedule": Spec(
        cited("multistep", f"{_CODE}: cifar_train.py adjust_learning_rate"),
        warmup=cited(0.0, f"{_CODE}: cifar_train.py adjust_learning_rate, none"),
        milestones=cited(
            (100 / 240, 160 / 240, 200 / 240, 200.1 / 240),
            f"{_CODE}: cifar_train.py adjust_learning_rate, epochs 100, 160 and 200 of 240; at 200 two tenths at once",
        ),
        factor=cited(0.1, f"{_CODE}: cifar_train.py adjust_learning_rate: 0.1, 0.01, 1e-3, 1e-5"),
    ),
}

OTMIX = register(
    Recipe(
        "otmix",
        Paper(
            "Gao, Zhao, Li, Guo 2023, Enhancing Minority Classes by Mixing: An Adaptative Optimal Transport Approach "
            "for Long-tailed Classification",
        ),
        "train_OTmix of the authors' code; no Section is named, as the paper's text was not available",
        title="Mixing by optimal transport (OTMix)",
        cost="in epochs by transport, on average half of them: twice the images read, two more forward passes and "
        "Sinkhorn's iteration in half of the steps, and one pass over the validation images",
        mixer=Spec(
            "otmix",
            q=cited(0.0, f"{_CODE}: opts.py --weighted_alpha 1, which is 1 - q"),
            alpha=cited(4.0, f"{_CODE}: opts.py --alpha"),
            probability=cited(0.5, f"{_CODE}: opts.py --mixup_prob"),
            start_at=cited(
                4 / 240, f"{_CODE}: opts.py --start_data_aug 3, cifar_train.py: not in the first four of 240 epochs"
            ),
            stop_at=cited(237 / 240, f"{_CODE}: opts.py --end_data_aug 3, not in the last three of 240 epochs"),
            feature_weight=cited(0.05, f"{_CODE}: opts.py --w"),
            regularization=cited(0.01, f"{_CODE}: cifar_train.py, ot.sinkhorn(reg=0.01)"),
            transport_exponent=cited(1.0, f"{_CODE}: opts.py --u"),
            per_sample=cited(False, f"{_CODE}: cifar_train.py, one rectangle per batch"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited("batch", f"{_CODE}: README.md --loss_type ERM, nn.CrossEntropyLoss without weights"),
        ),
        on={
            "cifar10-lt": _CIFAR,
            "cifar100-lt": _CIFAR,
            "digits-lt": {"validation": _VALIDATION},
            INATURALIST_2018: {"validation": _VALIDATION},
        },
    )
)

_WITH_RIDE = "ours: the paper has RIDE + OTMix, whose settings were not available; those of both, RIDE's length"

OTMIX_RIDE = register(
    RIDE.derive(
        "otmix_ride",
        paper=OTMIX.paper,
        equations=OTMIX.equations,
        title="OTMix with RIDE's three experts",
        cost="as ride, and as otmix",
        mixer=OTMIX.settings["mixer"],
        defer_until=cited(0.8, _WITH_RIDE),
        on={name: {"validation": _VALIDATION} for name in ("cifar10-lt", "cifar100-lt", "digits-lt")},
    )
)
