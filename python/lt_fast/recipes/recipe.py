"""``Recipe``, ``Spec`` and ``cited``: published settings as data, each value with its source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from lt_fast._text import nearest, shown
from lt_fast.errors import UsageError
from lt_fast.registry import PROTOCOLS, RECIPES

COMPONENTS = (
    "method", "model", "loss", "mixer", "sampler", "reweight", "optimizer", "schedule", "transform", "calibrator",
)  # fmt: skip
"""The components of a run; the names in their specs are those of the registries of ``lt_fast.registry``."""

VALUES = (
    "epochs", "batch_size", "learning_rate", "amp", "subset_seed", "validation", "defer_until",
    "many_above", "few_below", "layer_decay", "averaging", "feature_views",
)  # fmt: skip
"""Settings of a run that belong to no component, or to several."""

OF_PHOTOGRAPHS = ("layer_decay", "averaging", "feature_views")
"""Those of them that only a protocol of photographs has."""


class Cited(NamedTuple):
    """A value and where it comes from: a paper, ``repository: path``, or ``ours: reason``."""

    value: Any
    source: str


def cited(value: Any, source: str) -> Cited:
    """Return ``value`` together with its source: a paper, ``repository: path``, or ``ours: reason``."""
    return Cited(value, source)


@dataclass(frozen=True, init=False)
class Spec:
    """One component of a run: its name in a registry, and keyword arguments of its constructor.

    Args:
        name: name in the registry, plain or cited; left out, the name of the spec below, such as the protocol's.
        options: keyword arguments, plain or cited.

    >>> Spec("ldam", scale=cited(30.0, "kaidic/LDAM-DRW: losses.py")).name
    'ldam'
    """

    name: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, name: Any = None, /, **options: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)

    def over(self, below: "Spec | None") -> "Spec":
        """Return this spec with the options of ``below`` added, where both are of the same component.

        What was published for one component says nothing about another one, so a new name takes no option over.
        """
        if below is None or (self.name is not None and plain(self.name) != plain(below.name)):
            return self
        return Spec(below.name if self.name is None else self.name, **{**below.options, **self.options})


Setting: TypeAlias = Spec | Cited | None
Settings: TypeAlias = Mapping[str, Setting]


def plain(value: Any) -> Any:
    """Return a value without its source."""
    return value.value if isinstance(value, Cited) else value


def merge(below: Settings, above: Settings) -> dict[str, Setting]:
    """Return the settings of ``below`` with those of ``above`` over them; None removes a component."""
    merged = dict(below)
    for name, setting in above.items():
        under = below.get(name)
        merged[name] = (
            setting.over(under if isinstance(under, Spec) else None) if isinstance(setting, Spec) else setting
        )
    return merged


def flat(settings: Settings, *, owner: str) -> dict[str, Cited]:
    """Return every value by its dotted name, ``loss`` and ``loss.scale``, with its source.

    A value without a source is what makes the recipe what it is: its source is ``part of <owner>``.
    """
    return {
        name: value if isinstance(value, Cited) else Cited(value, f"part of {owner}") for name, value in _flat(settings)
    }


def _flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, setting in settings.items():
        if not isinstance(setting, Spec):
            yield name, setting
            continue
        yield name, setting.name
        yield from ((f"{name}.{option}", value) for option, value in setting.options.items())


class Paper(NamedTuple):
    """Authors, year and title; the preprint's identifier at arXiv, or "" if there is none."""

    title: str
    arxiv: str = ""


@dataclass(frozen=True, init=False)
class Recipe:
    """What a method consists of, and what its authors set.

    Settings are ``Spec`` for the components (``COMPONENTS``) and cited values for the rest (``VALUES``). A component
    that is left out is that of the data set's protocol, ``None`` removes it.

    Args:
        name: what ``lt-fast train --method`` calls it.
        paper: where it was published.
        equations: where in the paper its formulas are.
        title: its name in words.
        cost: what a run needs in addition to one forward and one backward pass per step.
        on: data set to settings, over the others.
        at: (data set, profile, imbalance ratio) to settings, over ``on``: what was tuned for that one.
        settings: component or value to what it is, on every data set.

    >>> recipe = Recipe("mine", Paper("Mine"), "eq. 1", loss=Spec("focal", gamma=cited(2.0, "ours: not tuned")))
    >>> recipe.derive("mine_cosine", model=Spec(head="cosine")).settings["loss"].name
    'focal'
    """

    name: str
    paper: Paper
    equations: str
    title: str
    cost: str
    settings: Settings
    on: Mapping[str, Settings]
    at: Mapping[tuple[str, str, float], Settings]

    def __init__(
        self,
        name: str,
        paper: Paper,
        equations: str = "",
        *,
        title: str = "",
        cost: str = "one forward and one backward pass per step",
        on: Mapping[str, Settings] | None = None,
        at: Mapping[tuple[str, str, float], Settings] | None = None,
        **settings: Setting,
    ) -> None:
        for each in (settings, *(on or {}).values(), *(at or {}).values()):
            check_settings(f"recipe {name!r}", each)
        values = (name, paper, equations, title or name, cost, settings, on or {}, at or {})
        for attribute, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, attribute, value)

    def derive(self, name: str, **changes: Any) -> "Recipe":
        """Return a recipe of another name, with some arguments of ``Recipe`` changed.

        A spec keeps the options of the one it derives from, unless it names another component; ``None`` removes a
        component.
        """
        own: dict[str, Any] = {"paper": self.paper, "equations": self.equations, "cost": self.cost, "title": name}
        words = {argument: changes.pop(argument, value) for argument, value in own.items()}
        on, at = (_merged_each(getattr(self, key), changes.pop(key, {})) for key in ("on", "at"))
        return Recipe(name, **words, on=on, at=at, **merge(self.settings, changes))  # type: ignore[arg-type]

    def settings_for(self, data: str, profile: str, imbalance_ratio: float) -> dict[str, Setting]:
        """Return the settings on one long-tailed data set."""
        return merge(merge(self.settings, self.on.get(data, {})), self.at.get((data, profile, imbalance_ratio), {}))


def _merged_each(below: Mapping[Any, Settings], above: Mapping[Any, Settings]) -> dict[Any, Settings]:
    return {key: merge(below.get(key, {}), above.get(key, {})) for key in [*below, *(above.keys() - below.keys())]}


def check_settings(owner: str, settings: Settings) -> None:
    """Check that every setting is one of a run, a spec for a component and a cited value for the rest.

    Raises:
        UsageError: naming the first that is not.
    """
    known = [*COMPONENTS, *VALUES]
    for name, setting in settings.items():
        if name not in known:
            raise UsageError(f"{owner} must set some of {', '.join(known)}, got {name!r}{nearest(name, known)}")
        if name in COMPONENTS and not (setting is None or isinstance(setting, Spec)):
            raise UsageError(f"{owner} must set {name} to a Spec or None, got {shown(setting)}")
        if name in VALUES and not isinstance(setting, Cited):
            raise UsageError(f"{owner} must set {name} to cited(value, source), got {shown(setting)}")


def register(entry: "Recipe | Protocol", *, replace: bool = False) -> Any:
    """Make a recipe known by its name, or the protocol of a data set, and return it.

    Args:
        entry: a ``Recipe`` or a ``Protocol``.
        replace: take the place of one of the same name.

    Raises:
        TypeError: if it is neither.
        UsageError: if the name is taken; names both places.
    """
    if not isinstance(entry, Recipe | Protocol):
        raise TypeError(f"entry must be a Recipe or a Protocol, got {shown(entry)}")
    registry = RECIPES if isinstance(entry, Recipe) else PROTOCOLS
    registry.register(entry.name, entry, replace=replace)
    return entry


@dataclass(frozen=True, init=False)
class Protocol:
    """What every method shares on one data set; a recipe's own settings are over these.

    Args:
        name: of the data set.
        imbalance_ratio: largest over smallest class when none is asked for.
        settings: as of a ``Recipe``; together they must be all that a run needs.
    """

    name: str
    imbalance_ratio: float
    settings: Settings

    def __init__(self, name: str, *, imbalance_ratio: float, **settings: Setting) -> None:
        check_settings(f"protocol {name!r}", settings)
        for attribute, value in zip(self.__dataclass_fields__, (name, imbalance_ratio, settings), strict=True):
            object.__setattr__(self, attribute, value)

    def derive(self, name: str, *, imbalance_ratio: float | None = None, **changes: Setting) -> "Protocol":
        """Return the protocol of another data set, with some settings changed."""
        ratio = self.imbalance_ratio if imbalance_ratio is None else imbalance_ratio
        return Protocol(name, imbalance_ratio=ratio, **merge(self.settings, changes))
