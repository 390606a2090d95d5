"""Names to components: the package's own, those of installed packages, and those that a program or a file registers.

There are three ways into one registry::

    @lt_fast.registry.register("loss", "my_loss")          # 1. in any module, before the name is used
    class MyLoss(nn.Module): ...

    [project.entry-points."lt_fast.losses"]                # 2. in the pyproject.toml of an installed package
    my_loss = "my_package.losses:MyLoss"

    lt-fast train --recipe my_recipe.py                    # 3. a file, which calls register itself

Listing names imports neither a component nor torch; a component is imported when its name is looked up.
"""

import ast
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from lt_fast._text import nearest, shown
from lt_fast.errors import DataError, UsageError

Component = TypeVar("Component")

_ROOT = Path(__file__).parent


class _Registered(NamedTuple):
    """A component, the module that registered it, and that place in words."""

    value: Any
    module: str
    where: str


class Registry(Mapping[str, Any]):
    """A mapping from names to components of one kind.

    Args:
        kind: what the names stand for, in the singular: the first argument of ``register``, and the first word of
            error messages.
        entries: name to ``"package.module:attribute"``, imported on access.
        folder: a subpackage of lt_fast whose files register components by ``register("<kind>", "<name>")``. The names
            are read from the source text, so listing them imports nothing.
        group: entry points of this group are components too.
        argument: the first word of error messages, where it is not ``kind``.

    >>> parts = Registry("part", {"errors": "lt_fast.errors:UsageError"})
    >>> parts["errors"].__name__
    'UsageError'
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str] | None = None,
        *,
        folder: str | None = None,
        group: str | None = None,
        argument: str | None = None,
    ) -> None:
        self.kind, self.group, self.argument = kind, group, argument or kind
        self._entries = dict(entries or {})
        self._folder = folder
        self._registered: dict[str, _Registered] = {}

    def __getitem__(self, name: str) -> Any:
        found = self._sources(name)
        values = [load() for load in found.values()]
        if not values:
            known = sorted(self._suggested())
            message = f"{self.argument} must be one of {', '.join(known)}, got {shown(name)}{nearest(name, known)}"
            raise UsageError(message)
        if any(value is not values[0] for value in values):
            raise UsageError(f"{self.kind} {name!r} is registered twice: by {' and by '.join(found)}; rename one")
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._sources(name))

    def __iter__(self) -> Iterator[str]:
        installed = [point.name for point in _installed(self.group)]
        return iter(dict.fromkeys([*self._own(), *self._registered, *installed]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def register(self, name: Any, value: Any, *, replace: bool = False) -> None:
        """Add ``value`` under ``name``.

        Args:
            name: letters, digits, ``_`` and ``-``.
            value: the component.
            replace: take the place of one that was registered before.

        Raises:
            UsageError: if the name is taken by another component, naming both places.
        """
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]+", name)):
            raise UsageError(f"name of a {self.kind} must consist of letters, digits, _ and -, got {shown(name)}")
        new = _Registered(value, *_caller())
        old = self._registered.get(name)
        if old is not None and not replace and not _same(old.value, value):
            raise UsageError(f"{self.kind} {name!r} is registered twice: by {old.where} and by {new.where}; rename one")
        own = self._own().get(name)
        if old is None and own is not None and own.partition(":")[0] != new.module:
            own = own.partition(":")[0]
            raise UsageError(f"{self.kind} {name!r} is registered twice: by {own} and by {new.where}; rename one")
        self._registered[name] = new
        _loading.append((self.kind, name, new.module))

    def forget(self, name: str) -> None:
        """Remove a name that was registered; the package's own and installed ones stay."""
        self._registered.pop(name, None)

    def where(self, name: str) -> str:
        """Return in words where a component comes from: a module, a file, or an installed package."""
        return " and ".join(self._sources(name)) or "nowhere"

    def working(self) -> dict[str, Any]:
        """Return every component that can be loaded, and warn of each one that cannot."""
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except UsageError as error:
                warnings.warn(str(error), stacklevel=2)
        return found

    def _own(self) -> dict[str, str]:
        """Names of the package itself: to ``module:attribute``, or to the module that registers them."""
        return self._entries if self._folder is None else {**self._entries, **_names_in(self._folder, self.kind)}

    def _sources(self, name: Any) -> dict[str, Callable[[], Any]]:
        """Every place that has ``name``, in words, and how to load it from there."""
        found: dict[str, Callable[[], Any]] = {}
        if not isinstance(name, str):
            return found
        own, registered = self._own(), self._registered.get(name)
        if registered is not None:
            found[registered.where] = lambda: registered.value
        elif name in own:
            found[own[name].partition(":")[0]] = lambda: self._imported(name, own[name])
        for point in _installed(self.group):
            if point.name == name:
                found[_words(point)] = functools.partial(_loaded, point, self.kind)
        return found

    def _imported(self, name: str, place: str) -> Any:
        module, _, attribute = place.partition(":")
        imported = importlib.import_module(module)
        return getattr(imported, attribute) if attribute else self._registered[name].value

    def _suggested(self) -> list[str]:
        return list(self)


class _Published(Registry):
    """Recipes and protocols are data: all files of ``recipes/`` are imported, which needs no torch."""

    def __iter__(self) -> Iterator[str]:
        """Give the package's own in the order of their files, whichever file imported another one, then all others."""
        names = list(super().__iter__())
        place = {name: self._registered[name].module for name in names if name in self._registered}
        own = sorted(
            (name for name in names if place.get(name, "").startswith("lt_fast.recipes.")), key=place.__getitem__
        )
        return iter([*own, *(name for name in names if name not in own)])

    def _own(self) -> dict[str, str]:
        _import_recipes()
        return {}


class _Models(Registry):
    """In addition to registered networks, ``timm:NAME``, ``torchvision:NAME`` and ``package.module:factory``.

    The configuration of a run that somebody else made must not say what is called: a factory is one only if it is a
    class of networks or says in its annotation that it returns one (``models.adapt.network_factory``).
    """

    def _sources(self, name: Any) -> dict[str, Callable[[], Any]]:
        if isinstance(name, str) and name.startswith(("timm:", "torchvision:")):
            return {"lt_fast.models": lambda: functools.partial(importlib.import_module("lt_fast.models").adapt, name)}
        if isinstance(name, str) and _FACTORY.fullmatch(name):
            return {name: lambda: _adapted(name)}
        return super()._sources(name)

    def _suggested(self) -> list[str]:
        return [*self, "timm:NAME", "torchvision:NAME", "package.module:factory"]


_FACTORY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")


def _adapted(place: str) -> Any:
    models = importlib.import_module("lt_fast.models.adapt")
    return functools.partial(models.adapt, models.network_factory(place))


class _Optimizers(Registry):
    """In addition to registered optimizers, every class of ``torch.optim`` by its name in lower case."""

    def _sources(self, name: Any) -> dict[str, Callable[[], Any]]:
        found = super()._sources(name)
        if not found and isinstance(name, str) and name in (known := _torch_optimizers()):
            return {"torch.optim": lambda: known[name]}
        return found

    def _suggested(self) -> list[str]:
        return [*self, *_torch_optimizers()]


def _torch_optimizers() -> dict[str, Any]:
    optim = importlib.import_module("torch.optim")
    classes = [value for value in vars(optim).values() if isinstance(value, type) and value is not optim.Optimizer]
    return {each.__name__.lower(): each for each in classes if issubclass(each, optim.Optimizer)}


METHODS = Registry("method", folder="methods", group="lt_fast.methods")
MODELS = _Models("model", folder="models", group="lt_fast.models")
LOSSES = Registry("loss", folder="losses", group="lt_fast.losses")
REWEIGHTS = Registry("reweight", folder="losses", group="lt_fast.reweights")
MIXERS = Registry("mixer", folder="mixing", group="lt_fast.mixers")
SAMPLERS = Registry("sampler", folder="sampling", group="lt_fast.samplers")
TRANSFORMS = Registry("transform", folder="data", group="lt_fast.transforms")
OPTIMIZERS = _Optimizers(
    "optimizer",
    {"sgd_no_norm_decay": "lt_fast.training.undecayed_norms:SGDNoNormDecay"},
    group="lt_fast.optimizers",
)
# Here rather than in `training`, which takes objects and knows no names.
SCHEDULES = Registry(
    "schedule",
    {"multistep": "lt_fast.training.schedules:multistep", "cosine": "lt_fast.training.schedules:cosine"},
    group="lt_fast.schedules",
)
CALIBRATORS = Registry("calibrator", folder="calibration", group="lt_fast.calibrators")
# Image files are sources of a run's loader, and photographs are split by its rules: more than `datasets` knows of.
DATASETS = Registry(
    "data",
    {
        "photographs": "lt_fast.experiment.photographs:photographs",
        "imagenet-lt": "lt_fast.experiment.large_scale:imagenet_lt",
        "places-lt": "lt_fast.experiment.large_scale:places_lt",
        "inaturalist-2018": "lt_fast.experiment.large_scale:inaturalist_2018",
    },
    folder="datasets",
    group="lt_fast.datasets",
)
RECIPES = _Published("recipe", group="lt_fast.recipes", argument="method")
PROTOCOLS = _Published("protocol", group="lt_fast.protocols")
TRAINING_PROTOCOLS = _Published("training_protocol", group="lt_fast.training_protocols", argument="protocol")

REGISTRIES: Mapping[str, Registry] = {
    registry.kind: registry
    for registry in (
        METHODS, MODELS, LOSSES, REWEIGHTS, MIXERS, SAMPLERS, TRANSFORMS, OPTIMIZERS, SCHEDULES, CALIBRATORS, DATASETS,
        RECIPES, PROTOCOLS, TRAINING_PROTOCOLS,
    )
}  # fmt: skip
"""Kind to registry: everything that a user can add to from outside the package."""


def register(kind: str, name: str, *, replace: bool = False) -> Callable[[Component], Component]:
    """Return a decorator that registers a class or a function.

    Args:
        kind: one of ``REGISTRIES``: "loss", "mixer", "sampler", "model", "method", ...
        name: what configurations and the command line call it.
        replace: take the place of one that was registered before.

    Raises:
        UsageError: if there is no such kind, or the name is taken by another component.

    >>> @register("schedule", "constant", replace=True)
    ... def constant(base: float):
    ...     return lambda epoch, step, steps_per_epoch: base
    >>> SCHEDULES["constant"] is constant
    True
    >>> SCHEDULES.forget("constant")
    """
    if kind not in REGISTRIES:
        known = list(REGISTRIES)
        raise UsageError(f"kind must be one of {', '.join(known)}, got {shown(kind)}{nearest(kind, known)}")

    def add(value: Component) -> Component:
        REGISTRIES[kind].register(name, value, replace=replace)
        return value

    return add


class RegisteredFile(NamedTuple):
    """A Python file that was run to register components.

    Attributes:
        path: where it is.
        sha256: of its content.
        names: (kind, name) of what it registered, in the file's order.

    >>> file = RegisteredFile(Path("mine.py"), "0" * 64, (("loss", "my_loss"), ("recipe", "mine")))
    >>> file.of("recipe")
    ['mine']
    """

    path: Path
    sha256: str
    names: tuple[tuple[str, str], ...]

    def of(self, kind: str) -> list[str]:
        """Return the names of one kind, in the file's order."""
        return [name for its_kind, name in self.names if its_kind == kind]


def load_file(path: Path) -> RegisteredFile:
    """Run a Python file that registers components; the same content is run once per process.

    Raises:
        DataError: if the file cannot be read.
        UsageError: if it raises, or registers a name that is taken.

    >>> text = "from lt_fast.registry import register; register('schedule', 'still')(lambda base: lambda *step: base)"
    >>> _ = Path("mine.py").write_text(text)
    >>> load_file(Path("mine.py")).names
    (('schedule', 'still'),)
    >>> SCHEDULES.forget("still")
    """
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise DataError(f"recipe file {path} cannot be read ({error.strerror}); name another with --recipe") from error
    digest = hashlib.sha256(source).hexdigest()
    same = next((file for file in _files.values() if file.sha256 == digest), None)
    if same is not None:
        return same._replace(path=path)
    before = _files.get(path)
    for kind, name in before.names if before is not None else ():
        REGISTRIES[kind].forget(name)
    _files[path] = found = RegisteredFile(path, digest, _run(path, source, f"lt_fast_recipe_{digest[:16]}"))
    return found


def _run(path: Path, source: bytes, module_name: str) -> tuple[tuple[str, str], ...]:
    module = ModuleType(module_name)
    module.__file__ = str(path)
    sys.modules[module_name] = module  # pickle and dataclasses look the module up
    _loading.clear()
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102  (the user names the file)
    except Exception as error:
        for kind, name in _of_module(module_name):
            REGISTRIES[kind].forget(name)
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"recipe file {path} cannot be run: {type(error).__name__}: {error}") from error
    return _of_module(module_name)


def _of_module(module: str) -> tuple[tuple[str, str], ...]:
    """Return what a file has registered itself: not what modules register that it is the first to import."""
    return tuple((kind, name) for kind, name, by in _loading if by == module)


_files: dict[Path, RegisteredFile] = {}
_loading: list[tuple[str, str, str]] = []


_published: list[Path] = []
_importing = threading.local()


def _import_recipes() -> None:
    """Import every file of ``recipes/`` once. A thread that asks meanwhile waits for each file, as any import does."""
    if _published or getattr(_importing, "here", False):  # a file asks, too, when it registers
        return
    _importing.here = True
    try:
        files = sorted((_ROOT / "recipes").glob("[a-z]*.py"))
        for path in files:
            importlib.import_module(f"lt_fast.recipes.{path.stem}")
        _published.extend(files)  # last: others take it for the end
    finally:
        _importing.here = False


@functools.cache
def _names_in(folder: str, kind: str) -> dict[str, str]:
    """Return the names that the files of a subpackage register, each with its module, from the source text alone."""
    found: dict[str, str] = {}
    for path in sorted((_ROOT / folder).rglob("*.py")):
        module = ".".join(["lt_fast", *path.relative_to(_ROOT).with_suffix("").parts])
        for name in _registered_in(path.read_text(encoding="utf-8"), kind):
            if name in found:
                raise UsageError(f"{kind} {name!r} is registered twice: by {found[name]} and by {module}; rename one")
            found[name] = module
    return found


def _registered_in(source: str, kind: str) -> Iterator[str]:
    if f'register("{kind}", ' not in source:
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="register") | ast.Attribute(attr="register"),
                args=[ast.Constant(value=str(its)), ast.Constant(value=str(name))],
            ) if its == kind:
                yield name


def _installed(group: str | None) -> tuple[EntryPoint, ...]:
    return () if group is None else _entry_points(group, tuple(sys.path))


@functools.cache
def _entry_points(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _words(point: EntryPoint) -> str:
    return f"{point.value} of the package {point.dist.name}" if point.dist is not None else point.value


def _loaded(point: EntryPoint, kind: str) -> Any:
    try:
        return point.load()
    except Exception as error:  # another package's code may raise anything
        message = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{kind} {point.name!r} cannot be loaded from {_words(point)} ({message}); mend or uninstall that package"
        ) from error


def _same(old: Any, new: Any) -> bool:
    """Whether ``new`` is ``old``, or what its module defines under the same name when it runs again."""
    if old is new:
        return True
    place = [(getattr(each, "__module__", None), getattr(each, "__qualname__", None)) for each in (old, new)]
    return place[0] == place[1] and None not in place[0]


def _caller() -> tuple[str, str]:
    """Return the module outside this one and ``recipes.recipe`` that called, and the line there in words."""
    frame = sys._getframe(1)  # noqa: SLF001  (the cheap way to the caller)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "lt_fast.recipes.recipe"):
        frame = frame.f_back
    module = str(frame.f_globals.get("__name__"))
    return module, f"{frame.f_code.co_filename}:{frame.f_lineno}"
