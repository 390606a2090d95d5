"""Label-occurrence-balanced mixup of Zhang et al. 2022: both images of every pair from class-balanced draws.

Of the paper only abstract and introduction were available, and no public code was found. Values that are ours say so.
"""

from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

_PAPER = "label-occurrence-balanced mixup paper"
_UNKNOWN = "the paper's value was not available"

LOBM = register(
    Recipe(
        "lobm",
        Paper(
            "Zhang, Chen, Zhang, Peng 2022, Label-Occurrence-Balanced Mixup for Long-tailed Recognition",
            arxiv="2110.04964",
        ),
        "abstract and Section 1: two independent class-balanced samplers",
        title="Label-occurrence-balanced mixup",
        sampler=Spec(
            cited("class_balanced", f"{_PAPER}: the first of two class-balanced samplers"),
            q=cited(0.0, f"{_PAPER}: class-balanced"),
            within_class=cited("replace", f"ours: {_UNKNOWN}; as the partners, independent of each other"),
            drop_last=cited(False, f"as the other recipes: {LDAM_CODE}"),
        ),
        mixer=Spec(
            "lobm",
            q=cited(0.0, f"{_PAPER}: class-balanced"),
            alpha=cited(1.0, f"ours: {_UNKNOWN}; mixup's Beta(1, 1)"),
            per_sample=cited(False, f"ours: {_UNKNOWN}; one lambda per batch, as mixup's code"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited("batch", f"ours: {_UNKNOWN}; a plain mean. The protocol is that of {LDAM_CODE}"),
        ),
    )
)
