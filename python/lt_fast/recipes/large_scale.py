"""What every method shares on ImageNet-LT, Places-LT and iNaturalist 2018, with the source of each value.

A recipe's own values are over these: network, length and batch where its authors name others.
"""

from lt_fast.recipes.recipe import Protocol, Spec, cited, register

DECOUPLING = "facebookresearch/classifier-balancing"
OLTR = "zhmiao/OpenLongTailRecognition-OLTR"
CP_MIX_PAPER = "CP-Mix paper (arXiv:2411.07621)"

IMAGENET_LT, PLACES_LT, INATURALIST_2018 = "imagenet-lt", "places-lt", "inaturalist-2018"

_LOADER = f"{DECOUPLING}: data/dataloader.py"
_IMAGENET = f"{DECOUPLING}: config/ImageNet_LT/feat_uniform.yaml"
_INATURALIST = f"{DECOUPLING}: config/iNaturalist18/feat_unifrom.yaml"
_PLACES = f"{OLTR}: config/Places_LT/stage_1.py"


def _of_photographs(augment: str, mean: tuple[float, ...], std: tuple[float, ...], how: str) -> Spec:
    return Spec(
        cited("photograph", f"{_LOADER}: torchvision's transforms of image files"),
        augment=cited(augment, f"{_LOADER}: {how}"),
        size=cited(224, f"{_LOADER}: RandomResizedCrop(224), CenterCrop(224)"),
        crop_share=cited(0.875, f"{_LOADER}: Resize(256), then CenterCrop(224)"),
        interpolation=cited("bilinear", f"{_LOADER}: torchvision's default"),
        mean=cited(mean, f"{_LOADER}: RGB_statistics"),
        std=cited(std, f"{_LOADER}: RGB_statistics"),
    )


_AS_IMAGENET = _of_photographs(
    "imagenet",
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
    "RandomResizedCrop, RandomHorizontalFlip, ColorJitter(0.4, 0.4, 0.4, 0)",
)
_AS_INATURALIST = _of_photographs(
    "inception", (0.466, 0.471, 0.380), (0.195, 0.194, 0.192), "RandomResizedCrop, RandomHorizontalFlip alone"
)


def _sgd(weight_decay: float, source: str) -> Spec:
    return Spec(
        cited("sgd", f"{DECOUPLING}: run_networks.py"),
        momentum=cited(0.9, source),
        nesterov=cited(False, f"{DECOUPLING}: run_networks.py, optim.SGD without it"),
        weight_decay=cited(weight_decay, source),
    )


ON_IMAGENET_LT = register(
    Protocol(
        IMAGENET_LT,
        imbalance_ratio=256.0,
        method=Spec(
            cited("classification", "ours: one network, one loss of its logits; recipes of other methods name theirs")
        ),
        model=Spec(
            cited(
                "resnext50", f"{_IMAGENET} feat_model; --model resnet10, resnet50, resnet152 for the authors' others"
            ),
            head=cited("linear", f"{_IMAGENET}: DotProductClassifier; recipes of cosine losses name theirs"),
        ),
        loss=Spec(cited("cross_entropy", f"{_IMAGENET}: SoftmaxLoss; recipes of other losses name theirs")),
        sampler=Spec(
            cited("shuffled", f"{DECOUPLING}: main.py, DataLoader(shuffle=True) without a sampler"),
            drop_last=cited(False, f"{_LOADER}: the last, smaller batch of an epoch is trained on"),
        ),
        subset_seed=cited(0, "ours: the published lists hold every image; nothing is drawn"),
        validation=cited(0.0, f"{_LOADER}: the curves are those of the published list of validation images"),
        epochs=cited(90, f"{_IMAGENET} num_epochs"),
        batch_size=cited(512, _IMAGENET),
        learning_rate=cited(0.2, f"{_IMAGENET} lr"),
        optimizer=_sgd(5e-4, _IMAGENET),
        schedule=Spec(
            cited("cosine", f"{_IMAGENET} coslr, endlr 0.0; a rate for each step, where theirs changes once an epoch"),
            warmup=cited(0.0, f"{_IMAGENET}: none"),
        ),
        transform=_AS_IMAGENET,
        amp=cited(False, "ours: float32 as in the papers' time; --amp turns it on"),
    )
)
"""ImageNet-LT: the protocol of Kang et al. 2020 (arXiv:1910.09217), ResNeXt-50 for 90 epochs."""

ON_PLACES_LT = register(
    ON_IMAGENET_LT.derive(
        PLACES_LT,
        imbalance_ratio=996.0,
        model=Spec(
            cited("resnet152", f"{_PLACES}; {CP_MIX_PAPER} too"),
            head=cited("linear", f"{_PLACES}: DotProductClassifier; recipes of cosine losses name theirs"),
            weights=cited(
                "pretrained",
                f"ours: torchvision's best of ImageNet; {_PLACES} begins with Caffe's, which are weaker "
                "(--weights FILE)",
            ),
        ),
        epochs=cited(30, f"{_PLACES} num_epochs"),
        batch_size=cited(128, _PLACES),
        learning_rate=cited(
            0.01,
            f"{CP_MIX_PAPER}: 0.01 on Places-LT; {_PLACES} has 0.001 for the network and 0.1 for the classifier",
        ),
        optimizer=_sgd(5e-4, _PLACES),
        schedule=Spec(
            cited("multistep", f"{_PLACES} scheduler_params; {CP_MIX_PAPER} too"),
            warmup=cited(0.0, f"{_PLACES}: none"),
            milestones=cited((1 / 3, 2 / 3), f"{_PLACES}: step_size 10 of 30 epochs"),
            factor=cited(0.1, f"{_PLACES} gamma"),
        ),
    )
)
"""Places-LT: the protocol of Liu et al. 2019 (arXiv:1904.05160), a pretrained ResNet-152 for 30 epochs."""

ON_INATURALIST_2018 = register(
    ON_IMAGENET_LT.derive(
        INATURALIST_2018,
        imbalance_ratio=500.0,
        model=Spec(
            cited("resnet50", f"{_INATURALIST} feat_model; --model resnet152 for the authors' other"),
            head=cited("linear", f"{_INATURALIST}: DotProductClassifier; recipes of cosine losses name theirs"),
        ),
        validation=cited(0.0, f"{_LOADER}: the test set is the published validation set, and there is no third one"),
        epochs=cited(90, f"{_INATURALIST} num_epochs; the authors have 200, too: --epochs 200"),
        batch_size=cited(512, _INATURALIST),
        learning_rate=cited(0.2, f"{_INATURALIST} lr"),
        optimizer=_sgd(1e-4, _INATURALIST),
        schedule=Spec(
            cited("cosine", f"{_INATURALIST} coslr, endlr 0.0"),
            warmup=cited(0.0, f"{_INATURALIST}: none"),
        ),
        transform=_AS_INATURALIST,
    )
)
"""iNaturalist 2018: the protocol of Kang et al. 2020 (arXiv:1910.09217), ResNet-50 for 90 epochs."""
