"""``ce``: plain cross entropy, the baseline of every table."""

from lt_fast.recipes.recipe import Recipe, Value

RECIPE = Recipe(
    name="ce",
    title="Cross entropy (ERM)",
    paper="Cao, Wei, Gaidon, Arechiga, Ma 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    arxiv="1906.07413",
    equations="Table 2, row ERM",
    values={
        "normalization": Value("batch", "torch: F.cross_entropy(reduction='mean'); without weights all three agree")
    },
)
