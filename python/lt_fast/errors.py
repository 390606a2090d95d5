"""The exceptions that the command line turns into exit statuses.

Bad values raise ``ValueError``, bad types ``TypeError``, as everywhere in Python; these classes add only what a
caller may want to distinguish.
"""

import importlib
from types import ModuleType


class UsageError(ValueError):
    """The request itself is wrong: an unknown name, a setting that contradicts another. Exit status 2."""


class DataError(ValueError):
    """A file or a data set is missing, damaged or unusable. Names the file. Exit status 3."""


class Interrupted(Exception):  # noqa: N818  (not an error: the state is saved and the run continues with --resume)
    """A run was stopped by a signal after its state was saved. Exit status 4."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed. Names the command that installs it."""


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
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the module is there and one of *its* imports is not: the original message says more
        distribution = {"PIL": "pillow", "sklearn": "scikit-learn"}.get(package, package)
        message = f"{purpose} needs {distribution}, which is not installed; run: pip install 'lt-fast[{extra}]'"
        raise MissingExtraError(message, name=error.name) from None
