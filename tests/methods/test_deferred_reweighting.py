import pytest
import torch
from torch import nn

import reference
from lt_fast.methods import DeferredReweighting


def test_it_defers_as_ldam_drw_does_at_200_epochs():
    plain, reweighted = nn.CrossEntropyLoss(), nn.CrossEntropyLoss(torch.ones(3))
    deferred = DeferredReweighting(plain, reweighted)
    for epoch in range(200):
        wanted = reweighted if reference.ldam_drw_reweights(epoch) else plain
        assert deferred.at(epoch, 200) is wanted


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (3, 2), (5, 4), (20, 16), (320, 256), (1000, 800)])
def test_any_number_of_epochs(epochs, first):
    plain, reweighted = nn.Identity(), nn.Identity()
    deferred = DeferredReweighting(plain, reweighted)
    assert [deferred.at(epoch, epochs) is reweighted for epoch in range(epochs)] == [e >= first for e in range(epochs)]


@pytest.mark.parametrize(("fraction", "reweighted"), [(0, 10), (1, 0), (0.5, 5)])
def test_any_fraction(fraction, reweighted):
    deferred = DeferredReweighting(nn.Identity(), nn.Identity(), defer_until=fraction)
    assert sum(deferred.at(epoch, 10) is deferred.reweighted for epoch in range(10)) == reweighted


def test_both_losses_move_and_are_saved_together():
    deferred = DeferredReweighting(nn.CrossEntropyLoss(), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0])))
    assert list(deferred.state_dict()) == ["reweighted.weight"]
    assert deferred.to(torch.float64).reweighted.weight.dtype == torch.float64
    assert "defer_until=0.8" in repr(deferred)


@pytest.mark.parametrize("fraction", [160, -0.1, float("nan")])
def test_the_fraction_is_checked(fraction):
    with pytest.raises(
        ValueError, match=rf"defer_until must be a fraction .* in \[0, 1\], got {fraction}; epoch 160 of"
    ):
        DeferredReweighting(nn.Identity(), nn.Identity(), defer_until=fraction)


def test_losses_are_modules():
    with pytest.raises(TypeError, match=r"plain must be a loss \(an nn.Module\), got function"):
        DeferredReweighting(nn.functional.cross_entropy, nn.Identity())
    with pytest.raises(TypeError, match=r"reweighted must be a loss \(an nn.Module\), got NoneType"):
        DeferredReweighting(nn.Identity(), None)


def test_it_is_not_called_itself():
    with pytest.raises(TypeError, match=r"not a loss itself; call \.at\(epoch, epochs\)"):
        DeferredReweighting(nn.Identity(), nn.Identity())(torch.zeros(1))
