"""``lade``: balanced softmax plus LADE's density term."""

from lt_fast.recipes.recipe import Recipe, Value

_CODE = "hyperconnect/LADE"
_CONFIG = f"{_CODE}: config/CIFAR100_LT/lade.yaml"
_AS_CIFAR100 = "; the authors have no CIFAR-10 runs, this is CIFAR-100's"


def _cifar(note: str) -> dict[str, Value]:
    return {
        "batch_size": Value(256, _CONFIG + note),
        "learning_rate": Value(0.2, _CONFIG + note),
        "weight_decay": Value(5e-4, _CONFIG + note),
        "milestones": Value((0.6, 0.8), f"{_CONFIG}, epochs 120 and 160 of 200{note}"),
        "learning_rate_decay": Value(0.01, _CONFIG + note),
        "warmup": Value(0.025, f"{_CONFIG}, 5 of 200 epochs{note}"),
    }


RECIPE = Recipe(
    name="lade",
    title="LADE (label distribution disentangling)",
    paper="Hong, Han, Choi, Seo, Kim, Chang 2021, Disentangling Label Distribution for Long-Tailed Visual Recognition",
    arxiv="2012.00321",
    equations=f"equations as in {_CODE}: LADELoss.py and PriorCELoss.py",
    loss="lade",
    values={
        "regularizer_weight": Value(0.1, f"{_CODE}: README.md, --alpha, CIFAR-100 at ratio 100"),
        "remine_lambda": Value(
            0.01, f"{_CODE}: README.md, --remine_lambda, CIFAR-100 at ratio 100 (the configuration file has 0.1)"
        ),
        "normalization": Value("batch", f"{_CODE}: PriorCELoss.py, F.cross_entropy; without weights all three agree"),
    },
    values_on={"cifar100-lt": _cifar(""), "cifar10-lt": _cifar(_AS_CIFAR100)},
)
