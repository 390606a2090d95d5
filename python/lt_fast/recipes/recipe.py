"""``Recipe``, ``Spec`` and ``cited``: published settings as data, each value with its source."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from lt_fast._text import nearest, shown
from lt_fast.errors import UsageError
from lt_fast.registry import PROTOCOLS, RECIPES, TRAINING_PROTOCOLS

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
    """A value and where it comes from: a paper, ``repository: path``, or ``ours: reason``.

    >>> Cited(30.0, "kaidic/LDAM-DRW: losses.py").source
    'kaidic/LDAM-DRW: losses.py'
    """

    value: Any
    source: str


def cited(value: Any, source: str) -> Cited:
    """Return ``value`` together with its source: a paper, ``repository: path``, or ``ours: reason``.

    >>> cited(30.0, "kaidic/LDAM-DRW: losses.py").value
    30.0
    """
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
    """Authors, year and title; the preprint's identifier at arXiv, or "" if there is none.

    >>> Paper("Cao et al. 2019, Learning Imbalanced Datasets with LDAM Loss", arxiv="1906.07413").arxiv
    '1906.07413'
    """

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


def register(entry: "Recipe | Protocol | TrainingProtocol", *, replace: bool = False) -> Any:
    """Make a recipe known by its name, the protocol of a data set or a training protocol, and return it.

    Args:
        entry: a ``Recipe``, a ``Protocol`` or a ``TrainingProtocol``.
        replace: take the place of one of the same name.

    Raises:
        TypeError: if it is none of them.
        UsageError: if the name is taken; names both places.

    >>> gamma = cited(1.0, "Doe 2026, Table 1")
    >>> mine = register(Recipe("doe_focal", Paper("Doe 2026, A Loss"), "eq. 3", loss=Spec("focal", gamma=gamma)))
    >>> RECIPES["doe_focal"] is mine  # lt-fast train --recipe FILE.py --method doe_focal
    True
    >>> RECIPES.forget("doe_focal")
    """
    for kind, registry in ((Recipe, RECIPES), (Protocol, PROTOCOLS), (TrainingProtocol, TRAINING_PROTOCOLS)):
        if isinstance(entry, kind):
            registry.register(entry.name, entry, replace=replace)
            return entry
    raise TypeError(f"entry must be a Recipe, a Protocol or a TrainingProtocol, got {shown(entry)}")


@dataclass(frozen=True, init=False)
class Protocol:
    """What every method shares on one data set; a recipe's own settings are over these.

    Args:
        name: of the data set.
        imbalance_ratio: largest over smallest class when none is asked for.
        settings: as of a ``Recipe``; together they must be all that a run needs.

    >>> protocol = Protocol("my-data", imbalance_ratio=50, epochs=cited(60, "ours: enough for it"))
    >>> protocol.imbalance_ratio, protocol.settings["epochs"].value
    (50, 60)
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


OF_THE_METHOD = ("method", "loss", "mixer", "sampler", "reweight", "calibrator")
"""The components that make a method what it is: a training protocol adds none, removes none and exchanges none."""

Lengths: TypeAlias = Callable[[int], Settings]
"""From the number of training images to settings: what a source gives in steps or images, as epochs."""


@dataclass(frozen=True, init=False)
class TrainingProtocol:
    """How one paper or code trains, whichever the method: cited settings that override a recipe's own.

    Batches, length, schedule, optimizer, augmentation and network are those of the protocol where it states them. A
    component that it names is wholly the protocol's, so that no option of the recipe's is left; a spec without a name
    changes options of the recipe's. Of a network the head and what else the recipe sets stay the recipe's, for they
    belong to the method, and so does a network that the method needs. Of the parts of a method (``OF_THE_METHOD``) a
    protocol may change options alone, and does so where a recipe has the one that it names.

    Args:
        name: what ``lt-fast train --protocol`` calls it.
        source: paper or repository.
        title: its name in words.
        on: data set to settings, over the others, or to a function of the number of training images that gives them.
            Photographs are called by their mode, ``photographs-scratch``. The protocol fits these data sets alone.
        settings: as of a ``Recipe``, on all of them.

    >>> short = TrainingProtocol("short", "ours", epochs=cited(3, "ours: for a test"), on={"digits-lt": {}})
    >>> short.over({"epochs": cited(60, "a recipe")}, "digits-lt")["epochs"].value
    3
    """

    name: str
    source: str
    title: str
    on: Mapping[str, "Settings | Lengths"]
    settings: Settings

    def __init__(
        self, name: str, source: str, *, on: Mapping[str, "Settings | Lengths"], title: str = "", **settings: Setting
    ) -> None:
        for each in (settings, *(one for one in on.values() if not callable(one))):
            _check_overlay(name, each)
        for attribute, value in zip(
            self.__dataclass_fields__, (name, source, title or name, on, settings), strict=True
        ):
            object.__setattr__(self, attribute, value)

    def derive(self, name: str, *, title: str = "", **changes: Setting) -> "TrainingProtocol":
        """Return a protocol of another name with some settings changed; those of ``on`` stay over them."""
        return TrainingProtocol(name, self.source, on=self.on, title=title, **merge(self.settings, changes))

    def settings_for(self, data: str, images: int | None = None) -> dict[str, Setting]:
        """Return the settings on one of the data sets of ``on``.

        Args:
            data: name of the data set.
            images: number of training images, where ``needs_images(data)``.
        """
        own = self.on[data]
        if callable(own):
            own = own(_required(images, self.name))
            _check_overlay(self.name, own)
        return merge(self.settings, own)

    def needs_images(self, data: str) -> bool:
        """Return whether the settings on ``data`` depend on the number of training images."""
        return callable(self.on[data])

    def over(
        self, stated: Settings, data: str, images: int | None = None, *, own_network: bool = False
    ) -> dict[str, Setting]:
        """Return the settings of a recipe on ``data``, with those of the protocol over them.

        Args:
            stated: the recipe's settings over those of the data set's protocol.
            data: name of the data set.
            images: number of training images, where ``needs_images(data)``.
            own_network: whether recipe or user named the network: of another one the protocol says nothing then.
        """
        found = dict(stated)
        for name, setting in self.settings_for(data, images).items():
            below = stated.get(name)
            if isinstance(setting, Spec):
                if _applies(name, setting, below, own_network=own_network):
                    found[name] = _laid_over(setting, below if isinstance(below, Spec) else None, name)
            elif name != "defer_until" or stated.get("reweight") is not None:
                found[name] = setting
        return found


def _applies(slot: str, setting: Spec, below: Setting, *, own_network: bool) -> bool:
    """Whether a spec of a protocol is laid over what a recipe has there."""
    if slot in OF_THE_METHOD or (slot == "model" and own_network):
        same = isinstance(below, Spec) and plain(below.name) == plain(setting.name)
        return same or (slot == "model" and setting.name is None)
    return True


def _laid_over(setting: Spec, below: Spec | None, slot: str) -> Spec:
    if below is None or setting.name is None or slot in OF_THE_METHOD:
        return setting.over(below)
    if slot != "model":
        return setting
    if plain(setting.name) == plain(below.name):
        return setting.over(below)  # what a recipe sets of a network, such as its experts, belongs to the method
    head = {"head": below.options["head"]} if "head" in below.options else {}
    return Spec(setting.name, **{**head, **setting.options})


def _check_overlay(name: str, settings: Settings) -> None:
    owner = f"training protocol {name!r}"
    check_settings(owner, settings)
    for slot, setting in settings.items():
        if setting is None:
            raise UsageError(f"{owner} must not remove {slot}; a recipe alone does")
        if slot in OF_THE_METHOD and isinstance(setting, Spec) and setting.name is None:
            raise UsageError(f"{owner} must name the {slot} whose options it changes: Spec(NAME, ...)")


def _required(images: int | None, name: str) -> int:
    if images is None:
        raise TypeError(f"images must be given for training protocol {name!r}, whose length follows from them")
    return images
