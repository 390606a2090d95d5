"""RegMixup of Pinto et al. 2022: the mixed batch is added to the clean one."""

from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

_CODE = "FrancescoPinto/RegMixup"

REGMIXUP = register(
    Recipe(
        "regmixup",
        Paper(
            "Pinto, Yang, Lim, Torr, Dokania 2022, RegMixup: Mixup as a Regularizer Can Surprisingly Improve Accuracy "
            "and Out Distribution Robustness",
            arxiv="2206.14502",
        ),
        "Section 3; the mean over both halves of models/regmixup.py",
        title="RegMixup",
        cost="twice the images per step",
        method=Spec("regmixup", eta=cited(1.0, f"{_CODE}: models/regmixup.py, one mean over clean and mixed images")),
        mixer=Spec(
            "mixup",
            alpha=cited(20.0, f"{_CODE}: models/regmixup.py --mixup_alpha 20; commands.sh on CIFAR-10"),
            per_sample=cited(False, f"{_CODE}: models/regularizers/mixup.py, one lambda per batch"),
        ),
        loss=Spec(
            "cross_entropy",
            normalization=cited(
                "batch",
                f"{_CODE}: F.cross_entropy; without weights all three agree. The rest is the protocol of {LDAM_CODE}: "
                "the authors trained balanced sets, ResNet-50 and a wide ResNet, for 350 epochs",
            ),
        ),
        on={"cifar100-lt": {"mixer": Spec(alpha=cited(10.0, f"{_CODE}: commands.sh, --mixup_alpha 10 on CIFAR-100"))}},
    )
)
