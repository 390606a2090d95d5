"""Margin-aware mixup (MAMix) of Cheng et al. 2023: the label factor leans to the rarer class of each pair.

``mixup_drw`` is the mixup baseline of the same paper and code, ntucllab/imbalanced-DL. That code also passes each batch
unmixed through the network in train mode, so that half of what moves batch norm's statistics is unmixed, and its
classifier has no offsets and the first weights of ``nn.Linear``. The training protocol ``imbalanced-dl`` has all three
(``method.unmixed_pass``, ``model.bias``, ``model.uniform_head``); the recipes do not.
"""

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

IDL = "ntucllab/imbalanced-DL"
PAPER = Paper("Cheng, Mai, Lin 2023, From SMOTE to Mixup for Deep Imbalanced Classification", arxiv="2308.15457")
EQUATIONS = "kappa = n^-omega and the two-piece label factor (eqs. 1-5 as the MAMMC paper numbers them)"
_DRW = "re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1"

MIXER = Spec(
    "mam",
    omega=cited(0.25, f"{IDL}: mamix_ratio -0.25 in config_cifar10.yaml and config_cifar100.yaml"),
    alpha=cited(1.0, f"{IDL}: _mamix_drw.py, Beta(1, 1)"),
    per_sample=cited(False, f"{IDL}: _mamix_drw.py, one lambda per batch"),
)

_LONGER: dict[str, Setting] = {
    "epochs": cited(300, f"{IDL}: config_cifar100.yaml"),
    "schedule": Spec(
        warmup=cited(5 / 300, f"{IDL}: five epochs, as kaidic/LDAM-DRW"),
        milestones=cited((150 / 300, 250 / 300), f"{IDL}: config_cifar100.yaml, after epochs 150 and 250 of 300"),
        factor=cited(0.1, f"{IDL}: config_cifar100.yaml, 0.1, 1e-2, 1e-3"),
    ),
}
"""CIFAR-100-LT is trained half as long again."""

_REWEIGHT = Spec("effective_number", beta=cited(0.9999, f"{IDL}: as kaidic/LDAM-DRW"))
_DEFER = cited(0.8, f"{IDL}: config_cifar10.yaml, epoch 160 of 200, as LDAM-DRW")
_DEFER_ON: dict[str, dict[str, Setting]] = {
    "cifar100-lt": {"defer_until": cited(250 / 300, f"{IDL}: config_cifar100.yaml, epoch 250 of 300")}
}

MAM = register(
    Recipe(
        "mam",
        PAPER,
        EQUATIONS,
        title="Margin-aware mixup",
        mixer=MIXER,
        loss=Spec("cross_entropy", normalization=cited("batch", f"{IDL}: _mamix_drw.py, plain mean over the batch")),
        on={"cifar100-lt": _LONGER},
    )
)

MAM_DRW = register(
    MAM.derive(
        "mam_drw",
        title="Margin-aware mixup with deferred re-weighting",
        equations=f"{EQUATIONS}; {_DRW}",
        reweight=_REWEIGHT,
        defer_until=_DEFER,
        on=_DEFER_ON,
    )
)

MIXUP_DRW = register(
    MAM_DRW.derive(
        "mixup_drw",
        title="Mixup with deferred re-weighting",
        paper=Paper("Zhang, Cisse, Dauphin, Lopez-Paz 2018, mixup: Beyond Empirical Risk Minimization", "1710.09412"),
        equations=f"Section 2; {_DRW}",
        mixer=Spec(
            "mixup",
            alpha=cited(1.0, f"{IDL}: Beta(1, 1), one lambda per batch"),
            per_sample=cited(False, f"{IDL}: one lambda per batch"),
        ),
        loss=Spec(normalization=cited("batch", f"{IDL}: plain mean of weighted terms, not a weighted mean")),
    )
)
