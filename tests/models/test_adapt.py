"""Any network of two libraries, or one's own, gets a head of C classes: features found, other weights untouched."""

import re

import pytest
import torch
import torchvision
from torch import nn

from lt_fast.errors import DataError, UsageError
from lt_fast.models import Classifier, CosineHead, adapt, digits_net


def test_logits_are_the_head_of_the_features_that_the_old_classifier_was_given():
    network = torchvision.models.resnet18().eval()
    given = []
    network.fc.register_forward_hook(lambda _, args, __: given.append(args[0]))
    model, x = adapt(network, 3).eval(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network(x)
    assert torch.equal(model.features(x), given[-1])
    assert torch.equal(model(x), model.head(given[-1]))


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_weights_from_a_file_whose_classifier_has_other_classes(tmp_path, ending):
    from safetensors.torch import save_file

    trained = torchvision.models.resnet18(num_classes=9)
    path = tmp_path / f"trained{ending}"
    (save_file if ending == ".safetensors" else torch.save)(trained.state_dict(), path)
    with pytest.warns(UserWarning, match="the classifier of 9 classes is left out"):
        model = adapt("torchvision:resnet18", 5, weights=path)
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in model.backbone.state_dict().items())
    assert model.head.weight.shape == (5, 512)
    with pytest.raises(DataError, match="weights must be a state dict of ResNet, got one that differs in"):
        adapt("torchvision:resnet34", 5, weights=path)
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=re.escape(f"weights {path} cannot be read")):
        adapt("torchvision:resnet18", 5, weights=path)


class OwnNetwork(nn.Module):
    def __init__(self, width=6, *, scaled=False):
        super().__init__()
        self.body, self.out, self.scaled = nn.Conv2d(3, width, 3), nn.Linear(width, 4), scaled

    def forward(self, x):
        return self.out(self.body(x).mean(dim=(2, 3)))


def test_a_factory_by_its_name_and_a_module_of_ones_own():
    assert adapt("models.test_adapt:OwnNetwork", 3, width=8).head.weight.shape == (3, 8)
    assert adapt(OwnNetwork(), 3, head="cosine").features(torch.zeros(2, 3, 8, 8)).shape == (2, 6)
    with pytest.raises(UsageError, match=r"must return a torch\.nn\.Module, got OrderedDict"):
        adapt("collections:OrderedDict", 3)


def test_a_classifier_of_ours_gets_another_head():
    model = digits_net(10, seed=3)
    changed = adapt(model, 4, head="cosine")
    assert isinstance(changed, Classifier)
    assert isinstance(changed.head, CosineHead)
    assert changed.num_classes == 4
    assert model.head.weight.shape == (10, 64)
    x = torch.zeros(2, 1, 8, 8)
    assert torch.equal(changed.eval().features(x), model.eval().features(x))


class NoClassifier(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet50", "did you mean 'torchvision:resnet50' or 'timm:resnet50'?"),
        ("torchvision:resnet5", "got 'resnet5'; did you mean 'resnet"),
        ("timm:resnet5", "model must be one that timm has, got 'resnet5'; did you mean"),
        ("nowhere.at.all:factory", "must name an importable factory as package.module:factory"),
        ("models.test_adapt:Missing", "must name an importable factory"),
        (NoClassifier(), "no linear layer makes its output (2, 3)"),
        (TwoOutputs(), "returns tuple rather than one tensor of logits"),
    ],
)
def test_what_cannot_be_adapted_is_refused_with_the_way_out(model, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        adapt(model, 3)
