"""One of several ranks for ``test_file_ranks.py``: hold its rows of every batch against those of one process."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the folder that pytest puts on the path

from data.conftest import LABELS, file_transform
from lt_fast.data import FileSource, Loader
from lt_fast.mixing import CutMix
from lt_fast.ranks import Ranks
from lt_fast.sampling import ClassBalancedBatchSampler
from lt_fast.training import process_group

BATCH = 10  # rows of a batch, which 4 ranks do not divide


def loader(folder, ranks):
    source = FileSource([f"{at}.png" for at in range(len(LABELS))], LABELS, root=folder, decoder="torchvision")
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=BATCH, drop_last=False, seed=1)
    return Loader(source, sampler, transform=file_transform(), mixer=CutMix(8), views=2, seed=3, ranks=ranks)


def main(folder):
    ranks = Ranks.from_environment()
    with process_group(ranks):
        for batch, whole in zip(loader(folder, ranks), loader(folder, Ranks()), strict=True):
            parts = [part for part in ranks.gather((batch.weight, batch.views, batch.target, batch.lam)) if part[0]]
            for view in range(2):
                assert torch.equal(torch.cat([part[1][view] for part in parts]), whole.views[view])
            assert torch.equal(torch.cat([part[2] for part in parts]), whole.target)
            assert torch.equal(torch.cat([part[3] for part in parts]), whole.lam)
            assert len(parts) == min(ranks.world_size, len(whole.target))
        sys.stdout.write(f"rank {ranks.rank} of {ranks.world_size}: the same batches\n")


if __name__ == "__main__":
    main(sys.argv[1])
