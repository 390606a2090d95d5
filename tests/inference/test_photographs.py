"""Classifiers of photographs: the run's own predictions, from its files and its images.csv."""

import csv

import numpy as np
import pytest
from safetensors.torch import load_file

import lt_fast as lt
from experiment.photographs import NET, write_photographs
from lt_fast.cli import main
from lt_fast.errors import UsageError
from lt_fast.inference.exporting import export

SHORT = ["--threads", "1", "--workers", "0", "--quiet", "--no-plots", "--set", "transform.size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("soil") / "photos")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _train(folder, run, *words):
    words = ["train", folder, "--model", NET, "--epochs", "2", "--run", run, *words, *SHORT]
    assert main([*map(str, words), "--set", "data.groups=duplicates"]) == 0


@pytest.mark.parametrize("mode", ["freeze", "finetune"])
def test_a_run_of_photographs_is_used_calibrated_and_exported(folder, tmp_path, mode):
    _train(folder, tmp_path / "run", f"--{mode}")
    with (tmp_path / "run" / "images.csv").open(newline="") as file:
        tested = [folder / row["path"] for row in csv.DictReader(file) if row["split"] == "test"]
    classifier = lt.load(tmp_path / "run")
    found = classifier.predict(tested)
    saved = load_file(tmp_path / "run" / "predictions.safetensors")
    wanted = saved["calibrated_logits"].double().softmax(1).numpy()
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-4)
    assert classifier.classes == ("clay", "loam", "peat", "sand")
    assert export(classifier, tmp_path / "a.pt2").metadata["input"].startswith("images: (N, 16, 16, 3) uint8, RGB")
    assert main(["calibrate", str(tmp_path / "run"), "--method", "logit_adjustment", "--threads", "1"]) == 0
    other = lt.load(tmp_path / "run", calibration=tmp_path / "run" / "calibrations" / "logit_adjustment")
    assert other.predict(tested[:2]).probabilities.shape == (2, 4)


def test_a_cross_validation_names_its_runs(folder, tmp_path):
    _train(folder, tmp_path / "run", "--freeze", "--folds", "2")
    with pytest.raises(UsageError, match=r"is a cross-validation of 2 runs, .*such as .*fold-0"):
        lt.load(tmp_path / "run")
    assert main(["compare", str(tmp_path / "run")]) == 0
    assert len(lt.load(tmp_path / "run" / "fold-0").predict(folder)) == 28
