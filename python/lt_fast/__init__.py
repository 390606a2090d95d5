"""Long-tailed image recognition: samplers in Rust, a fused margin-mixing loss, training and calibration.

Everything loads on first use: ``import lt_fast`` alone imports no other package::

    import lt_fast as lt
    sampler = lt.sampling.ClassBalancedBatchSampler(labels, batch_size=128)
    criterion = lt.losses.LDAMLoss(lt.ClassCounts.from_labels(labels))
"""

# Imports nothing, so that the command line can listen to signals before numpy and torch load. `typing` is among what
# would take time; type checkers know this name without it.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from lt_fast import (
        calibration,
        comparison,
        data,
        datasets,
        experiment,
        inference,
        inspection,
        losses,
        methods,
        metrics,
        mixing,
        models,
        ops,
        recipes,
        reproduction,
        sampling,
        scheduling,
        sweeps,
        training,
    )
    from lt_fast.comparison.table import results
    from lt_fast.counts import ClassCounts
    from lt_fast.inference.classifier import load
    from lt_fast.sweeps.sweep import sweep
    from lt_fast.versions import show_versions

__version__ = "0.2.0"

__all__ = [
    "ClassCounts",
    "calibration",
    "comparison",
    "data",
    "datasets",
    "experiment",
    "inference",
    "inspection",
    "load",
    "losses",
    "methods",
    "metrics",
    "mixing",
    "models",
    "ops",
    "recipes",
    "reproduction",
    "results",
    "sampling",
    "scheduling",
    "show_versions",
    "sweep",
    "sweeps",
    "training",
]

_DEFINED_IN = {
    "ClassCounts": "lt_fast.counts",
    "results": "lt_fast.comparison.table",
    "load": "lt_fast.inference.classifier",
    "show_versions": "lt_fast.versions",
    "sweep": "lt_fast.sweeps.sweep",
}


def __getattr__(name: str) -> "Any":
    if name not in __all__ and name not in ("batch", "counts", "ranks", "versions"):
        raise AttributeError(f"module 'lt_fast' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    if name not in _DEFINED_IN:
        return importlib.import_module(f"lt_fast.{name}")
    globals()[name] = found = getattr(importlib.import_module(_DEFINED_IN[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
