"""UniMix and Bayias of Xu et al. 2021: pairs that lean to the tail, and a loss without the bias of the prior."""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "XuZhengzhuo/Prior-LT"
_CONFIG = f"{_CODE}: config/cifar10_100.py"
_BATCH = cited(64, f"{_CONFIG}, batch_size; the same in every configuration of CIFAR")
_LARGE: dict[str, Setting] = {
    "mixer": Spec(tau=cited(-0.1, f"ours: {_CODE} has CIFAR alone; this is that of its hundred classes; not tuned"))
}

UNIMIX = register(
    Recipe(
        "unimix",
        Paper(
            "Xu, Chai, Yuan 2021, Towards Calibrated Model for Long-Tailed Visual Recognition from Prior Perspective",
            arxiv="2111.03874",
        ),
        "Section 3, in the form of core.py",
        title="UniMix and Bayias",
        mixer=Spec(
            "unimix",
            tau=cited(-0.5, f"{_CONFIG}, unimix_tau; the same at every ratio"),
            alpha=cited(0.8, f"{_CONFIG}, unimix_alp; the same for every data set"),
            per_sample=cited(True, f"{_CODE}: core.py unimix_factor, one draw per sample"),
        ),
        loss=Spec(
            "bayias",
            test_prior=cited(None, f"{_CODE}: train.py, the test set is taken as balanced"),
            normalization=cited("batch", f"{_CODE}: core.py, torch.mean of the losses of the batch"),
        ),
        on={
            "cifar10-lt": {"batch_size": _BATCH},
            "cifar100-lt": {
                "batch_size": _BATCH,
                "mixer": Spec(tau=cited(-0.1, f"{_CODE}: config/cifar100_100.py, unimix_tau; the same at every ratio")),
            },
            **dict.fromkeys((IMAGENET_LT, PLACES_LT, INATURALIST_2018), _LARGE),
        },
    )
)
