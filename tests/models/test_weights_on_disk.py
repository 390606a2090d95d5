"""Pretrained weights: found in the caches of torchvision and timm without a network, or the command that gets them."""

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save_file

from lt_fast.errors import DataError, UsageError
from lt_fast.models import adapt
from lt_fast.models.weights_on_disk import require_weights


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path


def test_torchvisions_weights_are_found_in_its_cache(caches):
    with pytest.raises(
        DataError, match=r"not on this machine; get them with: python -c .*m.get_model\('squeezenet1_1'"
    ):
        require_weights("torchvision:squeezenet1_1")
    network = torchvision.models.squeezenet1_1()
    folder = caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    url = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    torch.save(network.state_dict(), folder / url.rpartition("/")[2])
    require_weights("torchvision:squeezenet1_1")
    model = adapt("torchvision:squeezenet1_1", 3, weights="pretrained")
    assert torch.equal(model.backbone.features[0].weight, network.features[0].weight)


def test_timms_weights_are_found_in_the_cache_of_its_hub(caches):
    with pytest.raises(
        DataError, match=r"not on this machine; get them with: python -c .*timm.create_model\('test_resnet'"
    ):
        require_weights("timm:test_resnet")
    network = timm.create_model("test_resnet")
    repository = caches / "hub" / ("models--" + network.pretrained_cfg["hf_hub_id"].replace("/", "--"))
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    save_file(network.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    require_weights("timm:test_resnet")
    model = adapt("timm:test_resnet", 3, weights="pretrained")
    assert torch.equal(model.backbone.conv1[0].weight, network.conv1[0].weight)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("torchvision:squeezenet1_2", "did you mean 'squeezenet1_1'"),
        ("timm:resnet5o", "did you mean 'resnet50'"),
        ("resnet32", "only libraries have such weights"),
    ],
)
def test_a_network_without_such_weights_is_named(model, words):
    with pytest.raises(UsageError, match=words):
        require_weights(model)


def test_the_preset_is_that_of_the_weights():
    small = adapt("torchvision:squeezenet1_1", 3).preset
    told = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.transforms()
    assert (small.size, small.interpolation) == (told.crop_size[0], told.interpolation.value)
    assert small.crop_share == pytest.approx(told.crop_size[0] / told.resize_size[0])
    assert small.mean == tuple(told.mean)
    of_timm = adapt("timm:test_resnet", 3).preset
    config = timm.get_pretrained_cfg("test_resnet")
    assert (of_timm.size, of_timm.crop_share) == (config.input_size[1], config.crop_pct)
    assert of_timm.interpolation == config.interpolation
