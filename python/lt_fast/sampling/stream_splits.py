"""Which part of a stream this worker process of this rank reads."""

import sys
from typing import Any, Literal, NamedTuple, TypeAlias

from lt_fast import _checks

Split: TypeAlias = Literal["source", "round_robin"]


class Part(NamedTuple):
    """Stream ``number`` of ``parts``: one for each worker of each rank."""

    number: int
    parts: int


def part_of(rank: int, world_size: int) -> Part:
    """Return the part of the worker that calls it; a rank without workers is one."""
    worker, workers = _worker()
    return Part(rank * workers + worker, world_size * workers)


def samples_of(part: Part, total: int, world_size: int) -> int:
    """Return how many of ``total`` samples of an epoch a part gives: the same on every rank, dropping the remainder."""
    of_rank, workers = total // world_size, part.parts // world_size
    return of_rank // workers + (part.number % workers < of_rank % workers)


def _worker() -> tuple[int, int]:
    data: Any = sys.modules.get("torch.utils.data")  # a worker process has loaded it
    info = None if data is None else data.get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def checked_shard(rank: Any, world_size: Any) -> tuple[int, int]:
    """Return rank and world size.

    Raises:
        TypeError: if one is not an integer.
        ValueError: if ``rank`` is not in [0, world_size).
    """
    world_size = _checks.integer("world_size", world_size, least=1)
    rank = _checks.integer("rank", rank)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in [0, {world_size}), got {rank}")
    return rank, world_size
