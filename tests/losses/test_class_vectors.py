"""Vectors that follow a module to its device and never lose a digit to its dtype."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lt_fast.losses import LDAMLoss, ldam_margins
from lt_fast.losses.class_vectors import ClassVectors

CLOSE = np.array([0.4995, 0.5, 1 / 3])


def vectors():
    return ClassVectors(margin=CLOSE, prior=np.array([0.5, 0.25, 0.25]))


def test_float64_logits_get_the_exact_values_and_all_others_float32():
    made = vectors()
    exact = made.for_logits(torch.zeros(1, 3, dtype=torch.float64))
    np.testing.assert_array_equal(exact["margin"], CLOSE)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        single = made.for_logits(torch.zeros(1, 3, dtype=dtype))
        assert single["margin"].dtype == torch.float32
        np.testing.assert_array_equal(single["margin"], CLOSE.astype(np.float32))
    assert set(exact) == {"margin", "prior"}


@pytest.mark.parametrize(
    "convert",
    [
        nn.Module.bfloat16,
        nn.Module.half,
        nn.Module.double,
        lambda module: module.to(torch.float16),
        lambda module: module.bfloat16().float(),
        lambda module: module.to("meta").to_empty(device="cpu"),
        copy.deepcopy,
        lambda module: pickle.loads(pickle.dumps(module)),
    ],
)
def test_no_conversion_of_the_module_rounds_them(convert):
    made = convert(nn.Sequential(vectors()))[0]
    assert made.margin.dtype == torch.float32
    np.testing.assert_array_equal(made.margin, CLOSE.astype(np.float32))
    np.testing.assert_array_equal(made.for_logits(torch.zeros(1, 3, dtype=torch.float64))["margin"], CLOSE)


def test_they_follow_the_module_to_its_device():
    assert vectors().to("meta").margin.device.type == "meta"
    assert LDAMLoss([5, 1]).to("meta").vectors.rows.device.type == "meta"


def test_they_are_no_part_of_a_checkpoint():
    assert vectors().state_dict() == {}
    model = nn.Sequential(nn.Linear(2, 2), LDAMLoss([5, 1]))
    nn.Sequential(nn.Linear(2, 2), LDAMLoss([50, 2, 1])).load_state_dict(model.state_dict())


def test_a_half_module_trains_the_same_loss():
    # 0.4995 and 0.5 are one number in bfloat16.
    counts = [10_040, 10_000, 20_000]
    assert len(set(ldam_margins(counts)[:2].astype(np.float32))) == 2
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    plain, converted = LDAMLoss(counts, reduction="none"), LDAMLoss(counts, reduction="none").bfloat16()
    assert torch.equal(plain(logits, target), converted(logits, target))
    assert plain(logits, target)[0] != plain(logits, target)[1]
