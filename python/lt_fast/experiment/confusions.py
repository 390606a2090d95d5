"""What a run learned of its confusions: all counts as a file, the most frequent pairs in the result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt_fast.errors import require
from lt_fast.sampling import ConfusionCounts
from lt_fast.training.durable import replace_file
from lt_fast.training.run_files import CONFUSIONS

MOST_PAIRS = 20


def summary_of(confusion: ConfusionCounts, names: Sequence[str]) -> dict[str, Any]:
    """Return the number of predictions and of errors, and the most frequent pairs, plain values.

    Each pair has ``true`` and ``predicted``, names of the classes, ``count``, and ``share`` of the errors on images of
    the true class, which is what CP-Mix draws by.
    """
    target, predicted, counts = confusion.entries()
    wrong = target != predicted
    target, predicted, counts = target[wrong], predicted[wrong], counts[wrong]
    errors = np.bincount(target, weights=counts, minlength=confusion.num_classes)
    order = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    pairs = [
        {
            "true": names[target[at]],
            "predicted": names[predicted[at]],
            "count": int(counts[at]),
            "share": float(counts[at] / errors[target[at]]),
        }
        for at in order
    ]
    return {"predictions": confusion.total, "errors": int(counts.sum()), "most_frequent": pairs}


def save(confusion: ConfusionCounts, folder: Path) -> None:
    """Write ``entries``, (cells, 3) int64 rows of target, predicted, count, aside and renamed.

    Raises:
        DataError: if the folder cannot be written.
    """
    safetensors = require("safetensors.torch", extra="train", purpose="saving confusion counts")
    replace_file(folder / CONFUSIONS, safetensors.save({"entries": confusion.state_dict()["entries"]}))
