"""The recipes that mix: the values of the authors' code, and CMO over any loss."""

import pytest
import torch

from lt_fast import experiment
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.mixing import CMO

PUBLISHED = [
    ("mixup", "cifar10-lt", "mixer", {"name": "mixup", "alpha": 1.0, "per_sample": False}),
    ("cutmix", "cifar10-lt", "mixer", {"name": "cutmix", "alpha": 1.0, "probability": 0.5, "per_sample": False}),
    (
        "remix_drw",
        "cifar10-lt",
        "mixer",
        {"name": "remix", "kappa": 3.0, "tau": 0.5, "alpha": 1.0, "per_sample": False},
    ),
    ("remix_drw", "cifar10-lt", "defer_until", 0.8),
    ("remix_drw", "cifar100-lt", "defer_until", 250 / 300),
    ("remix_drw", "cifar100-lt", "epochs", 300),
    ("unimix", "cifar10-lt", "mixer", {"name": "unimix", "tau": -0.5, "alpha": 0.8, "per_sample": True}),
    ("unimix", "cifar100-lt", "mixer", {"name": "unimix", "tau": -0.1, "alpha": 0.8, "per_sample": True}),
    ("unimix", "cifar100-lt", "batch_size", 64),
    ("unimix", "cifar10-lt", "loss", {"name": "bayias", "test_prior": None, "normalization": "batch"}),
    ("cmo", "cifar100-lt", "loss", {"name": "balanced_softmax", "normalization": "batch"}),
    ("lobm", "cifar10-lt", "mixer", {"name": "lobm", "q": 0.0, "alpha": 1.0, "per_sample": False}),
]


@pytest.mark.parametrize(("method", "data", "setting", "value"), PUBLISHED)
def test_the_values_are_the_published_ones(method, data, setting, value):
    assert experiment.resolve(method, data)[setting] == value


@pytest.mark.parametrize("data", ["cifar10-lt", "cifar100-lt", "digits-lt"])
def test_both_images_of_lobm_are_class_balanced(data):
    sampler = experiment.resolve("lobm", data)["sampler"]
    assert sampler == {"name": "class_balanced", "q": 0.0, "within_class": "replace", "drop_last": False}


def parts_of(changes):
    config = experiment.resolve("cmo", "digits-lt", changes, seed=5)
    return build(config, load_data(config))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "lade", "bayias", "seesaw", "class_balanced"])
def test_cmo_goes_with_any_loss(loss):
    parts = parts_of({"loss": loss})
    parts.method.on_epoch_start(30, 60)
    for loader in parts.loaders.values():
        loader.set_epoch(30)
        batch = next(batch for batch in loader if (batch.lam < 1).any())
    value = parts.method.training_step({"train": batch}).loss
    assert torch.isfinite(value)
    value.backward()


def test_cmo_goes_with_deferred_reweighting():
    parts = parts_of({"loss": "cross_entropy", "reweight": "effective_number", "defer_until": 0.8})
    parts.method.on_epoch_start(59, 60)
    assert parts.method.phase(59) == "reweighted"


def test_cmo_knows_the_labels_the_size_and_the_length_of_the_run():
    parts = parts_of({"epochs": 50})
    mixer = parts.data.mixer
    assert isinstance(mixer, CMO)
    assert repr(mixer) == repr(CMO(parts.data.labels, (8, 8), epochs=50, seed=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixer.q": "nan"}, r"mixer\.q must be a number, got 'nan'"),
        ({"mixer.start_at": 0.9, "mixer.stop_at": 0.2}, r"start_at must be <= stop_at \(0\.2\), got 0\.9"),
        ({"mixer.probability": 2.0}, r"probability must lie in \[0, 1\], got 2\.0"),
        ({"mixer.alpha": 0.0}, r"alpha must be finite and > 0"),
        ({"mixer.weighted_alpha": 1.0}, r"got 'mixer\.weighted_alpha'; did you mean 'alpha'"),
    ],
)
def test_a_wrong_setting_is_one_line(changes, message):
    with pytest.raises(UsageError, match=message):
        parts_of(changes)
