"""What ``collect`` asks of its batches: images and integer labels, and words for every other form that loaders give."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast.batch import Batch
from lt_fast.errors import require

_WANTED = "batches must yield (x, labels)"


def labelled(batches: Iterable[Any], *, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and the labels ``(N,)`` int64 of each batch.

    Raises:
        TypeError: if a batch is no pair, or holds no tensor of images or no integers as labels; says how to convert it.
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
        batch = (batch.x, batch.target, batch.target_b, batch.lam)
    if isinstance(batch, Mapping):
        raise TypeError(f"{_WANTED}, got {type(batch).__name__} in batch {step} with {_keys(batch)}")
    if not isinstance(batch, tuple | list):
        raise TypeError(f"{_WANTED}, got {type(batch).__name__} in batch {step}; give the labels, too")
    if len(batch) < 2:  # noqa: PLR2004
        raise TypeError(f"{_WANTED}, got {len(batch)} part in batch {step}; give the labels, too")
    x, labels, *others = batch
    if any(part is not None for part in others):
        _refuse_others(others, step, count=len(batch))
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise TypeError(f"{_WANTED} with a tensor x, got {_images(x)} in batch {step}")
    return x, labels


def _keys(batch: Mapping[Any, Any]) -> str:
    """Name the keys of a batch and the way to a pair of two of them."""
    keys = list(batch)
    labels = next((key for key in ("labels", "label", "targets", "target", "y") if key in batch), None)
    images = next((key for key in ("pixel_values", "image", "images", "x", "input", "inputs") if key in batch), None)
    images = next((key for key in keys if key != labels), "image") if images is None else images
    pair = f"(batch[{images!r}], batch[{'labels' if labels is None else labels!r}])".replace("[labels]", "['labels']")
    return f"the keys {', '.join(map(repr, keys))}; pass ({pair} for batch in loader)"


def _refuse_others(others: list[Any], step: int, *, count: int) -> None:
    if len(others) == 2 and all(part is not None for part in others) and _is_factor(others[1]):  # noqa: PLR2004
        raise ValueError(
            f"batches must not be mixed, got a second label or a factor in batch {step}; leave partner out"
        )
    raise TypeError(
        f"{_WANTED}, got {count} parts in batch {step}; where the others are an index or a path, "
        "pass ((x, labels) for x, labels, *_ in loader)"
    )


def _is_factor(part: Any) -> bool:
    return isinstance(part, float) or (isinstance(part, Tensor) and part.is_floating_point())


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
        one_hot = "; pass labels.argmax(dim=1) where they are one-hot" if labels.shape[:1] == (rows,) else ""
        raise ValueError(f"labels must have shape ({rows},) in batch {step}, got {tuple(labels.shape)}{one_hot}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers in batch {step}, got dtype {labels.dtype}{_as_integers(labels)}")
    return labels.cpu().long()


def _as_integers(labels: Tensor) -> str:
    exact = not labels.is_complex() and bool((labels == labels.long()).all())
    return "; pass labels.long()" if exact else ""


def _kind(labels: Any) -> str:
    return f"a {type(labels).__name__} of strings" if isinstance(labels, list | tuple) else type(labels).__name__
