"""Long-tailed image recognition: samplers in Rust, a fused margin-mixing loss, training and calibration.

Rooms load on first use, so ``import lt_fast`` needs numpy and torch and nothing else::

    import lt_fast as lt
    sampler = lt.sampling.ClassBalancedBatchSampler(labels, batch_size=128)
    criterion = lt.losses.LDAMLoss(lt.ClassCounts.from_labels(labels))
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from lt_fast.counts import ClassCounts
from lt_fast.versions import show_versions

if TYPE_CHECKING:
    from lt_fast import (
        calibration,
        datasets,
        losses,
        metrics,
        mixing,
        models,
        ops,
        recipes,
        sampling,
        training,
    )

__version__ = "0.1.0"

__all__ = [
    "ClassCounts",
    "calibration",
    "datasets",
    "losses",
    "metrics",
    "mixing",
    "models",
    "ops",
    "recipes",
    "sampling",
    "show_versions",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"lt_fast.{name}")
    raise AttributeError(f"module 'lt_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
