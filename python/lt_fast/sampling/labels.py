"""The labels of a data set, without decoding one sample."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Sampler, Subset, TensorDataset

from lt_fast.counts import refuse_masked


def labels_of(dataset: Any) -> NDArray[Any]:
    """Return the labels of ``dataset`` in its order, never calling its ``__getitem__``.

    Args:
        dataset: labels themselves (list, tuple, range, array, tensor, pandas ``Series`` or another column that has
            ``to_numpy``; whole numbers or strings), or a data set: one with ``.targets`` or ``.labels`` (torchvision's,
            ``ImageFolder``, ours), a ``Subset`` or ``ConcatDataset`` of such, nested at will, or a ``TensorDataset``
            (its last tensor); or a column of a Hugging Face data set, ``dataset["label"]``, read at once and past any
            transform.

    Shape:
        returns (N,), int64 for whole numbers, else NumPy's string type.

    Raises:
        TypeError: if there are no labels to be found, they are neither whole numbers nor strings or a mix of both, or a
            torch ``Sampler`` is passed.
        ValueError: if they are not one-dimensional, one is masked, or a ``Subset`` names a sample that is not there.
    """
    refuse_sampler(dataset)
    if (type(dataset).__module__.partition(".")[0], type(dataset).__name__) == ("datasets", "Column"):
        dataset = _entries(dataset)
    if isinstance(dataset, list | tuple | range | np.ndarray | torch.Tensor) or _is_column(dataset):
        return _checked(dataset)
    for name in ("targets", "labels"):
        if getattr(dataset, name, None) is not None:
            return _checked(getattr(dataset, name))
    if isinstance(dataset, Subset):
        return _of_subset(labels_of(dataset.dataset), whole_numbers("Subset.indices", dataset.indices))
    if isinstance(dataset, ConcatDataset):
        return _joined([labels_of(part) for part in dataset.datasets])
    if isinstance(dataset, TensorDataset):
        return _checked(dataset.tensors[-1])
    if hasattr(dataset, "__array__"):
        return _checked(np.asarray(dataset))
    raise TypeError(
        f"labels must be a sequence, array or tensor, or a data set with .targets or .labels, got "
        f"{type(dataset).__name__}; pass its labels themselves (of Hugging Face datasets: dataset['label'])",
    )


def whole_numbers(name: str, values: Any) -> NDArray[np.int64]:
    """Return a copy of ``values`` as int64 ``(N,)``, or say that the argument ``name`` must be whole numbers."""
    refuse_masked(name, values)
    array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, got dtype {array.dtype}")
    return array.astype(np.int64)


def refuse_sampler(labels: Any) -> None:
    """Raise ``TypeError`` for a torch ``Sampler`` in the place of labels, naming the framework's switch."""
    # Lightning rebuilds a batch sampler as `type(sampler)(DistributedSampler(...), batch_size=..., drop_last=...)`.
    if isinstance(labels, Sampler):
        raise TypeError(
            f"labels must be class labels or a data set, got a torch {type(labels).__name__}; if a framework put it "
            "there, pass Trainer(use_distributed_sampler=False): this sampler shards by itself with .shard() or "
            ".distributed()",
        )


def _is_column(labels: Any) -> bool:
    # Its entries are attributes, too: `series.targets` is the entry of that name in the index of a pandas Series.
    return hasattr(type(labels), "to_numpy") and getattr(labels, "ndim", None) == 1


def _of_subset(labels: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[Any]:
    outside = np.flatnonzero((indices < -len(labels)) | (indices >= len(labels)))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"Subset.indices must be < {len(labels)}, the samples there are, got {indices[at]} at {at}")
    return labels[indices]


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    parts = [part for part in parts if part.size] or parts[:1]  # an empty list has no type of its own
    if len({part.dtype.kind for part in parts}) > 1:
        raise TypeError("labels must be whole numbers or strings in every part of a ConcatDataset, got both")
    return np.concatenate(parts)


def _entries(column: Any) -> list[Any]:
    """Return all entries of a column of Hugging Face ``datasets``, by name since that is not imported here."""
    # A transform of the data set would ask for the whole row, its image decoded, for each label.
    source = column.source
    whole = source.with_format(None)[column.column_name] if hasattr(source, "with_format") else column
    return list(whole[:])


def _checked(labels: Any) -> NDArray[Any]:
    refuse_masked("labels", labels)
    try:
        array = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels)
    except ValueError as error:
        raise ValueError(f"labels must be one-dimensional, got entries of different lengths ({error})") from None
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}; one class a sample is needed")
    if array.dtype.kind == "U" and isinstance(labels, list | tuple) and not all(isinstance(it, str) for it in labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise TypeError(f"labels must be all whole numbers or all strings, got {other!r} among strings")
    if array.size == 0 or array.dtype.kind == "U":
        return array
    if array.dtype.kind in "OT" and all(isinstance(label, str) for label in array):
        return np.array(array.tolist(), dtype=str)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be whole numbers or strings, got dtype {array.dtype}; convert them first")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"labels must be < 2**63, got {array.max()}; number the classes 0..C-1 first")
    return array.astype(np.int64, copy=False)
