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
    assert made.param_groups[0].pop("capturable", True) is True  # of those that have it, for a graph
    assert plain.param_groups[0].pop("capturable", False) is False
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


def built(settings):
    config = experiment.resolve("ce", "digits-lt", settings)
    return build(config, load_data(config))


def test_a_sampler_of_single_indices_is_refused():
    with pytest.raises(UsageError) as refused:
        built({"sampler": "class_balanced_draws"})
    assert str(refused.value) == (
        "batch_sampler must give batches, got ClassBalancedSampler, which gives single indices; name a sampler of "
        "batches, such as ClassBalancedBatchSampler (sampler=class_balanced of a run)"
    )


@pytest.mark.parametrize(("name", "value"), [("label_rule", "mam"), ("omega", 0.5), ("kappa", 2.0), ("tau", 0.3)])
def test_what_a_loss_does_with_mixed_labels_needs_a_mixer(name, value):
    with pytest.raises(UsageError) as refused:
        built({f"loss.{name}": value})
    assert str(refused.value) == (
        f"loss.{name} needs a mixer, whose mixed labels it weighs, and this run has none; leave it out, or "
        "name one with --set mixer=NAME"
    )


def test_a_constant_of_the_loss_s_own_needs_no_mixer():
    parts = built({"loss": "logit_adjusted", "loss.tau": 0.3})
    prior = torch.from_numpy(parts.data.class_counts.counts / parts.data.class_counts.total)
    found = parts.method.criterion(torch.zeros(1, 10), torch.tensor([9]))
    assert float(found) == pytest.approx(-float((0.3 * prior.log()).log_softmax(0)[9]), rel=1e-5)


def test_a_list_of_integers_stays_one():
    config = experiment.resolve("ce", "digits-lt", {"mixer": "cutmix", "mixer.image_size": "8,8"})
    assert config["mixer"]["image_size"] == [8, 8]
    assert all(type(size) is int for size in config["mixer"]["image_size"])
