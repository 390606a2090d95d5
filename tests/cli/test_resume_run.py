"""``lt-fast train --resume RUN`` needs nothing else: the run has its settings."""

import re
import shutil

import pytest

from lt_fast.cli import main

TRAIN = ["train", "--method", "ce", "--data", "digits-lt", "--epochs", "2", "--set", "batch_size=32", "--seed", "5"]
QUIET = ["--quiet", "--no-plots", "--threads", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "a"
    assert main([*TRAIN, *QUIET, "--run", str(run)]) == 0
    return run


def test_a_stopped_run_ends_in_the_same_bits(finished, tmp_path):
    stopped = tmp_path / "b"
    shutil.copytree(finished, stopped)
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints" / "epoch-0002")
    assert main(["train", "--resume", str(stopped), *QUIET]) == 0
    for name in ("checkpoints/epoch-0002/model.safetensors", "predictions.safetensors", "config.json"):
        assert (stopped / name).read_bytes() == (finished / name).read_bytes()


def test_a_finished_run_says_its_result(finished, capsys):
    assert main(["train", "--resume", str(finished), *QUIET]) == 0
    assert "ce on digits-lt: imbalance ratio 50, exp profile, seed 5, 2 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "option"),
    [
        (["--method", "ce"], "--method"),
        (["--epochs", "2"], "--epochs"),
        (["--set", "lr=0.1"], "--set"),
        (["--seed", "5"], "--seed"),
        (["--amp"], "--amp"),
        (["--imbalance-ratio", "50"], "--imbalance-ratio"),
    ],
)
def test_its_settings_are_not_given_twice(finished, capsys, more, option):
    assert main(["train", "--resume", str(finished), *QUIET, *more]) == 2
    assert f"{option} must be left out with --resume {finished}" in capsys.readouterr().err


def test_no_run_is_said(tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path), *QUIET]) == 3
    assert re.search(r"holds no run: .*config\.json is missing", capsys.readouterr().err)


def test_the_advice_of_a_run_that_was_not_finished_can_be_followed(finished, tmp_path, capsys):
    stopped = tmp_path / "c"
    shutil.copytree(finished, stopped)
    (stopped / "result.json").write_text("{")
    assert main(["train", "--resume", str(stopped), *QUIET]) == 3
    (advice,) = re.findall(r"`lt-fast ([^`]*)`", capsys.readouterr().err)
    (stopped / "result.json").unlink()
    assert main([*advice.split(), *QUIET]) == 0
    assert (stopped / "result.json").read_bytes() != b"{"
