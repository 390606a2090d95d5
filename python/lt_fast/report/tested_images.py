"""The test images of a run, opened one by one where they are still there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lt_fast.datasets import ImageSet
from lt_fast.datasets.image_files import read_image
from lt_fast.errors import DataError, MissingExtraError, UsageError
from lt_fast.experiment.build import load_data, takes_root
from lt_fast.experiment.protocol import other_images
from lt_fast.experiment.stored import stored_config
from lt_fast.report.finished_run import FinishedRun


def opener_of(run: FinishedRun, root: str | Path | None) -> tuple[Callable[[int], Any] | None, str | None]:
    """Return a function from the position of a test image to its pixels, or None and the reason.

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
    config = stored_config(run.folder)
    if root is not None and not takes_root(config["data"]):
        raise UsageError(f"--root is for data sets of files, got {config['data']}; leave it out")
    data = load_data(config, root=root)
    other = other_images(run.folder, data)
    if other is not None:
        step = "; name the folder of the run's images with --root" if takes_root(config["data"]) else ""
        raise DataError(f"the images of {run.folder} are other ones now: {other}{step}")
    test = data.test
    if isinstance(test, ImageSet):
        return lambda row: test.images[row]
    return lambda row: read_image(test.root / test.paths[row])
