"""Optional dependencies: imported where they are needed, with the command that installs them."""

import importlib
import importlib.metadata
import re
import warnings
from types import ModuleType

from lt_fast.errors import MissingExtraError

_REQUIREMENT = re.compile(r"""([\w.-]+)\s*(?:>=\s*([\d.]+))?.*;\s*extra\s*==\s*['"](\w+)""")
_ALWAYS = re.compile(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?$")
_DISTRIBUTIONS = {"PIL": "pillow", "ot": "POT", "sklearn": "scikit-learn"}


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module``, or name the extra that installs it.

    Args:
        module: dotted name, as in ``import module``.
        extra: name of the optional dependency group in ``pyproject.toml``.
        purpose: what needs it, as the start of a sentence: ``"reading CIFAR"``.

    Raises:
        MissingExtraError: if ``module`` is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Of the text of other packages, when it is compiled: nothing that a user of ours could change.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", SyntaxWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the module is installed and one of *its* imports is not: the original message says more
        distribution = _DISTRIBUTIONS.get(package, package)
        message = f"{purpose} needs {distribution}, which is not installed; run: pip install 'lt-fast[{extra}]'"
        raise MissingExtraError(message, name=error.name) from None


def shortfalls() -> dict[str, list[str]]:
    """Return for each extra what of it is missing or too old, by the package's own metadata; nothing is imported."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("lt-fast") or []:
        if (requirement := _REQUIREMENT.match(line)) is not None:
            package, oldest, extra = requirement.groups()
            found.setdefault(extra, []).extend(_shortfall(package, oldest))
    return found


def always_lacking() -> list[str]:
    """Return what is missing or too old of that which every part of the package is tested with, as ``shortfalls``."""
    lines = importlib.metadata.requires("lt-fast") or []
    needed = [found.groups() for line in lines if (found := _ALWAYS.match(line.strip())) is not None]
    return [lack for package, oldest in needed for lack in _shortfall(package, oldest)]


def _shortfall(package: str, oldest: str | None) -> list[str]:
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return [f"no {package}"]
    if oldest is not None and _numbers(version) < _numbers(oldest):
        return [f"{package} {version} is older than {oldest}"]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version up to the first word, without zeros at the end."""
    release = re.match(r"[\d.]*", version)
    numbers = [int(part) for part in release[0].split(".") if part] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
