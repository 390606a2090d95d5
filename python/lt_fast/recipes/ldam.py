"""``ldam``: margins that grow as classes get rarer, on cosine logits."""

from lt_fast.recipes.recipe import Recipe, Value

MARGINS = {
    "max_margin": Value(0.5, "kaidic/LDAM-DRW: losses.py LDAMLoss max_m=0.5"),
    "scale": Value(30.0, "kaidic/LDAM-DRW: losses.py LDAMLoss s=30"),
}

RECIPE = Recipe(
    name="ldam",
    title="LDAM",
    paper="Cao, Wei, Gaidon, Arechiga, Ma 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    arxiv="1906.07413",
    equations="Section 3.2",
    loss="ldam",
    head="cosine",
    values={
        **MARGINS,
        "normalization": Value("batch", "kaidic/LDAM-DRW: F.cross_entropy; without weights all three agree"),
    },
)
