"""What the training loop needs of a loader, and the batches of several loaders step by step."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from lt_fast.batch import Batch


@runtime_checkable
class Batches(Protocol):
    """Batches that can be read from any step of any epoch; ``lt_fast.data.Loader`` is the one of this package.

    >>> from lt_fast.data import ArraySource, CropFlip, FixedBatches, Loader
    >>> import numpy as np
    >>> source = ArraySource(np.zeros((6, 8, 8, 1), np.uint8), [0, 0, 0, 0, 1, 1])
    >>> loader = Loader(source, FixedBatches(6, batch_size=2), transform=CropFlip(mean=(0.5,), std=(0.2,)))
    >>> isinstance(loader, Batches), [batch.target.tolist() for batch in loader.batches(epoch=0, start=1)]
    (True, [[0, 0], [1, 1]])
    """

    def __len__(self) -> int: ...

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from step ``start`` on, a function of these numbers alone."""

    def identity(self) -> Mapping[str, Any]:
        """Return what tells these batches from others, JSON values; a training resumes only on the same ones."""


def check_loaders(loaders: Any) -> int:
    """Return the number of steps in an epoch: that of the first loader.

    Raises:
        TypeError: if ``loaders`` is not a mapping of names to ``Batches``.
        ValueError: if there is no loader, the first is empty, or another is shorter.
    """
    if not isinstance(loaders, Mapping):
        raise TypeError(f"loaders must map names to loaders, got {type(loaders).__name__}; pass {{'train': loader}}")
    if not loaders:
        raise ValueError("loaders must hold at least one loader, got none; pass {'train': loader}")
    for name, loader in loaders.items():
        missing = [method for method in ("__len__", "batches", "identity") if not hasattr(loader, method)]
        if missing:
            raise TypeError(
                f"loaders[{name!r}] must have __len__, batches and identity, got {type(loader).__name__} without "
                f"{', '.join(missing)}; lt_fast.data.Loader has them all"
            )
    first, steps = next((name, len(loader)) for name, loader in loaders.items())
    if steps == 0:
        raise ValueError(
            f"loaders[{first!r}] must hold at least one batch, got none; lower batch_size or keep the last short batch"
        )
    for name, loader in loaders.items():
        if len(loader) < steps:
            raise ValueError(
                f"loaders[{name!r}] must have at least the {steps} steps of loaders[{first!r}], got {len(loader)}; set "
                "num_batches of its sampler"
            )
    return steps


def steps_from(
    loaders: Mapping[str, Batches], active: Collection[str] | None, epoch: int, start: int, steps: int
) -> Iterator[dict[str, Batch]]:
    """Yield the batches of each step by the name of their loader, from step ``start`` of ``epoch`` to its end.

    Raises:
        TypeError: if a loader gives something other than a ``Batch``; says how to make one.
        ValueError: if a name in ``active`` is not that of a loader, or a loader ends early.
    """
    names = list(loaders) if active is None else [name for name in loaders if name in active]
    unknown = sorted(set(active or ()) - set(loaders))
    if unknown or not names:
        raise ValueError(f"active must name loaders among {', '.join(loaders)}, got {unknown or 'none'}")
    iterators = {name: loaders[name].batches(epoch, start) for name in names}
    try:
        for step in range(start, steps):
            yield {name: _next(name, iterator, step, steps) for name, iterator in iterators.items()}
    finally:
        for iterator in iterators.values():
            close = getattr(iterator, "close", None)  # worker threads and processes end now, not when collected
            if close is not None:
                close()


def _next(name: str, iterator: Iterator[Any], step: int, steps: int) -> Batch:
    batch = next(iterator, None)
    if isinstance(batch, Batch):
        return batch
    if batch is None:
        raise ValueError(f"loaders[{name!r}] must give {steps} batches per epoch, got {step}")
    raise TypeError(
        f"loaders[{name!r}] must give lt_fast.batch.Batch, got {type(batch).__name__}; make one by "
        "Batch(views=(x,), target=labels)"
    )
