"""Comparisons: metrics as the package measures them, intervals, words, refusals."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from scipy import stats

import lt_fast as lt
from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.comparison import METRICS, compare
from lt_fast.comparison.measuring import Measured
from lt_fast.errors import DataError, UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two methods of two seeds."""
    root = tmp_path_factory.mktemp("runs")
    for method in ("ce", "balanced_softmax"):
        for seed in (0, 1):
            config = experiment.resolve(method, "digits-lt", {"epochs": 6}, seed=seed)
            experiment.run(config, root / f"{method}-{seed}", progress=False)
    return root


def _example(seed, strength=1.0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 200)
    logits = generator.normal(size=(200, 4)) + strength * np.eye(4)[labels]
    return logits, labels


def measured(probabilities, labels, counts):
    return Measured(probabilities.argmax(1), probabilities.max(1), labels, counts)


def test_metrics_are_those_of_evaluate():
    counts = lt.ClassCounts([500, 50, 5, 3])
    logits, labels = _example(0)
    wanted = lt.metrics.evaluate(logits, labels, counts)
    probabilities = torch.tensor(logits).softmax(1).numpy()
    found = measured(probabilities, labels, counts).of()
    np.testing.assert_allclose(found, [wanted[key] for key in METRICS], rtol=1e-12)


def test_weights_stand_for_repeated_images():
    counts = lt.ClassCounts([500, 50, 5, 3])
    logits, labels = _example(1)
    probabilities = torch.tensor(logits).softmax(1).numpy()
    weights = np.random.default_rng(2).integers(0, 4, 200)
    repeated = np.repeat(np.arange(200), weights)
    np.testing.assert_allclose(
        measured(probabilities, labels, counts).of(weights.astype(float)),
        measured(probabilities[repeated], labels[repeated], counts).of(),
    )


def test_an_entry_that_is_not_there_is_named(runs):
    found = compare([runs / "ce-0"])
    with pytest.raises(
        UsageError, match=r"metric must be one of top1, .*, got 'balanced'; did you mean 'balanced_acc'"
    ):
        found.of("ce", "balanced")
    with pytest.raises(UsageError, match=r"method must be one of ce, got 'mammc'"):
        found.of("mammc", "top1")


def test_a_single_run_has_the_bootstrap_interval_of_its_images(runs):
    found = compare([runs / "ce-0"])
    entry = found.of("ce", "top1")
    result = json.loads((runs / "ce-0" / "result.json").read_text())
    for metric in METRICS:
        assert found.of("ce", metric).value == pytest.approx(result["metrics"][metric])
    assert (entry.interval, entry.runs, entry.verdict) == ("test images", 1, None)
    p = entry.value
    assert entry.high - entry.low == pytest.approx(2 * 1.96 * (p * (1 - p) / 240) ** 0.5, rel=0.15)
    assert compare([runs / "ce-0"]) == found


def test_two_single_runs_are_compared_on_the_same_images(runs):
    found = compare([runs / "ce-0", runs / "balanced_softmax-0"])
    entry = found.of("balanced_softmax", "few_recall")
    first = found.of("ce", "few_recall")
    assert entry.difference == pytest.approx(entry.value - first.value)
    assert entry.difference_low < entry.difference < entry.difference_high
    assert entry.verdict == ("better" if entry.difference_low > 0 else "not distinguishable")
    back = compare([runs / "balanced_softmax-0", runs / "ce-0"]).of("ce", "few_recall")
    assert (back.difference_low, back.difference_high) == pytest.approx((-entry.difference_high, -entry.difference_low))


def test_the_same_answers_are_not_distinguishable(runs, tmp_path):
    copy = shutil.copytree(runs / "ce-0", tmp_path / "copy")
    for name in ("config.json", "result.json"):
        values = json.loads((copy / name).read_text())
        (values if name == "config.json" else values["config"])["epochs"] = 6.0
        (copy / name).write_text(json.dumps(values))
    values = json.loads((copy / "result.json").read_text())
    values["config"]["batch_size"] = 63
    values["config"]["epochs"] = 6
    (copy / "result.json").write_text(json.dumps(values))
    found = compare([runs / "ce-0", copy])
    assert found.methods == ("ce (ce-0)", "ce (copy)")
    for metric in METRICS:
        entry = found.of("ce (copy)", metric)
        assert (entry.difference, entry.difference_low, entry.difference_high) == (0, 0, 0)
        assert entry.verdict == "not distinguishable"


def test_seeds_are_paired_and_give_students_interval(runs):
    folders = [runs / f"{method}-{seed}" for method in ("ce", "balanced_softmax") for seed in (1, 0)]
    found = compare(folders)
    assert found.methods == ("ce", "balanced_softmax")
    tops = {folder.name: json.loads((folder / "result.json").read_text())["metrics"]["top1"] for folder in folders}
    entry = found.of("balanced_softmax", "top1")
    differences = [tops[f"balanced_softmax-{seed}"] - tops[f"ce-{seed}"] for seed in (0, 1)]
    wanted = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (entry.difference_low, entry.difference_high) == pytest.approx((wanted.low, wanted.high))
    assert (entry.interval, entry.runs) == ("seeds", 2)
    own = stats.ttest_1samp([tops["ce-0"], tops["ce-1"]], 0).confidence_interval(0.95)
    first = found.of("ce", "top1")
    assert (first.low, first.high) == pytest.approx((max(own.low, 0), min(own.high, 1)))


def test_results_is_a_data_frame(runs):
    pytest.importorskip("pandas")
    frame = lt.results([runs / "ce-0", runs / "balanced_softmax-0"], resamples=20)
    assert frame.shape == (16, 11)
    table = frame.pivot_table(index="method", columns="metric", values="value")
    assert table.loc["ce", "top1"] == compare([runs / "ce-0"], resamples=1).of("ce", "top1").value


def test_runs_on_other_images_are_refused_by_name(runs):
    with pytest.raises(UsageError, match=r"the methods must be tested on the same images, and those of .*-[01] "):
        compare([runs / "ce-0", runs / "balanced_softmax-1"])
    with pytest.raises(UsageError, match="must be given once"):
        compare([runs / "ce-0", runs / "x" / ".." / "ce-0"])
    with pytest.raises(UsageError, match="run directories are needed"):
        compare([])
    with pytest.raises(ValueError, match="level must"):
        compare([runs / "ce-0"], level=95)


def test_an_unfinished_or_damaged_run_is_named(runs, tmp_path):
    copy = shutil.copytree(runs / "ce-0", tmp_path / "copy")
    (copy / "predictions.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match=r"predictions.safetensors .*`lt-fast eval .*copy` writes it again"):
        compare([copy])
    (copy / "result.json").unlink()
    with pytest.raises(DataError, match=r"the run has not finished; `lt-fast train --resume"):
        compare([copy])


def test_the_command_prints_writes_and_draws(runs, tmp_path, capsys):
    words = ["compare", runs / "ce-0", runs / "balanced_softmax-0", "--csv", tmp_path / "deep" / "a.csv", "--picture",
             tmp_path / "a.png"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^metric +method +percent +interval +minus ce +interval", out)
    assert "ce: 1 run, balanced_softmax: 1 run; 95 % intervals over test images" in out
    lines = (tmp_path / "deep" / "a.csv").read_text().splitlines()
    assert len(lines) == 17
    assert lines[0].startswith("method,runs,metric,value,low,high")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert main(["compare", str(runs / "ce-0"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["methods"] == ["ce"]
    assert len(found["entries"]) == 8


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["compare"], 2, "run directories are needed: lt-fast compare runs/A runs/B"),
        (["compare", "no-such"], 3, "no-such holds no run: no-such/config.json is missing"),
        (["compare", "RUN", "--level", "95"], 2, r"--level must be a number in \(0, 1\), got '95'; 0.95 is usual"),
        (["compare", "RUN", "--picture", "a.jpg"], 2, "--picture must end in .png or .svg, got 'a.jpg'"),
        (["compare", "RUN", "RUN"], 2, "must be given once; leave one out"),
        (["compare", "RUN", "--csv", "FOLDER"], 3, "cannot be written"),
    ],
)
def test_wrong_words_are_one_line(words, status, message, runs, tmp_path, capsys):
    words = [word.replace("RUN", str(runs / "ce-0")).replace("FOLDER", str(tmp_path)) for word in words]
    assert main(words) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err), err
