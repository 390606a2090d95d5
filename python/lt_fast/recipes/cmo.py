"""CMO of Park et al. 2022 over balanced softmax; ``--set loss=NAME`` puts it over any other loss.

The authors' other setting, cross entropy with deferred re-weighting: ``--set loss=cross_entropy --set
reweight=effective_number --set defer_until=0.8``.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018
from lt_fast.recipes.protocols import LDAM_CODE
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import RIDE

_CODE = "naver-ai/cmo"


def _large(file: str, batch_size: int, milestones: tuple[float, ...]) -> dict[str, Setting]:
    source, steps = f"{_CODE}: {file}", f"{_CODE}: {file} adjust_learning_rate"
    return {
        "model": Spec(
            cited("resnet50", f"{_CODE}: README.md -a resnet50"),
            head=cited("linear", f"{source}, the network's own kind"),
        ),
        "epochs": cited(100, f"{_CODE}: README.md --epochs 100"),
        "batch_size": cited(batch_size, f"{_CODE}: README.md and opts.py -b"),
        "learning_rate": cited(0.1, f"{_CODE}: opts.py --lr"),
        "optimizer": Spec(weight_decay=cited(2e-4, f"{_CODE}: opts.py --wd")),
        "schedule": Spec(
            cited("multistep", steps),
            warmup=cited(0.05, f"{steps}: 5 of 100 epochs"),
            milestones=cited(milestones, steps),
            factor=cited(0.1, steps),
        ),
        "mixer": Spec(
            start_at=cited(0.04, f"{source}, --start_data_aug 3: not in the first four of 100 epochs"),
            stop_at=cited(0.97, f"{source}, --end_data_aug 3: not in the last three of 100 epochs"),
        ),
    }


CMO = register(
    Recipe(
        "cmo",
        Paper(
            "Park, Hong, Heo, Yun, Choi 2022, The Majority Can Help The Minority: Context-rich Minority Oversampling "
            "for Long-tailed Classification",
            arxiv="2112.00412",
        ),
        "Section 3, Algorithm 1",
        title="Context-rich minority oversampling (CMO)",
        cost="one forward and one backward pass per step; half of the batches read twice the images",
        mixer=Spec(
            "cmo",
            q=cited(0.0, f"{_CODE}: opts.py --weighted_alpha 1, which is 1 - q"),
            alpha=cited(1.0, f"{_CODE}: cifar_train.py, np.random.beta(1, 1)"),
            probability=cited(0.5, f"{_CODE}: opts.py --mixup_prob"),
            start_at=cited(
                0.02, f"{_CODE}: opts.py --start_data_aug 3, cifar_train.py: not in the first four of 200 epochs"
            ),
            stop_at=cited(0.985, f"{_CODE}: opts.py --end_data_aug 3, not in the last three of 200 epochs"),
            per_sample=cited(False, f"{_CODE}: cifar_train.py, one rectangle per batch"),
        ),
        loss=Spec(
            cited("balanced_softmax", f"{_CODE}: README.md, BS + CMO; the other setting there is CE-DRW + CMO"),
            normalization=cited(
                "batch",
                f"{_CODE}: losses.py, F.cross_entropy without weights. The protocol is the authors' too: that of "
                f"{LDAM_CODE}",
            ),
        ),
        on={
            IMAGENET_LT: _large("imagenet_train.py", 128, (0.6, 0.8)),
            INATURALIST_2018: _large("inat18_train.py", 256, (0.75,)),
        },
    )
)

CMO_RIDE = register(
    RIDE.derive(
        "cmo_ride",
        paper=CMO.paper,
        equations="Section 3, Algorithm 1; Table of CIFAR-100-LT, row RIDE + CMO",
        title="CMO with RIDE's three experts",
        cost="as ride; half of the batches read twice the images",
        mixer=CMO.settings["mixer"],
    )
)
