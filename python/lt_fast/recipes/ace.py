"""ACE of Cai et al. 2021, as far as its abstract says what it is: most values are ours."""

from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import AT_FULL_WIDTH, OPTIMIZER

_UNKNOWN = "ours: the paper's text and code were not available"
_SMALL_IMAGES: dict[str, Setting] = {"optimizer": OPTIMIZER}
_ON_DIGITS = Spec(
    scale=cited(15.0, "ours: 15 and 30 tried, 15 epochs, seed 100: 85 and 77 % of the validation images (a fifth)")
)
_AT_FULL_WIDTH: dict[str, Setting] = {"model": AT_FULL_WIDTH}

ACE = register(
    Recipe(
        "ace",
        Paper(
            "Cai, Wang, Hwang 2021, ACE: Ally Complementary Experts for Solving Long-Tailed Recognition in One-Shot",
            arxiv="2108.02385",
        ),
        "abstract; no Section was available",
        title="Ally complementary experts (ACE)",
        cost="the layers after the split once per expert, of three quarters of the channels; as RIDE",
        method=Spec("ace"),
        model=Spec(
            head=cited("cosine", f"{_UNKNOWN}; cosines need no re-scaling by the norms of the weights"),
            experts=cited(3, "the paper (arXiv:2108.02385) reports 3 and 4; --set model.experts=4 loss.experts=4"),
            expert_width=cited(0.75, f"{_UNKNOWN}; as frank-xwang/RIDE-LongTailRecognition"),
        ),
        loss=Spec(
            "ace",
            experts=cited(3, "the paper: one for each expert of the network"),
            scale=cited(30.0, f"{_UNKNOWN}; as kaidic/LDAM-DRW has for cosines"),
            normalization=cited("expected", f"{_UNKNOWN}; a batch may have no image of an expert's classes"),
        ),
        on={
            "cifar10-lt": _SMALL_IMAGES,
            "cifar100-lt": _SMALL_IMAGES,
            "digits-lt": {**_SMALL_IMAGES, "loss": _ON_DIGITS},
            "places-lt": _AT_FULL_WIDTH,
            "photographs": _AT_FULL_WIDTH,
        },
    )
)
