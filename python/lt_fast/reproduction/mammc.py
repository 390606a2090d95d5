"""Tables 1 to 3, Figure 1 and the analysis of omega of the MAMMC paper."""

from lt_fast.reproduction.target import Row, Tail, Target, rows_on

_PAPER = "MAMMC: margin-aware mixup and margin calibration, for soil images and long-tailed benchmarks"
_PROTOCOL = "mammc-paper"
_LENGTHS = {
    "mammc-paper": "200 + 10 epochs of batch 256, as the paper's text has it",
    "marc": "13,000 + 2,000 iterations of 512 images with AutoAugment and Cutout, as margin calibration's own code",
    "own": "every recipe as its own authors ran it",
}
_AUGMENTATION = (
    "The paper's text has 200 + 10 epochs of batch 256 and names no augmentation; its numbers are at the level of "
    "AutoAugment and Cutout, which margin calibration's own code uses: --protocol marc."
)
_OF_IMAGENET = "ResNet-50, 100 + 10 epochs of batch 128; rows that the paper quotes have other networks and lengths."
_SOIL = "its 6 classes of soil photographs are private"

_RATIO_100 = (Tail("cifar10-lt", 100.0), Tail("cifar100-lt", 100.0))
_BOTH_RATIOS = tuple(Tail(data, ratio) for data in ("cifar10-lt", "cifar100-lt") for ratio in (100.0, 200.0))

_OWN = (("ResNet-32", "ce"), ("MAM", "mam"), ("MC", "mc"), ("MAM-DRW", "mam_drw"), ("MAMMC", "mammc"))

TABLE_1 = Target(
    "mammc-table-1",
    "Table 1: each part of MAMMC",
    _PAPER,
    rows_on(_RATIO_100, *_OWN) + tuple(Row(label, Tail("soil"), None, {}, _SOIL) for label, _ in _OWN),
    protocol=_PROTOCOL,
    protocols=_LENGTHS,
    notes=(_AUGMENTATION,),
)

TABLE_2 = Target(
    "mammc-table-2",
    "Table 2: MAMMC and other methods on CIFAR-LT",
    _PAPER,
    rows_on(
        _BOTH_RATIOS,
        ("Focal", "focal"),
        ("CB loss", "cb"),
        ("LDAM-DRW", "ldam_drw"),
        ("Mixup-DRW", "mixup_drw"),
        ("Remix-DRW", "remix_drw"),
        ("Decouple-cRT", "crt"),
        ("EQL", "equalization"),
        ("Balanced Softmax", "balanced_softmax"),
        ("BBN", "bbn"),
        ("LADE", "lade"),
        ("DisAlign", "disalign"),
        ("Hybrid-SC", "hybrid_sc"),
        ("RISDA", "risda"),
        ("LOBM", "lobm"),
        ("MAMMC", "mammc"),
    ),
    protocol=_PROTOCOL,
    protocols=_LENGTHS,
    notes=(
        _AUGMENTATION,
        "Its other rows are quoted from several papers, so that they were not trained in one protocol.",
    ),
)

TABLE_3 = Target(
    "mammc-table-3",
    "Table 3: MAMMC and other methods on ImageNet-LT",
    _PAPER,
    tuple(
        Row(label, Tail("imagenet-lt"), recipe, {"model": "resnet50"})
        for label, recipe in (
            ("Focal", "focal"),
            ("LDAM-DRW", "ldam_drw"),
            ("Decouple-cRT", "crt"),
            ("Balanced Softmax", "balanced_softmax"),
            ("LADE", "lade"),
            ("DisAlign", "disalign"),
            ("Seesaw", "seesaw"),
            ("MARC", "mc"),
            ("MAMMC", "mammc"),
        )
    ),
    metrics=("overall", "many", "medium", "few"),
    protocol=_PROTOCOL,
    protocols=_LENGTHS,
    notes=(_OF_IMAGENET,),
)

FIGURE_1 = Target(
    "mammc-figure-1",
    "Figure 1: gamma of margin calibration",
    _PAPER,
    tuple(
        Row(f"gamma = {gamma:g}", tail, "mammc", {"calibrator.gamma": gamma}, at=gamma, refit=True)
        for tail in _RATIO_100
        for gamma in (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)
    ),
    protocol=_PROTOCOL,
    protocols=_LENGTHS,
    lost="the points of the curve but gamma = 0 and 1.2; the other values of gamma are ours",
    notes=(_AUGMENTATION,),
    axis="gamma",
)

OMEGA = Target(
    "mammc-omega",
    "Experimental analysis of omega, the exponent of margin-aware mixup",
    _PAPER,
    tuple(
        Row(f"omega = {omega:g}", tail, "mammc", {"mixer.omega": omega}, at=omega)
        for tail in _RATIO_100
        for omega in (0.0, 0.1, 0.25, 0.5, 1.0)
    ),
    protocol=_PROTOCOL,
    protocols=_LENGTHS,
    lost="every number; the values of omega are ours, around the 0.25 that the other tables have",
    notes=(_AUGMENTATION,),
    axis="omega",
)

TARGETS = (TABLE_1, TABLE_2, TABLE_3, FIGURE_1, OMEGA)
