"""``mm``: Maximum-Margin loss on cosine logits; the margin of a sample comes from its own scores."""

from lt_fast.recipes.recipe import Recipe, Value

CODE = "ihaeyong/Maximum-Margin-LDAM"
PAPER = "Kang, Vu, Yoo 2021, Learning Imbalanced Datasets with Maximum Margin Loss"
ARXIV = "2206.05380"
EQUATIONS = f"equations as in {CODE}: losses.py HMMLoss, with each sample's own label"


def tuned(scale: float, max_margin: float, gamma: float, source: str) -> dict[str, Value]:
    """Return the three numbers that the authors tuned together, from one source."""
    return {
        "scale": Value(scale, source),
        "max_margin": Value(max_margin, source),
        "margin_gamma": Value(gamma, source),
    }


_README = f"{CODE}: README.md and scripts/train_main.sh, CIFAR-100 exp, ratio 100"

VALUES = {
    **tuned(19.0, 1.29, 1.528, f"{_README}; also where the authors published no setting of their own"),
    "ldam_offset": Value(False, f"{CODE}: --loss_type HMM"),
}
"""Plain Maximum-Margin, where nothing else was tuned."""

VALUES_AT = {
    ("cifar10-lt", "exp", 100.0): tuned(
        30.0, 1.4, 1.4, f"{CODE}: juypyter/ResultCLS.ipynb, a run without re-weighting, 72.46 % at its best epoch"
    ),
    ("cifar10-lt", "exp", 10.0): tuned(10.0, 2.7, 1.0, f"{CODE}: scripts/train_main.sh at 1859206"),
}
"""What the authors tuned for one data set, profile and ratio. Their CIFAR-10 step runs name no values."""

RECIPE = Recipe(
    name="mm",
    title="Maximum-Margin loss",
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
