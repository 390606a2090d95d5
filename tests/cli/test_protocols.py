"""``--protocol``, ``--steps`` and ``--images`` of a run: recorded, resumed, reported, refused in one line."""

import json
import shutil

import pytest

from lt_fast.cli import main
from lt_fast.comparison.runs import grouped

TRAIN = ["train", "--method", "mammc", "--data", "digits-lt", "--seed", "5", "--set", "calibrator.epochs=2"]
QUIET = ["--quiet", "--no-plots", "--threads", "1"]
BY = ["--protocol", "mammc-paper", "--steps", "14"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "a"
    assert main([*TRAIN, *BY, *QUIET, "--run", str(run)]) == 0
    return run


def test_a_run_records_its_protocol_and_its_length(finished):
    config = json.loads((finished / "config.json").read_text())
    assert (config["protocol"], config["length"], config["epochs"]) == ("mammc-paper", {"steps": 14}, 2)
    assert config["schedule"] == {"name": "cosine", "warmup": 0.0}
    sources = json.loads((finished / "protocol.json").read_text())["sources"]
    assert sources["epochs"] == "set by the user: 14 steps of 64 images are that many passes over 417"
    assert sources["schedule.warmup"].startswith("MAMMC paper, CIFAR and soil, ResNet-32")
    assert sources["calibrator.epochs"].startswith("set by the user; the protocol has 40 (ours: 280 steps")


def test_a_stopped_run_ends_in_the_same_bits(finished, tmp_path, capsys):
    stopped = tmp_path / "b"
    shutil.copytree(finished, stopped)
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints" / "epoch-0002")
    assert main(["train", "--resume", str(stopped), *QUIET]) == 0
    for name in ("checkpoints/epoch-0002/model.safetensors", "calibration/calibrator.safetensors", "config.json"):
        assert (stopped / name).read_bytes() == (finished / name).read_bytes()
    assert "mammc by the protocol mammc-paper on digits-lt: " in capsys.readouterr().out
    assert main(["eval", str(stopped)]) == 0


def test_another_protocol_is_another_run(finished, capsys):
    assert main([*TRAIN, "--epochs", "2", *QUIET, "--run", str(finished), "--resume"]) == 2
    assert "protocol" in capsys.readouterr().err


def test_the_page_and_a_comparison_name_the_protocol(finished, tmp_path):
    assert main(["report", str(finished), "--out", str(tmp_path / "page.html"), "--quiet"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "mammc by mammc-paper on digits-lt" in page
    assert "14 steps of 64 images are that many passes over 417" in page
    assert [group.name for group in grouped([finished])] == ["mammc by mammc-paper"]


def test_the_methods_by_a_protocol(capsys):
    assert main(["methods", "ce", "--protocol", "marc", "--data", "cifar100-lt"]) == 0
    found = capsys.readouterr().out
    assert "cifar100-lt by the protocol marc, imbalance ratio 100 by default" in found
    assert "epochs = 614\n      microsoft/robustlearn: marc, " in found
    assert main(["methods", "mc", "--protocol", "mammc-paper"]) == 0
    found = capsys.readouterr().out
    assert "photographs with --scratch by the protocol mammc-paper" in found
    assert main(["methods"]) == 0
    assert "imbalanced-dl  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods", "--protocol", "marc"], "--protocol needs a method: lt-fast methods ce --protocol marc"),
        (["methods", "ce", "--protocol", "mark"], "got 'mark'; did you mean 'marc'?"),
        ([*TRAIN, "--protocol", "marc"], "protocol marc is stated for cifar10-lt, "),
        ([*TRAIN, "--steps", "0"], "steps must be an integer >= 1, got '0'"),
        ([*TRAIN, "--images", "1.5"], "images must be an integer >= 1, got '1.5'"),
        ([*TRAIN, "--steps", "3", "--set", "steps=4"], "steps must be set once, got 4 and 3"),
        ([*TRAIN, "--steps", "3", "--epochs", "4"], "argument --epochs: not allowed with argument --steps"),
        ([*TRAIN, "--steps", "3", "--set", "epochs=4"], "the length must be given once, got 4 epochs and 3 steps"),
        ([*TRAIN, "--set", "protocol=marc"], "it is an argument of its own: --protocol on the command line"),
    ],
)
def test_wrong_words(words, message, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("more", [["--protocol", "mammc-paper"], ["--steps", "14"], ["--images", "9"]])
def test_what_a_resumed_run_has_is_not_given_twice(finished, capsys, more):
    assert main(["train", "--resume", str(finished), *QUIET, *more]) == 2
    assert f"{more[0]} must be left out with --resume {finished}" in capsys.readouterr().err


def test_a_protocol_of_a_file(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(
        "from lt_fast.recipes import TrainingProtocol, cited, register\n"
        "on = {'digits-lt': {'epochs': cited(1, 'ours: short')}}\n"
        "register(TrainingProtocol('quick-one', 'ours', on=on))\n"
    )
    run = tmp_path / "run"
    words = [*TRAIN, *QUIET, "--recipe", str(file), "--protocol", "quick-one", "--run", str(run)]
    assert main(words) == 0
    assert json.loads((run / "config.json").read_text())["epochs"] == 1
    assert main(["eval", str(run)]) == 0
    capsys.readouterr()
