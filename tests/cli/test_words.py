"""What the command line says to wrong words: the nearest right one, one line, exit status 2, in-process."""

import json
import re

import pytest

from lt_fast.cli import main

TRAIN = ["train", "--method", "ce", "--data", "digits-lt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            r"a command is needed: train, eval, report, predict, calibrate, compare, export, methods, sweep, ",
        ),
        (["trian"], r"command must be one of .*, got 'trian'; did you mean 'train'\?"),
        (["--jsn", "train"], r"the command comes first: .*, got '--jsn'"),
        ([*TRAIN, "--epoch", "3"], r"lt-fast train has no option '--epoch'; did you mean '--epochs'\?"),
        ([*TRAIN, "--imbalance_ratio=3"], r"has no option '--imbalance_ratio'; did you mean '--imbalance-ratio'\?"),
        ([*TRAIN, "--xyzzy"], r"has no option '--xyzzy'; see `lt-fast train --help`"),
        ([*TRAIN, "spare"], r"DATA must be given once, got 'spare' and --data 'digits-lt'"),
        ([*TRAIN, "spare", "more"], r"lt-fast train does not take 'more'; see `lt-fast train --help`"),
        (["train", "--metod", "ce", "--data", "digits-lt"], r"has no option '--metod'; did you mean '--method'\?"),
        (
            ["train", "--data", "digits-lt"],
            r"--method is needed, one of .*balanced_softmax, .*, \.\.\.; `lt-fast methods` lists all",
        ),
        (["train", "--method", "ce"], r"--data is needed, one of photographs, imagenet-lt, .*digits-lt, "),
        (["train", "--method", "mamc", "--data", "digits-lt"], r"got 'mamc'; did you mean 'mammc'\?"),
        (["train", "--method", "ce", "--data", "digit-lt"], r"got 'digit-lt'; did you mean 'digits-lt'\?"),
        (["train", "--method", "ce", "--data", "cifar10-lt"], r"--root is needed for cifar10-lt: .*--download"),
        ([*TRAIN, "--epochs"], r"argument --epochs: expected one argument; see `lt-fast train --help`"),
        ([*TRAIN, "--epochs", "0"], r"epochs must be >= 1, got 0"),
        ([*TRAIN, "--epochs", "3", "--set", "epochs=4"], r"epochs must be set once, got 4 and 3"),
        ([*TRAIN, "--set", "lr"], r"--set must be name=value, got 'lr'; for example --set learning_rate=0.05"),
        ([*TRAIN, "--set", "learning_rte=1"], r"got 'learning_rte'; did you mean 'learning_rate'\?"),
        ([*TRAIN, "--imbalance-ratio", "0.01"], r"imbalance_ratio must be .*, got 0.01; did you mean 100\?"),
        ([*TRAIN, "--profile", "stp"], r"profile must be one of exp, step, pareto, got 'stp'; did you mean 'step'\?"),
        ([*TRAIN, "--seed", "x"], r"seed must be an integer >= 0, got 'x'"),
        ([*TRAIN, "--threads", "0"], r"--threads must be an integer >= 1, got '0'"),
        (["eval"], r"a run directory is needed: lt-fast eval runs/NAME"),
        (["demo", "--seeds", "none"], r"--seeds must be an integer >= 1, got 'none'"),
        (["methods", "mam-c"], r"method must be one of .*, got 'mam-c'; did you mean '(mam|mammc|mc)'\?"),
        (["methods", "ce", "--data", "cifar"], r"data must be one of .*, got 'cifar'; did you mean 'cifar10"),
    ],
)
def test_wrong_words_are_one_line_and_status_2(words, message, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert err.startswith("lt-fast: ")


def test_with_json_stdout_is_json_also_for_an_error(capsys):
    assert main(["methods", "nothing-like-it", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": err.strip().removeprefix("lt-fast: "), "status": 2}


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("LT_FAST_DEBUG", "1")
    assert main(["methods", "nothing"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "lt-fast: method must be" in err


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["demo", "-h"], ["--version"]])
def test_help_and_version_are_status_0(words, capsys):
    assert main(words) == 0
    assert "lt-fast" in capsys.readouterr().out


def test_help_names_every_command_and_the_exit_status(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    for word in ("train", "eval", "methods", "demo", "make-lt", "doctor", "inspect", "exit status: 0 done"):
        assert word in text


def test_calibrate_says_every_name_that_it_takes(capsys):
    from lt_fast.experiment.calibrating import ALIASES
    from lt_fast.registry import CALIBRATORS

    assert main(["calibrate", "--help"]) == 0
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {*CALIBRATORS, *(name for name in ALIASES if "-" not in name)} <= words


def test_methods_lists_every_recipe(capsys):
    from lt_fast.recipes import RECIPES

    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", text, re.MULTILINE) for name in RECIPES)
    assert main(["methods", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [recipe["name"] for recipe in json.loads(out)] == list(RECIPES)
    assert "arXiv:2308.15457" in err


def test_methods_shows_every_value_with_its_source(capsys):
    assert main(["methods", "mammc", "--data", "cifar100-lt", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parts"]["calibrator"] == "margin"
    assert shown["values"]["cifar100-lt"]["mixer.omega"]["value"] == 0.25
    assert "imbalanced-DL" in shown["values"]["cifar100-lt"]["mixer.omega"]["source"]
