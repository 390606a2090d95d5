"""``mm_ldam_drw``: MM-LDAM, with class weights that set in for the last fifth of the training."""

from lt_fast.recipes.mm import ARXIV, EQUATIONS, PAPER
from lt_fast.recipes.mm_drw import REWEIGHTED
from lt_fast.recipes.mm_ldam import VALUES, VALUES_AT
from lt_fast.recipes.recipe import Recipe

RECIPE = Recipe(
    name="mm_ldam_drw",
    title="MM-LDAM with deferred re-weighting",
    paper=PAPER,
    arxiv=ARXIV,
    equations=f"{EQUATIONS}; re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1",
    loss="maximum_margin",
    head="cosine",
    deferred=True,
    values={**VALUES, **REWEIGHTED},
    values_at=VALUES_AT,
)
