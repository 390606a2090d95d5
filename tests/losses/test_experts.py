"""Losses of several experts: the authors' formulas, one criterion for all, and every refusal."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from lt_fast.losses import (
    ACELoss,
    BalancedSoftmaxLoss,
    CrossEntropyLoss,
    LDAMLoss,
    RIDELoss,
    SADELoss,
    class_temperatures,
    effective_number_weights,
    log_inverse_prior,
    nested_classes,
    sum_over_experts,
)

COUNTS = [500, 120, 40, 9, 1]
WEIGHT = [0.2, 0.5, 1.0, 1.4, 2.0]
MADE = {"ace": ACELoss, "ride": RIDELoss, "sade": SADELoss}
every = pytest.mark.parametrize("name", sorted(MADE))


def batch(rows=6, experts=3, classes=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    cosines = torch.rand((rows, experts, classes), generator=draw, dtype=torch.float64) * 2 - 1
    target, target_b = torch.randint(classes, (2, rows), generator=draw)
    return cosines, target, target_b, torch.rand(rows, generator=draw, dtype=torch.float64)


@every
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT, "normalization": "weights"}, {"reduction": "none"}])
def test_value_and_gradient_equal_the_reference(name, mixed, options):
    cosines, target, target_b, lam = batch()
    labels = (target, target_b, lam) if mixed else (target,)
    keywords = {"target_b": target_b, "lam": lam} if mixed else {}
    found, exact = (cosines.clone().requires_grad_() for _ in range(2))
    loss = MADE[name](COUNTS, **options)(found, *labels)
    expected = getattr(reference, f"{name}_loss")(exact, target, COUNTS, **keywords, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(found.grad, exact.grad, rtol=1e-8, atol=1e-9)


@every
def test_gradcheck_but_for_the_mean_that_is_held(name):
    cosines, target, target_b, lam = batch(rows=3)
    criterion = MADE[name](COUNTS, **({"diversity": 0.0} if name == "ride" else {}))
    assert torch.autograd.gradcheck(lambda z: criterion(z, target, target_b, lam), cosines.requires_grad_())


def authors_ride(logits, target, *, reweighted, diversity=0.45, factor=0.05):
    """The loss as the authors' lines compute it, on scaled logits, in plain and in re-weighted epochs."""
    counts = np.array(COUNTS)
    margins = 1 / np.sqrt(np.sqrt(counts))
    margins = torch.tensor(margins * (0.5 / margins.max()))
    weights = torch.tensor(effective_number_weights(COUNTS)) if reweighted else None
    share = len(counts) * counts / counts.sum() * factor + 1 - factor
    temperature = torch.tensor(share / share.max()) if reweighted else torch.ones(5, dtype=torch.float64)
    total, output = 0.0, logits.mean(1)
    for each in logits.unbind(1):
        moved = each - F.one_hot(target, 5) * margins * 30
        total = total + F.cross_entropy(moved, target, weight=weights)
        inner = F.log_softmax(each / temperature, dim=1)
        mean = F.softmax(output / temperature, dim=1).detach()
        total = total - diversity * temperature.mean() ** 2 * F.kl_div(inner, mean, reduction="batchmean")
    return total


@pytest.mark.parametrize("reweighted", [False, True])
def test_ride_is_the_authors_loss(reweighted):
    cosines, target, *_ = batch(seed=3)
    weight = {"weight": effective_number_weights(COUNTS)} if reweighted else {}
    loss = RIDELoss(COUNTS, normalization="weights", **weight)(cosines, target)
    torch.testing.assert_close(loss, authors_ride(30 * cosines, target, reweighted=reweighted), rtol=1e-9, atol=0)


def test_golden_numbers():
    """Of the LDAM loss of the page of formulas, for three equal experts, which are at no distance of each other."""
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    rows = torch.tensor(
        [[x, -0.1, 0.05, 0.3, -0.25, 0, 0.15, -0.05, 0.1, 0.4] for x in (0.2, 0.6)], dtype=torch.float64
    )
    three, target = rows[:, None].repeat(1, 3, 1), torch.tensor([9, 3])
    assert RIDELoss(counts)(three, target).item() == pytest.approx(3 * 14.013666576951557, rel=1e-12)
    weighted = RIDELoss(counts, weight=effective_number_weights(counts), normalization="weights")
    assert weighted(three, target).item() == pytest.approx(3 * 12.243899850305755, rel=1e-12)
    balanced = SADELoss(counts, scale=5.0, strength=0.0, reduction="none")(three, target)
    plain = F.cross_entropy(5 * rows, target, reduction="none")
    expected = torch.tensor([4.18289284, 3.1358537], dtype=torch.float64)
    torch.testing.assert_close(balanced - plain, 2 * expected, rtol=0, atol=2e-8)


def test_temperatures_are_those_of_the_authors():
    found = class_temperatures([90, 9, 1], spread=0.05)
    share = [3 * p * 0.05 + 0.95 for p in (0.9, 0.09, 0.01)]
    np.testing.assert_allclose(found, np.array(share) / share[0], rtol=1e-12)
    assert class_temperatures([7, 7], spread=0.3).tolist() == [1.0, 1.0]


def test_experts_are_kept_apart():
    cosines, target, *_ = batch(rows=40, seed=4)
    together = cosines[:, :1].repeat(1, 3, 1)
    with_term, without = RIDELoss(COUNTS), RIDELoss(COUNTS, diversity=0.0)
    assert with_term(together, target).item() == pytest.approx(without(together, target).item())
    assert with_term(cosines, target) < without(cosines, target)


def test_the_inverse_prior_turns_the_order_around():
    np.testing.assert_allclose(np.exp(log_inverse_prior(COUNTS)), reference.inverse_prior(COUNTS))
    with_empty = log_inverse_prior([70, 0, 20, 10], empty="ignore")
    np.testing.assert_allclose(np.exp(with_empty), [0.1, 0.7, 0.2, 0.7])


def test_experts_know_nested_classes():
    known = nested_classes([1, 500, 9, 120, 40], 3)
    assert known.sum(1).tolist() == [5, 4, 2]
    assert known[2].tolist() == [True, False, True, False, False]
    cosines, target, *_ = batch(rows=4)
    found = cosines.clone().requires_grad_()
    ACELoss(COUNTS)(found, torch.zeros_like(target)).backward()  # of the largest class, which the first expert knows
    assert found.grad[:, 0].abs().sum() > 0
    assert found.grad[:, 1:].abs().sum() == 0
    two = torch.zeros(3, 2, 2, requires_grad=True)
    ACELoss([5, 1], experts=2)(two, torch.tensor([0, 1, 1])).backward()
    assert two.grad.isfinite().all()
    with pytest.raises(ValueError, match="weight must be > 0 for a class of every expert, got zeros for 2 classes"):
        ACELoss(COUNTS, weight=[1, 1, 1, 0, 0])


def test_one_criterion_for_every_expert():
    cosines, target, target_b, lam = batch()
    criterion = BalancedSoftmaxLoss(COUNTS, label_rule="mam")
    loss = sum_over_experts(criterion, cosines, target, target_b, lam)
    torch.testing.assert_close(loss, sum(criterion(cosines[:, e], target, target_b, lam) for e in range(3)))
    assert torch.equal(sum_over_experts(criterion, cosines[:, 0], target), criterion(cosines[:, 0], target))
    assert torch.equal(sum_over_experts(SADELoss(COUNTS), cosines, target), SADELoss(COUNTS)(cosines, target))


def test_one_expert_is_ldam():
    cosines, target, *_ = batch()
    assert torch.equal(RIDELoss(COUNTS)(cosines[:, 0], target), LDAMLoss(COUNTS)(cosines[:, 0], target))
    assert torch.equal(RIDELoss(COUNTS)(cosines[:, :1], target), LDAMLoss(COUNTS)(cosines[:, 0], target))


@every
def test_hard_batches(name):
    for counts in ([7, 1], [3, 3], [1000, 1]):
        if name == "ace":
            with pytest.raises(ValueError, match="experts must be <= 2, got 3, the number of classes"):
                ACELoss(counts)
            continue
        criterion = MADE[name](counts)
        for labels in ([0, 0, 0], [1, 1, 1], [0]):
            cosines = batch(rows=len(labels), classes=2)[0].float().requires_grad_()
            loss = criterion(cosines, torch.tensor(labels))
            loss.backward()
            assert loss.isfinite()
            assert cosines.grad.isfinite().all()
    empty = torch.zeros(0, 3, 5, requires_grad=True)
    loss = MADE[name](COUNTS)(empty, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_copies_and_compilation(name, dtype):
    cosines, target, target_b, lam = batch(seed=6)
    labels = (target, target_b, lam.float())
    criterion = MADE[name](COUNTS, weight=WEIGHT)
    loss = criterion(cosines.to(dtype), *labels)
    exact = criterion(cosines.to(dtype).double(), *labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)
    for same in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)), copy.deepcopy(criterion).bfloat16()):
        assert torch.equal(same(cosines.to(dtype), *labels), loss)
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(cosines.to(dtype), *labels), loss)


def test_refusals():
    cosines, target, *_ = batch()
    with pytest.raises(
        ValueError, match=r"of SADELoss must be of 3 experts, \(N, 3, C\), got shape \(6, 5\); make the"
    ):
        SADELoss(COUNTS)(cosines[:, 0], target)
    with pytest.raises(ValueError, match="diversity must be finite and >= 0, got nan"):
        RIDELoss(COUNTS, diversity=math.nan)
    with pytest.raises(ValueError, match=r"spread must be finite and within \[0, 1\), got 1|spread must .*got 1"):
        RIDELoss(COUNTS, spread=1.0)
    with pytest.raises(ValueError, match="temperature must be finite and > 0, got 0"):
        RIDELoss(COUNTS, temperature=0.0)
    with pytest.raises(ValueError, match="strength must be finite and >= 0, got -1"):
        SADELoss(COUNTS, strength=-1.0)
    with pytest.warns(UserWarning, match="logits of SADELoss with scale=30 must be cosines"):
        SADELoss(COUNTS)(9 * cosines, target)
    assert CrossEntropyLoss(COUNTS)(cosines[:, 0], target).isfinite()
