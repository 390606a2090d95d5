"""Every recipe on Digits-LT: a run of some twenty steps through the real components, and what its directory holds."""

import csv
import json
import shutil

import pytest

from lt_fast import experiment, training
from lt_fast.data import AutoAugment, CropFlip
from lt_fast.experiment.build import build, load_data, make_transform, plain_of
from lt_fast.recipes import RECIPES

SHORT = {"epochs": 3, "batch_size": 64}  # 417 images: seven steps an epoch


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Each recipe's run, made once: name to (folder, result)."""
    made = {}

    def run(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "run"
            config = experiment.resolve(name, "digits-lt", SHORT, seed=5)
            made[name] = folder, experiment.run(config, folder, progress=False)
        return made[name]

    return run


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_short_run_leaves_a_whole_directory(finished, name):
    folder, result = finished(name)
    assert json.loads((folder / "result.json").read_text()) == result
    assert json.loads((folder / "config.json").read_text()) == experiment.resolve(name, "digits-lt", SHORT, seed=5)
    protocol = json.loads((folder / "protocol.json").read_text())
    assert protocol["data"]["train_fingerprint"] == result["data"]["train_fingerprint"]
    assert protocol["sources"]["epochs"].startswith("set by the user; the recipe has ")
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    before = result["metrics_before_calibration"] or result["metrics"]
    if result["config"]["validation"]:
        assert 0 <= float(rows[-1]["validation_top1"]) <= 1  # never measured on the test images
    else:
        assert float(rows[-1]["test_top1"]) == before["top1"]
    assert training.Checkpoints(folder / "checkpoints").newest().epoch == 3


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_short_run_learns_something(finished, name):
    folder, result = finished(name)
    losses = training.History.from_csv(folder / "metrics.csv").column("train_loss")
    assert losses[1] < losses[0]  # the third epoch's loss is re-weighted where the recipe defers that
    assert result["metrics"]["top1"] > 0.15  # ten balanced classes: chance is 0.1


@pytest.mark.parametrize("name", list(RECIPES))
def test_calibration_is_there_where_the_recipe_has_it(finished, name):
    folder, result = finished(name)
    calibrated = experiment.resolve(name, "digits-lt")["calibrator"] is not None
    assert (folder / "calibration").is_dir() == calibrated
    assert (result["metrics_before_calibration"] is not None) == calibrated


@pytest.mark.parametrize("name", ["ldam_drw", "mammc"])
def test_measuring_again_gives_the_same_figures(finished, name):
    folder, result = finished(name)
    again = experiment.evaluate_run(folder)
    assert again["metrics"] == result["metrics"]
    assert again["metrics_before_calibration"] == result["metrics_before_calibration"]
    low, high = again["intervals"]["top1"]
    assert low <= result["metrics"]["top1"] <= high


@pytest.mark.parametrize("name", ["bbn", "cmo", "hybrid_psc", "otmix", "regmixup", "risda"])
def test_a_run_is_used_without_its_images(finished, name):
    """A mixer of the whole data set is made again from the class sizes, which are all that a loaded run has."""
    import lt_fast

    folder, result = finished(name)
    test = load_data(result["config"]).test
    found = lt_fast.load(folder).predict(test.images).probabilities.argmax(1)
    assert (found == test.labels).mean() == pytest.approx(result["metrics"]["top1"])


def test_mc_is_ce_before_calibration(finished):
    assert finished("mc")[1]["metrics_before_calibration"] == finished("ce")[1]["metrics"]


def test_mammc_is_mam_before_calibration(finished):
    assert finished("mammc")[1]["metrics_before_calibration"] == finished("mam")[1]["metrics"]


def test_a_run_is_a_function_of_its_configuration(finished, tmp_path):
    folder, result = finished("mammc")
    again = experiment.run(experiment.resolve("mammc", "digits-lt", SHORT, seed=5), tmp_path / "again", progress=False)
    assert again["metrics"] == result["metrics"]
    model = "checkpoints/epoch-0003/model.safetensors"
    for file in (model, "calibration/calibrator.safetensors", "predictions.safetensors"):
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_another_seed_is_another_run(finished, tmp_path):
    _, result = finished("ce")
    other = experiment.run(experiment.resolve("ce", "digits-lt", SHORT, seed=6), tmp_path / "other", progress=False)
    assert other["data"]["train_fingerprint"] != result["data"]["train_fingerprint"]
    assert other["metrics"]["nll"] != result["metrics"]["nll"]


def test_the_global_generators_are_neither_read_nor_moved(tmp_path):
    import numpy as np
    import torch

    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    experiment.run(experiment.resolve("mammc", "digits-lt", {"epochs": 1}), tmp_path / "run", progress=False)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


def test_a_table_that_is_gone_is_made_again(finished, tmp_path):
    folder, result = finished("cp_mix")
    copy = shutil.copytree(folder, tmp_path / "run")
    assert result["tables"] == ["confusion_counts.safetensors"]
    (copy / "confusion_counts.safetensors").unlink()
    with pytest.warns(UserWarning, match="has a result, but no confusion_counts.safetensors; made again"):
        again = experiment.run(result["config"], copy, resume=True, progress=False)
    assert again["method"] == result["method"]
    assert (copy / "confusion_counts.safetensors").read_bytes() == (
        folder / "confusion_counts.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("name", list(RECIPES))
def test_strong_augmentation_fits_every_recipe(name):
    config = experiment.resolve(name, "digits-lt", {"transform": "autoaugment"}, seed=5)
    parts = build(config, load_data(config))
    for loader in parts.loaders.values():
        assert loader.transform == AutoAugment(
            mean=loader.transform.mean, std=loader.transform.std, crop_padding=1, flip=False
        )
        batch = next(iter(loader))
        assert batch.x.isfinite().all()


@pytest.mark.parametrize("transform", ["autoaugment", "trivialaugment"])
def test_a_run_with_strong_augmentation_is_measured_without(transform, tmp_path):
    config = experiment.resolve("mammc", "digits-lt", {"epochs": 1, "transform": transform}, seed=5)
    result = experiment.run(config, tmp_path / "run", progress=False)
    recorded = json.loads((tmp_path / "run" / "protocol.json").read_text())["augmentation"]["transform"]
    assert recorded["name"] == transform
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())
    plain = plain_of(config, make_transform(config, load_data(config)))
    assert type(plain) is CropFlip
