"""The network of BBN: what is shared, what is doubled, and networks whose last block is unknown."""

import pytest
import torch

from lt_fast import models
from lt_fast.models.bilateral_branches import BRANCHES, DoubledBlock


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("backbone", "channels", "block"), [("resnet32", 3, 73_984), ("digits_net", 1, 36_992)])
def test_one_block_is_there_twice_and_the_classifier_takes_both(backbone, channels, block):
    plain = models.MODELS[backbone](10, in_channels=channels)
    model = models.bbn(10, backbone=backbone, in_channels=channels)
    assert parameters(model) == parameters(plain) + block + 64 * 10
    assert model.head.weight.shape == (10, 128)


def test_everything_before_the_last_block_is_that_of_the_plain_network():
    plain = models.resnet32(4, seed=3)
    model = models.bbn(4, seed=3)
    theirs = {f"network.{name}": tensor for name, tensor in plain.state_dict().items()}
    own = model.state_dict()
    shared = own.keys() & theirs.keys()
    assert len(shared) == len(theirs) - len(plain.stages[-1][-1].state_dict()) - 2
    assert all(torch.equal(own[name], theirs[name]) for name in shared)
    doubled = next(module for module in model.modules() if isinstance(module, DoubledBlock))
    assert not torch.equal(doubled.conventional.conv1.weight, doubled.rebalancing.conv1.weight)


def test_the_features_are_those_of_both_branches():
    model = models.bbn(4, backbone="digits_net", in_channels=1, seed=3).eval()
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    parts = [model.branch_features(x, branch) for branch in BRANCHES]
    assert torch.equal(torch.cat(parts, 1), model.features(x))
    # As it is trained at l = 1/2.
    assert torch.equal(model.head(2 * torch.cat([part / 2 for part in parts], 1)), model(x))


def test_a_branch_trains_the_shared_layers_and_its_own_block():
    model = models.bbn(4, seed=3)
    model.branch_features(torch.randn(2, 3, 8, 8), "conventional").sum().backward()
    doubled = next(module for module in model.modules() if isinstance(module, DoubledBlock))
    assert model.network.conv1.weight.grad.any()
    assert doubled.conventional.conv1.weight.grad.any()
    assert doubled.rebalancing.conv1.weight.grad is None


def test_a_wrong_branch_is_named_and_changes_nothing():
    model = models.bbn(4, seed=3).eval()
    with pytest.raises(ValueError, match="branch must be one of conventional, rebalancing, got 'rebalance'"):
        model.branch_features(torch.zeros(1, 3, 8, 8), "rebalance")
    assert model.features(torch.zeros(1, 3, 8, 8)).shape == (1, 128)


def test_a_network_of_torchvision():
    pytest.importorskip("torchvision")
    model = models.bbn(3, backbone="torchvision:resnet18", seed=1).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert model.features(x).shape == (2, 1024)
    assert model.preset == models.adapt("torchvision:resnet18", 3).preset
    again = models.bbn(3, backbone="torchvision:resnet18", seed=1).eval()
    assert torch.equal(model(x), again(x))


def test_the_weights_of_a_library_are_in_both_blocks():
    pytest.importorskip("torchvision")
    plain = models.adapt("torchvision:resnet18", 3, seed=5).eval()
    model = models.BilateralBranchNetwork(models.adapt(plain, 3)).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = plain.features(x)
    assert torch.equal(model.features(x), torch.cat([features, features], 1))


def test_a_network_whose_last_block_is_unknown():
    pytest.importorskip("torchvision")
    with pytest.raises(ValueError, match="model must be resnet32, digits_net or a ResNet of torchvision or timm"):
        models.bbn(3, backbone="torchvision:squeezenet1_1")
