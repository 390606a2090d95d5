"""Classifiers of photographs: the run's own predictions, from its files and its images.csv."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lt_fast as lt
from experiment.photographs import NET, write_photographs
from lt_fast.cli import main
from lt_fast.errors import DataError
from lt_fast.inference import reweighted
from lt_fast.inference.exporting import export
from lt_fast.inference.network import Logits, MeanOfFolds, restored
from lt_fast.inference.tested_images import own_test_images

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
    program = export(classifier, tmp_path / "a.pt2")
    assert program.metadata["input"].startswith("images: (N, 16, 16, 3) uint8, RGB")
    assert (program.images, program.test_images, program.without_test_images) == (10 + len(tested), len(tested), None)
    assert main(["calibrate", str(tmp_path / "run"), "--method", "logit_adjustment", "--threads", "1"]) == 0
    other = lt.load(tmp_path / "run", calibration=tmp_path / "run" / "calibrations" / "logit_adjustment")
    assert other.predict(tested[:2]).probabilities.shape == (2, 4)


def test_an_export_finds_the_photographs_where_they_are_now(folder, tmp_path, capsys):
    moved = shutil.copytree(folder, tmp_path / "photos")
    _train(moved, tmp_path / "run", "--freeze")
    moved.rename(tmp_path / "moved")
    words = ["export", str(tmp_path / "run"), "--out"]
    assert main([*words, str(tmp_path / "a.pt2")]) == 0
    out = capsys.readouterr().out
    assert "checked on 10 images, all generated: probabilities differ" in out
    assert re.search(r"no test image of the run was read: .*photos is missing, where the photographs", out)
    assert main([*words, str(tmp_path / "b.pt2"), "--root", str(tmp_path / "moved")]) == 0
    assert "checked on 16 images, 6 of them the run's test images: probabilities differ" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "c.pt2"), "--root", str(tmp_path)]) == 3
    assert "is missing; name the photographs' folder with --root" in capsys.readouterr().err


def test_a_program_that_answers_other_than_the_run_stored_is_not_written(folder, tmp_path):
    _train(folder, tmp_path / "run", "--freeze")
    file = tmp_path / "run" / "predictions.safetensors"
    saved = load_file(file)
    save_file({**saved, "calibrated_logits": saved["calibrated_logits"].flip(1).contiguous()}, file)
    with pytest.raises(DataError, match="answers differently from the run"):
        export(lt.load(tmp_path / "run"), tmp_path / "a.pt2")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    (tmp_path / "run" / "result.json").write_text(json.dumps({**result, "device": "cuda"}))
    assert export(lt.load(tmp_path / "run"), tmp_path / "a.pt2").test_images == 6  # compared with the network here


def test_a_transform_that_does_more_than_resize_crop_and_normalise_is_said(folder, tmp_path):
    _train(folder, tmp_path / "run", "--freeze")
    classifier = lt.load(tmp_path / "run")
    plain = classifier.prepare.transform

    def bluer(image):
        return plain(image) + 0.01

    classifier.prepare.transform = bluer
    assert own_test_images(classifier) == "the run's transform does more than to resize, crop and normalise"


@pytest.fixture(scope="module")
def folds(folder, tmp_path_factory):
    """A cross-validation of a frozen network."""
    root = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        _train(folder, root / "run", "--freeze", "--folds", "3")
    return root / "run"


def test_a_cross_validation_answers_by_the_mean_of_its_runs(folder, folds):
    classifier = lt.load(folds)
    each = [lt.load(folds / f"fold-{fold}") for fold in range(3)]
    found = classifier.predict(folder)
    np.testing.assert_allclose(
        found.probabilities, np.mean([one.predict(folder).probabilities for one in each], axis=0), atol=1e-5
    )
    assert classifier.network.shared is not None  # the layers that were frozen compute once
    weights = {id(network.model.network) for network in classifier.network.networks}
    assert len(weights) == 1
    assert (
        classifier.class_counts.counts.sum()
        == json.loads((folds / "protocol.json").read_text())["data"]["train_images"]
    )
    assert len({one.checkpoint for one in [classifier, *each]}) == 4


def test_the_runs_of_other_layers_compute_each_by_itself(folder, folds):
    networks = [Logits(*restored(folds / f"fold-{fold}")[4:6]) for fold in range(2)]
    with torch.no_grad():
        next(networks[1].model.network.parameters()).add_(0.1)
    mean = MeanOfFolds(networks).eval()
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert mean.shared is None
    with torch.no_grad():
        wanted = (networks[0](x).softmax(1) + networks[1](x).softmax(1)) / 2
        torch.testing.assert_close(mean(x).exp(), wanted)


def test_a_cross_validation_reweights_and_chooses_on_its_out_of_fold_predictions(folder, folds, capsys):
    classifier = lt.load(folds)
    plain = classifier.predict(folder).probabilities
    wanted = reweighted(plain, scored=classifier.scored_prior.prior, target=[1, 0, 1, 1])
    np.testing.assert_allclose(classifier.predict(folder, target_prior=[1, 0, 1, 1]).probabilities, wanted)
    chosen = classifier.question(max_error=0.9).chosen
    assert (chosen.images, chosen.measured_on) == (28, "out-of-fold")
    words = ["predict", str(folds), str(folder / "clay"), "--max-error", "0.9", "--threads", "1"]
    assert main(words) == 0
    assert "on the 28 out-of-fold images it answers" in capsys.readouterr().out


def test_what_a_cross_validation_does_not_take_is_one_line(folder, folds, tmp_path, capsys):
    def refused(*words, status=2):
        assert main([*map(str, words)]) == status
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert main(["compare", str(folds)]) == 0
    capsys.readouterr()
    err = refused("export", folds, "--out", tmp_path / "a.pt2")
    assert (
        f"whose networks are not one program; export one of its runs, {folds / 'fold-0'} to {folds / 'fold-2'}" in err
    )
    err = refused("predict", folds, folder, "--calibration", tmp_path)
    assert f"calibration must be left out for the cross-validation {folds}, got {tmp_path}, which is of one run" in err
    err = refused("calibrate", folds, "--method", "mc")
    assert "is a cross-validation of 3 runs" in err
    shutil.copytree(folds, tmp_path / "copy")
    (tmp_path / "copy" / "fold-1" / "result.json").unlink()
    err = refused("predict", tmp_path / "copy", folder, status=3)
    assert "copy has not finished: " in err
    assert "fold-1/result.json is missing; `lt-fast train --resume" in err
