"""The networks of ImageNet-LT: ResNet-10 against the network written out by hand, the others against torchvision."""

import pytest
import torch
import torchvision

import reference
from lt_fast import models
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment import resolve
from lt_fast.experiment.build import build, load_data
from lt_fast.models.resnet import basic_resnet
from models.test_resnet_cifar import layers, unsettle

OF_LIBRARY = {
    "resnet50": torchvision.models.resnet50,
    "resnet152": torchvision.models.resnet152,
    "resnext50": torchvision.models.resnext50_32x4d,
}


@pytest.mark.parametrize("size", [40, 17])
def test_resnet10_equals_the_reference(size):
    model = models.resnet10(5, seed=3).double().eval()
    unsettle(model, 1)
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = reference.basic_resnet_features(x, layers(model))
        torch.testing.assert_close(model.features(x), wanted)
        torch.testing.assert_close(model(x), wanted @ model.head.weight.T + model.head.bias)


def test_resnet10_has_ten_layers_with_weights_besides_the_shortcuts():
    model = models.resnet10(7)
    weighted = [m for m in model.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert len([m for m in weighted if getattr(m, "kernel_size", None) != (1, 1)]) == 10
    assert model.head.weight.shape == (7, 512)


@pytest.mark.parametrize("name", OF_LIBRARY)
def test_a_network_of_the_library_is_that_network(name):
    """One construction: names and shapes of the weights are torchvision's, and the seed decides them."""
    model = models.MODELS[name](3, head="cosine", seed=4)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        theirs = OF_LIBRARY[name]().state_dict()
    ours = model.backbone.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items() if not key.startswith("fc.")
    }
    assert model.head.weight.shape == (3, 2048)
    assert isinstance(model.head, models.CosineHead)


def test_grey_images_have_a_first_convolution_of_their_own():
    model = models.resnext50(2, in_channels=1).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 33, 20)).shape == (1, 2)
    assert (model.input_size, model.backbone.conv1.weight.std() > 0) == ((1, 224, 224), True)


def test_weights_of_a_file_are_read(tmp_path):
    theirs = basic_resnet((1, 1, 1, 1), 8)
    torch.save(theirs.state_dict(), tmp_path / "resnet10.pt")
    with pytest.warns(UserWarning, match="the classifier of 8 classes is left out"):
        model = models.resnet10(3, weights=tmp_path / "resnet10.pt", seed=1)
    assert torch.equal(model.backbone.layer4[0].conv2.weight, theirs.layer4[0].conv2.weight)
    with pytest.raises(DataError, match="weights must be a state dict of ResNet, got one that differs in"):
        models.resnet50(3, weights=tmp_path / "resnet10.pt")


@pytest.mark.parametrize("channels", [3, 1])
def test_experts_share_the_first_stages(channels):
    model = models.resnet10(4, experts=2, expert_width=0.75, head="cosine", in_channels=channels, seed=1).eval()
    assert isinstance(model, models.MultiExpert)
    with torch.no_grad():
        logits = model(torch.randn(2, channels, 32, 32), each=True)
    assert logits.shape == (2, 2, 4)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    assert model.head.weight.shape == (4, 2 * 384)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.resnet10(3, weights="pretrained"), "weights must be a file or none for resnet10"),
        (lambda: models.resnet50(3, in_channels=1, weights="pretrained"), "weights must be none for images of 1 chan"),
    ],
)
def test_pretrained_weights_that_do_not_exist(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_the_network_that_is_named_takes_the_place_of_the_backbone():
    config = resolve("bbn", "digits-lt", model="resnet10")
    assert (config["model"]["name"], config["model"]["backbone"]) == ("bbn", "resnet10")
    features = build(config, load_data(config)).method.model.features(torch.zeros(2, 1, 8, 8))
    assert features.shape == (2, 2 * 512)


@pytest.mark.parametrize("method", ["ldam_drw", "mammc", "cp_mix"])
def test_a_network_for_photographs_trains_on_small_images_with_the_head_of_the_recipe(method):
    config = resolve(method, "digits-lt", model="resnet10")
    assert config["model"]["head"] == ("cosine" if method == "ldam_drw" else "linear")
    parts = build(config, load_data(config))
    assert parts.method.model.backbone.conv1.weight.shape == (64, 1, 7, 7)
    x = torch.zeros(4, 1, 8, 8)
    assert parts.method.model(x).shape == (4, 10)
