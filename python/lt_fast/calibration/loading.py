"""Load a saved calibrator whose class the folder names."""

import os
from typing import Any

from lt_fast.calibration import storage
from lt_fast.errors import DataError
from lt_fast.registry import CALIBRATORS


def load_calibrator(folder: str | os.PathLike[str]) -> Any:
    """Load what any calibrator has saved: ``CALIBRATORS[method].load(folder)`` with the method that the folder names.

    Only registered calibrators are loaded; the files hold numbers and settings, and no code.

    Args:
        folder: with ``calibrator.json`` and ``calibrator.safetensors``.

    Returns:
        The calibrator.

    Raises:
        DataError: if a file is missing or damaged, or names no registered calibrator; names the file.
        MissingExtraError: if safetensors is not installed.

    >>> from lt_fast.calibration import LogitAdjustment
    >>> LogitAdjustment([90, 10], tau=0.5).fit().save("adjustment")
    >>> load_calibrator("adjustment")
    LogitAdjustment(num_classes=2, fitted)
    """
    method = storage.method_of(folder)
    if method not in CALIBRATORS:
        known = ", ".join(CALIBRATORS)
        raise DataError(f"{folder} must hold a calibrator that is registered, one of {known}, got {method!r}")
    return CALIBRATORS[method].load(folder)
