"""The network of logit adjustment's code against the one written out by hand; its first weights."""

import pytest
import torch

import reference
from lt_fast import models
from models.test_resnet_cifar import layers, unsettle


def ordered(model):
    """Convolutions with their batch norms in the order of the code, then the last batch norm."""
    last = {key: value.double() for key, value in model.last_bn.state_dict().items()}
    found = [(model.conv1.weight, model.bn1)]
    for stage in model.stages:
        for block in stage:
            found += [(block.conv1.weight, block.bn1), (block.conv2.weight, block.bn2), (block.conv3.weight, block.bn3)]
            found += (
                [] if isinstance(block.shortcut, torch.nn.Identity) else [(block.shortcut[0].weight, block.shortcut[1])]
            )
    states = [(weight, {key: value.double() for key, value in norm.state_dict().items()}) for weight, norm in found]
    return [*states, (None, last)]


@pytest.mark.parametrize("size", [32, 8, 13])
def test_features_equal_the_reference(size):
    model = models.resnet32_bottleneck(5, seed=3).double().eval()
    unsettle(model, 1)
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model.features(x), reference.bottleneck_features(x, ordered(model)))


def test_the_first_weights_are_those_of_the_code():
    model = models.resnet32_bottleneck(100, seed=0)
    convolutions = [module.weight for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 15 * 3 + 3
    wide = [weight for weight in convolutions if weight.numel() > 4000]
    for weight in wide:
        std = (2 / weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(std, rel=0.05)
        assert weight.abs().max().item() <= 2 * std / 0.87962566103423978 + 1e-6
    assert model.head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.head.bias.any()
    assert len(layers(models.resnet32(10))) == 31  # the other ResNet-32 is another network
