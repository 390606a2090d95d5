"""Every setting that a recipe or ``--set`` may give: its type, its rule and what it means."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lt_fast.errors import UsageError
from lt_fast.recipes.reading import MAX_SEED, read_integer, read_number, shown
from lt_fast.registry import nearest


class Setting(NamedTuple):
    """One setting: the type it is read as, its rule in words and as a test, its meaning, and its largest value."""

    kind: str
    rule: str
    allowed: Callable[[Any], bool]
    meaning: str
    most: int | None = None


# What no training has use for, and the arithmetic or the memory does not bear: refused before anything is made.
_MOST = 1_000_000
_MOST_RATE = int(1e30)  # it diverges, and is told so, long before; above 3e38 torch cannot take it
_MOST_EPOCHS = 1_000_000
_MOST_ROWS = 65_536  # of a batch; a batch of the largest CIFAR training set fits
_MOST_PADDING = 1024
_MOST_CACHED_ROWS = 2**31 - 1


def _choice(*names: str, meaning: str) -> Setting:
    return Setting("word", "one of " + ", ".join(names), lambda value: value in names, meaning)


def _positive(meaning: str, kind: str = "number", most: int = _MOST) -> Setting:
    return Setting(kind, "> 0", lambda value: value > 0, meaning, most)


def _at_least_zero(meaning: str, kind: str = "number", most: int = _MOST) -> Setting:
    return Setting(kind, ">= 0", lambda value: value >= 0, meaning, most)


def _fraction(meaning: str) -> Setting:
    return Setting("number", "in [0, 1]", lambda value: 0 <= value <= 1, meaning)


def _below_one(meaning: str) -> Setting:
    return Setting("number", "in [0, 1)", lambda value: 0 <= value < 1, meaning)


def _switch(meaning: str) -> Setting:
    return Setting("switch", "true or false", lambda value: isinstance(value, bool), meaning)


def _rising_fractions(value: tuple[float, ...]) -> bool:
    return all(0 < part < 1 for part in value) and all(a < b for a, b in itertools.pairwise(value))


SETTINGS: dict[str, Setting] = {
    "model": _choice("resnet32", "digits_net", meaning="network"),
    "head": _choice("linear", "cosine", meaning="classifier: linear, or LDAM's normalised one"),
    "sampler": _choice("shuffled", "class_balanced", meaning="how batches are drawn"),
    "subset_seed": Setting(
        "whole",
        "in [0, 2^64)",
        lambda value: 0 <= value <= MAX_SEED,
        "which images the long-tailed subset keeps",
    ),
    "epochs": _positive("passes over the training set", "whole", _MOST_EPOCHS),
    "batch_size": _positive("images a step", "whole", _MOST_ROWS),
    "learning_rate": _positive("peak learning rate of SGD", most=_MOST_RATE),
    "momentum": _below_one("momentum of SGD"),
    "nesterov": _switch("Nesterov's form of momentum"),
    "weight_decay": _at_least_zero("L2 penalty on every weight", most=_MOST_RATE),
    "schedule": _choice("multistep", "cosine", meaning="how the learning rate falls"),
    "warmup": _below_one("fraction of the epochs in which the learning rate rises linearly"),
    "milestones": Setting("numbers", "rising fractions in (0, 1)", _rising_fractions, "when multistep lowers the rate"),
    "learning_rate_decay": Setting("number", "in (0, 1]", lambda value: 0 < value <= 1, "factor at each milestone"),
    "crop_padding": _at_least_zero("zero pixels round an image before its random crop", "whole", _MOST_PADDING),
    "flip": _switch("mirror half of the images"),
    "amp": _switch("bfloat16 autocast in the forward pass"),
    "defer_until": _fraction("fraction of the epochs after which class weights set in"),
    "class_weight_beta": _below_one("beta of the effective number of samples"),
    "normalization": _choice("expected", "weights", "batch", meaning="what a weighted batch loss is divided by"),
    "max_margin": _positive("LDAM: margin of the rarest class; Maximum-Margin: offset, the more the less margin"),
    "scale": _positive("LDAM, Maximum-Margin: factor of the cosine logits"),
    "margin_gamma": _at_least_zero("Maximum-Margin: factor of the offset where a sample is right"),
    "ldam_offset": _switch("Maximum-Margin: take LDAM's class margin off the offset (MM-LDAM)"),
    "focal_gamma": _at_least_zero("focal: exponent of 1 - p"),
    "prior_tau": _at_least_zero("logit adjustment: factor of the log prior"),
    "drop_probability": _fraction("equalization: how often a rare class is left out"),
    "rare_below": _fraction("equalization: share of the training set below which a class is rare"),
    "mitigation": _at_least_zero("Seesaw: exponent p of the class size quotient"),
    "compensation": _at_least_zero("Seesaw: exponent q of the probability quotient"),
    "probability_floor": Setting("number", "in (0, 1]", lambda value: 0 < value <= 1, "Seesaw: floor eps of s_y"),
    "regularizer_weight": _at_least_zero("LADE: weight alpha of the density term"),
    "remine_lambda": _at_least_zero("LADE: weight lambda of the squared log partition"),
    "alpha": _positive("mixing: lambda ~ Beta(alpha, alpha)"),
    "omega": _at_least_zero("MAM: exponent of the class counts"),
    "per_sample": _switch("mixing: one lambda an image instead of one a batch"),
    "tau": _fraction("CP-Mix: share of the class sizes in the label factor; 0 is mixup"),
    "eta": _at_least_zero("CP-Mix: weight of both mixtures in the loss"),
    "stage_2_from": _fraction("CP-Mix: fraction of the epochs after which images are mixed"),
    "mix_pairs": _switch("CP-Mix: mix confused pairs in stage 2"),
    "regularize": _switch("CP-Mix: mix the plain images among themselves in stage 2"),
    "pairs_per_batch": _positive("CP-Mix: confused pairs a step", "whole", _MOST_ROWS),
    "temperature": _positive("CP-Mix: partners come by count^(1 / temperature)"),
    "uniform_fraction": _fraction("CP-Mix: share of the pairs with any other class as partner"),
    "calibration_start": _choice("trained", "fresh", meaning="retraining: from the trained classifier or a new one"),
    "calibration_gamma": _at_least_zero("stage 2: exponent of the inverse class counts in its weights"),
    "calibration_epochs": _positive("stage 2: passes over the cached features", "whole", _MOST_EPOCHS),
    "calibration_learning_rate": _positive("stage 2: first learning rate of the cosine schedule", most=_MOST_RATE),
    "calibration_batch_size": _positive("stage 2: rows a step", "whole", _MOST_CACHED_ROWS),
    "calibration_momentum": _below_one("stage 2: momentum of SGD"),
    "calibration_weight_decay": _at_least_zero("stage 2: L2 penalty", most=_MOST_RATE),
    "calibration_normalization": _choice("weights", "batch", meaning="stage 2: what its loss is divided by"),
}


SHORT = {"lr": "learning_rate", "wd": "weight_decay"}
"""What everybody types, and the setting that it stands for."""

_ARGUMENTS = ("method", "data", "imbalance_ratio", "profile", "seed")


def known(name: str) -> str:
    """Return the setting that ``name`` names, in full.

    Raises:
        UsageError: if it is none; names the nearest one.
    """
    if isinstance(name, str) and SHORT.get(name, name) in SETTINGS:
        return SHORT.get(name, name)
    if name in _ARGUMENTS:
        option = name.replace("_", "-")
        hint = f"; it is an argument of its own: --{option} on the command line, {name}= in Python"
    else:
        listed = "; `lt-fast methods METHOD --data DATA` lists a method's settings"
        hint = nearest(str(name), list(SETTINGS)) or listed
    raise UsageError(f"setting must be one that lt-fast knows, got {shown(name)}{hint}")


def checked(name: str, value: Any) -> Any:
    """Return ``value`` as setting ``name`` stores it: text from a command line is read, everything is validated.

    A number is written in decimal digits, with a fraction or an exponent where wanted. An integer may be written
    ``1e2`` or ``100.0`` and is read exactly, however large. A list of numbers is separated by commas; ``[]`` is none.

    Raises:
        UsageError: naming the setting, its rule and the value.
    """
    setting = SETTINGS[known(name)]
    rule = setting.rule
    try:
        read = _READERS[setting.kind](value)
        fits = setting.allowed(read)
        too_large = fits and setting.most is not None and read > setting.most
    except OverflowError:
        fits, too_large = False, setting.most is not None
    except (TypeError, ValueError):
        fits = too_large = False
    if too_large:
        rule = f"<= {setting.most:.15g}"
    if too_large or not fits:
        raise UsageError(f"{name} must be {_SPOKEN[setting.kind]}{rule}, got {shown(value)}{_hint(setting, value)}")
    return list(read) if isinstance(read, tuple) else read


def once(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``overrides`` by full name.

    Raises:
        UsageError: if a name is no setting, or two names stand for the same one.
    """
    full: dict[str, Any] = {}
    for name, value in overrides.items():
        if known(name) in full:
            raise UsageError(f"{known(name)} must be set once, got {shown(full[known(name)])} and {shown(value)}")
        full[known(name)] = value
    return full


def split_assignment(text: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        UsageError: if there is no ``=`` or no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set must be name=value, got {text!r}; for example --set learning_rate=0.05")
    return name.strip(), value.strip()


def _hint(setting: Setting, value: Any) -> str:
    if setting.kind == "numbers" and isinstance(value, str) and not value.strip():
        return "; [] is none"
    return nearest(str(value), setting.rule.removeprefix("one of ").split(", ")) if setting.kind == "word" else ""


def _switch_value(value: Any) -> bool:
    word = str(value).lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError
    return word in ("true", "yes", "on", "1")


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        text = value.strip()
        inner = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
        value = [] if not inner.strip() and inner != text else inner.split(",")
    if not isinstance(value, list | tuple | np.ndarray):  # another iterable may have no end
        raise TypeError
    return tuple(read_number(part) for part in value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "number": read_number,
    "whole": read_integer,
    "switch": _switch_value,
    "numbers": _numbers,
    "word": _word,
}
_SPOKEN = {"number": "a number ", "whole": "a whole number ", "switch": "", "numbers": "", "word": ""}
