"""Seesaw loss of Wang et al. 2021, with the class sizes of the training set."""

from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

_CODE = "open-mmlab/mmpretrain: seesaw_loss.py"

SEESAW = register(
    Recipe(
        "seesaw",
        Paper(
            "Wang, Zhang, Zang, Cao, Pang, Gong, Chen, Liu, Loy, Lin 2021, "
            "Seesaw Loss for Long-Tailed Instance Segmentation",
            arxiv="2008.10032",
        ),
        "equations as in open-mmlab/mmpretrain: seesaw_loss.py",
        title="Seesaw loss",
        loss=Spec(
            "seesaw",
            p=cited(0.8, f"{_CODE}, p"),
            q=cited(2.0, f"{_CODE}, q"),
            eps=cited(0.01, f"{_CODE}, eps"),
            normalization=cited(
                "batch",
                f"{_CODE}, reduction mean, no weights. The rest is LDAM-DRW's protocol, linear head included: neither "
                "paper nor code has a setting for CIFAR",
            ),
        ),
    )
)
