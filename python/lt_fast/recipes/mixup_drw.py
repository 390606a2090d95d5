"""``mixup_drw``: mixup, with class weights that set in for the last part of the training."""

from lt_fast.recipes.recipe import Recipe, Value

IDL = "ntucllab/imbalanced-DL"

MIXED_DRW = {
    "alpha": Value(1.0, f"{IDL}: Beta(1, 1), one lambda a batch"),
    "per_sample": Value(False, f"{IDL}: one lambda a batch"),
    "defer_until": Value(0.8, f"{IDL}: config_cifar10.yaml, epoch 160 of 200, as LDAM-DRW"),
    "class_weight_beta": Value(0.9999, f"{IDL}: as kaidic/LDAM-DRW"),
    "normalization": Value("batch", f"{IDL}: plain mean of weighted terms, not a weighted mean"),
}
"""Settings of mixing under deferred re-weighting, as imbalanced-DL has them."""

LONGER_CIFAR100 = {
    "epochs": Value(300, f"{IDL}: config_cifar100.yaml"),
    "warmup": Value(5 / 300, f"{IDL}: five epochs, as kaidic/LDAM-DRW"),
    "milestones": Value((150 / 300, 250 / 300), f"{IDL}: config_cifar100.yaml, after epochs 150 and 250 of 300"),
    "learning_rate_decay": Value(0.1, f"{IDL}: config_cifar100.yaml, 0.1, 1e-2, 1e-3"),
}
"""imbalanced-DL trains CIFAR-100-LT half as long again."""

DEFER_CIFAR100 = {"defer_until": Value(250 / 300, f"{IDL}: config_cifar100.yaml, epoch 250 of 300")}

RECIPE = Recipe(
    name="mixup_drw",
    title="Mixup with deferred re-weighting",
    paper="Zhang, Cisse, Dauphin, Lopez-Paz 2018, mixup: Beyond Empirical Risk Minimization",
    arxiv="1710.09412",
    equations="Section 2; re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1",
    mixer="mixup",
    deferred=True,
    values=MIXED_DRW,
    values_on={"cifar100-lt": {**LONGER_CIFAR100, **DEFER_CIFAR100}},
)
