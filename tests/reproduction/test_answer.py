"""The table from finished runs: numbers, intervals, words, files and a picture; no training."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from lt_fast.reproduction import Row, Tail, Target, answer, plan
from lt_fast.reproduction.answers import verdict
from lt_fast.reproduction.numbers import Place, Published
from lt_fast.reproduction.picture import draw
from lt_fast.reproduction.writing import as_json, table_csv, table_text, write
from lt_fast.training import History
from made_runs import in_memory, made_run

TAIL = Tail("digits-lt", 50.0)
NUMBERS = {
    Place("CE", *TAIL[:1], "exp", 50.0): {"overall": Published(80.0, "20 % error", "read", "somewhere, Table 1")},
    Place("MC", *TAIL[:1], "exp", 50.0): {"overall": Published(10.0, "10.0", "memory", "recalled")},
}


class Small(Target):
    """A target on Digits-LT with two numbers."""

    def published(self, row):
        return NUMBERS.get(row.place, {})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two rows of two seeds, one row without a recipe, one that failed."""
    folder = tmp_path_factory.mktemp("runs")
    rows = (
        Row("CE", TAIL, "ce", note="a remark"),
        Row("MC", TAIL, "mc"),
        Row("BBN", TAIL, "no_such_recipe"),
        Row("Focal", TAIL, "focal"),
    )
    target = Small(
        "small", "A small table", "Nobody 2020", rows, ("overall", "few"), lost="the rest", notes=("A note.",)
    )
    made = plan(target, folder, seeds=2, overrides={"epochs": 3})
    data = in_memory(["a", "b", "c"], [150, 30, 5], [20, 20, 20])
    for planned in made.rows[:2]:
        for seed, job in enumerate(planned.jobs):
            calibrated = planned.row.recipe == "mc"
            made_run(job.folder, data, config=job.config, seed=seed, calibrated=calibrated, right=0.7 + 0.2 * seed)
    return answer(made, {made.rows[3].jobs[0].folder: "the loss is NaN"})


def test_numbers_are_those_of_the_runs(found):
    entry = found.entries[0]
    results = [json.loads((job.folder / "result.json").read_text()) for job in found.plan.rows[0].jobs]
    top1 = [100 * result["metrics"]["top1"] for result in results]
    assert entry.measured == pytest.approx(np.mean(top1))
    # Student's t with one degree of freedom: 12.706 standard errors.
    assert entry.half_width == pytest.approx(12.7062 * abs(top1[0] - top1[1]) / 2, rel=1e-4)
    assert entry.difference == pytest.approx(entry.measured - 80.0)
    assert (entry.runs, entry.verified, entry.source) == (2, True, "somewhere, Table 1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((83.0, 82.0, 1.0), "inside the interval"),
        ((83.1, 82.0, 1.0), "above the interval"),
        ((80.9, 82.0, 1.0), "below the interval"),
        ((83.0, 82.0, None), "one seed, no interval"),
        ((None, 82.0, 1.0), ""),
        ((83.0, None, None), ""),
    ],
)
def test_words_say_where_the_published_number_is(arguments, words):
    assert verdict(*arguments) == words


def test_the_table(found):
    text = table_text(found)
    lines = [line.split() for line in text.splitlines()]
    assert lines[6][:5] == ["CE", "Digits-LT", "50", "overall", "80"]
    assert "10 (unverified)" in text
    assert "lost: the rest" in text
    assert "A note." in text
    assert "not run: BBN on Digits-LT 50: this version has no recipe no_such_recipe" in text
    assert "not run: Focal on Digits-LT 50: the loss is NaN" in text
    assert "CE: a remark" in text
    assert "185 training images (subset " in text
    assert "many > 100 training images" in text
    assert "measured: last epoch" in text


def test_how_each_row_was_trained(found):
    training = found.trainings[0]
    assert (training.epochs, training.batch_size, training.steps) == (3, 64, 9)
    assert (training.augmentation, training.second_stage, training.selection) == ("crop_flip", "", "last epoch")
    assert found.trainings[1].second_stage == "margin"
    assert len(training.recipe_sha256) == 64


def test_files_hold_every_number(found, tmp_path):
    files = write(found, tmp_path / "small")
    assert [path.name for path in files] == ["table.csv", "table.json", "table.txt"]
    lines = list(csv.DictReader(table_csv(found).splitlines()))
    assert len(lines) == len(found.entries) == 8
    assert float(lines[0]["measured"]) == found.entries[0].measured
    assert lines[0]["printed"] == "20 % error"
    assert lines[1]["printed"] == "lost"
    assert lines[4]["measured"] == ""
    value = json.loads(files[1].read_text())
    assert value == json.loads(json.dumps(as_json(found)))
    assert value["entries"][0]["difference"] == found.entries[0].difference
    assert value["runs"]["CE, Digits-LT 50"] == [str(job.folder) for job in found.plan.rows[0].jobs]


def test_the_epoch_that_validation_chooses_has_its_test_accuracy(found, tmp_path):
    made = plan(found.plan.target, tmp_path, seeds=1, rows=["CE"])
    (job,) = made.jobs()
    made_run(job.folder, in_memory(["a", "b"], [150, 5], [9, 9]), config=job.config, calibrated=False)
    rows = [
        {"epoch": at, "validation_top1": valid, "test_top1": test, "test_few_recall": 0.5}
        for at, valid, test in ((1, 0.5, 0.9), (2, 0.8, 0.6), (3, 0.8, 0.7))
    ]
    (job.folder / "metrics.csv").write_text(History(rows).to_csv())
    overall, few = answer(made).entries
    assert (overall.chosen_epoch, overall.chosen, few.chosen) == (2, 60.0, 50.0)
    assert "chosen epoch: the best one on the validation images" in table_text(answer(made))


def test_pictures(found, tmp_path):
    assert [path.name for path in draw(found, tmp_path)] == ["picture.png", "picture.svg"]
    text = (tmp_path / "picture.svg").read_text()
    assert "Digits-LT 50" in text
    assert "BBN" not in text  # neither measured nor published
    rows = tuple(Row(label, TAIL, "ce", at=at) for label, at in (("CE", 0.0), ("MC", 1.0)))
    curve = Small("curve", "A figure", "Nobody 2020", rows, axis="gamma")
    drawn = draw(answer(plan(curve, tmp_path)), tmp_path / "curve")
    assert "gamma" in drawn[1].read_text()
    nothing = Target("nothing", "Nothing", "Nobody", rows)
    assert draw(answer(plan(nothing, tmp_path)), tmp_path / "nothing") == []


def test_a_figure_of_its_own_kind_is_drawn_once_every_row_has_a_run(found, tmp_path):
    def recording(runs, folder):
        folder.mkdir()
        (folder / "figure.txt").write_text(json.dumps({label: list(map(str, each)) for label, each in runs.items()}))
        return [folder / "figure.txt"]

    rows = found.plan.target.rows
    figure = Target("figure", "A figure", "Nobody 2020", rows[:2], lost="all", draw=recording)
    options = {"seeds": 2, "overrides": {"epochs": 3}}
    folder = found.plan.rows[0].jobs[0].folder.parent
    assert draw(answer(plan(figure, folder, rows=["CE"], **options)), tmp_path / "half") == []
    assert draw(answer(plan(replace(figure, rows=rows[:3]), folder, **options)), tmp_path / "lacking") == []
    (file,) = draw(answer(plan(figure, folder, **options)), tmp_path / "whole")
    assert json.loads(file.read_text()) == {
        planned.row.label: [str(job.folder) for job in planned.jobs] for planned in found.plan.rows[:2]
    }


def test_a_figure_that_trains_by_itself_has_no_rows(tmp_path):
    alone = Target(
        "alone", "A figure", "Nobody 2020", (), lost="all", draw=lambda runs, folder: [folder / str(len(runs))]
    )
    found = answer(plan(alone, tmp_path))
    assert draw(found, tmp_path) == [tmp_path / "0"]
    assert [path.name for path in write(found, tmp_path)] == ["table.csv", "table.json", "table.txt"]
    assert "lost: all" in table_text(found)
