"""Hybrid-SC and Hybrid-PSC of Wang et al. 2021: features by supervised contrast, a classifier by balanced batches."""

from lt_fast.recipes.protocols import CIFAR_STATISTICS, CROPS
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_PAPER = "CENG502-Projects/CENG502-Spring2022: Project_Durmus-Yavuz/Readme.md, which quotes the paper"
_SUPCON = "HobbitLong/SupContrast"

_CIFAR: dict[str, Setting] = {
    "epochs": cited(200, _PAPER),
    "batch_size": cited(512, f"{_PAPER}, for both losses; here of each of the two batches"),
    "learning_rate": cited(0.5, _PAPER),
    "schedule": Spec(
        warmup=cited(0.0, f"{_PAPER}: none is stated"),
        milestones=cited((0.6, 0.8), f"{_PAPER}: epochs 120 and 160 of 200"),
        factor=cited(0.1, _PAPER),
    ),
    "optimizer": Spec(momentum=cited(0.9, _PAPER), weight_decay=cited(1e-4, _PAPER)),
    "transform": Spec(
        cited("simclr", f"{_PAPER}: random crop of 32 x 32, flip and random grayscale, for both branches"),
        **CROPS,
        **CIFAR_STATISTICS,
        jitter_probability=cited(0.0, f"{_PAPER}: none is stated"),
        grayscale=cited(0.2, _PAPER),
        blur=cited(0.0, f"{_PAPER}: none is stated"),
    ),
}

_DIGITS: dict[str, Setting] = {
    "schedule": Spec(milestones=cited((0.6, 0.8), f"as on CIFAR; {_PAPER}")),
    "method": Spec(width=cited(64, "ours: as many as the features of the small network")),
}

HYBRID_SC = register(
    Recipe(
        "hybrid_sc",
        Paper(
            "Wang, Han, Wei, Zhang, Wang 2021, Contrastive Learning based Hybrid Networks for Long-Tailed Image "
            "Classification",
            arxiv="2103.14267",
        ),
        "Section 3, the hybrid network with the SC loss",
        title="Hybrid network with a supervised contrastive loss (Hybrid-SC)",
        cost="three times the images per step; similarities of (2 * batch size) ** 2 embeddings",
        method=Spec(
            "hybrid_sc",
            temperature=cited(0.1, _PAPER),
            width=cited(128, f"ours: not stated; {_SUPCON}: networks/resnet_big.py feat_dim"),
            q=cited(0.0, f"{_PAPER}: the losses sample differently; class-balanced for cross entropy"),
            views=cited(2, f"{_SUPCON}: main_supcon.py TwoCropTransform; {_PAPER} took two as well"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited("batch", f"{_PAPER}: a mean; without weights all three agree"),
        ),
        on={"cifar10-lt": _CIFAR, "cifar100-lt": _CIFAR, "digits-lt": _DIGITS},
    )
)

HYBRID_PSC = register(
    HYBRID_SC.derive(
        "hybrid_psc",
        equations="Section 3, the hybrid network with the PSC loss",
        title="Hybrid network with a prototypical contrastive loss (Hybrid-PSC)",
        cost="three times the images per step",
        method=Spec(
            "hybrid_psc",
            temperature=cited(0.1, f"{_PAPER}, CIFAR-100"),
            width=cited(128, f"ours: not stated; {_SUPCON}: networks/resnet_big.py feat_dim"),
            q=cited(0.0, f"{_PAPER}: the losses sample differently; class-balanced for cross entropy"),
            views=cited(2, "ours: as Hybrid-SC; the paper contrasts differently augmented views with the prototypes"),
        ),
        on={
            "cifar10-lt": {"method": Spec(temperature=cited(1.0, f"{_PAPER}, CIFAR-10"))},
            "digits-lt": {"method": Spec(temperature=cited(1.0, f"as on CIFAR-10, of ten classes; {_PAPER}"))},
        },
    )
)
