"""Every classification model of torchvision and thirty families of timm through ``adapt``.

The meta device computes every shape of a forward and a backward pass, but no number; small networks run with numbers.
"""

import copy
import importlib
import re
import sys
from functools import cache
from itertools import cycle
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lt_fast.models import CosineHead, adapt

adapting = importlib.import_module("lt_fast.models.adapt")  # the package has a function of the same name

TORCHVISION = torchvision.models.list_models(module=torchvision.models)
# fmt: off
TIMM = (
    "beit_base_patch16_224", "cait_xxs24_224", "coat_lite_tiny", "convit_tiny", "convmixer_768_32", "convnext_atto",
    "crossvit_tiny_240", "davit_tiny", "deit_tiny_patch16_224", "densenet121", "dla34", "edgenext_xx_small",
    "efficientformer_l1", "efficientnet_lite0", "fastvit_t8", "focalnet_tiny_srf", "ghostnet_050", "levit_128s",
    "mixer_s32_224", "mobilenetv3_small_050", "mobilevit_xxs", "pit_ti_224", "poolformer_s12", "pvt_v2_b0",
    "regnetx_002", "resnet18", "rexnet_100", "swin_tiny_patch4_window7_224", "vgg11", "vit_tiny_patch16_224",
)
SMALL = (
    "torchvision:mnasnet0_5", "torchvision:mobilenet_v3_small", "torchvision:regnet_x_400mf", "torchvision:resnet18",
    "torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_1", "timm:test_byobnet", "timm:test_convnext",
    "timm:test_efficientnet", "timm:test_resnet", "timm:test_vit",
)
LIGHT = (*SMALL,
    "torchvision:mnasnet0_75", "torchvision:shufflenet_v2_x1_0", "torchvision:squeezenet1_0", "timm:convnext_atto",
    "timm:edgenext_xx_small",
)  # of these lists, networks of one to four million parameters
# fmt: on
small = pytest.mark.parametrize("name", SMALL)
heads = pytest.mark.parametrize("head", ["linear", "cosine"])
small_with_one_head = pytest.mark.parametrize(("name", "head"), list(zip(SMALL, cycle(["linear", "cosine"]))))
light_with_one_head = pytest.mark.parametrize(("name", "head"), list(zip(LIGHT, cycle(["linear", "cosine"]))))


def affine(x, _mean, _variance, weight=None, bias=None, *_, **__):
    shape = (-1, *[1] * (x.ndim - 2))
    return x if weight is None else torch.addcmul(bias.reshape(shape), x, weight.reshape(shape))


def affine_last(x, _shape, weight=None, bias=None, _eps=1e-5):
    return x if weight is None else torch.addcmul(weight if bias is None else bias, x, weight)


@pytest.fixture
def _quick_normalization(monkeypatch):
    """Scale and shift only: on the meta device a normalisation is a dozen operations in Python, most of all time."""
    monkeypatch.setattr(F, "batch_norm", affine)
    monkeypatch.setattr(F, "layer_norm", affine_last)


class SmallTensorsOnTheCPU(TorchFunctionMode):
    """Let a constructor that computes widths and depths with tensors read them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        device = {"device": "cpu"} if function in (torch.arange, torch.tensor) else {}
        return function(*args, **{**device, **(kwargs or {})})


def on_meta(build):
    """Build a network on the meta device, as far as its constructor can."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        with torch.device("meta"), SmallTensorsOnTheCPU():
            return build().to("meta")
    except RuntimeError:
        return build().to("meta")


class Built:
    """Stands before ``adapt``'s own builder: the network on the meta device, and how it was when it had been built."""

    def __init__(self):
        self.build = adapting._built

    def __call__(self, *arguments):
        self.drawing_from = torch.get_rng_state()
        network = on_meta(lambda: self.build(*arguments))
        self.tensors = network.state_dict(keep_vars=True)
        self.versions = {name: tensor._version for name, tensor in self.tensors.items()}
        return network


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(adapting, "_built", Built())
    return adapting._built


def pass_through(model):
    """One forward and one backward pass in training mode; return logits and what the head was given."""
    given = []
    handle = model.head.register_forward_hook(lambda _, args, __: given.append(args[0]))
    device = next(model.parameters()).device
    x = torch.randn(2, *model.input_size, device=device, generator=None if device.type == "meta" else generator(0))
    logits = model.train()(x)
    logits.sum().backward()
    handle.remove()
    return logits, *given


def generator(seed):
    return torch.Generator().manual_seed(seed)


def smoke(name, built):
    before = torch.get_rng_state()
    linear = adapt(name, 7, seed=3)
    own = linear.backbone.state_dict(keep_vars=True)
    removed = built.tensors.keys() - own.keys()
    assert removed
    assert all(re.match(r"(head|classifier|fc)", key) for key in removed)
    # The same objects, and nothing has been written to them: every change in place counts a tensor's version up.
    assert all(tensor is built.tensors[key] for key, tensor in own.items())
    assert all(tensor._version == built.versions[key] for key, tensor in own.items())
    # What the constructor drew its numbers from follows from the seed, and is put back.
    assert torch.equal(built.drawing_from, state_of_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    logits, features = pass_through(linear)
    width = features.shape[1]
    assert logits.shape == (2, 7)
    assert features.shape == (2, width)
    assert linear.head.weight.shape == (7, width)
    assert linear.head.weight.grad is not None
    assert sum(parameter.grad is not None for parameter in linear.backbone.parameters()) > 3
    cosine = adapt(linear, 5, head="cosine")
    assert isinstance(cosine.head, CosineHead)
    assert cosine.head(features).shape == (2, 5)
    assert cosine.backbone.state_dict().keys() == linear.backbone.state_dict().keys()
    return linear


@cache
def state_of_seed(seed):
    """The state of torch's generator in which ``adapt`` lets any network be built."""
    states = []

    def build():
        states.append(torch.get_rng_state())
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))

    sys.modules["built_for_its_seed"] = SimpleNamespace(build=build)
    adapt("built_for_its_seed:build", 2, seed=seed, input_size=(3, 2, 2))
    del sys.modules["built_for_its_seed"]
    return states[0]


@pytest.mark.usefixtures("_quick_normalization")
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_model_of_torchvision(name, built):
    model = smoke(f"torchvision:{name}", built)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.usefixtures("_quick_normalization")
@pytest.mark.parametrize("name", TIMM)
def test_thirty_families_of_timm(name, built):
    smoke(f"timm:{name}", built)


def test_torchvision_has_the_models_that_the_smoke_test_is_about():
    assert len(TORCHVISION) >= 80


@small
@heads
def test_small_models_with_numbers(name, head):
    model = adapt(name, 7, head=head)
    logits, features = pass_through(model)
    assert logits.isfinite().all()
    assert torch.equal(logits, model.head(features))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert model.head.weight.grad.abs().sum() > 0


@pytest.mark.usefixtures("_quick_normalization")
@light_with_one_head
def test_the_weights_before_the_head_are_left_as_they_are(name, head):
    library, _, rest = name.partition(":")
    network = timm.create_model(rest) if library == "timm" else torchvision.models.get_model(rest)
    before = copy.deepcopy(network.state_dict())
    model = adapt(network, 5, head=head)
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in before.items())  # it was copied
    own = model.backbone.state_dict()
    assert own.keys() < before.keys()
    assert len(before) - len(own) <= 2
    assert all(torch.equal(tensor, before[key]) for key, tensor in own.items())


@small_with_one_head
def test_new_weights_follow_from_the_seed_and_nothing_else(name, head):
    before = torch.get_rng_state()
    first, again, other = (adapt(name, 4, head=head, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert any(not torch.equal(first[key], other[key]) for key in first if key.startswith("backbone."))
