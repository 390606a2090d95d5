"""Tables 1 to 4 and 7 to 9 of the CP-Mix paper, whose numbers are lost; the rows can be run all the same."""

from lt_fast.recipes.cp_mix_ablation import TABLE_3, TABLE_4
from lt_fast.reproduction.target import Row, Tail, Target, rows_of, rows_on

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


def _cifar(data: str) -> tuple[Tail, ...]:
    return tuple(Tail(data, ratio) for ratio in _RATIOS)


_IMAGENET = Tail("imagenet-lt")
_LARGE = (_IMAGENET, Tail("places-lt"), Tail("inaturalist-2018"))


def _methods_on(tails: tuple[Tail, ...]) -> tuple[Row, ...]:
    """Return every method on each data set; on ImageNet-LT with the paper's ResNet-50, or their own experts."""
    network = {_IMAGENET: {"model": "resnet50"}}
    single = tuple(Row(label, tail, recipe, network.get(tail, {})) for tail in tails for label, recipe in _METHODS)
    return single + rows_on(tails, *_EXPERTS)


def _table(number: int, words: str, rows: tuple[Row, ...], *notes: str) -> Target:
    return Target(f"cp-mix-table-{number}", f"Table {number}: {words}", _PAPER, rows, _GROUPS, lost=_LOST, notes=notes)


TARGETS = (
    _table(1, "CP-Mix and other methods on CIFAR-LT", _methods_on(_cifar("cifar100-lt") + _cifar("cifar10-lt"))),
    _table(2, "CP-Mix and other methods on large data sets", _methods_on(_LARGE)),
    _table(3, "parts of CP-Mix on CIFAR-100-LT", rows_of(TABLE_3), _UNKNOWN),
    _table(4, "parts of CP-Mix on CIFAR-10-LT", rows_of(TABLE_4), _UNKNOWN),
    _table(7, "groups of classes on CIFAR-10-LT", _methods_on(_cifar("cifar10-lt")), _UNKNOWN),
    _table(8, "groups of classes on CIFAR-100-LT", _methods_on(_cifar("cifar100-lt")), _UNKNOWN),
    _table(9, "groups of classes on ImageNet-LT", _methods_on(_LARGE[:1]), _UNKNOWN),
)
