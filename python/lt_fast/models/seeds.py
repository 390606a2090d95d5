"""A local generator from a seed: weights never come from the global one."""

import numpy as np
import torch

_SEEDS = 2**64


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator that depends on all 64 bits of ``seed``.

    Raises:
        TypeError: if ``seed`` is not an integer.
        ValueError: if it lies outside [0, 2^64).
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"seed must be in [0, 2^64), got {seed}")
    # torch's CPU generator keeps the low 32 bits of its seed; the hash lets all 64 bits count.
    hashed = np.random.SeedSequence(int(seed)).generate_state(1, np.uint32)
    return torch.Generator(device="cpu").manual_seed(int(hashed[0]))
