"""Optional dependencies: imported where they are needed, with the command that installs them."""

import importlib
import warnings
from types import ModuleType

from lt_fast.errors import MissingExtraError

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
