"""What a training step of each recipe costs, as ``python -m benches.methods`` measured it: one CSV in the package."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lt_fast._files import MOST_JSON_BYTES, read_bytes
from lt_fast.errors import DataError

FILE = Path(__file__).with_name("costs.csv")
"""The table: a first line of shape and machine, then one row per recipe."""

BASE = "ce"
"""Recipe that the others are compared with."""


class Cost(NamedTuple):
    """The cost of one training step of a recipe.

    Attributes:
        stages: stages of the training that read other images, and a second stage on frozen features where it has one.
        step_ms: forward pass, loss, backward pass and optimizer, milliseconds.
        batch_ms: reading and augmenting the images of a step, milliseconds.
        memory_mib: the most that a step holds at once, MiB.
        images_per_row: images read per row of a batch: 2 where each is mixed with another one.
        relative_step: ``step_ms`` over that of ``BASE``; None where that was not measured.
        relative_memory: ``memory_mib`` over that of ``BASE``; None where that was not measured.
    """

    stages: int
    step_ms: float
    batch_ms: float
    memory_mib: float
    images_per_row: float
    relative_step: float | None = None
    relative_memory: float | None = None


class Costs(NamedTuple):
    """The costs that were measured together.

    Attributes:
        about: shapes and machine, one line; empty where nothing was measured.
        of: name of the recipe to its cost; a recipe that is not here was not measured.
    """

    about: str
    of: Mapping[str, Cost]


def measured_costs(file: Path = FILE) -> Costs:
    """Return the table in ``file``; an empty one where there is no file.

    Raises:
        DataError: if the file is damaged.
    """
    if not file.exists():
        return Costs("", {})
    # Where it points to: installers such as uv can link a package's files to their cache.
    first, _, table = read_bytes(file.resolve(), most=MOST_JSON_BYTES).decode("utf-8", "replace").partition("\n")
    try:
        found = {row["recipe"]: _cost(row) for row in csv.DictReader(io.StringIO(table, newline=""), strict=True)}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{file} is damaged: {error}; `python -m benches methods` writes it again") from error
    base = found.get(BASE)
    return Costs(
        first.removeprefix("# "), found if base is None else {name: _over(base, it) for name, it in found.items()}
    )


def _cost(row: Mapping[str, str]) -> Cost:
    step, batch, memory = (float(row[name]) for name in ("ms a step", "ms a batch", "MiB"))
    if min(step, memory) <= 0:
        raise ValueError(f"time and memory of {row['recipe']} must be > 0, got {step} and {memory}")
    return Cost(int(row["stages"]), step, batch, memory, float(row["images a row"]))


def _over(base: Cost, cost: Cost) -> Cost:
    return cost._replace(relative_step=cost.step_ms / base.step_ms, relative_memory=cost.memory_mib / base.memory_mib)
