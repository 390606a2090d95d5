"""Every classification model of torchvision and thirty families of timm through ``adapt``.

The meta device computes every shape of a forward and a backward pass, but no number; small networks run with numbers.
"""

import copy
from itertools import cycle

import pytest
import timm
import torch
import torchvision
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lt_fast.models import CosineHead, adapt

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
# fmt: on
small = pytest.mark.parametrize("name", SMALL)
heads = pytest.mark.parametrize("head", ["linear", "cosine"])
small_with_one_head = pytest.mark.parametrize(("name", "head"), list(zip(SMALL, cycle(["linear", "cosine"]))))


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


def on_meta(name, num_classes, **options):
    try:
        with torch.device("meta"):
            return adapt(name, num_classes, **options)
    except NotImplementedError:
        with torch.device("meta"), SmallTensorsOnTheCPU():
            return adapt(name, num_classes, **options).to("meta")
    except RuntimeError:
        return adapt(name, num_classes, **options).to("meta")


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


def smoke(name):
    linear = on_meta(name, 7)
    logits, features = pass_through(linear)
    width = features.shape[1]
    assert logits.shape == (2, 7)
    assert features.shape == (2, width)
    assert linear.head.weight.shape == (7, width)
    assert linear.head.weight.grad is not None
    assert sum(parameter.grad is not None for parameter in linear.backbone.parameters()) > 3
    with torch.device("meta"):
        cosine = adapt(linear, 5, head="cosine")
    assert isinstance(cosine.head, CosineHead)
    assert cosine.head(features).shape == (2, 5)
    assert cosine.backbone.state_dict().keys() == linear.backbone.state_dict().keys()
    return linear


@pytest.mark.usefixtures("_quick_normalization")
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_model_of_torchvision(name):
    model = smoke(f"torchvision:{name}")
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.usefixtures("_quick_normalization")
@pytest.mark.parametrize("name", TIMM)
def test_thirty_families_of_timm(name):
    smoke(f"timm:{name}")


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


@small_with_one_head
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
