"""Which of the processes of a training this is."""

from typing import NamedTuple


class Ranks(NamedTuple):
    """This process among the processes of a training; one process is ``Ranks(0, 1)``.

    Attributes:
        rank: number of this process, in [0, world_size).
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1
