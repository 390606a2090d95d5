"""CutMix of Yun et al. 2019: rectangles of other images, labels by area."""

from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

_CODE = "clovaai/CutMix-PyTorch"

CUTMIX = register(
    Recipe(
        "cutmix",
        Paper(
            "Yun, Han, Oh, Chun, Choe, Yoo 2019, CutMix: Regularization Strategy to Train Strong Classifiers with "
            "Localizable Features",
            arxiv="1905.04899",
        ),
        "Section 3, eqs. 1 and 2",
        title="CutMix",
        mixer=Spec(
            "cutmix",
            alpha=cited(1.0, f"{_CODE}: README.md, --beta 1.0"),
            probability=cited(0.5, f"{_CODE}: README.md, --cutmix_prob 0.5 on CIFAR"),
            per_sample=cited(False, f"{_CODE}: train.py, one rectangle per batch"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited(
                "batch",
                f"{_CODE}: train.py, nn.CrossEntropyLoss(); without weights all three agree. The rest is the protocol "
                f"of {LDAM_CODE}: the authors trained balanced sets, PyramidNet and ResNet-50, for 300 epochs",
            ),
        ),
        on={"photographs": {"mixer": Spec(probability=cited(1.0, f"{_CODE}: README.md, --cutmix_prob 1.0, ImageNet"))}},
    )
)
