"""Logit adjustment of Menon et al. 2021: cross entropy on logits shifted by a multiple of the log prior.

Length and steps of the rate are those of its authors' code. Its network of bottleneck blocks, crops by 2 pixels, pixels
less 0.5 without a division, whole batches alone and a warm-up step by step are the training protocol
``logit-adjustment``; the recipe has network, crops and normalisation of LDAM-DRW's code, as the others.
"""

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

CODE = "google-research/google-research: logit_adjustment"


def _schedule(epochs: int, warmup: int, milestones: tuple[int, int, int]) -> dict[str, Setting]:
    source = f"{CODE}/utils.py dataset_mappings, in epochs {warmup}; {', '.join(map(str, milestones))} of {epochs}"
    return {
        "epochs": cited(epochs, f"{CODE}/utils.py dataset_mappings"),
        "schedule": Spec(
            warmup=cited(warmup / epochs, source),
            milestones=cited(tuple(milestone / epochs for milestone in milestones), source),
            factor=cited(0.1, f"{CODE}/utils.py: 0.1, 1e-2, 1e-3, 1e-4"),
        ),
    }


ON_CIFAR = {
    "cifar10-lt": _schedule(1241, 20, (604, 926, 1128)),
    "cifar100-lt": _schedule(1419, 22, (691, 1059, 1290)),
}

LOGIT_ADJUSTMENT = register(
    Recipe(
        "logit_adjustment",
        Paper(
            "Menon, Jayasumana, Rawat, Jain, Veit, Kumar 2021, Long-Tail Learning via Logit Adjustment",
            arxiv="2007.07314",
        ),
        "eq. 10",
        title="Logit-adjusted loss",
        cost="one forward and one backward pass per step; on CIFAR six to seven times the epochs of the other recipes",
        loss=Spec(
            "logit_adjusted",
            tau=cited(1.0, f"{CODE}/main.py --tau"),
            normalization=cited("batch", f"{CODE}/utils.py, reduce_mean; without weights all three agree"),
        ),
        optimizer=Spec(nesterov=cited(True, f"{CODE}/main.py")),
        on=ON_CIFAR,
    )
)
