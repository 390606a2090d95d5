"""The rank of this process, from torch.distributed or the environment."""

import os
import sys
from collections.abc import Mapping

from lt_fast.ranks import ranks_in

_LAUNCHERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)
"""Variables of launchers that set neither RANK nor WORLD_SIZE: named in the message; their step may have one task."""


def rank_and_world_size() -> tuple[int, int]:
    """Return rank and world size of the process group, else those of ``RANK`` and ``WORLD_SIZE``.

    ``WORLD_SIZE=1`` alone is rank 0 of 1, unless a launcher says that there are several tasks.

    Raises:
        ValueError: if neither says who this process is, a launcher contradicts ``WORLD_SIZE=1``, or a variable is
            missing, not an integer or out of its range.
    """
    group = _of_group()
    return _of_environment(os.environ) if group is None else group


def refuse_other_group(rank: int, world_size: int) -> None:
    """Raise if a sampler was sharded as ``rank`` of ``world_size`` and the process group has other values.

    Raises:
        ValueError: naming both.
    """
    group = _of_group()
    if group is not None and group != (rank, world_size):
        raise ValueError(
            f"this sampler must be of this process's rank: distributed() made it rank {rank} of {world_size}, the "
            f"process group says rank {group[0]} of {group[1]}; call .distributed() on each rank, after "
            "torch.distributed.init_process_group"
        )


def _of_group() -> tuple[int, int] | None:
    distributed = sys.modules.get("torch.distributed")  # a group that exists was made by it
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return None


def _of_environment(environment: Mapping[str, str]) -> tuple[int, int]:
    values = {name: environment.get(name) for name in ("RANK", "WORLD_SIZE")}
    if all(value is None for value in values.values()):
        raise ValueError(_nobody_says(environment))
    if values["RANK"] is None and (values["WORLD_SIZE"] or "").strip() == "1":
        _refuse_other_launcher(environment)
        return 0, 1
    return ranks_in(environment)


def _refuse_other_launcher(environment: Mapping[str, str]) -> None:
    """Raise if ``WORLD_SIZE=1`` is set without ``RANK`` and a launcher has started several tasks."""
    for rank, size in _LAUNCHERS:
        tasks = environment.get(size, "").strip()
        if rank in environment and tasks.isascii() and tasks.isdecimal() and int(tasks) > 1:
            raise ValueError(
                f"environment variable WORLD_SIZE must agree with {size}, got WORLD_SIZE=1 without RANK, and "
                f"{rank}={environment[rank]} and {size}={tasks}; pass .shard(int(os.environ[{rank!r}]), "
                f"int(os.environ[{size!r}])), or .shard(0, 1) if each task has its own training"
            )


def _nobody_says(environment: Mapping[str, str]) -> str:
    found = "neither is there"
    for rank, size in _LAUNCHERS:
        if rank in environment:
            found = (
                f"only {rank}={environment[rank]} is set: .shard(int(os.environ[{rank!r}]), int(os.environ[{size!r}]))"
            )
            break
    else:
        if "LOCAL_RANK" in environment:
            found = f"only LOCAL_RANK={environment['LOCAL_RANK']} is set, which does not say how many nodes there are"
    return (
        "distributed() must be called after torch.distributed.init_process_group, or with RANK and WORLD_SIZE set as "
        f"torchrun does; {found}. Pass them yourself with .shard(rank, world_size); a single process needs no "
        ".distributed(), or .shard(0, 1)"
    )
