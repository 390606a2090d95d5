"""Decoupling of Kang et al. 2020: cross entropy, then another classifier on its features: cRT, LWS, tau-normalisation.

The authors published no settings for CIFAR: there, those of zhangyongshun/BagofTricks-LT, whose tables have all three.
"""

from lt_fast.recipes import ldam
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
        on=_on("cRT"),
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
        on=_on("LWS"),
    )
)

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
    )
)
