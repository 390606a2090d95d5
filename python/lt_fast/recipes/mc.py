"""``mc``: margin calibration (MARC) of a cross-entropy network: 2 C numbers, learned on cached features."""

from lt_fast.recipes.recipe import Recipe, Value

MARC = "microsoft/robustlearn: marc"
MAMMC = "MAMMC paper"

STAGE_1 = {
    "schedule": Value("cosine", f"{MAMMC}: cosine in both stages; {MARC} too"),
    "batch_size": Value(256, f"{MAMMC}; {MARC} has 512"),
    "learning_rate": Value(
        0.1, f"{MAMMC}: 'initial learning rate 0.1' (its schedule line says 0.05); {MARC} warms up 0.05 to 0.1"
    ),
    "epochs": Value(200, f"{MAMMC}; {MARC} has 13,000 iterations of 512 images"),
    "weight_decay": Value(
        2e-4,
        f"{MAMMC}; {MARC} has 5e-4. Crops and flips only: both papers' figures are at the level of AutoAugment and "
        "Cutout, which the latter's code uses",
    ),
}
"""Stage 1 of mc and mammc on CIFAR."""

STAGE_2 = {
    "calibration_gamma": Value(1.2, f"{MARC}: exp_scale 1.2; {MAMMC}, eq. 9"),
    "calibration_epochs": Value(10, f"{MAMMC}; {MARC} has 2,000 iterations on CIFAR and 10 epochs on ImageNet-LT"),
    "calibration_learning_rate": Value(0.05, f"{MAMMC}; {MARC} (ImageNet-LT)"),
    "calibration_batch_size": Value(256, f"{MAMMC}; {MARC} has 512 on CIFAR"),
    "calibration_momentum": Value(0.9, f"{MARC}; {MAMMC}"),
    "calibration_weight_decay": Value(5e-4, f"{MARC}; {MAMMC} has 2e-4"),
    "calibration_normalization": Value(
        "weights",
        f"{MARC}: F.cross_entropy(weight=...), divided by the batch's weight sum; "
        f"eq. 10 of the {MAMMC} has the plain mean",
    ),
}
"""Stage 2, on every data set."""

_DIGITS = {
    "calibration_epochs": Value(40, "ours: ten epochs of 417 images are 70 steps; 40 make 280; not tuned"),
    "calibration_batch_size": Value(64, "ours: as stage 1"),
}

STAGES_ON = {
    "digits-lt": _DIGITS,
    "cifar10-lt": STAGE_1,
    "cifar100-lt": STAGE_1,
}

RECIPE = Recipe(
    name="mc",
    title="Margin calibration of cross entropy",
    paper="Wang, Zhang, Hou, Wu, Wang, Shinozaki 2022, Margin Calibration for Long-Tailed Visual Recognition",
    arxiv="2112.07225",
    equations="omega_j logit_j + beta_j ||W_j||, generalised re-weighting (eqs. 6-10 as the MAMMC paper numbers them)",
    cost="one forward and one backward pass a step; stage 2: one pass over the training set, then seconds",
    calibrator="margin",
    values={"normalization": Value("batch", "torch: F.cross_entropy(reduction='mean')"), **STAGE_2},
    values_on=STAGES_ON,
)
