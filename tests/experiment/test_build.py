"""The parts of a run, made by its configuration."""

import pytest
import torch
from torch import nn

from lt_fast import experiment
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, fused_on, load_data, make_optimizer


def optimizer_on(device, **settings):
    return fused_on(device, make_optimizer(experiment.resolve("ce", "digits-lt", settings)))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_one_kernel_on_a_gpu(name, device):
    optimizer = optimizer_on(device, optimizer=name)
    assert optimizer.keywords["fused"] is True
    made, plain = (make([nn.Parameter(torch.zeros(2))]) for make in (optimizer, optimizer_on("cpu", optimizer=name)))
    assert made.param_groups[0].pop("fused") is True
    assert not plain.param_groups[0].pop("fused")
    assert {**made.param_groups[0], "params": []} == {**plain.param_groups[0], "params": []}


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("cpu", {}),
        ("cuda", {"optimizer": "rmsprop"}),  # has no such kernel
        ("cuda", {"optimizer.fused": "false"}),
        ("cuda", {"optimizer.foreach": "true"}),
        ("cuda", {"optimizer": "adamw", "optimizer.differentiable": "true"}),
    ],
)
def test_an_optimizer_that_stays_as_it_is(device, settings):
    made = make_optimizer(experiment.resolve("ce", "digits-lt", settings))
    assert fused_on(device, made) is made


def test_class_weights_of_the_loss_and_of_reweighting_exclude_each_other():
    config = experiment.resolve("ldam_drw", "digits-lt", {"loss.weight": [1.0] * 10})
    with pytest.raises(UsageError, match=r"loss\.weight must be left out with reweight, which sets it"):
        build(config, load_data(config))


def test_a_list_of_integers_stays_one():
    config = experiment.resolve("ce", "digits-lt", {"mixer": "cutmix", "mixer.image_size": "8,8"})
    assert config["mixer"]["image_size"] == [8, 8]
    assert all(type(size) is int for size in config["mixer"]["image_size"])
