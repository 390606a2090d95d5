"""Any network of two libraries, or one's own, gets a head of C classes: features found, other weights untouched."""

import copy
import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from lt_fast.errors import DataError, UsageError
from lt_fast.models import Classifier, CosineHead, adapt, digits_net

# fmt: off
# One member of each family of torchvision, and of thirty families of timm.
TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_16", "wide_resnet50_2",
)
TIMM = (
    "beit_base_patch16_224", "cait_xxs24_224", "coat_lite_tiny", "convit_tiny", "convmixer_768_32", "convnext_atto",
    "crossvit_tiny_240", "davit_tiny", "deit_tiny_patch16_224", "densenet121", "dla34", "edgenext_xx_small",
    "efficientformer_l1", "efficientnet_lite0", "fastvit_t8", "focalnet_tiny_srf", "ghostnet_050", "levit_128s",
    "mixer_s32_224", "mobilenetv3_small_050", "mobilevit_xxs", "pit_ti_224", "poolformer_s12", "pvt_v2_b0",
    "regnetx_002", "resnet18", "rexnet_100", "swin_tiny_patch4_window7_224", "vgg11", "vit_tiny_patch16_224",
)
# fmt: on


def smoke(name, head):
    """One forward and backward pass on the meta device: every shape is computed, no pixel is."""
    try:
        with torch.device("meta"):
            model = adapt(name, 7, head=head)
    except (NotImplementedError, RuntimeError):  # its constructor computes with tensors
        model = adapt(name, 7, head=head).to("meta")
    given = []
    model.head.register_forward_hook(lambda _, args, __: given.append(args[0].shape))
    logits = model.train()(torch.empty(2, *model.input_size, device="meta"))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert given == [(2, model.head.weight.shape[1])]
    assert model.head.weight.grad is not None
    assert sum(parameter.grad is not None for parameter in model.backbone.parameters()) > 3


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_family_of_torchvision(name):
    smoke(f"torchvision:{name}", "linear")


@pytest.mark.parametrize("name", TIMM)
def test_thirty_families_of_timm(name):
    smoke(f"timm:{name}", "cosine")


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "torchvision:resnet18", "timm:test_vit"])
def test_the_weights_before_the_head_are_left_as_they_are(name):
    library, _, rest = name.partition(":")
    network = timm.create_model(rest) if library == "timm" else torchvision.models.get_model(rest)
    before = copy.deepcopy(network.state_dict())
    model = adapt(network, 5)
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in before.items())  # it was copied
    own = model.backbone.state_dict()
    assert own.keys() < before.keys()
    assert len(before) - len(own) <= 2
    assert all(torch.equal(tensor, before[key]) for key, tensor in own.items())


def test_logits_are_the_head_of_the_features_that_the_old_classifier_was_given():
    network = torchvision.models.resnet18().eval()
    given = []
    network.fc.register_forward_hook(lambda _, args, __: given.append(args[0]))
    model, x = adapt(network, 3).eval(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network(x)
    assert torch.equal(model.features(x), given[-1])
    assert torch.equal(model(x), model.head(given[-1]))


def test_new_weights_follow_from_the_seed_and_nothing_else():
    before = torch.get_rng_state()
    first, again, other = (adapt("torchvision:squeezenet1_1", 4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_weights_from_a_file_whose_classifier_has_other_classes(tmp_path, ending):
    from safetensors.torch import save_file

    trained = torchvision.models.resnet18(num_classes=9)
    path = tmp_path / f"trained{ending}"
    (save_file if ending == ".safetensors" else torch.save)(trained.state_dict(), path)
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
