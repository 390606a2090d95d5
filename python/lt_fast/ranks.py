"""The processes of one training: which one this is, how many there are, and what they tell each other."""

import os
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch import distributed as dist


class Ranks(NamedTuple):
    """This process among the processes of a training.

    One process is ``Ranks(0, 1)``, and every exchange then returns its argument.

    Attributes:
        rank: number of this process, in [0, world_size).
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Return what ``torchrun`` says in ``RANK`` and ``WORLD_SIZE``, else one process.

        Raises:
            ValueError: if only one of the two is set, or one is not an integer.
        """
        given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
        if all(value is None for value in given.values()):
            return cls()
        for name, value in given.items():
            if value is None or not (value.isascii() and value.isdigit()):
                raise ValueError(f"environment variable {name} must be an integer, got {value!r}; start with torchrun")
        return cls(int(given["RANK"] or 0), int(given["WORLD_SIZE"] or 1))

    @property
    def is_main(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of ``tensor`` over all processes."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool, device: torch.device | str = "cpu") -> bool:
        """Return whether ``flag`` is true in any process: all decide the same."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(torch.tensor(int(flag), device=device)).item())

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()
