"""The data sets ``imagenet-lt``, ``places-lt`` and ``inaturalist-2018`` of a run: published lists of image files."""

from os import PathLike

from lt_fast.data import FileSource
from lt_fast.data.decoders import checked_decoder
from lt_fast.datasets import ImageFiles, Published, large_scale


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


def places_lt(root: str | PathLike[str], *, decoder: str = "pillow") -> tuple[FileSource, ...]:
    """Return the training, test and validation set of Places-LT; see ``lt_fast.datasets.places_lt``.

    Arguments and errors as ``imagenet_lt``.
    """
    checked_decoder(decoder)
    return _sources("places-lt", large_scale.places_lt(root), decoder)


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
