"""A pass over images that is left in the middle changes nothing for what comes after it."""

import torch

from lt_fast import experiment
from lt_fast.experiment.build import build, load_data, source_of
from lt_fast.experiment.results import scored_batches


def test_a_pass_that_is_left_changes_no_setting_of_torch():
    config = experiment.resolve("ce", "digits-lt")
    data = load_data(config)
    parts = build(config, data)
    found = scored_batches(config, parts.method, parts.data.plain_loader(source_of(data.test)), device="cpu")
    _, logits, _ = next(found)
    assert not logits.requires_grad
    assert torch.is_grad_enabled()  # between two batches, too
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with torch.no_grad():
            del found  # as the collector of garbage does it, whatever runs then
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_grad_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
