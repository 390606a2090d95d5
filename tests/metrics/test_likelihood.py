"""Negative log-likelihood against torch in float64, also where a probability underflows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from lt_fast import metrics


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_equals_torch_in_float64(scale):
    generator = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(41, 7, generator=generator)
    labels = torch.randint(0, 7, (41,), generator=generator)
    expected = F.cross_entropy(logits.double(), labels).item()
    assert metrics.negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_stays_finite_where_the_probability_is_zero():
    assert metrics.negative_log_likelihood(np.array([[0.0, -2000.0]]), [1]) == pytest.approx(2000.0)


def test_equals_the_softmax_of_the_reference():
    rows = [[0.1, -0.4, 2.0], [1.0, 1.0, 1.0]]
    expected = -sum(np.log(reference.softmax(row)[y]) for row, y in zip(rows, [0, 2], strict=True)) / 2
    assert metrics.negative_log_likelihood(np.array(rows), [0, 2]) == pytest.approx(expected)
