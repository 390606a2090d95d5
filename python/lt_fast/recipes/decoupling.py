"""Decoupling of Kang et al. 2020: cross entropy, then another classifier on its features: cRT, LWS, tau-normalisation.

The authors published no settings for CIFAR: there, those of zhangyongshun/BagofTricks-LT, whose tables have all three.
Elsewhere the authors' own: what a recipe states for every data set is what they have on ImageNet-LT.
"""

from lt_fast.recipes import ldam
from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Cited, Paper, Setting, Spec, cited, register

CODE = "facebookresearch/classifier-balancing"
BOT = "zhangyongshun/BagofTricks-LT: configs/cao_cifar/two_stage"
PAPER = Paper(
    "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis 2020, Decoupling Representation and Classifier for Long-Tailed "
    "Recognition",
    arxiv="1910.09217",
)
COST = "one forward and one backward pass per step; stage 2: one pass over the training set, then seconds"


def _descent(file: str, epochs: int) -> dict[str, Cited]:
    """Return the settings of a second stage on ImageNet-LT."""
    source = f"{CODE}: config/ImageNet_LT/{file}"
    return {
        "epochs": cited(epochs, f"{source} num_epochs"),
        "lr": cited(0.2, f"{source} classifier lr, a cosine to 0"),
        "batch_size": cited(512, source),
        "momentum": cited(0.9, source),
        "weight_decay": cited(5e-4, source),
    }


def _large(file: str, epochs_on_inaturalist: int) -> dict[str, dict[str, Setting]]:
    places, inaturalist = (f"{CODE}: config/{folder}/{file}" for folder in ("Places_LT", "iNaturalist18"))
    return {
        PLACES_LT: {"calibrator": Spec(lr=cited(0.1, f"{places} classifier lr"), batch_size=cited(256, places))},
        INATURALIST_2018: {
            "calibrator": Spec(
                epochs=cited(epochs_on_inaturalist, f"{inaturalist} num_epochs"),
                weight_decay=cited(1e-4, inaturalist),
            )
        },
    }


def _on(folder: str) -> dict[str, dict[str, Setting]]:
    source = f"{BOT}/classifier_balance/{folder}"
    cifar: dict[str, Setting] = {
        "calibrator": Spec(
            epochs=cited(30, f"{source} MAX_EPOCH"),
            lr=cited(0.1, f"{source} BASE_LR, in steps after five epochs of warm-up; here a cosine, as {CODE}"),
            batch_size=cited(128, source),
        )
    }
    small: dict[str, Setting] = {
        "calibrator": Spec(batch_size=cited(64, "ours: as stage 1 of digits-lt; few images make few steps; not tuned"))
    }
    return {"cifar10-lt": cifar, "cifar100-lt": cifar, "digits-lt": small, "photographs": small}


CRT = register(
    ldam.CE.derive(
        "crt",
        title="Classifier retraining (cRT)",
        paper=PAPER,
        equations="Section 4.1",
        cost=COST,
        calibrator=Spec(
            "retraining",
            start=cited("fresh", f"{CODE}: cls_crt.yaml, models/DotProductClassifier.py: new weights"),
            **_descent("cls_crt.yaml", 10),
        ),
        on={**_on("cRT"), **_large("cls_crt.yaml", 30)},
    )
)

LWS = register(
    ldam.CE.derive(
        "lws",
        title="Learnable weight scaling (LWS)",
        paper=PAPER,
        equations="Section 4.4",
        cost=COST,
        calibrator=Spec("lws", **_descent("cls_lws.yaml", 5)),
        on={**_on("LWS"), **_large("cls_lws.yaml", 5)},
    )
)

_CHOSEN: dict[str, Setting] = {
    "calibrator": Spec(tau=cited(None, f"{CODE}: tau_norm.py tries 0 to 2; the best on the published validation list"))
}

TAU_NORM = register(
    ldam.CE.derive(
        "tau_norm",
        title="Tau-normalised classifier",
        paper=PAPER,
        equations="Section 4.3",
        cost="one forward and one backward pass per step; stage 2: one pass over the training set",
        calibrator=Spec(
            "tau_norm",
            tau=cited(
                1.0,
                f"{BOT}/classifier_balance/tau_norm TAU, which keeps the bias; {CODE}: tau_norm.py tries 0 to 2 "
                "without it. Chosen on validation images: --set calibrator.tau=none --set validation=0.1",
            ),
        ),
        on={IMAGENET_LT: _CHOSEN, PLACES_LT: _CHOSEN},
    )
)
