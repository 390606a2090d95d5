"""Values of packages that may not be installed: what has not been imported has no instances.

Samplers, labels and counts need NumPy alone. They recognise a tensor without importing torch.
"""

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor


def is_of(value: Any, module: str, name: str) -> bool:
    """Return whether ``value`` is an instance of the class ``name`` of ``module``.

    >>> is_of([1, 2], "torch", "Tensor")
    False
    """
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def is_tensor(value: Any) -> "TypeGuard[Tensor]":
    """Return whether ``value`` is a tensor of torch."""
    return is_of(value, "torch", "Tensor")
