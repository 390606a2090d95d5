"""Four processes over gloo decode together what one decodes, also where they do not divide a batch."""

import socket
from pathlib import Path

from forked import Forked

SCRIPT = Path(__file__).with_name("file_rank.py")


def test_four_ranks_have_the_batches_of_one(files):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "4"}
    ranks = [Forked([SCRIPT, files.root], environment={**place, "RANK": str(rank)}) for rank in range(4)]
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 4, [error for _, error in said]
    assert [out for out, _ in said] == [f"rank {rank} of 4: the same batches\n" for rank in range(4)]
