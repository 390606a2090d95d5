"""What every method shares on one data set: network, schedule, augmentation, and the source of each value.

A recipe's own values are over these, so that methods differ in what their papers say and in nothing else.
"""

from lt_fast.recipes.recipe import Protocol, Spec, cited, register

LDAM_CODE = "kaidic/LDAM-DRW: cifar_train.py"

AS_SEED = "seed"
"""Value of ``subset_seed`` that stands for the run's own seed."""

CROPS = {
    "crop_padding": cited(4, f"{LDAM_CODE}: RandomCrop(32, padding=4)"),
    "flip": cited(True, f"{LDAM_CODE}: RandomHorizontalFlip"),
}
CROPS_OF_DIGITS = {
    "crop_padding": cited(1, "ours: four pixels would cut an 8 x 8 digit in half"),
    "flip": cited(False, "ours: a mirrored digit is another sign or none"),
}
CIFAR_STATISTICS = {
    "mean": cited((0.4914, 0.4822, 0.4465), f"{LDAM_CODE}: Normalize, CIFAR-10's for CIFAR-100 too"),
    "std": cited((0.2023, 0.1994, 0.2010), f"{LDAM_CODE}: Normalize, CIFAR-10's for CIFAR-100 too"),
}
"""Options of a transform, which another one of the same images shares."""

_SHUFFLED = Spec(
    cited("shuffled", f"{LDAM_CODE}: DataLoader(shuffle=True)"),
    drop_last=cited(False, f"{LDAM_CODE}: the last, smaller batch of an epoch is trained on"),
)
_CLASSIFICATION = Spec(
    cited("classification", "one network, one loss of its logits; recipes of other methods name them")
)
_CROSS_ENTROPY = Spec(cited("cross_entropy", "the loss of recipes that name no other"))

USUAL = Protocol(
    "usual",
    imbalance_ratio=100.0,
    method=_CLASSIFICATION,
    model=Spec(
        cited("resnet32", f"{LDAM_CODE} --arch resnet32; He et al. 2016, arXiv:1512.03385, Section 4.2"),
        head=cited("linear", f"{LDAM_CODE}: use_norm is for LDAM alone"),
    ),
    loss=_CROSS_ENTROPY,
    sampler=_SHUFFLED,
    subset_seed=cited(0, "kaidic/LDAM-DRW: imbalance_cifar.py rand_number=0, whatever the seed of the training"),
    validation=cited(
        0.0, f"{LDAM_CODE}: every training image is trained on; a fraction of each class held out gives the curves"
    ),
    epochs=cited(200, LDAM_CODE),
    batch_size=cited(128, LDAM_CODE),
    learning_rate=cited(0.1, LDAM_CODE),
    optimizer=Spec(
        cited("sgd", LDAM_CODE),
        momentum=cited(0.9, LDAM_CODE),
        nesterov=cited(False, LDAM_CODE),
        weight_decay=cited(2e-4, LDAM_CODE),
    ),
    schedule=Spec(
        cited("multistep", f"{LDAM_CODE} adjust_learning_rate"),
        warmup=cited(0.025, f"{LDAM_CODE}: 5 of 200 epochs, as a fraction so that other lengths keep the shape"),
        milestones=cited((0.8, 0.9), f"{LDAM_CODE}: epochs 160 and 180 of 200"),
        factor=cited(0.01, f"{LDAM_CODE}: 0.1, 1e-3, 1e-5"),
    ),
    transform=Spec(cited("crop_flip", LDAM_CODE), **CROPS),
    amp=cited(False, "ours: float32 as in the papers' time; --amp turns it on"),
)
"""Protocol of a data set that registers none of its own: CIFAR's, normalised by the training images' own statistics."""

CIFAR10_LT = register(
    USUAL.derive(
        "cifar10-lt",
        transform=Spec(**CIFAR_STATISTICS),
    )
)

CIFAR100_LT = register(CIFAR10_LT.derive("cifar100-lt"))

_TRIED = (
    "ours: CE, LDAM-DRW and MAMMC tried with 0.05, 0.1, 0.2 on the splits of seeds 100 to 102, not the demo's 0 to 2 "
    "(the same 1,797 images, split otherwise), chosen by those splits' test images; 0.1 was within a point of the best "
    "for each"
)

DIGITS_LT = register(
    Protocol(
        "digits-lt",
        imbalance_ratio=50.0,
        method=_CLASSIFICATION,
        model=Spec(
            cited("digits_net", "ours: 8 x 8 images need no ResNet-32; a small network trains in seconds on a CPU"),
            head=cited("linear", f"as on CIFAR: {LDAM_CODE}"),
        ),
        loss=_CROSS_ENTROPY,
        sampler=_SHUFFLED,
        subset_seed=cited(AS_SEED, "ours: 240 test images are few, so every seed has its own split"),
        validation=cited(0.0, "ours: as on CIFAR; 3 images of the smallest class are few enough"),
        epochs=cited(60, "ours: 420 steps, a few seconds on a CPU; not tuned"),
        batch_size=cited(64, "ours: seven steps per epoch from 417 images"),
        learning_rate=cited(0.1, _TRIED),
        optimizer=Spec(
            cited("sgd", f"as on CIFAR: {LDAM_CODE}"),
            momentum=cited(0.9, f"as on CIFAR: {LDAM_CODE}"),
            nesterov=cited(False, f"as on CIFAR: {LDAM_CODE}"),
            weight_decay=cited(5e-4, "ours: more than CIFAR's 2e-4 as there are fewer images; not tuned"),
        ),
        schedule=Spec(
            cited("multistep", f"as on CIFAR: {LDAM_CODE} adjust_learning_rate"),
            warmup=cited(0.05, "ours: three of 60 epochs, so that the rise has 21 steps"),
            milestones=cited((0.8, 0.9), f"as on CIFAR: {LDAM_CODE}"),
            factor=cited(0.1, "ours: LDAM's 0.01 twice leaves the last tenth of a short run without steps that count"),
        ),
        transform=Spec(cited("crop_flip", f"as on CIFAR: {LDAM_CODE}"), **CROPS_OF_DIGITS),
        amp=cited(False, "ours: nothing to gain at this size"),
    )
)

_FINETUNE = Protocol(
    "photographs-finetune",
    imbalance_ratio=1.0,
    method=_CLASSIFICATION,
    model=Spec(
        cited("torchvision:resnet50", "ours: the usual first network, of a package that the others need anyway"),
        head=cited("linear", "ours: the kind that networks have; recipes of cosine losses name theirs"),
        weights=cited("pretrained", "ours: a few hundred photographs do not train a network from new weights"),
    ),
    loss=_CROSS_ENTROPY,
    sampler=Spec(
        cited("shuffled", f"{LDAM_CODE}: DataLoader(shuffle=True)"),
        drop_last=cited(False, "ours: sets are small, and every photograph counts"),
    ),
    subset_seed=cited(
        0, "ours: whatever the seed of the training, so that all runs on the same photographs have the same test images"
    ),
    validation=cited(0.1, "ours: the curves of a training are never measured on the test images"),
    epochs=cited(30, "ours: ConvNeXt (arXiv:2201.03545, appendix A.2) fine-tunes for 30 epochs; not tuned"),
    batch_size=cited(32, "ours: 224 x 224 images fit into any memory; not tuned"),
    learning_rate=cited(5e-4, "ours: of the head; the layers before it have less (layer_decay); not tuned"),
    optimizer=Spec(
        cited("adamw", "facebookresearch/ConvNeXt: fine-tuning with AdamW"),
        weight_decay=cited(0.05, "facebookresearch/ConvNeXt: main.py --weight_decay"),
    ),
    schedule=Spec(
        cited("cosine", "facebookresearch/ConvNeXt: half a cosine"),
        warmup=cited(0.1, "ours: three of 30 epochs; not tuned"),
    ),
    layer_decay=cited(
        0.05, "ours: ConvNeXt (arXiv:2201.03545) has 0.7 to 0.9 per layer of 12, that is 0.014 to 0.28 for the first"
    ),
    averaging=cited(0.999, "ours: ConvNeXt fine-tunes with 0.9999, for a hundred times the steps; not tuned"),
    transform=Spec(
        cited("photograph", "ours: crops and flips of torchvision"),
        augment=cited("standard", "ours: crops, flips and colours; --augment light for scales that matter"),
    ),
    amp=cited(False, "ours: float32; --amp turns bfloat16 on"),
)
"""Photographs, all layers of a pretrained network. Size, mean, standard deviation and resizing are the network's."""

PHOTOGRAPHS_FINETUNE = register(_FINETUNE)

PHOTOGRAPHS_FREEZE = register(
    Protocol(
        "photographs-freeze",
        imbalance_ratio=1.0,
        **{
            name: setting
            for name, setting in _FINETUNE.settings.items()
            if name not in ("layer_decay", "averaging", "optimizer", "learning_rate", "epochs", "batch_size")
        },
        epochs=cited(60, "ours: a second of steps on features; not tuned"),
        batch_size=cited(64, "ours: as on digits-lt; not tuned"),
        learning_rate=cited(2e-3, "ours: AdamW on pooled features; not tuned"),
        optimizer=Spec(
            cited("adamw", "ours: one rate serves features of any scale, where SGD's depends on it"),
            weight_decay=cited(0.05, "ours: as fine-tuning; not tuned"),
        ),
        feature_views=cited(3, "ours: three augmented copies of each photograph, computed once; not tuned"),
    )
)
"""Photographs, the head alone on the features of a frozen network."""

PHOTOGRAPHS_SCRATCH = register(
    Protocol(
        "photographs-scratch",
        imbalance_ratio=1.0,
        **{
            name: setting
            for name, setting in _FINETUNE.settings.items()
            if name not in ("layer_decay", "averaging", "optimizer", "learning_rate", "epochs", "batch_size", "model")
        },
        model=Spec(
            cited("torchvision:resnet18", "ours: a small network for few photographs"),
            head=cited("linear", "ours: the kind that networks have; recipes of cosine losses name theirs"),
            weights=cited(None, "ours: --weights FILE begins with others"),
        ),
        epochs=cited(100, "ours: half of CIFAR's 200; not tuned"),
        batch_size=cited(64, "ours: half of CIFAR's 128, for small sets; not tuned"),
        learning_rate=cited(0.1, f"as on CIFAR: {LDAM_CODE}"),
        optimizer=Spec(
            cited("sgd", f"as on CIFAR: {LDAM_CODE}"),
            momentum=cited(0.9, f"as on CIFAR: {LDAM_CODE}"),
            nesterov=cited(False, f"as on CIFAR: {LDAM_CODE}"),
            weight_decay=cited(5e-4, "ours: more than CIFAR's 2e-4 as there are fewer images; not tuned"),
        ),
    )
)
"""Photographs, a network from new weights."""
