"""The fused op, its reference implementation, and which of them is in use."""

from lt_fast import _libraries
from lt_fast._libraries import backend, instruction_set
from lt_fast.ops import autograd, reference
from lt_fast.ops.mixed_margin import mixed_margin_loss

__all__ = ["backend", "instruction_set", "mixed_margin_loss", "reference"]

if _libraries.BACKEND != "reference":
    autograd.register()
