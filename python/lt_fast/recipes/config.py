"""From (method, data, overrides) to one flat, JSON-able configuration, and back to the reason for each value."""

from collections.abc import Mapping
from typing import Any

from lt_fast.errors import UsageError
from lt_fast.recipes import settings
from lt_fast.recipes.protocols import AS_SEED, IMBALANCE_RATIO, protocol_of
from lt_fast.recipes.reading import MAX_SEED, read_integer, read_number, shown
from lt_fast.recipes.recipe import Recipe, Value
from lt_fast.registry import Registry, nearest

RECIPES = Registry(
    "method",
    {
        name: f"lt_fast.recipes.{name}:RECIPE"
        for name in (
            "ce",
            "cb",
            "focal",
            "equalization",
            "seesaw",
            "balanced_softmax",
            "logit_adjustment",
            "lade",
            "ldam",
            "ldam_drw",
            "mm",
            "mm_drw",
            "mm_ldam",
            "mm_ldam_drw",
            "mixup_drw",
            "mam",
            "mam_drw",
            "cp_mix",
            "cp_mix_no_pairs",
            "cp_mix_no_mixing_function",
            "cp_mix_no_regularization",
            "cp_mix_ce",
            "mc",
            "mammc",
        )
    },
)
"""Every method by name; a new recipe is one file and one word here."""

PROFILES = ("exp", "step", "pareto")
"""Shapes of the tail that ``profile`` may name."""

_LARGEST_RATIO = 1_000_000
_SMALLEST_INVERTED = 1e-6  # a ratio below it is no smallest over largest class either


def recipe_of(method: str) -> Recipe:
    """Return the recipe called ``method``; hyphens count as underscores.

    Raises:
        UsageError: if there is none; names the nearest.
    """
    if not isinstance(method, str):
        raise UsageError(f"method must be a name, got {shown(method)}; `lt-fast methods` lists them")
    underscored = method.replace("-", "_")
    found: Recipe = RECIPES[underscored if underscored in RECIPES else method]
    return found


def values_of(
    method: str, data: str, *, imbalance_ratio: float | None = None, profile: str = "exp"
) -> dict[str, Value]:
    """Return every setting of ``method`` on ``data`` with its source, before overrides.

    Args:
        method: name in ``RECIPES``.
        data: name in ``PROTOCOLS``.
        imbalance_ratio: largest over smallest class; the data set's own default when left out.
        profile: shape of the tail.

    Raises:
        UsageError: if method, data or profile is unknown, or the ratio is out of its range.
    """
    recipe, protocol = recipe_of(method), protocol_of(data)
    ratio = _checked_ratio(IMBALANCE_RATIO[data] if imbalance_ratio is None else imbalance_ratio)
    tuned = recipe.values_at.get((data, _checked_profile(profile), ratio), {})
    stated = {**protocol, **recipe.values, **recipe.values_on.get(data, {}), **tuned}
    parts = {"head": recipe.head, "sampler": recipe.sampler}
    return {name: Value(value, f"part of {recipe.name}") for name, value in parts.items()} | stated


def resolve(
    method: str,
    data: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    imbalance_ratio: float | None = None,
    profile: str = "exp",
    seed: int = 0,
) -> dict[str, Any]:
    """Return the whole configuration of a run: flat, plain and JSON-able.

    Args:
        method: name in ``RECIPES``.
        data: name in ``PROTOCOLS``.
        overrides: setting to value, as numbers or as text from a command line.
        imbalance_ratio: largest over smallest class, >= 1; the data set's own default when left out.
        profile: ``"exp"``, ``"step"`` or ``"pareto"``.
        seed: of the subset, the network and every draw; an integer in [0, 2^64), or text that writes one.

    Raises:
        UsageError: naming the argument, its rule and the value; a setting that the method does not have is one too.
    """
    recipe, _ = recipe_of(method), protocol_of(data)
    tail: dict[str, Any] = {
        "imbalance_ratio": _checked_ratio(IMBALANCE_RATIO[data] if imbalance_ratio is None else imbalance_ratio),
        "profile": _checked_profile(profile),
    }
    values = values_of(method, data, **tail)
    seed = _checked_seed(seed)
    config = {
        "method": recipe.name,
        "data": data,
        **tail,
        "seed": seed,
        **recipe.parts,
        **{name: settings.checked(name, _own(value, seed)) for name, (value, _) in values.items()},
    }
    for name, value in settings.once(overrides or {}).items():
        config[_has(recipe, values, name)] = settings.checked(name, value)
    return config


def sources_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the source of every setting in ``config``; an overridden one says what the recipe had."""
    sources = {}
    tail = {name: config[name] for name in ("imbalance_ratio", "profile")}
    for name, (value, source) in values_of(config["method"], config["data"], **tail).items():
        stated = settings.checked(name, _own(value, config["seed"]))
        kept = config[name] == stated
        sources[name] = source if kept else f"set by the user; the recipe has {stated} ({source})"
    return sources


def _own(value: Any, seed: int) -> Any:
    return seed if value == AS_SEED else value


def _has(recipe: Recipe, values: Mapping[str, Value], name: str) -> str:
    name = settings.known(name)
    if name not in values:
        having = ", ".join(sorted(other for other in RECIPES if _sets(other, name))) or "no recipe"
        raise UsageError(
            f"{recipe.name} has no setting {name!r}{nearest(name, list(values))} (used by {having}); "
            f"`lt-fast methods {recipe.name}` lists what it has",
        )
    return name


def _sets(method: str, name: str) -> bool:
    recipe: Recipe = RECIPES[method]
    return any(name in values for values in (recipe.values, *recipe.values_on.values(), *recipe.values_at.values()))


def _checked_ratio(ratio: Any) -> float:
    rule = "imbalance_ratio must be a finite number >= 1 (largest over smallest class)"
    try:
        number = read_number(ratio)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{rule}, got {ratio if isinstance(ratio, float) else shown(ratio)}") from None
    if number < 1:
        hint = f"; did you mean {1 / number:g}?" if number >= _SMALLEST_INVERTED else ""
        raise UsageError(f"{rule}, got {number:g}{hint}")
    if number > _LARGEST_RATIO:
        raise UsageError(f"imbalance_ratio must be <= {_LARGEST_RATIO}, got {number:g}; the papers have 10 to 500")
    return number


def _checked_profile(profile: Any) -> str:
    if not isinstance(profile, str) or profile not in PROFILES:
        hint = nearest(profile, list(PROFILES)) if isinstance(profile, str) else ""
        raise UsageError(f"profile must be one of {', '.join(PROFILES)}, got {shown(profile)}{hint}")
    return profile


def _checked_seed(seed: Any) -> int:
    try:
        number = read_integer(seed)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= MAX_SEED:
        raise UsageError(f"seed must be a whole number in [0, 2^64), got {shown(seed)}")
    return number
