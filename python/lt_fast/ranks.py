"""The processes of one training, and the few things that they have to agree on."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lt_fast.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

_SEVERAL = re.compile(r"[+]?0*(?:[2-9]|[1-9][0-9]+)")
_MEETING_PLACE = ("MASTER_ADDR", "MASTER_PORT")


class Ranks(NamedTuple):
    """This process among the processes of a training; a training of one process is ``Ranks(0, 1)``.

    Every method is collective: all ranks call it, in the same order. With one rank each returns at once.

    Attributes:
        rank: number of this process, in [0, world_size).
        world_size: number of processes.

    >>> ranks = Ranks.from_environment({})  # no torchrun
    >>> ranks, ranks.is_main, ranks.any(False, True), ranks.broadcast("mine")
    (Ranks(rank=0, world_size=1), True, (False, True), 'mine')
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Ranks":
        """Return what the environment variables of ``torchrun`` say; without them, one rank.

        Raises:
            UsageError: if only a part of the variables is set, or they are not integers with ``RANK < WORLD_SIZE``.
        """
        values = os.environ if environment is None else environment
        if "RANK" not in values and not _SEVERAL.fullmatch(values.get("WORLD_SIZE", "").strip()):
            return cls()
        found = ranks_in(values)
        missing = [name for name in _MEETING_PLACE if name not in values]
        if missing and found.world_size > 1:
            raise UsageError(
                f"environment variable {missing[0]} must be set where WORLD_SIZE is {found.world_size}; start the "
                "ranks with torchrun --nproc-per-node N -m lt_fast.cli train ..., or unset RANK and WORLD_SIZE"
            )
        return found

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes files and reports."""
        return self.rank == 0

    def sum(self, tensor: "Tensor") -> "Tensor":
        """Return the sum of ``tensor`` over the ranks: exact for integers; the same bits on every rank."""
        if self.world_size == 1:
            return tensor
        from torch import distributed  # noqa: PLC0415  (most processes are alone)

        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set on any rank."""
        if self.world_size == 1:
            return flags
        import torch  # noqa: PLC0415

        return tuple(bool(count) for count in self.sum(torch.tensor(flags, dtype=torch.int64)).tolist())

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank; small Python objects."""
        if self.world_size == 1:
            return [value]
        from torch import distributed  # noqa: PLC0415

        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def gather_rows(self, tensor: "Tensor", sizes: Sequence[int]) -> "Tensor":
        """Return the rows of all ranks, by rank: ``sizes[rank]`` rows of the ``tensor`` of each."""
        if self.world_size == 1:
            return tensor
        import torch  # noqa: PLC0415

        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: sizes[self.rank]] = tensor[: sizes[self.rank]]
        parts = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        if self.world_size == 1:
            return value
        from torch import distributed  # noqa: PLC0415

        values = [value if self.is_main else None]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def share_buffers(self, module: "nn.Module") -> None:
        """Give every rank the buffers of rank 0, such as running statistics, which each rank has from its own rows."""
        if self.world_size == 1:
            return
        from torch import distributed  # noqa: PLC0415

        for buffer in module.buffers():
            distributed.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather(None)


def ranks_in(environment: Mapping[str, str]) -> Ranks:
    """Return what ``RANK`` and ``WORLD_SIZE`` say.

    Raises:
        UsageError: if one is missing, not an integer or out of range.

    >>> ranks_in({"RANK": "1", "WORLD_SIZE": "4"})
    Ranks(rank=1, world_size=4)
    """
    rank, world_size = (_integer(name, environment.get(name)) for name in ("RANK", "WORLD_SIZE"))
    if rank >= world_size:
        raise UsageError(
            f"environment variable RANK must lie in [0, WORLD_SIZE), got RANK={rank} and WORLD_SIZE={world_size}; "
            "start with torchrun, which sets both"
        )
    return Ranks(rank, world_size)


def _integer(name: str, value: str | None) -> int:
    from lt_fast._numbers import integer_option  # noqa: PLC0415  (NumPy loads after the signal handlers are set)

    return integer_option(f"environment variable {name}", value, most=(1 << 31) - 1, hint="; start with torchrun")
