"""ResNet-32 against the network written out by hand."""

import pytest
import torch

import reference
from lt_fast import models


def layers(model):
    """(convolution weight, batch norm state) in the order of the network, in float64."""
    modules = list(model.modules())
    convolutions = [m.weight.double() for m in modules if isinstance(m, torch.nn.Conv2d)]
    norms = [
        {key: value.double() for key, value in m.state_dict().items()}
        for m in modules
        if isinstance(m, torch.nn.BatchNorm2d)
    ]
    return list(zip(convolutions, norms, strict=True))


def unsettle(model, seed):
    """Give the batch norms statistics and weights that are not ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))


@pytest.mark.parametrize("size", [32, 8, 17])
def test_features_equal_the_reference(size):
    model = models.resnet32(5, seed=3).double().eval()
    unsettle(model, 1)
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model.features(x), reference.resnet_features(x, layers(model)))


def test_the_published_number_of_parameters():
    assert sum(p.numel() for p in models.resnet32(10).parameters()) == 464_154  # "0.46M" in table 6 of the paper


def test_last_blocks_side_by_side_are_concatenated():
    model = models.resnet32(5, last_blocks=2, seed=3).double().eval()
    unsettle(model, 1)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = layers(model)  # the second of the last blocks comes after all others: its two convolutions
    one, other = found[:-2], [*found[:-4], *found[-2:]]
    with torch.no_grad():
        halves = [reference.resnet_features(x, each) for each in (one, other)]
        torch.testing.assert_close(model.features(x), torch.cat(halves, dim=1))
    assert model.head.weight.shape == (5, 128)
    with pytest.raises(ValueError, match="last_blocks must be >= 1, got 0"):
        models.resnet32(5, last_blocks=0)


def test_options_of_the_head_leave_the_backbone():
    usual, plain = models.resnet32(100, seed=4), models.resnet32(100, bias=False, uniform_head=True, seed=4)
    theirs = {key: value for key, value in usual.state_dict().items() if not key.startswith("head")}
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in theirs.items())
    assert plain.head.bias is None
    assert plain.head.weight.abs().max() <= 1 / 8
    assert plain.head.weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.03)
    assert (usual.head.weight.std() / plain.head.weight.std()).item() == pytest.approx(2.45, rel=0.05)
    cosine = models.resnet32(100, head="cosine", bias=False, uniform_head=True, seed=4)
    assert torch.equal(cosine.head.weight, models.resnet32(100, head="cosine", seed=4).head.weight)


def test_32_layers_with_weights():
    weighted = [m for m in models.resnet32(10).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weighted) == 32


def test_shortcuts_have_no_parameters():
    model = models.resnet32(10)
    assert all(m.kernel_size == (3, 3) for m in model.modules() if isinstance(m, torch.nn.Conv2d))


def test_kaiming_normal_scale():
    model = models.resnet32(10, seed=0)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.02
