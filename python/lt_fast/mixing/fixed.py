"""Settings of a mixer, which cannot change: values derived from them are computed once."""

import inspect
from typing import Any


class FixedSettings:
    """Base of every mixer: assigning a setting after construction is an error, because only a part would follow it.

    A constructor ends with ``self._fixed = True``.
    """

    _fixed = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse a setting of a constructed mixer.

        Raises:
            AttributeError: if ``name`` is an argument of the constructor or a public attribute of the mixer.
        """
        if self._fixed and not name.startswith("_"):
            options = inspect.signature(type(self)).parameters
            if name in options or hasattr(self, name):
                option = f"{name}=..." if name in options else "..."
                raise AttributeError(
                    f"{name} of {type(self).__name__} cannot be set: a mixer is fixed when it is constructed; "
                    f"make a new one, {type(self).__name__}({option})"
                )
        super().__setattr__(name, value)
