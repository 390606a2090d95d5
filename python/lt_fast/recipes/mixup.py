"""Mixup of Zhang et al. 2018, without re-weighting; ``mixup_drw`` of ``recipes/mam.py`` has it."""

from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

CODE = "facebookresearch/mixup-cifar10: train.py"
PAPER = Paper("Zhang, Cisse, Dauphin, Lopez-Paz 2018, mixup: Beyond Empirical Risk Minimization", arxiv="1710.09412")

MIXUP = register(
    Recipe(
        "mixup",
        PAPER,
        "Section 2",
        title="Mixup",
        mixer=Spec(
            "mixup",
            alpha=cited(1.0, f"{CODE} --alpha"),
            per_sample=cited(False, f"{CODE}: mixup_data, one lambda per batch"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited(
                "batch",
                f"{CODE}: nn.CrossEntropyLoss(); without weights all three agree. The rest is the protocol of "
                f"{LDAM_CODE}: the authors trained balanced sets, other networks, with weight decay 1e-4",
            ),
        ),
    )
)
