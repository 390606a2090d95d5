"""Pair batches: the mixtures of the pairs that were asked for, each image with its own crop, resumed to the bit."""

import numpy as np
import pytest
import torch

import reference
from lt_fast import _rust
from lt_fast.datasets import ImageBatches, PairBatches
from lt_fast.sampling import ConfusionPairBatchSampler

LOOK = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
LABELS = np.repeat(np.arange(3), [20, 8, 4])


def pixels():
    return np.random.default_rng(0).integers(256, size=(32, 6, 5, 3), dtype=np.uint8)


def factor(epoch, step, pairs):
    return np.linspace(0, 1, pairs, dtype=np.float32) * (1 + epoch + step) % 1


def build(sampler=None, **options):
    sampler = ConfusionPairBatchSampler(LABELS, np.ones((3, 3)), pairs_per_batch=5) if sampler is None else sampler
    return PairBatches(pixels(), LABELS, sampler, **{"lam": factor, "crop_padding": 2, "seed": 9, **LOOK, **options})


def test_pairs_are_mixed_as_the_reference_says():
    rows = [np.array([[3, 20], [0, 31], [7, 7]]), np.array([[30, 1]])]
    for step, (x, y_a, y_b, lam) in enumerate(build(rows)):
        flat = rows[step].ravel()
        # Positions count images, and every batch is as long as the longest.
        places = _rust.placements(9, 0, step * 6, len(flat), 2, True)
        shares = np.repeat(factor(0, step, len(rows[step])), 2)
        wanted = reference.image_batch(
            pixels(), flat, places, LOOK["mean"], LOOK["std"], np.arange(len(flat)) ^ 1, shares
        )[0::2]
        torch.testing.assert_close(x.double(), torch.as_tensor(wanted).double(), rtol=1e-5, atol=1e-5)
        assert y_a.tolist() == LABELS[rows[step][:, 0]].tolist()
        assert y_b.tolist() == LABELS[rows[step][:, 1]].tolist()
        assert lam.tolist() == factor(0, step, len(rows[step])).tolist()


def test_both_forms_of_a_sampler_s_batches():
    def made(output):
        return build(ConfusionPairBatchSampler(LABELS, np.ones((3, 3)), pairs_per_batch=5, output=output))

    for one, two in zip(made("list"), made("numpy"), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert [x.shape for x, *_ in made("list")] == [(5, 3, 6, 5)] * 3


def test_factors_zero_and_one_leave_one_image():
    rows = [np.array([[3, 20], [5, 31]])]
    plain = next(iter(ImageBatches(pixels(), LABELS, [[3, 20, 5, 31]], crop_padding=2, seed=9, **LOOK)))[0]
    for lam, chosen in ((1.0, plain[0::2]), (0.0, plain[1::2])):
        x, *_ = next(iter(build(rows, lam=lambda *_, lam=lam: lam)))
        torch.testing.assert_close(x, chosen, rtol=1e-6, atol=1e-6)


def test_resume_goes_on_with_the_same_bits():
    whole = list(build())
    for cut in range(4):
        stopped, resumed = build(), build()
        going = iter(stopped)
        seen = [next(going) for _ in range(cut)]
        resumed.load_state_dict(stopped.state_dict())
        for one, two in zip(whole, seen + list(resumed), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"sampler": [np.array([1, 2, 3])]},
            ValueError,
            r"pair_sampler must give rows \(i, j\), got 3 indices: half a",
        ),
        ({"sampler": [np.array([[1, 40]])]}, IndexError, r"must give indices in \[0, 32\), got 40 at place 1"),
        ({"lam": lambda *_: [0.5]}, ValueError, r"lam must give one value a pair, \(5,\), got shape \(1,\)"),
        ({"lam": lambda *_: 1.5}, ValueError, r"lam must lie in \[0, 1\]"),
    ],
)
def test_refused(options, error, text):
    with pytest.raises(error, match=text):
        next(iter(build(**options)))
