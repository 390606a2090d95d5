"""Tables of decoupled training, Balanced Meta-Softmax and margin calibration, as far as they are known."""

from typing import Any

from lt_fast.reproduction.target import Tail, Target, rows_on

_GROUPS = ("overall", "many", "medium", "few")
_LARGE = (Tail("imagenet-lt"), Tail("places-lt"), Tail("inaturalist-2018"))
_CIFAR = tuple(Tail(data, ratio) for data in ("cifar10-lt", "cifar100-lt") for ratio in (10.0, 100.0, 200.0))
_STRONG = "CIFAR-LT by 13,000 iterations of 512 images with AutoAugment and Cutout"
_LENGTHS = {
    "marc": "13,000 (+ 2,000) iterations of 512 images with AutoAugment and Cutout",
    "own": "every recipe as its own authors ran it",
}
_RESNET_10 = {"model": "resnet10"}
_NO_NCM: tuple[Any, ...] = ("NCM", None, {}, "no recipe has a classifier of nearest class means")
_STAGES = (("Joint", "ce"), ("cRT", "crt"), ("Tau-normalisation", "tau_norm"), ("LWS", "lws"))

DECOUPLE = Target(
    "decouple",
    "Decoupled training on ImageNet-LT, Places-LT and iNaturalist 2018",
    "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis 2020 (arXiv:1910.09217)",
    rows_on(_LARGE[:1], *_STAGES, _NO_NCM) + rows_on(_LARGE[1:], *_STAGES),
    metrics=_GROUPS,
    lost="what the repository and the lists that quote the paper do not have",
    notes=("ImageNet-LT: ResNeXt-50, 90 epochs; Places-LT: ResNet-152; iNaturalist 2018: ResNet-50, 90 epochs.",),
)

BALMS = Target(
    "balms",
    "Balanced Meta-Softmax",
    "Ren, Yu, Sheng, Ma, Zhao, Yi, Li 2020 (arXiv:2007.10740)",
    rows_on(
        _CIFAR,
        ("Softmax", "ce"),
        ("Balanced Softmax", "balanced_softmax"),
        ("Balanced Softmax, decoupled", None, {}, "no recipe has balanced softmax as second stage"),
        ("BALMS", "balms"),
    )
    + rows_on(_LARGE[:1], ("Softmax", "ce", _RESNET_10), ("BALMS", "balms", _RESNET_10))
    + rows_on(_LARGE[1:2], ("Softmax", "ce"), ("BALMS", "balms")),
    protocol="marc",
    protocols=_LENGTHS,
    lost="what the repository and the lists that quote the paper do not have",
    notes=(f"{_STRONG}; ImageNet-LT: ResNet-10; Places-LT: ResNet-152.",),
)

MARC = Target(
    "marc",
    "Margin calibration (MARC)",
    "Wang, Zhang, Hou, Wu, Wang, Shinozaki 2022 (arXiv:2112.07225)",
    rows_on(_CIFAR, ("Softmax", "ce"), ("MARC", "mc")) + rows_on(_LARGE[:1], ("Softmax", "ce"), ("MARC", "mc")),
    metrics=_GROUPS,
    protocol="marc",
    protocols=_LENGTHS,
    lost="its numbers on CIFAR-LT; on ImageNet-LT it is quoted by the MAMMC paper",
    notes=(f"{_STRONG}; ImageNet-LT: ResNeXt-50, 90 + 10 epochs.",),
)

TARGETS = (DECOUPLE, BALMS, MARC)
