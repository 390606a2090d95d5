"""Check the batches of ``collect``: images and integer labels, with a hint for every other form of batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast._extras import require
from lt_fast.batch import Batch
from lt_fast.calibration.checks import shape_hint

_WANTED = "batches must yield (x, labels)"
_FIRST_TWO = "pass ((x, labels) for x, labels, *_ in loader)"
_MIXED = "batches must not be mixed, got a second label or a factor in batch {step}; leave partner out"


def labelled(batches: Iterable[Any], *, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and the labels ``(N,)`` int64 of each batch.

    Raises:
        TypeError: if a batch is not a pair, or holds no tensor of images or no integers as labels; the message says how
            to convert it.
        ValueError: if a batch is mixed, or its labels and images differ in number.
    """
    if not isinstance(batches, Iterable):
        raise TypeError(f"{_WANTED}, got {type(batches).__name__}; pass a DataLoader or a list of batches")
    if progress:
        batches = require("tqdm", extra="train", purpose="a progress bar").tqdm(batches, desc="collect", leave=False)
    for step, batch in enumerate(batches):
        x, labels = _pair(batch, step)
        yield x, _labels(labels, len(x), step)


def _pair(batch: Any, step: int) -> tuple[Tensor, Any]:
    if isinstance(batch, Batch):
        if batch.target_b is not None or batch.lam is not None:
            raise ValueError(_MIXED.format(step=step))
        batch = (batch.x, batch.target)
    if isinstance(batch, Mapping):
        raise TypeError(f"{_WANTED}, got {type(batch).__name__} in batch {step} with {_keys(batch)}")
    if not isinstance(batch, tuple | list):
        raise TypeError(f"{_WANTED}, got {type(batch).__name__} in batch {step}; give the labels, too")
    if len(batch) < 2:  # noqa: PLR2004
        raise TypeError(f"{_WANTED}, got {len(batch)} part in batch {step}; give the labels, too")
    x, labels, *others = batch
    if any(part is not None for part in others):
        _refuse_others(batch, step)
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise TypeError(f"{_WANTED} with a tensor x, got {_images(x)} in batch {step}")
    return x, labels


def _keys(batch: Mapping[Any, Any]) -> str:
    """Return a hint that names the keys of a batch, and how to make a pair if images and labels are obvious."""
    labels = _key(batch, ("labels", "label", "targets", "target", "y"), _may_be_labels)
    images = _key(batch, ("pixel_values", "image", "images", "x", "input", "inputs"), _may_be_images)
    named = f"the keys {', '.join(map(repr, batch))}; pass "
    if images is None or labels is None or images == labels:
        return f"{named}pairs of the images and the integer labels, ((batch[...], batch[...]) for batch in loader)"
    return f"{named}((batch[{images!r}], batch[{labels!r}]) for batch in loader)"


def _key(batch: Mapping[Any, Any], usual: tuple[str, ...], fits: Callable[[Any], bool]) -> Any:
    """Return the first usual key, else the one key whose value fits, else None."""
    fitting = [key for key, value in batch.items() if fits(value)]
    return next((key for key in usual if key in batch), fitting[0] if len(fitting) == 1 else None)


def _refuse_others(batch: Sequence[Any], step: int) -> None:
    if _is_mixed(batch):
        raise ValueError(f"{_MIXED.format(step=step)}; where the last two are an index and a weight, {_FIRST_TWO}")
    raise TypeError(f"{_WANTED}, got {len(batch)} parts in batch {step}; {_pair_of_parts(batch)}")


def _is_mixed(batch: Sequence[Any]) -> bool:
    """Whether the last two of four parts are a second label and a coefficient, rather than an index and a weight."""
    if len(batch) != 4 or any(part is None for part in batch):  # noqa: PLR2004
        return False
    _, labels, second, factor = batch
    factor = torch.tensor(factor) if isinstance(factor, float) else factor
    if not (isinstance(factor, Tensor) and factor.is_floating_point()):
        return False
    return bool(((factor >= 0) & (factor <= 1)).all()) and not _is_index(second, labels)


def _is_index(part: Any, labels: Any) -> bool:
    """Whether ``part`` contains no labels but paths, or row numbers: each once, and not all of them labels."""
    if not isinstance(part, Tensor):
        return True
    if not (_may_be_labels(part) and _may_be_labels(labels)):
        return False
    values = set(part.tolist())
    return len(values) == len(part) > 1 and not values <= set(labels.tolist())


def _pair_of_parts(batch: Sequence[Any]) -> str:
    """Return a hint how to select images and labels from a longer batch."""
    if isinstance(batch[0], Tensor) and not _may_be_images(batch[0]):
        images = [at for at, part in enumerate(batch) if _may_be_images(part)]
        labels = [at for at, part in enumerate(batch) if at and _may_be_labels(part)]
        if len(images) == len(labels) == 1:
            return f"pass ((batch[{images[0]}], batch[{labels[0]}]) for batch in loader)"
        return "pass pairs of the images and the labels, ((batch[...], batch[...]) for batch in loader)"
    return f"where the others are an index, a path or a weight, {_FIRST_TWO}"


def _may_be_images(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim >= 2  # noqa: PLR2004


def _may_be_labels(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 1 and not (part.is_floating_point() or part.is_complex())


def _images(x: Any) -> str:
    if isinstance(x, list | tuple):
        return f"a {type(x).__name__} of {len(x)} (several views of each image?); pass ((x[0], y) for x, y in loader)"
    if isinstance(x, np.ndarray):
        return "a NumPy array; pass torch.from_numpy(x)"
    return f"{type(x).__name__}"


def _labels(labels: Any, rows: int, step: int) -> Tensor:
    if isinstance(labels, list | tuple | np.ndarray) and not any(isinstance(label, str) for label in labels):
        labels = torch.as_tensor(np.asarray(labels))
    if isinstance(labels, int | np.integer) or (isinstance(labels, Tensor) and labels.ndim == 0):
        raise TypeError(
            f"labels must have shape ({rows},) in batch {step}, got a single one; where batches is a data set, pass "
            "DataLoader(dataset, batch_size=256)"
        )
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be integers in batch {step}, got {_kind(labels)}; map the classes to 0..C-1")
    if labels.shape != (rows,):
        hint = shape_hint(labels, rows)
        raise ValueError(f"labels must have shape ({rows},) in batch {step}, got {tuple(labels.shape)}{hint}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers in batch {step}, got dtype {labels.dtype}{_as_integers(labels)}")
    return labels.cpu().long()


def _as_integers(labels: Tensor) -> str:
    exact = not labels.is_complex() and bool((labels == labels.long()).all())
    return "; pass labels.long()" if exact else ""


def _kind(labels: Any) -> str:
    return f"a {type(labels).__name__} of strings" if isinstance(labels, list | tuple) else type(labels).__name__
