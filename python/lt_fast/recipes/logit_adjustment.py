"""``logit_adjustment``: cross entropy on logits shifted by a multiple of the log prior while training."""

from lt_fast.recipes.recipe import Recipe, Value

CODE = "google-research/google-research: logit_adjustment"


def _schedule(epochs: int, warmup: int, milestones: tuple[int, int, int]) -> dict[str, Value]:
    source = f"{CODE}/utils.py dataset_mappings, in epochs {warmup}; {', '.join(map(str, milestones))} of {epochs}"
    return {
        "epochs": Value(epochs, f"{CODE}/utils.py dataset_mappings"),
        "warmup": Value(warmup / epochs, source),
        "milestones": Value(tuple(milestone / epochs for milestone in milestones), source),
        "learning_rate_decay": Value(0.1, f"{CODE}/utils.py: 0.1, 1e-2, 1e-3, 1e-4"),
    }


RECIPE = Recipe(
    name="logit_adjustment",
    title="Logit-adjusted loss",
    paper="Menon, Jayasumana, Rawat, Jain, Veit, Kumar 2021, Long-Tail Learning via Logit Adjustment",
    arxiv="2007.07314",
    equations="eq. 10",
    cost="one forward and one backward pass a step; on CIFAR six to seven times the epochs of the other recipes",
    loss="logit_adjusted",
    values={
        "prior_tau": Value(1.0, f"{CODE}/main.py --tau"),
        "nesterov": Value(True, f"{CODE}/main.py"),
        "normalization": Value("batch", f"{CODE}/utils.py, reduce_mean; without weights all three agree"),
    },
    values_on={
        "cifar10-lt": _schedule(1241, 20, (604, 926, 1128)),
        "cifar100-lt": _schedule(1419, 22, (691, 1059, 1290)),
    },
)
