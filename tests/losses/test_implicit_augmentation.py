"""Implicitly augmented features: the reference, gradients, the bound itself, running moments, and every refusal."""

import pytest
import torch
from torch.nn import functional as F

import reference
from lt_fast.losses import ClassMoments, augmented_logits

C, D = 4, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(classes=C, seed=0):
    """Weight, shift and covariance."""
    root = draw(classes, D, D, seed=seed + 2)
    return draw(classes, D, seed=seed), draw(classes, D, seed=seed + 1), root @ root.mT


@pytest.mark.parametrize("target", [[0, 3, 3, 1, 0], [2, 2], [1]])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (0.5, 0.75)])
def test_logits_are_those_of_the_reference(target, alpha, beta):
    target, (weight, shift, covariance) = torch.tensor(target), parts()
    logits = draw(len(target), C, seed=9)
    strength = {"alpha": alpha, "beta": beta}
    found = augmented_logits(logits, weight, target, shift, covariance, **strength)
    expected = reference.augmented_logits(logits, weight, target, shift, covariance, **strength)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    rows = torch.arange(len(target))
    assert torch.equal(found[rows, target], logits[rows, target])  # the own logit stays, to the last digit
    if (alpha, beta) == (0.0, 0.0):
        assert torch.equal(found, logits)


def test_a_diagonal_is_the_covariance_with_zeros_elsewhere():
    weight, shift, _ = parts()
    logits, target, variance = draw(3, C, seed=9), torch.tensor([0, 3, 3]), draw(C, D, seed=4).exp()
    found = augmented_logits(logits, weight, target, shift, variance, alpha=0.3, beta=0.6)
    expected = augmented_logits(logits, weight, target, shift, torch.diag_embed(variance), alpha=0.3, beta=0.6)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cuts", [[], [1], [4, 4, 9]])
def test_variances_are_the_diagonal_of_the_covariances(cuts):
    features, target = draw(12, D), torch.tensor([0, 2, 2, 0, 0, 3, 2, 2, 0, 2, 2, 2])
    moments = ClassMoments(C, D, diagonal=True).double()
    for rows, labels in zip(features.tensor_split(cuts), target.tensor_split(cuts), strict=True):
        moments.update(rows, labels)
    _, covariance = reference.class_moments(features, target, C)
    torch.testing.assert_close(moments.covariance, covariance.diagonal(dim1=1, dim2=2), rtol=1e-12, atol=1e-12)


def test_two_classes():
    weight, shift, covariance = parts(classes=2)
    logits, target = draw(3, 2, seed=9), torch.tensor([0, 1, 1])
    found = augmented_logits(logits, weight, target, shift, covariance, alpha=0.3, beta=0.6)
    expected = reference.augmented_logits(logits, weight, target, shift, covariance, alpha=0.3, beta=0.6)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", [[0, 3, 3], [2]])
def test_gradients_of_the_loss(target):
    target, (weight, shift, covariance) = torch.tensor(target), parts()
    features = draw(len(target), D, seed=9)

    def loss(x, w):
        return F.cross_entropy(augmented_logits(x @ w.T, w, target, shift, covariance, alpha=0.5, beta=0.75), target)

    assert torch.autograd.gradcheck(loss, (features.requires_grad_(), weight.requires_grad_()))


def test_it_bounds_the_expected_loss_of_sampled_features():
    target, (weight, shift, covariance) = torch.tensor([1]), parts()
    feature, alpha, beta = draw(1, D, seed=9), 0.5, 0.1
    noise = torch.distributions.MultivariateNormal(alpha * shift[1], beta * covariance[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sampled = feature + noise.sample((20_000,))
    expected = F.cross_entropy(sampled @ weight.T, target.expand(20_000))
    bound = F.cross_entropy(
        augmented_logits(feature @ weight.T, weight, target, shift, covariance, alpha=alpha, beta=beta), target
    )
    assert expected < bound < expected + 1


@pytest.mark.parametrize("cuts", [[], [1], [4, 4, 9], [11]])
def test_moments_are_those_of_all_rows_so_far(cuts):
    features = draw(12, D)
    target = torch.tensor([0, 2, 2, 0, 0, 3, 2, 2, 0, 2, 2, 2])  # class 1 has no row, class 3 one
    moments = ClassMoments(C, D).double()
    for rows, labels in zip(features.tensor_split(cuts), target.tensor_split(cuts), strict=True):
        moments.update(rows, labels)
    mean, covariance = reference.class_moments(features, target, C)
    torch.testing.assert_close(moments.mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.covariance, covariance, rtol=1e-12, atol=1e-12)
    assert moments.count.tolist() == [4, 0, 7, 1]
    assert not moments.covariance[3].any()
    assert torch.linalg.eigvalsh(moments.covariance).min() > -1e-12


def test_moments_over_ranks_are_those_of_all_rows():
    """Two ranks whose sums are added, as ``Ranks.sum`` does."""
    features, target = draw(9, D), torch.tensor([0, 1, 1, 2, 0, 0, 1, 2, 2])
    whole, first, second = (ClassMoments(C, D).double() for _ in range(3))
    whole.update(features, target)
    of_rank = {}
    for _ in range(3):  # each pass knows one sum more: count, mean, covariance
        for name, rows in (("first", slice(0, 5)), ("second", slice(5, 9))):
            other, sums = "second" if name == "first" else "first", []

            def add(own, other=other, sums=sums):
                sums.append(own)
                theirs = of_rank.get(other, [])
                return own + theirs[len(sums) - 1] if len(theirs) >= len(sums) else own

            moments = ClassMoments(C, D).double()
            moments.update(features[rows], target[rows], add)
            of_rank[name] = sums
            (first if name == "first" else second).load_state_dict(moments.state_dict())
    for name, tensor in second.state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_a_batch_without_rows_changes_nothing():
    moments = ClassMoments(C, D)
    moments.update(torch.ones(2, D), torch.tensor([0, 1]))
    before = {name: tensor.clone() for name, tensor in moments.state_dict().items()}
    moments.update(torch.ones(0, D), torch.zeros(0, dtype=torch.int64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in moments.state_dict().items())


@pytest.mark.parametrize("name", ["logits", "shift", "covariance"])
def test_a_wrong_shape_is_named(name):
    weight, shift, covariance = parts()
    given = {"logits": draw(2, C), "shift": shift, "covariance": covariance}
    given[name] = given[name][:1]
    with pytest.raises(ValueError, match=rf"{name} must have shape \("):
        augmented_logits(weight=weight, target=torch.tensor([0, 1]), alpha=1.0, beta=1.0, **given)


def test_features_of_another_width():
    with pytest.raises(ValueError, match=r"features must have shape \(2, 3\), got \(2, 5\)"):
        ClassMoments(C, D).update(torch.ones(2, 5), torch.tensor([0, 1]))
