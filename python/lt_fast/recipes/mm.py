"""Maximum-Margin loss of Kang et al. 2021 on cosine logits, plain and with LDAM's class margins (MM-LDAM).

``mm_settings`` has the settings of every commit of the authors' code as rows.
"""

from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

CODE = "ihaeyong/Maximum-Margin-LDAM"
PAPER = Paper("Kang, Vu, Yoo 2021, Learning Imbalanced Datasets with Maximum Margin Loss", arxiv="2206.05380")
EQUATIONS = f"equations as in {CODE}: losses.py HMMLoss, with each sample's own label"
WITH_DRW = f"{EQUATIONS}; re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1"


def _tuned(scale: float, max_margin: float, gamma: float, source: str) -> Spec:
    """Return the three numbers that the authors tuned together, from one source."""
    return Spec(scale=cited(scale, source), max_margin=cited(max_margin, source), gamma=cited(gamma, source))


_README = f"{CODE}: README.md and scripts/train_main.sh, CIFAR-100 exp, ratio 100"
_BATCH = cited("batch", f"{CODE}: F.cross_entropy; without weights all three agree")
_WEIGHTS = cited("weights", f"{CODE}: losses.py, F.cross_entropy(weight=...) divides by the batch's weight sum")
_COMPAT = cited(
    None,
    f"ours: each sample has its own label, as the paper's text; the figures of {CODE} were made with "
    "batch_first_label, a defect of its losses.py: --set loss.compat=batch_first_label",
)
_REWEIGHT = Spec("effective_number", beta=cited(0.9999, f"{CODE}: cifar_train.py betas = [0, 0.9999]"))
_DEFER = cited(0.8, f"{CODE}: cifar_train.py --train_rule DRW, epoch 160 of 200, as kaidic/LDAM-DRW")

MM = register(
    Recipe(
        "mm",
        PAPER,
        EQUATIONS,
        title="Maximum-Margin loss",
        model=Spec(head="cosine"),
        loss=Spec(
            "maximum_margin",
            ldam=cited(False, f"{CODE}: --loss_type HMM"),
            normalization=_BATCH,
            compat=_COMPAT,
            **_tuned(19.0, 1.29, 1.528, f"{_README}; also where the authors published no setting of their own").options,
        ),
        # Their CIFAR-10 step runs name no values.
        at={
            ("cifar10-lt", "exp", 100.0): {
                "loss": _tuned(
                    30.0,
                    1.4,
                    1.4,
                    f"{CODE}: juypyter/ResultCLS.ipynb, a run without re-weighting, 72.46 % at its best epoch",
                )
            },
            ("cifar10-lt", "exp", 10.0): {
                "loss": _tuned(10.0, 2.7, 1.0, f"{CODE}: scripts/train_main.sh at 1859206"),
            },
        },
    )
)

MM_DRW = register(
    MM.derive(
        "mm_drw",
        title="Maximum-Margin loss with deferred re-weighting",
        equations=WITH_DRW,
        loss=Spec(normalization=_WEIGHTS),
        reweight=_REWEIGHT,
        defer_until=_DEFER,
    )
)

MM_LDAM = register(
    Recipe(
        "mm_ldam",
        PAPER,
        EQUATIONS,
        title="Maximum-Margin loss with LDAM's class margins (MM-LDAM)",
        model=Spec(head="cosine"),
        loss=Spec(
            "maximum_margin",
            ldam=cited(True, f"{CODE}: --loss_type HMM-LDAM"),
            normalization=_BATCH,
            compat=_COMPAT,
            **_tuned(
                26.0,
                1.29,
                1.528,
                f"{CODE}: scripts/train_main.sh, CIFAR-100 exp, ratio 100; also where the authors published no setting",
            ).options,
        ),
        at={
            ("cifar100-lt", "exp", 10.0): {
                "loss": _tuned(17.0, 1.9, 1.5, f"{CODE}: scripts/train_main.sh at 68bfd2d, ICIP submission"),
            },
            ("cifar100-lt", "step", 10.0): {
                "loss": _tuned(
                    17.0,
                    0.5,
                    1.0,
                    f"{CODE}: scripts/train_main.sh at 1859206; the loss's predecessor had 18, 2.6 and 1.5 there "
                    "(60.7 %, 8bac3bb)",
                )
            },
        },
    )
)

MM_LDAM_DRW = register(
    MM_LDAM.derive(
        "mm_ldam_drw",
        title="MM-LDAM with deferred re-weighting",
        equations=WITH_DRW,
        loss=Spec(normalization=_WEIGHTS),
        reweight=_REWEIGHT,
        defer_until=_DEFER,
    )
)
