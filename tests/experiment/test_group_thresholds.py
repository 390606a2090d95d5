"""Thresholds of many, medium and few: a setting that changes what is measured and nothing that is trained."""

import json

import numpy as np
import pytest

import lt_fast as lt
from lt_fast import experiment, metrics
from lt_fast.cli import main
from lt_fast.comparison import compare
from lt_fast.errors import UsageError
from lt_fast.experiment.predictions import read_predictions_of
from lt_fast.report.finished_run import FinishedRun
from lt_fast.training import History

OWN = {"many_above": 60, "few_below": 10}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training with the usual thresholds and with others."""
    root = tmp_path_factory.mktemp("runs")
    for name, thresholds in {"usual": {}, "own": OWN}.items():
        config = experiment.resolve("mammc", "digits-lt", {"epochs": 2, **thresholds})
        experiment.run(config, root / name, progress=False)
    return root


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_they_are_recorded(runs):
    config = read(runs / "own", "config.json")
    assert {name: config[name] for name in OWN} == OWN
    assert read(runs / "own", "protocol.json")["groups"] == {
        "many": "> 60 training images", "medium": "10 to 60", "few": "< 10",
    }  # fmt: skip
    assert not OWN.keys() & read(runs / "usual", "config.json").keys()
    assert read(runs / "usual", "protocol.json")["groups"]["medium"] == "20 to 100"


def test_the_groups_alone_are_measured_otherwise(runs):
    usual, own = (read(runs / name, "result.json")["metrics"] for name in ("usual", "own"))
    others = [name for name in usual if name.rpartition("_")[0] not in ("many", "medium", "few")]
    assert {name: usual[name] for name in others} == {name: own[name] for name in others}
    counts = np.array(read(runs / "own", "result.json")["data"]["class_counts"])
    assert own["many_classes"] == (counts > 60).sum()
    assert own["few_classes"] == (counts < 10).sum() != usual["few_classes"]


def test_every_stage_has_them(runs):
    result = read(runs / "own", "result.json")
    saved = read_predictions_of(runs / "own", num_classes=10)
    counts = lt.ClassCounts(result["data"]["class_counts"])
    for stage, logits in (("metrics_before_calibration", saved.logits), ("metrics", saved.calibrated_logits)):
        wanted = metrics.evaluate(logits, saved.labels, counts, groups=(60, 10))
        assert {name: result[stage][name] for name in wanted if name != "per_class"} == {
            name: wanted[name] for name in wanted if name != "per_class"
        }
    last = History.from_csv(runs / "own" / "metrics.csv")[-1]
    assert last["test_few_recall"] == result["metrics_before_calibration"]["few_recall"]
    page = FinishedRun.read(runs / "own")
    assert page.groups["few"].sum() == result["metrics"]["few_classes"]


def test_a_run_measured_again_has_its_own(runs):
    again, result = experiment.evaluate_run(runs / "own"), read(runs / "own", "result.json")
    assert again["metrics"]["few_recall"] == result["metrics"]["few_recall"]
    low, high = again["intervals"]["few_recall"]
    assert low <= result["metrics"]["few_recall"] <= high


def test_a_comparison_has_one_pair_of_thresholds(runs):
    with pytest.raises(
        UsageError, match=r"must have the same groups .* few_below=20 \(.*usual\) but many_above=60 and"
    ):
        compare([runs / "usual", runs / "own"])
    own = compare([runs / "own"])
    assert own.groups == (60, 10)
    measured = read(runs / "own", "result.json")["metrics"]
    assert own.of("mammc", "few_recall").value == pytest.approx(measured["few_recall"])
    # The trainings are the same, so with one pair of thresholds so are the entries.
    forced = compare([runs / "usual"], groups=(60, 10))
    assert forced.entries == own.entries


def test_they_are_printed(runs, capsys):
    assert main(["eval", str(runs / "own")]) == 0
    assert "groups by training images per class: many > 60 (" in capsys.readouterr().out
    assert main(["compare", str(runs / "usual"), "--many-above", "60", "--few-below", "10"]) == 0
    assert "many > 60, medium 10 to 60, few < 10" in capsys.readouterr().out
    assert main(["methods", "ce", "--data", "digits-lt"]) == 0
    assert "run: many_above=100, few_below=20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"many_above": 20, "few_below": 50},
            r"few_below must be <= many_above \+ 1, .*few_below=50 and many_above=20",
        ),
        ({"few_below": 200}, r"few_below must be <= many_above \+ 1, .*few_below=200 and many_above=100; set both"),
        ({"few_below": 0}, r"few_below must be >= 1, got 0"),
        ({"many_above": "10.5"}, r"many_above must be an integer, got '10.5'"),
        ({"many_above": 10**6, "few_below": 1}, r"which leaves all 10 in 'medium': they have 3 to 150 training images"),
        ({"many_above": 1, "few_below": 1}, r"which leaves all 10 in 'many'"),
    ],
)
def test_thresholds_that_make_no_groups(given, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        experiment.run(experiment.resolve("ce", "digits-lt", given), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--many-above", "60"], "--few-below must be given, too"),
        (["--many-above", "10", "--few-below", "60"], "--few-below must be <= --many-above + 1"),
        (["--many-above", "x", "--few-below", "60"], "--many-above must be an integer >= 1, got 'x'"),
    ],
)
def test_thresholds_of_a_comparison(words, message, runs, capsys):
    assert main(["compare", str(runs / "own"), *words]) == 2
    assert message in capsys.readouterr().err
