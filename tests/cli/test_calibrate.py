"""``lt-fast calibrate``: another second stage on a finished run, and its use by ``predict``."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lt_fast as lt
from lt_fast import experiment
from lt_fast.calibration import CALIBRATORS, load_calibrator
from lt_fast.cli import main
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import load_data
from lt_fast.experiment.calibrating import calibrate_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    config = experiment.resolve("ce", "digits-lt", {"epochs": 4, "validation": 0.2})
    experiment.run(config, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def without_validation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "b"
    experiment.run(experiment.resolve("mammc", "digits-lt", {"epochs": 2}), folder, progress=False)
    return folder


def _said(words, capsys, status=0):
    assert main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


@pytest.fixture(scope="module")
def of_experts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "experts"
    settings = {"epochs": 4, "validation": 0.2, "model.experts": 2}
    experiment.run(experiment.resolve("ce", "digits-lt", settings), folder, progress=False)
    return folder


@pytest.mark.filterwarnings("ignore:test_time_aggregation reads the test images:UserWarning")
@pytest.mark.parametrize("name", sorted(CALIBRATORS))
def test_every_calibrator_is_fitted_measured_and_used(name, run, of_experts, tmp_path, capsys):
    run = of_experts if getattr(CALIBRATORS[name], "of_experts", False) else run
    # Few images are to ask a second expert, or the answers stay what they are.
    options = ["--set", "positive_weight=0.01"] if name == "expert_assignment" else []
    out, _ = _said(["calibrate", run, "--method", name, "--out", tmp_path / "c", "--json", *options], capsys)
    found = json.loads(out)
    assert found["fitted_on"] == getattr(CALIBRATORS[name], "fitted_on", "training")
    result = json.loads((run / "result.json").read_text())
    assert found["metrics_before_calibration"] == result["metrics"]
    saved = load_file(tmp_path / "c" / "predictions.safetensors")
    classifier = lt.load(run, calibration=tmp_path / "c")
    images = load_data(dict(classifier.config)).test.images
    answers = classifier.predict(images, max_error=0.6)
    wanted = saved["calibrated_logits"].double().softmax(1).numpy()
    np.testing.assert_allclose(answers.probabilities, wanted, atol=1e-5)
    assert answers.threshold != lt.load(run).predict(images[:1], max_error=0.6).threshold


def test_an_interrupted_call_is_repeated_by_the_same_command(run, tmp_path, capsys):
    """The record is written last: a folder without one is no calibration, and may be written again."""
    words = ["calibrate", run, "--method", "logit_adjustment", "--out", tmp_path / "out"]
    _said(words, capsys)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "calibration.json" in whole
    for lost in (["calibration.json"], ["calibration.json", "calibrator.json", "calibrator.safetensors"], list(whole)):
        for name in lost:
            (tmp_path / "out" / name).unlink()
        (tmp_path / "out" / ".calibrator.json.123.partial").write_text("{")
        _said(words, capsys)
        (tmp_path / "out" / ".calibrator.json.123.partial").unlink()
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole
    for theirs in ("calibrator.json", "note.txt"):
        (tmp_path / theirs).mkdir()
        (tmp_path / theirs / theirs).write_text("{}")
        _, err = _said([*words[:-1], tmp_path / theirs], capsys, 2)
        assert "is there already; name a new folder with --out, or remove it" in err


def test_the_names_of_the_papers_and_the_table(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    out, _ = _said(["calibrate", copy, "--method", "mc"], capsys)
    assert re.search(r"^margin, fitted on the training images; test set, percent$", out, re.MULTILINE)
    assert re.search(r"^network alone +\d", out, re.MULTILINE)
    assert re.search(r"^margin +\d", out, re.MULTILINE)
    _, err = _said(["calibrate", copy, "--method", "mc"], capsys, 2)
    assert re.search(r"calibrations/margin is there already; name a new folder with --out, or remove it", err)
    out, _ = _said(["calibrate", copy, "--method", "tau_norm", "--set", "calibrator.tau=0.5"], capsys)
    assert "tau_norm (tau=0.5), nothing is fitted" in out
    out, _ = _said(["calibrate", copy, "--method", "mislas", "--set", "shift_epochs=1", "--set", "views=2"], capsys)
    assert "label_aware_smoothing (shift_epochs=1, views=2), fitted on the training images" in out


def test_a_calibrated_run_is_compared_with_its_network_alone(without_validation, tmp_path, capsys):
    words = ["calibrate", without_validation, "--method", "crt", "--out", tmp_path / "c", "--json"]
    found = json.loads(_said(words, capsys)[0])
    result = json.loads((without_validation / "result.json").read_text())
    assert found["metrics_before_calibration"] == result["metrics_before_calibration"]


def test_a_calibrator_of_another_run_is_refused(run, without_validation, tmp_path, capsys):
    _said(["calibrate", run, "--method", "logit_adjustment", "--out", tmp_path / "c"], capsys)
    with pytest.raises(DataError, match="is not of this run: it was fitted to another network"):
        lt.load(without_validation, calibration=tmp_path / "c")
    (tmp_path / "c" / "calibration.json").write_text('{"run": 3}')
    with pytest.raises(DataError, match=r"calibration.json is damaged: run must be text, got 3"):
        lt.load(run, calibration=tmp_path / "c")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["calibrate"], 2, "a run directory or a weights file is needed: lt-fast calibrate runs/NAME --method mc"),
        (["calibrate", "RUN"], 2, "--method is needed, one of temperature, .*margin"),
        (["calibrate", "RUN", "--method", "temprature"], 2, "got 'temprature'; did you mean 'temperature'"),
        (["calibrate", "RUN", "--method", "mc", "--set", "gama=1"], 2, "has no option 'gama'; did you mean 'gamma'"),
        (["calibrate", "RUN", "--method", "mc", "--set", "gamma=x"], 2, "calibrator.gamma must be a number, got 'x'"),
        (["calibrate", "RUN", "--method", "mc", "--set", "gamma=1", "--set", "gamma=2"], 2, "gamma must be set once"),
        (["calibrate", "RUN", "--method", "temperature"], 2, "fitted on validation images, and the run has none"),
        (["calibrate", "RUN", "--method", "tau_norm"], 2, "give its tau with --set .*tau=1, or train with --set valid"),
        (["calibrate", "RUN", "--method", "mislas", "--set", "smooth_head=1"], 2, r"smooth_head must lie in \[0, 1\)"),
        (["calibrate", "RUN", "--method", "lsw"], 2, "got 'lsw'; did you mean 'lws'"),
        (["calibrate", "OUT", "--method", "mc"], 3, "holds no run"),
        (["calibrate", "RUN", "--method", "mc", "--out", "RUN"], 2, "is there already; name a new folder with --out"),
    ],
)
def test_wrong_words_are_one_line(words, status, message, without_validation, tmp_path, capsys):
    words = [word.replace("RUN", str(without_validation)).replace("OUT", str(tmp_path)) for word in words]
    out, err = _said(words, capsys, status)
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not (without_validation / "calibrations").exists()


def test_taking_the_training_frequencies_out_twice_is_warned_of(run, tmp_path, capsys):
    config = experiment.resolve("balanced_softmax", "digits-lt", {"epochs": 1})
    experiment.run(config, tmp_path / "run", progress=False)
    _, err = _said(["calibrate", tmp_path / "run", "--method", "logit_adjustment"], capsys)
    assert err.count("\n") == 1
    assert (
        "logit_adjustment takes the training set's class frequencies out of the scores, which stand for others" in err
    )
    assert "(balanced_softmax takes 1 times the log of the training prior out, shuffled sampling)" in err
    for place, method in ((tmp_path / "run", "mc"), (run, "logit_adjustment")):
        _, err = _said(["calibrate", place, "--method", method, "--out", tmp_path / f"c-{method}"], capsys)
        assert err == ""


@pytest.mark.filterwarnings("ignore:labels have no sample of class")
def test_vector_scaling_follows_a_run_and_its_record_says_how_it_went(run, tmp_path, capsys):
    words = ["--method", "vector-scaling", "--set", "penalty=2", "--out", tmp_path / "c"]
    out, _ = _said(["calibrate", run, *words], capsys)
    assert "vector_scaling (penalty=2.0), fitted on the validation images" in out
    record = json.loads((tmp_path / "c" / "calibration.json").read_text())
    assert record["summary"]["converged"]
    assert set(record["summary"]) == {"converged", "slope", "unseen"}
    saved = load_file(tmp_path / "c" / "predictions.safetensors")
    found = load_calibrator(tmp_path / "c")(saved["logits"])
    torch.testing.assert_close(found, saved["calibrated_logits"])


def test_a_recipe_fits_its_calibrator_on_the_same_images(tmp_path):
    config = experiment.resolve("ce", "digits-lt", {"epochs": 1, "calibrator": "temperature"})
    with pytest.raises(UsageError, match=r"temperature is fitted on validation images, and the run has none"):
        experiment.run(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    config = experiment.resolve("ce", "digits-lt", {"epochs": 1, "calibrator": "temperature", "validation": 0.2})
    trained = experiment.run(config, tmp_path / "run", progress=False)
    again = calibrate_run(tmp_path / "run", "temperature")
    assert again["fitted_on"] == "validation"
    assert again["metrics"] == trained["metrics"]
