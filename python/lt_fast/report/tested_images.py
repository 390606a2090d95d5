"""The images that a run was measured on, opened one by one where they are still there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lt_fast.datasets import ImageSet
from lt_fast.datasets.image_files import image_and_remarks
from lt_fast.errors import DataError, MissingExtraError, UsageError
from lt_fast.experiment.build import Data, load_data, takes
from lt_fast.experiment.config import DATA_OPTIONS
from lt_fast.experiment.photographs import home_of
from lt_fast.experiment.protocol import other_images
from lt_fast.experiment.stored import stored_config
from lt_fast.report.finished_run import FinishedRun
from lt_fast.report.thumbnails import SIDE


def opener_of(run: FinishedRun, root: str | Path | None) -> tuple[Callable[[int], Any] | None, str | None]:
    """Return a function from the position of an image among ``run.judged`` to its pixels, or None and the reason.

    Args:
        run: the run.
        root: folder of the data set's files.

    Raises:
        UsageError: if ``root`` is given for a data set without files.
        DataError: if ``root`` is given, and the images there are not those of the run.
    """
    try:
        return _opener_of(run, None if root is None else Path(root)), None
    except (UsageError, DataError, MissingExtraError) as error:
        if root is not None:
            raise
        return None, str(error)


def _opener_of(run: FinishedRun, root: Path | None) -> Callable[[int], Any]:
    if run.test_images:  # whatever else the run needs, such as a network of the user's own, is not asked for
        return _photograph_opener(run, _home(run, root))
    config = stored_config(run.folder)
    if root is not None and not takes(config["data"], "root"):
        raise UsageError(f"--root is for data sets of files, got {config['data']}; leave it out")
    data = load_data(config, root=root)
    other = other_images(run.folder, data)
    if other is not None:
        step = "; name the folder of the run's images with --root" if takes(config["data"], "root") else ""
        raise DataError(f"the images of {run.folder} are other ones now: {other}{step}")
    return lambda row: _pixels(data, row)


def _pixels(data: Data, row: int) -> Any:
    """Return an image of the test set, or of the validation set, whose rows follow."""
    images, at = (data.test, row) if row < len(data.test) else (data.validation, row - len(data.test))
    if images is None or at >= len(images):
        raise DataError(f"the data set has no validation image {at} any more")
    if isinstance(images, ImageSet):
        return images.images[at]
    return _thumbnail(images.root / images.paths[at])


def _photograph_opener(run: FinishedRun, home: Path) -> Callable[[int], Any]:
    if not home.is_dir():
        raise DataError(
            f"{home} is missing, where the photographs of {run.folder} were; name their folder now with --root"
        )
    rows = run.judged_images
    return lambda row: _thumbnail(home / rows[row].path)


def _thumbnail(file: Path) -> Any:
    """Return an image without what there is to remark: the training has said it."""
    image, _ = image_and_remarks(file, shorter_side=SIDE)
    return image


def _home(run: FinishedRun, root: Path | None) -> Path:
    options = run.config.get(DATA_OPTIONS, {})
    return home_of(options.get("path", ""), options.get("root") if root is None else root)
