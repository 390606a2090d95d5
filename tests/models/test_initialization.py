"""A builder that forgets no weight and takes only seeds."""

import pytest
import torch

from lt_fast import models
from lt_fast.models.initialization import build


def test_a_module_without_a_rule_is_refused():
    with pytest.raises(TypeError, match="LayerNorm has weights that no rule fills; give it a method fill"):
        build(lambda: torch.nn.Sequential(torch.nn.LayerNorm(3)), seed=0)


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (-1, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        (2**64, ValueError, r"seed must lie in \[0, 2\*\*64\), got 18446744073709551616"),
        (1.5, TypeError, r"seed must be an integer, got 1.5"),
        (None, TypeError, r"seed must be an integer, got None"),
        (True, TypeError, r"seed must be an integer, got True"),
    ],
)
def test_bad_seeds_are_named(seed, kind, message):
    with pytest.raises(kind, match=message):
        models.digits_net(3, seed=seed)


def test_all_64_bits_of_a_seed_count():
    first, second = (models.digits_net(3, seed=seed).trunk[0].weight for seed in (5, 5 + 2**32))
    assert not torch.equal(first, second)
    assert models.digits_net(3, seed=2**64 - 1).num_classes == 3


def test_the_documented_size_of_the_digits_net():
    assert sum(p.numel() for p in models.digits_net(10).parameters()) == 65_834
