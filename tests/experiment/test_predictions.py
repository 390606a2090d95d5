"""What a run keeps of many classes: the best of each image, with the metrics of all logits and every use of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lt_fast
from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.comparison import compare
from lt_fast.errors import DataError
from lt_fast.experiment import results
from lt_fast.experiment.calibrating import calibrate_run
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import (
    BEST,
    Answered,
    Best,
    BestPredictions,
    Predictions,
    in_blocks,
    in_short,
    keeps_all,
    kept,
    pooled,
    read_answers,
    read_predictions_of,
)
from lt_fast.report.page import write_page
from lt_fast.report.run_report import draw_run
from lt_fast.training.run_files import PREDICTIONS, holds_logits, read_predictions

CHANGES = {"epochs": 3, "validation": 0.2, "calibrator.epochs": 3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run twice: with all logits, and with the best classes of each image."""
    root = tmp_path_factory.mktemp("runs")
    config = experiment.resolve("mammc", "digits-lt", CHANGES)
    made = {
        name: experiment.run(config, root / name, progress=False, most_logits=most)
        for name, most in (("all", 1 << 20), ("best", 0))
    }
    return SimpleNamespace(all=root / "all", best=root / "best", results=made)


def random_logits(rows=50, classes=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=draw)
    logits[::3, 4] = logits[::3].max(dim=1).values  # ties for the first place
    return logits, torch.randint(0, classes, (rows,), generator=draw)


# ---- rows in short ---------------------------------------------------------------------------------------------------


def test_the_best_are_the_largest_and_their_probabilities_those_of_the_softmax():
    logits, labels = random_logits()
    best, wanted = Best.of(logits, labels), logits.double().log_softmax(1)
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, :BEST]
    np.testing.assert_array_equal(best.classes, order)
    torch.testing.assert_close(best.log_probabilities, wanted.gather(1, best.classes), rtol=0, atol=1e-12)
    torch.testing.assert_close(best.confidence, wanted.max(1).values.exp(), rtol=1e-13, atol=0)
    torch.testing.assert_close(best.log_likelihood, wanted.gather(1, labels[:, None])[:, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(best.log_sum, logits.double().logsumexp(1), rtol=0, atol=1e-12)


def test_the_prediction_is_among_the_best_where_more_classes_are_equal_than_are_kept():
    best = Best.of(torch.zeros(3, 40), torch.tensor([0, 7, 39]))
    assert (best.classes[:, 0] == 0).all()
    assert len(set(best.classes[0].tolist())) == BEST


def test_of_few_classes_all_are_best():
    assert Best.of(torch.eye(3), torch.arange(3)).classes.shape == (3, 3)


def test_the_metrics_in_short_are_those_of_all_logits():
    logits, labels = random_logits()
    counts = lt_fast.ClassCounts(range(1, 13))
    whole = Predictions(logits, labels, logits * 0.5)
    assert in_short(whole).measured(counts) == whole.measured(counts)
    np.testing.assert_array_equal(in_short(whole).final(), whole.final())


def test_blocks_change_nothing_but_the_memory(monkeypatch):
    logits, labels = random_logits(rows=23)
    batches = list(zip(labels.split(4), logits.split(4), labels.split(4), strict=True))
    whole = kept(in_blocks(batches), best=True)
    monkeypatch.setattr("lt_fast.experiment.predictions._BLOCK", 60)
    assert [len(block[0]) for block in in_blocks(batches)] == [8, 8, 7]
    for rows in (0, 23):
        parts = kept(in_blocks(batches), best=True, rows=rows)
        assert all(torch.equal(one, two) for one, two in zip(parts, whole, strict=True))


def test_doubtful_labels_in_short_are_those_of_all_logits():
    logits, labels = random_logits(rows=200, classes=5, seed=3)
    found = [Answered.of(scores, labels.numpy()) for scores in (logits, Best.of(logits, labels))]
    errors = [each.followed_by(each).label_errors(np.tile(labels.numpy(), 2), 5) for each in found]
    assert len(errors[0]) > 0
    np.testing.assert_array_equal(errors[0].rows, errors[1].rows)
    np.testing.assert_array_equal(errors[0].suggested, errors[1].suggested)


def test_folds_are_pooled_in_short_where_one_is_or_all_are_too_large():
    parts = [Predictions(*random_logits(seed=seed), None) for seed in range(2)]
    assert isinstance(pooled(parts), Predictions)
    counts = lt_fast.ClassCounts(range(1, 13))
    wanted = pooled(parts).measured(counts)
    for found in (pooled(parts, most=100), pooled([parts[0], in_short(parts[1])])):
        assert isinstance(found, BestPredictions)
        assert found.measured(counts) == wanted
    assert [keeps_all(10, 100, stages=2, most=most) for most in (8000, 7999)] == [True, False]


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_has_the_same_result_in_either_form(runs):
    first, second = (
        {name: value for name, value in runs.results[form].items() if name != "seconds"} for form in ("all", "best")
    )
    assert first == second
    assert [holds_logits(folder) for folder in (runs.all, runs.best)] == [True, False]
    assert [holds_logits(folder, VALIDATION) for folder in (runs.all, runs.best)] == [True, False]
    assert holds_logits(runs.best, "none.safetensors") is None


def test_no_matrix_of_images_and_classes_is_made(runs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(results, "kept", lambda *_, best, **__: seen.append(best) or pytest.fail("made"))
    config = json.loads((runs.best / "config.json").read_text())
    with pytest.raises(pytest.fail.Exception):
        experiment.run(config, tmp_path / "run", progress=False, most_logits=0)
    assert seen == [True]


def test_report_and_comparison_take_the_short_form(runs, tmp_path):
    pages = [write_page(folder, tmp_path / f"{folder.name}.html") for folder in (runs.all, runs.best)]
    numbers = [page.path.read_text().count("%") for page in pages]
    assert numbers[0] == numbers[1]
    assert pages[0].pictures == pages[1].pictures > 0
    assert all(path.exists() for path in draw_run(runs.best))
    values = [[entry[3:6] for entry in compare([folder]).entries] for folder in (runs.all, runs.best)]
    np.testing.assert_allclose(*(np.array(each, dtype=float) for each in values), rtol=1e-9)


def test_a_threshold_needs_no_logits_and_another_prior_says_that_it_does(runs):
    images = np.zeros((2, 8, 8), np.uint8)
    wanted, found = (lt_fast.load(folder).predict(images, max_error=0.6).threshold for folder in (runs.all, runs.best))
    assert found == pytest.approx(wanted, rel=1e-12)
    asked = {"max_error": 0.6, "target_prior": "uniform"}
    assert lt_fast.load(runs.all).predict(images, **asked).threshold is not None
    with pytest.raises(DataError, match=r"5 best classes of each image, .* `lt-fast eval .* --logits` writes them"):
        lt_fast.load(runs.best).predict(images, **asked)


def test_eval_keeps_the_form_and_writes_all_when_asked(runs, capsys):
    saved = [(folder / PREDICTIONS).read_bytes() for folder in (runs.all, runs.best)]
    for folder in (runs.all, runs.best):
        assert main(["eval", str(folder), "--threads", "1"]) == 0
    assert [(folder / PREDICTIONS).read_bytes() for folder in (runs.all, runs.best)] == saved
    short = (runs.best / VALIDATION).read_bytes()
    assert main(["eval", str(runs.best), "--threads", "1", "--logits"]) == 0
    assert (runs.best / PREDICTIONS).read_bytes() == saved[0]
    assert (runs.best / VALIDATION).read_bytes() == (runs.all / VALIDATION).read_bytes()
    (runs.best / PREDICTIONS).write_bytes(saved[1])
    (runs.best / VALIDATION).write_bytes(short)
    capsys.readouterr()


def test_a_calibrator_of_a_run_in_short_is_that_of_the_other(runs, tmp_path, monkeypatch):
    whole = calibrate_run(runs.all, "temperature", tmp_path / "all")
    monkeypatch.setattr("lt_fast.experiment.calibrating.MOST_LOGITS", 0)
    short = calibrate_run(runs.best, "temperature", tmp_path / "best")
    assert whole["metrics"] == short["metrics"]
    assert holds_logits(tmp_path / "best") is False
    assert calibrate_run(runs.best, "temperature", tmp_path / "again", logits=True)["metrics"] == short["metrics"]
    assert holds_logits(tmp_path / "again") is True


def test_what_needs_logits_and_what_does_not_read_the_same_file(runs):
    found = read_answers(runs.best, num_classes=10)
    logits = read_predictions(runs.all, num_classes=10)
    probabilities = logits["calibrated_logits"].double().softmax(1).numpy()
    np.testing.assert_array_equal(found.final.predicted, probabilities.argmax(1))
    np.testing.assert_allclose(found.final.confidence, probabilities.max(1), rtol=1e-12)
    assert list(found.stages) == ["before", "after"]
    with pytest.raises(DataError, match="the score of every class is needed"):
        read_predictions(runs.best, num_classes=10)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("classes", lambda tensor: tensor + 10, r"classes in \[0, 10\)"),
        ("classes", lambda tensor: tensor.int(), "classes must be int64"),
        ("calibrated_confidence", lambda tensor: tensor[1:], "calibrated_confidence must be"),
        ("log_likelihood", lambda tensor: tensor * torch.nan, "must be finite"),
        ("kind", lambda _: None, "got no 'kind'"),
    ],
)
def test_a_damaged_file_is_named(runs, tmp_path, name, change, message):
    tensors = load_file(runs.best / PREDICTIONS)
    changed = change(tensors.pop(name))
    save_file(tensors if changed is None else {**tensors, name: changed.contiguous()}, tmp_path / PREDICTIONS)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions_of(tmp_path, num_classes=10)
    assert "`lt-fast eval" in str(caught.value)
