"""Tables 1 to 4 and 7 to 9 of the CP-Mix paper, whose numbers are lost; the rows can be run all the same."""

from lt_fast.reproduction.target import Row, Tail, Target, rows_on

_PAPER = "Yoon, Hong, Joo, Qin, Jeong, Lee 2024, Mix from Failure (arXiv:2411.07621)"
_LOST = "every number: no copy of the paper's tables was found"
_UNKNOWN = "Which data sets and columns the table has was lost with it: these are ours."
_GROUPS = ("overall", "many", "medium", "few")
_RATIOS = (100.0, 200.0, 50.0, 10.0)

_METHODS = (
    ("CE", "ce"),
    ("LDAM-DRW", "ldam_drw"),
    ("Balanced Softmax", "balanced_softmax"),
    ("LADE", "lade"),
    ("MiSLAS", "mislas"),
    ("Remix-DRW", "remix_drw"),
    ("UniMix", "unimix"),
    ("CMO", "cmo"),
    ("OTMix", "otmix"),
    ("CP-Mix", "cp_mix"),
)
_EXPERTS = (
    ("ACE", "ace"),
    ("RIDE", "ride"),
    ("SADE", "sade"),
    ("CMO+RIDE", "cmo_ride"),
    ("OTMix+RIDE", "otmix_ride"),
    ("CP-Mix+RIDE", "cp_mix_ride"),
)
_PARTS = (("CE", "ce"), ("Balanced Softmax", "balanced_softmax"))


def _cifar(data: str) -> tuple[Tail, ...]:
    return tuple(Tail(data, ratio) for ratio in _RATIOS)


_IMAGENET = Tail("imagenet-lt")
_LARGE = (_IMAGENET, Tail("places-lt"), Tail("inaturalist-2018"))


def _methods_on(tails: tuple[Tail, ...]) -> tuple[Row, ...]:
    """Return every method on each data set; on ImageNet-LT with the paper's ResNet-50, or their own experts."""
    network = {_IMAGENET: {"model": "resnet50"}}
    single = tuple(Row(label, tail, recipe, network.get(tail, {})) for tail in tails for label, recipe in _METHODS)
    return single + rows_on(tails, *_EXPERTS)


def _part(label: str, *, pairs: bool, function: bool, regularize: bool) -> tuple[str, str, dict[str, object]]:
    changes: dict[str, object] = {"method.mix_pairs": pairs, "method.regularize": regularize, "calibrator": None}
    return label, "cp_mix", changes if function else {**changes, "method.tau": 0.0}


_ABLATION = (
    *_PARTS,
    _part("BS + regularisation", pairs=False, function=False, regularize=True),
    _part("BS + regularisation + mixing function", pairs=False, function=True, regularize=True),
    _part("BS + pairs", pairs=True, function=False, regularize=False),
    _part("BS + pairs + mixing function", pairs=True, function=True, regularize=False),
    _part("BS + pairs + regularisation", pairs=True, function=False, regularize=True),
    _part("BS + pairs + mixing function + regularisation", pairs=True, function=True, regularize=True),
    ("CP-Mix, with fine-tuning", "cp_mix"),
)
"""All combinations of the parts that the text names: nine rows, as each of the two tables has."""


def _table(number: int, words: str, tails: tuple[Tail, ...], *, ablation: bool = False, known: bool = False) -> Target:
    """Return one table; ``known`` are those whose data sets the text names."""
    return Target(
        f"cp-mix-table-{number}",
        f"Table {number}: {words}",
        _PAPER,
        rows_on(tails, *_ABLATION) if ablation else _methods_on(tails),
        metrics=_GROUPS,
        lost=_LOST,
        notes=() if known else (_UNKNOWN,),
    )


TARGETS = (
    _table(1, "CP-Mix and other methods on CIFAR-LT", _cifar("cifar100-lt") + _cifar("cifar10-lt"), known=True),
    _table(2, "CP-Mix and other methods on large data sets", _LARGE, known=True),
    _table(3, "parts of CP-Mix on CIFAR-100-LT", _cifar("cifar100-lt")[:1], ablation=True),
    _table(4, "parts of CP-Mix on CIFAR-10-LT", _cifar("cifar10-lt")[:1], ablation=True),
    _table(7, "groups of classes on CIFAR-10-LT", _cifar("cifar10-lt")),
    _table(8, "groups of classes on CIFAR-100-LT", _cifar("cifar100-lt")),
    _table(9, "groups of classes on ImageNet-LT", _LARGE[:1]),
)
