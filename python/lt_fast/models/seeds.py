"""A local random generator from a seed, for weights."""

import numpy as np
import torch

from lt_fast import _checks


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator that depends on all 64 bits of ``seed``.

    Raises:
        TypeError: if ``seed`` is not an integer.
        ValueError: if it is outside [0, 2^64).
    """
    # torch's CPU generator keeps the low 32 bits of its seed; the hash lets all 64 bits count.
    hashed = np.random.SeedSequence(_checks.seed(seed)).generate_state(1, np.uint32)
    return torch.Generator(device="cpu").manual_seed(int(hashed[0]))
