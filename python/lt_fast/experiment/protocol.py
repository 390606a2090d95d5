"""What comparable runs share, written to ``protocol.json`` and compared when a run is read again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_fast.experiment.build import Data
from lt_fast.experiment.config import groups_of, sources_of
from lt_fast.experiment.stored import START
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.versions import versions

PROTOCOL = "protocol.json"

SELECTION, AS_GIVEN = "last epoch", "as given"
"""Which weights are measured: never the best on the test set; of a network that was trained elsewhere, its own."""

# Every checkpoint records these itself, as they were when it was written.
COMPARED_BY_CHECKPOINTS = tuple(
    f"versions.{name}" for name in ("torch", "torch cuda", "gpu", "threads", "op backend", "op instruction set")
)


def protocol_of(config: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """Return what a comparable run must share, data, subset hash, groups and selection rule, and every source."""
    many, few = groups_of(config)
    return {
        "data": data_summary(data),
        "groups": {"many": f"> {many} training images", "medium": f"{few} to {many}", "few": f"< {few}"},
        "selection": selection_of(config),
        "augmentation": {"transform": config["transform"], "mixer": config["mixer"]},
        "sources": sources_of(config),
        "versions": versions(),
    } | ({START: config[START]} if START in config else {})


def selection_of(config: Mapping[str, Any]) -> str:
    """Return which weights of the run by ``config`` are measured."""
    return SELECTION if config["epochs"] else AS_GIVEN


def data_summary(data: Data) -> dict[str, Any]:
    """Return sizes, fingerprints and the construction of the training subset."""
    return {
        "train_images": len(data.train),
        "test_images": len(data.test),
        "class_counts": data.train.class_counts.counts.tolist(),
        "class_names": list(data.train.classes),
        "train_fingerprint": data.train.fingerprint,
        "test_fingerprint": data.test.fingerprint,
        "construction": getattr(data.train, "protocol", {}),
    } | ({} if data.validation is None else {"validation_images": len(data.validation)})


def other_images(folder: Path, data: Data) -> str | None:
    """Say which images of ``data`` are not those that the protocol of the run in ``folder`` records, or None.

    Raises:
        DataError: if ``protocol.json`` is missing or damaged.
    """
    rules = {"data": OBJECT, "data.train_fingerprint": TEXT, "data.test_fingerprint": TEXT}
    recorded = read_json(folder / PROTOCOL, rules)["data"]
    for name, images in (("train", data.train), ("test", data.test)):
        theirs = recorded[f"{name}_fingerprint"]
        if theirs != images.fingerprint:
            return f"the {name} images there have the fingerprint {theirs!r}, these have {images.fingerprint!r}"
    return None
