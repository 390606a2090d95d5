"""``ImageSet``: images in memory with their labels, and the protocol of their selection."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.counts import ClassCounts


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, their labels, and the protocol that selected them; also a map data set for torch's loaders.

    Args:
        images: (N, H, W, Ch) uint8.
        labels: (N,) integers in [0, C).
        classes: C distinct names.
        protocol: how the images were chosen, in plain JSON values.
        indices: (N,) positions of the images in the set they were chosen from.

    Attributes:
        class_counts: images of each class.
        fingerprint: SHA-256 over the labels (little-endian int64) and the pixels: equal for equal content.

    Raises:
        TypeError: if the images are not uint8, or the labels or indices not integers.
        ValueError: if the images have not four dimensions, lengths differ, or a label is outside [0, C).

    >>> images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    >>> data = ImageSet(images, [0, 0, 1], ("cat", "dog"), protocol={"source": "mine"}, indices=[5, 8, 2])
    >>> len(data), data.class_counts, data[2][1]
    (3, ClassCounts([2, 1], num_classes=2, imbalance_ratio=2), 1)
    >>> data.subset([2, 0]).indices
    array([2, 5])
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    protocol: dict[str, Any]
    indices: NDArray[np.int64]
    class_counts: ClassCounts = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        images, labels = image_array(self.images), _checks.class_labels("labels", self.labels)
        if not len(images) == len(labels) == len(self.indices):
            raise ValueError(
                f"labels and indices must have one entry an image ({len(images)}), "
                f"got {len(labels)} and {len(self.indices)}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "indices", _checks.index_array("indices", self.indices))
        object.__setattr__(self, "class_counts", ClassCounts.from_labels(labels, names=self.classes))
        object.__setattr__(self, "fingerprint", _fingerprint(images, labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return self.images[index], int(self.labels[index])

    def subset(self, indices: ArrayLike) -> "ImageSet":
        """Return the images at ``indices``, in that order, with the same classes and protocol; copies their pixels."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], indices=self.indices[chosen])

    def __repr__(self) -> str:
        return (
            f"ImageSet({self.protocol.get('name')}, {len(self)} images of {self.images.shape[1:]}, {self.class_counts})"
        )


def image_array(images: Any) -> NDArray[np.uint8]:
    """Return ``images`` as a dense (N, H, W, Ch) uint8 array, without a copy where it is one.

    Raises:
        TypeError: if they are not uint8.
        ValueError: if they have not four dimensions, or no pixel.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise TypeError(
            f"images must be uint8, pixels from 0 to 255, got dtype {array.dtype}{_conversion(array.dtype)}"
        )
    if array.ndim != 4 or 0 in array.shape[1:]:  # noqa: PLR2004
        raise ValueError(f"images must have shape (N, height, width, channels), got {array.shape}")
    return np.ascontiguousarray(array)


def _conversion(dtype: np.dtype[Any]) -> str:
    """Return a hint how to convert ``dtype`` to uint8; it depends on the range of the pixels."""
    if dtype == np.uint16:
        return "; pass (images >> 8).astype('uint8') for 16-bit pixels"
    if dtype == np.bool_:
        return "; pass images.astype('uint8') * 255"
    if np.issubdtype(dtype, np.floating):
        return "; pass (images * 255).round().astype('uint8') where they lie in [0, 1]"
    if np.issubdtype(dtype, np.integer):
        return "; pass images.astype('uint8') where they lie in [0, 255]"
    return ""


def positions_sha256(positions: NDArray[np.int64]) -> str:
    """Return the SHA-256 of ``positions`` as little-endian int64, which identifies a subset."""
    return hashlib.sha256(np.ascontiguousarray(positions, dtype="<i8").data).hexdigest()


def _fingerprint(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data)
    digest.update(images.reshape(-1).data)
    return digest.hexdigest()
