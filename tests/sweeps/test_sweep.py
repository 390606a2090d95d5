"""Sweeps: chosen on validation images alone, resumable, written and drawn, with a command that trains the choice."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import lt_fast as lt
from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.cli.parser import parse
from lt_fast.cli.train import config_of
from lt_fast.errors import UsageError
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import read_predictions_of
from lt_fast.scheduling import Machine
from lt_fast.sweeps import METRICS, Candidate, Sweep, Trial, candidates, split_values
from lt_fast.sweeps.choosing import best_of
from lt_fast.sweeps.command import command_of
from lt_fast.sweeps.grid import as_numbers, as_text, planned
from lt_fast.sweeps.picture import draw
from lt_fast.sweeps.sweep import default_folder, needs_validation
from lt_fast.sweeps.writing import as_json, table_text, words_of

RATES = ["0.001", "0.1"]
SHARED = {"epochs": 2, "validation": "0.2", "many_above": "60"}
WORDS = ["sweep", "ce", "digits-lt", "--set", "lr=0.001,0.1", "--set", "validation=0.2", "--set", "many_above=60"]
WORDS += ["--epochs", "2", "--seeds", "2", "--workers", "2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep by the command line: its folder and what it printed as JSON."""
    out = tmp_path_factory.mktemp("sweep")
    assert main([*WORDS, "--out", str(out), "--quiet"]) == 0
    return out


def again(out, **more):
    given = {"seeds": 2, "overrides": SHARED, "out": out, "machine": Machine(workers=2), "progress": False}
    return lt.sweep("ce", "digits-lt", {"lr": RATES}, **given | more)


def test_the_choice_is_that_of_the_validation_images(done):
    found = again(done)
    assert found.best.settings == {"lr": "0.1"}  # 0.001 learns nothing in two epochs
    for candidate in found.candidates:
        for trial in candidate.trials:
            result = json.loads(Path(trial.folder, "result.json").read_text())
            counts = lt.ClassCounts(result["data"]["class_counts"])
            saved = read_predictions_of(trial.folder, num_classes=10, name=VALIDATION)
            wanted = lt.metrics.evaluate(saved.logits, saved.labels, counts, groups=(60, 20))
            assert trial.validation == {name: wanted[name] for name in METRICS}
            assert trial.test == {name: result["metrics"][name] for name in METRICS}
        assert candidate.value == np.mean([trial.validation["balanced_acc"] for trial in candidate.trials])


def test_a_run_of_a_sweep_is_that_of_its_configuration(done, tmp_path):
    trial = again(done).best.trials[1]
    config = experiment.resolve("ce", "digits-lt", {**SHARED, "lr": "0.1"}, seed=1)
    alone = experiment.run(config, tmp_path / "run", progress=False)
    assert {name: alone["metrics"][name] for name in METRICS} == trial.test


def test_finished_runs_are_not_repeated_and_others_are(done, tmp_path):
    copy = shutil.copytree(done, tmp_path / "copy")
    first = again(done)
    lacking, *kept = sorted(path for path in copy.iterdir() if path.is_dir())
    (lacking / "result.json").unlink()
    times = {path.name: path.with_name(f"{path.name}.log").stat().st_mtime_ns for path in (lacking, *kept)}
    second = again(copy)
    changed = [name for name, time in times.items() if (copy / f"{name}.log").stat().st_mtime_ns != time]
    assert changed == [lacking.name]
    assert [each.value for each in second.candidates] == [each.value for each in first.candidates]


def test_its_files(done):
    rows = list(csv.DictReader((done / "sweep.csv").read_text().splitlines()))
    assert [(row["lr"], row["seed"]) for row in rows] == [("0.001", "0"), ("0.001", "1"), ("0.1", "0"), ("0.1", "1")]
    found, frame = again(done), again(done).frame()
    assert list(frame.columns) == ["lr", "seed", *METRICS, "folder"]
    assert frame["lr"].tolist() == [0.001, 0.001, 0.1, 0.1]
    assert frame["nll"].tolist() == [float(row["nll"]) for row in rows]
    written = json.loads((done / "sweep.json").read_text())
    assert written == json.loads(json.dumps(as_json(found)))
    assert written["chosen"]["settings"] == {"lr": "0.1"}
    assert all((done / f"sweep.{ending}").stat().st_size > 1000 for ending in ("png", "svg"))


def test_the_command_trains_the_choice_on_all_images(done):
    found = again(done)
    program, *words = shlex.split(shlex.join(found.command))
    assert program == "lt-fast"
    config = config_of(parse(words))
    assert config == experiment.resolve("ce", "digits-lt", {"epochs": 2, "many_above": 60, "lr": 0.1})
    assert not found.held_out
    assert shlex.join(found.command) in words_of(found)


@pytest.mark.parametrize(("calibrator", "held_out"), [("temperature", True), ("margin", False)])
def test_a_recipe_that_needs_validation_images_gets_them_again(calibrator, held_out, tmp_path):
    overrides = {"validation": 0.2, "calibrator": calibrator}
    plan = planned("ce", "digits-lt", {"learning_rate": RATES}, seeds=1, out=tmp_path, overrides=overrides, given={})
    best = Candidate({"learning_rate": "0.1"}, (), 1.0, None, None)
    assert needs_validation(plan, best, Machine()) == held_out
    words = command_of(plan, best.settings, held_out=held_out, root=None)
    assert ("validation=0.2" in words) == held_out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a method and data are needed: lt-fast sweep mammc digits-lt --set"),
        (["ce"], "a method and data are needed"),
        (["ce", "digits-lt"], "a sweep needs a setting with several values: --set learning_rate=0.05,0.1,0.2"),
        (["ce", "digits-lt", "--set", "lr=0.1"], "a sweep needs a setting with several values"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2"], "these runs have none; hold some out with --set validation=0.2"),
        (["ce", "digits-lt", "--set", "validation=0.1,0.2"], "validation must be the same in all runs"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.1"], "lr must have each value once, got '0.1' twice"),
        (["ce", "digits-lt", "--set", "lr=0.1,"], "lr must have no empty value, got '0.1,'; leave out a comma"),
        (["ce", "digits-lt", "--set", "lr=[0.1,0.2"], "values must have a ] for each [, got '[0.1,0.2'; for example"),
        (["ce", "digits-lt", "--set", "lr=0.1],0.2"], "values must have a ] for each [, got '0.1],0.2'"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--set", "validation=0.2", "--step", "graf"],
         "step must be one of eager, graph, got 'graf'"),
        (["ce", "digits-lt", "--set", "lr=1", "--set", "lr=2,3"], "lr must be set once, with all its values"),
        (["ce", "digits-lt", "--set", "epochs=1,2", "--epochs", "3"], "epochs must be set once"),
        (["ce", "digits-lt", "--set", "omga=0.1,0.2"], "setting must be one of this run's, got 'omga'"),
        (["mamc", "digits-lt", "--set", "lr=0.1,0.2"], "method must be one of"),
        (["ce", "digit-lt", "--set", "lr=0.1,0.2"], "did you mean 'digits-lt'?"),
        (["ce", "digits-lt", "--set", "lr=0.1,x"], "learning_rate must be a number, got 'x'"),
        (["mam", "digits-lt", "--set", "omega=0.1,-3", "--set", "validation=0.2"], "omega must"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--metric", "top"], "metric must be one of balanced_acc, top1,"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--folds", "3"], "--folds must be left out of a sweep"),
        (["ce", "cifar10-lt", "--set", "lr=0.1,0.2"], "--root is needed for cifar10-lt"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--root", "."], "--root is for data sets of files, got digits-lt"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--seeds", "0"], "--seeds must be an integer >= 1, got '0'"),
        (["ce", "digits-lt", "--set", "lr=0.1,0.2", "--set", "validation=0.2", "--set", "few_below=1",
          "--metric", "few_recall"], "no class of the group 'few' has validation images"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_trained(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_photographs_are_swept_and_a_setting_with_a_failed_run_is_not_chosen(tmp_path, capsys):
    """Their own options are shared by the runs, and in the command; at the first rate the weights overflow."""
    from PIL import Image

    draw_pixels = np.random.default_rng(0)
    for name, number in (("dark", 12), ("light", 8)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for at in range(number):
            low = 0 if name == "dark" else 150
            pixels = draw_pixels.integers(low, low + 100, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{at}.png")
    words = [
        "sweep",
        "ce",
        str(tmp_path / "photos"),
        "--model",
        "resnet32",
        "--scratch",
        "--augment",
        "light",
        "--epochs",
        "1",
    ]
    words += ["--set", "lr=1e30,0.1", "--set", "validation=0.3", "--set", "transform.size=24", "--set", "batch_size=4"]
    assert main([*words, "--out", str(tmp_path / "out"), "--workers", "2", "--quiet", "--json", "--no-plots"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["chosen"]["settings"] == {"lr": "0.1"}
    assert found["candidates"][0]["value"] is None
    assert "loss must stay finite" in found["candidates"][0]["trials"][0]["reason"]
    assert "failed" in err
    config = config_of(parse(found["command"][1:]))
    assert config["transform"]["augment"] == "light"
    assert (config["mode"], config["model"]["name"]) == ("scratch", "resnet32")
    assert config["data_options"]["path"] == str(tmp_path / "photos")


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [("1,2", ["1", "2"]), ("1", ["1"]), ("", [""]), ("[1,2],[3]", ["[1,2]", "[3]"]), ("a, b", ["a", "b"]),
     ("[1,2],none", ["[1,2]", "none"])],
)  # fmt: skip
def test_values_in_text(text, values):
    assert split_values(text) == values


def test_a_sweep_by_a_training_protocol(tmp_path):
    given = {"protocol": "mammc-paper"}
    options = {"seeds": 1, "out": tmp_path, "overrides": {"validation": 0.2}, "given": given}
    plan = planned("mammc", "digits-lt", {"omega": [0.1, 0.5]}, **options)
    assert [job.config["protocol"] for job in plan.jobs] == ["mammc-paper"] * 2
    words = command_of(plan, {"omega": 0.1}, held_out=False, root=None)
    assert words[5:] == ("mammc", "--protocol", "mammc-paper", "--set", "omega=0.1")
    assert default_folder("mammc", "digits-lt", {"omega": [1]}, given).name == "sweep-mammc-mammc-paper-digits-lt-omega"


def test_the_grid_has_every_combination():
    found = candidates({"a": [1, 2], "b": ["x", "y", "z"]})
    assert len(found) == 6
    assert found[4] == {"a": 2, "b": "y"}
    with pytest.raises(UsageError, match=r"a must be a list of values, got 'xy'"):
        candidates({"a": "xy"})
    with pytest.raises(UsageError, match=r"at most 10,000 runs, got 20,000"):
        lt.sweep("ce", "digits-lt", {"epochs": list(range(1, 101)), "batch_size": list(range(1, 201))})


@pytest.mark.parametrize(("values", "numbers"), [(["0.1", 2], [0.1, 2]), (["a", 1], None), ([True, 1], None)])
def test_values_as_numbers(values, numbers):
    assert as_numbers(values) == numbers


def made(settings, values, *, metric="balanced_acc"):
    """A sweep of the given values, two runs each."""
    found = []
    for given, runs in zip(candidates(settings), values, strict=True):
        trials = [
            Trial(given, seed, f"runs/{seed}", None if value is None else dict.fromkeys(METRICS, value), None, None)
            for seed, value in enumerate(runs)
        ]
        value = None if None in runs else float(np.mean(runs))
        found.append(Candidate(given, trials, value, None if value is None else value - 0.1, value))
    return Sweep("ce", "digits-lt", settings, metric, 80, found, best_of(found, metric), ("lt-fast",), held_out=False)


def test_the_best_is_the_largest_or_the_smallest_and_of_equal_ones_the_first():
    values = [[0.4, 0.6], [0.7, 0.5], [0.6, 0.6], [None, 0.9]]
    assert made({"a": [1, 2, 3, 4]}, values).best.settings == {"a": 2}
    assert made({"a": [1, 2, 3, 4]}, values, metric="nll").best.settings == {"a": 1}
    assert best_of(made({"a": [1, 2]}, [[0.1, 0.2], [0.1, None]]).candidates[1:], "top1") is None


def test_settings_that_cannot_be_told_apart_are_named():
    found = made({"a": [1, 2, 3]}, [[0.50, 0.60], [0.51, 0.62], [0.11, 0.22]])
    # 2 minus 1 is 0.01 and 0.02, whose t interval of two runs is 0.015 +- 0.064; 2 minus 3 is 0.40 in both.
    assert [each.settings for each in found.as_good()] == [{"a": 1}]
    assert "not distinguishable from it: a=1; more --seeds" in words_of(found)


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ({"lr": [0.001, 0.1]}, True),
        ({"loss": ["ldam", "focal"]}, True),
        ({"lr": [0.1, 0.2], "loss": ["ldam", "focal"]}, True),
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, False),
    ],
)
def test_pictures(settings, drawn, tmp_path):
    count = len(candidates(settings))
    found = made(settings, [[None, 0.2], *[[0.1 * at, 0.2] for at in range(1, count)]])
    files = draw(found, tmp_path / "sweep.png")
    assert [path.exists() for path in files] == ([True, True] if drawn else [])
    if drawn:
        text = (tmp_path / "sweep.svg").read_text()
        assert all(name in text for name in settings)
        assert "chosen" in text
    assert "  failed  " in table_text(found).splitlines()[2]


def test_values_are_written_as_they_are_read():
    assert as_text([0.8, None, False]) == "[0.8,none,false]"
