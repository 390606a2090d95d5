"""What an error of a training says where the last batch of an epoch is too small for batch norm."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lt_fast.counts import ClassCounts
from lt_fast.errors import UsageError

_FEW = 8
_OF_TORCH = "Expected more than 1 value per channel when training"
_STEPS = "leave it out with --set drop_last=true, or give another --set batch_size"


@contextmanager
def last_batch_named(config: Mapping[str, Any], counts: ClassCounts) -> Iterator[None]:
    """Name the last batch of an epoch in errors that it is the likely reason of.

    Batch norm over feature maps of one pixel has as many values per channel as a batch has images. One value has no
    variance, and torch refuses it. Of two, both become 1 or -1 whatever they are, and the gradient is divided by their
    distance: with ResNet-18, images of 16 x 16 pixels and the loss of RIDE it is about 5e7 where the images differ, and
    infinite where they are equal. A batch of 18 has 250 there.

    Args:
        config: of the run.
        counts: of its training images.

    Raises:
        UsageError: in place of torch's ``ValueError`` for a batch of one image.
        FloatingPointError: as it was, with a sentence about a last batch of fewer than 8 images.
    """
    rows = _rows_of_last(config, counts.total)
    try:
        yield
    except ValueError as error:
        if rows != 1 or _OF_TORCH not in str(error):
            raise
        raise UsageError(
            f"batch_size must leave more than 1 image for the last batch of an epoch, got {config['batch_size']} with "
            f"{counts.total} training images: batch norm has one value per channel there; {_STEPS}"
        ) from error
    except FloatingPointError as error:
        if rows >= _FEW:
            raise
        several = f"image{'s' * (rows != 1)}"
        raise FloatingPointError(
            f"{error}. The last batch of an epoch has {rows} {several}: batch norm over few or equal values can "
            f"make gradients overflow; {_STEPS}"
        ) from error


def _rows_of_last(config: Mapping[str, Any], images: int) -> int:
    """Return the rows of the last batch of an epoch, a full one unless the sampler keeps a smaller one after it."""
    size: int = config["batch_size"]
    only_full = images <= size or config["sampler"].get("drop_last", True)
    return size if only_full else images % size or size
