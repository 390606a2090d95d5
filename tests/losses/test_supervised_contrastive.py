"""The supervised contrastive losses: their references, gradients, small batches, and every refusal."""

import math

import pytest
import torch

import reference
from lt_fast.losses import LOSSES, PrototypicalSupConLoss, SupConLoss

TEMPERATURES = [0.07, 0.1, 1.0]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(rows, classes, seed=0):
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_supervised_contrast_is_that_of_its_reference(temperature, rows):
    embeddings, target = draw(rows, 4), labels(rows, 3)
    found = SupConLoss(temperature)(embeddings, target)
    expected = reference.sup_con_loss(embeddings, target, temperature=temperature)
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("classes", [2, 5])
def test_contrast_with_prototypes_is_that_of_its_reference(temperature, classes):
    embeddings, prototypes, target = draw(6, 4), draw(classes, 4, seed=1), labels(6, classes)
    found = PrototypicalSupConLoss(temperature)(embeddings, prototypes, target)
    expected = reference.prototypical_sup_con_loss(embeddings, prototypes, target, temperature=temperature)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", [[0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 2, 3], [0]])
def test_gradients(target):
    """Two classes, one class alone, no two of a class, one image."""
    target = torch.tensor(target)
    embeddings = draw(len(target), 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: SupConLoss(0.5)(z, target), embeddings)
    prototypes = draw(4, 3, seed=1).requires_grad_()
    loss = PrototypicalSupConLoss(0.5)
    assert torch.autograd.gradcheck(lambda z, p: loss(z, p, target), (embeddings, prototypes))


def test_a_row_without_another_of_its_class_adds_nothing():
    embeddings = draw(4, 3)
    assert float(SupConLoss()(embeddings, torch.arange(4))) == 0.0
    assert float(SupConLoss()(embeddings[:1], torch.tensor([2]))) == 0.0


def test_length_and_order_do_not_count():
    embeddings, target, order = draw(8, 5), labels(8, 3), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    loss = SupConLoss(0.2)
    expected = loss(embeddings, target)
    torch.testing.assert_close(loss(3 * embeddings[order], target[order]), expected, rtol=1e-12, atol=1e-12)


def test_a_class_far_away_is_no_positive_of_any():
    """Pulling one class together lowers the loss, whatever the others are."""
    embeddings, target = draw(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    nearer = embeddings.clone()
    nearer[1] = nearer[0]
    assert SupConLoss(0.5)(nearer, target) < SupConLoss(0.5)(embeddings, target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    embeddings, prototypes, target = draw(6, 4).to(dtype), draw(3, 4, seed=1).to(dtype), labels(6, 3)
    for loss, given in ((SupConLoss(), ()), (PrototypicalSupConLoss(), (prototypes,))):
        found = loss(embeddings, *given, target)
        exact = loss(embeddings.double(), *(each.double() for each in given), target)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


def test_a_large_scale_loses_nothing():
    embeddings, target = draw(6, 4).float(), labels(6, 3)
    assert SupConLoss(1e-3)(embeddings, target).isfinite()
    assert PrototypicalSupConLoss(1e-3)(embeddings, draw(3, 4, seed=1).float(), target).isfinite()


def test_losses_of_embeddings_are_no_losses_of_a_run():
    assert not {"sup_con", "supcon", "psc"} & set(LOSSES)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("loss", [SupConLoss, PrototypicalSupConLoss])
def test_a_wrong_temperature_is_named(loss, temperature):
    with pytest.raises(ValueError, match="temperature must be finite and > 0"):
        loss(temperature)


@pytest.mark.parametrize(
    ("embeddings", "target", "error", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.int64), ValueError, r"embeddings must have shape \(N, D\)"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), ValueError, r"with N and D >= 1, got \(0, 3\)"),
        (
            torch.zeros(2, 3, dtype=torch.int64),
            torch.zeros(2, dtype=torch.int64),
            TypeError,
            "must be a tensor of floats",
        ),
        (torch.zeros(2, 3), torch.zeros(2), TypeError, "target must be int64"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), ValueError, r"target must have shape \(N,\) = \(2,\)"),
    ],
)
def test_wrong_arguments_are_one_line(embeddings, target, error, message):
    with pytest.raises(error, match=message):
        SupConLoss()(embeddings, target)
    with pytest.raises(error, match=message):
        PrototypicalSupConLoss()(embeddings, torch.ones(2, 3), target)


@pytest.mark.parametrize("shape", [(1, 3), (4, 2), (3,)])
def test_prototypes_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"prototypes must have shape \(C, 3\) with C >= 2, got"):
        PrototypicalSupConLoss()(torch.ones(2, 3), torch.ones(shape), torch.zeros(2, dtype=torch.int64))


def test_a_label_without_a_prototype():
    with pytest.raises(ValueError, match=r"target must lie in \[0, 2\), got 2 at position 1"):
        PrototypicalSupConLoss()(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 2]))
