"""``mm_ldam``: Maximum-Margin loss whose margins grow as classes get rarer, by LDAM's class margins."""

from lt_fast.recipes.mm import ARXIV, CODE, EQUATIONS, PAPER, tuned
from lt_fast.recipes.recipe import Recipe, Value

VALUES = {
    **tuned(
        26.0,
        1.29,
        1.528,
        f"{CODE}: scripts/train_main.sh, CIFAR-100 exp, ratio 100; also where the authors published no setting",
    ),
    "ldam_offset": Value(True, f"{CODE}: --loss_type HMM-LDAM"),
}
"""MM-LDAM, where nothing else was tuned."""

VALUES_AT = {
    ("cifar100-lt", "exp", 10.0): tuned(17.0, 1.9, 1.5, f"{CODE}: scripts/train_main.sh at 68bfd2d, ICIP submission"),
    ("cifar100-lt", "step", 10.0): tuned(
        17.0,
        0.5,
        1.0,
        f"{CODE}: scripts/train_main.sh at 1859206; the loss's predecessor had 18, 2.6 and 1.5 there (60.7 %, 8bac3bb)",
    ),
}
"""What the authors tuned for one data set, profile and ratio. Their CIFAR-10 step runs name no values."""

RECIPE = Recipe(
    name="mm_ldam",
    title="Maximum-Margin loss with LDAM's class margins (MM-LDAM)",
    paper=PAPER,
    arxiv=ARXIV,
    equations=EQUATIONS,
    loss="maximum_margin",
    head="cosine",
    values={
        **VALUES,
        "normalization": Value("batch", f"{CODE}: F.cross_entropy; without weights all three agree"),
    },
    values_at=VALUES_AT,
)
