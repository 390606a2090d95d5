"""Any network of two libraries, or one's own, gets a head of C classes: features found, other weights untouched."""

import re

import pytest
import timm
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


def test_a_network_of_timm_for_grey_images():
    model = adapt("timm:test_resnet", 3, in_chans=1)
    assert (model.input_size[0], len(model.mean), len(model.std)) == (1, 1, 1)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "timm:test_byobnet", "torchvision:resnet18"])
def test_a_network_that_keeps_its_own_head_gives_its_own_logits(name, tmp_path):
    library, _, network = name.partition(":")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make = timm.create_model if library == "timm" else torchvision.models.get_model
        made = make(network, num_classes=3)
    torch.save({f"_orig_mod.module.{key}": value for key, value in made.state_dict().items()}, tmp_path / "a.pt")
    model = adapt(name, 3, head="own", weights=tmp_path / "a.pt").eval()
    x = torch.randn(2, *model.input_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.head(model.features(x)), made.eval()(x), rtol=1e-4, atol=1e-5)
    assert isinstance(model.head, nn.Linear)


def test_the_versions_of_modules_are_kept():
    made = torchvision.models.mnasnet0_5(num_classes=3)
    model = adapt("torchvision:mnasnet0_5", 3, head="own", weights=dict(made.state_dict())).eval()
    assert torch.equal(model.backbone.layers[0].weight, made.layers[0].weight)


class OneByOne(nn.Module):
    """A convolution as the classifier; ``gated`` has something after it."""

    def __init__(self, num_classes=5, *, gated=False, bias=True):
        super().__init__()
        self.body, self.out, self.gated = nn.Conv2d(3, 6, 3), nn.Conv2d(6, num_classes, 1, bias=bias), gated

    def forward(self, x):
        out = self.out(self.body(x).mean(dim=(2, 3), keepdim=True)).flatten(1)
        return out.sigmoid() if self.gated else out


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_as_the_own_head_becomes_a_linear_layer(bias):
    network = OneByOne(bias=bias)
    model = adapt(network, 5, head="own", weights=network.state_dict())
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), network(x))
    assert isinstance(model.head, nn.Linear)
    before = torch.random.get_rng_state()
    adapt("models.test_adapt:OneByOne", 4, head="own")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_own_head_that_cannot_be_kept_is_refused():
    gated = OneByOne(gated=True)
    with pytest.raises(UsageError, match="its output is not that of out alone"):
        adapt(gated, 5, head="own", weights=gated.state_dict())
    with pytest.raises(UsageError, match="one output for each of the 3 classes to keep its own head, got 4"):
        adapt(OwnNetwork(), 3, head="own")
    with pytest.raises(UsageError, match="one output for each of the 3 classes to keep its own head, got 10"):
        adapt(digits_net(10), 3, head="own")
    with pytest.raises(UsageError, match=r"its output is not that of (head|head_dist) alone"):
        adapt("timm:deit_tiny_distilled_patch16_224", 3, head="own")


def test_a_classifier_of_ours_keeps_its_head():
    model = digits_net(10, seed=3)
    kept = adapt(model, 10, head="own")
    assert torch.equal(kept.head.weight, model.head.weight)
    made = adapt("lt_fast.models.resnet_cifar:resnet32", 4, head="own")
    assert (made.preset.size, made.input_size[0]) == (224, 3)


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


class Sharing(nn.Module):
    """A module under two names, and a weight in two modules."""

    def __init__(self):
        super().__init__()
        self.first = self.again = nn.Linear(12, 12)
        self.tied = nn.Linear(12, 12)
        self.tied.weight = self.first.weight
        self.classifier = nn.Linear(12, 3)

    def forward(self, x):
        return self.classifier(self.tied(self.again(self.first(x.flatten(1)))))


def test_shared_modules_and_weights_stay():
    network = Sharing()
    made = adapt(network, 5, input_size=(3, 2, 2))
    assert made.backbone.tied.weight is made.backbone.again.weight is made.backbone.first.weight
    for name, tensor in made.backbone.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    assert made(torch.ones(2, 3, 2, 2)).isfinite().all()
