"""The data sets ``imagenet-lt``, ``places-lt`` and ``inaturalist-2018`` of a run: published lists of image files.

Each has ``training_images``, the length of its published list: lengths in steps follow from it before anything is read.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any, TypeVar

from lt_fast.data import FileSource
from lt_fast.data.decoders import checked_decoder
from lt_fast.datasets import ImageFiles, Published, large_scale

Factory = TypeVar("Factory", bound=Callable[..., Any])


def _of_length(training_images: int) -> Callable[[Factory], Factory]:
    def add(factory: Factory) -> Factory:
        factory.training_images = training_images  # type: ignore[attr-defined]
        return factory

    return add


@_of_length(large_scale.TRAINING_IMAGES["imagenet-lt"])
def imagenet_lt(root: str | PathLike[str], *, decoder: str = "pillow") -> tuple[FileSource, ...]:
    """Return the training, test and validation set of ImageNet-LT; see ``lt_fast.datasets.imagenet_lt``.

    Args:
        root: folder of its images and lists.
        decoder: ``"pillow"`` or ``"torchvision"``; see ``FileSource``.

    Raises:
        DataError: if a list or an image is missing.
        ValueError: if the decoder is another one.
    """
    checked_decoder(decoder)
    return _sources("imagenet-lt", large_scale.imagenet_lt(root), decoder)


@_of_length(large_scale.TRAINING_IMAGES["places-lt"])
def places_lt(root: str | PathLike[str], *, decoder: str = "pillow") -> tuple[FileSource, ...]:
    """Return the training, test and validation set of Places-LT; see ``lt_fast.datasets.places_lt``.

    Arguments and errors as ``imagenet_lt``.
    """
    checked_decoder(decoder)
    return _sources("places-lt", large_scale.places_lt(root), decoder)


@_of_length(large_scale.TRAINING_IMAGES["inaturalist-2018"])
def inaturalist_2018(root: str | PathLike[str], *, decoder: str = "pillow") -> tuple[FileSource, ...]:
    """Return the training and test set of iNaturalist 2018; see ``lt_fast.datasets.inaturalist_2018``.

    Arguments and errors as ``imagenet_lt``.
    """
    checked_decoder(decoder)
    return _sources("inaturalist-2018", large_scale.inaturalist_2018(root), decoder)


def _sources(name: str, published: Published, decoder: str) -> tuple[FileSource, ...]:
    """Return training, test and, where there is one, validation set as sources that know what they are."""
    return tuple(
        _source(name, split, files, decoder) for split, files in published._asdict().items() if files is not None
    )


def _source(name: str, split: str, files: ImageFiles, decoder: str) -> FileSource:
    source = FileSource.of(files, decoder=decoder)
    source.protocol = {"name": name, "split": split, "list": files.fingerprint}
    return source
