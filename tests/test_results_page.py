"""docs/results.md shows what is kept of runs, and runs are kept as they are."""

import json

import pytest
from benches.experiments import recipes

from lt_fast.experiment import resolve
from lt_fast.recipes import RECIPES
from lt_fast.reproduction import TARGETS, Row, Tail, Target, answer, plan
from lt_fast.reproduction.writing import write
from made_runs import in_memory, made_run


@pytest.mark.parametrize("block", recipes.BLOCKS)
def test_the_page_shows_what_is_kept(block):
    text = recipes.PAGE.read_text(encoding="utf-8")
    found = text.partition(f"<!-- {block} -->\n")[2].partition(f"\n<!-- end of {block} -->")[0]
    assert found == recipes.BLOCKS[block](), "run `python -m benches.experiments.recipes page`"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Finished runs of two recipes on two seeds, and an empty place to keep them."""
    monkeypatch.setattr(recipes, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(recipes, "REPRODUCED", tmp_path / "reproduced")
    data = in_memory(["a", "b", "c"], [150, 30, 5], [20, 20, 20])
    folders = []
    for method in ("mc", "ce"):
        for seed in (0, 1):
            config = resolve(method, "digits-lt", {"epochs": 2}, seed=seed)
            folder = tmp_path / f"{method}-{seed}"
            folders.append(made_run(folder, data, config=config, seed=seed, calibrated=method == "mc"))
    return folders


def test_kept_runs_are_a_table_in_the_order_of_the_recipes(runs):
    recipes.keep(runs, "a machine")
    lines = recipes.table("digits-lt").splitlines()
    assert lines[0].startswith("Imbalance ratio 50, 2 epochs, mean ± half the 95 % interval over 2 seeds")
    assert lines[0].endswith("a machine.")
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| `")] == [
        "`ce`", "`mc`, before its second stage", "`mc`",
    ]  # fmt: skip
    result = json.loads((runs[2] / "result.json").read_text())
    assert recipes.kept("digits-lt")["runs"][0]["metrics"]["top1"] == pytest.approx(result["metrics"]["top1"], abs=1e-6)
    assert (recipes.KEPT / "digits.csv").read_text().startswith("# a machine\nrecipe,stage,seeds,overall,")


def test_a_run_takes_the_place_of_the_same_recipe_and_seed(runs):
    recipes.keep(runs, "a machine")
    recipes.keep(runs[:1], "another machine")
    found = recipes.kept("digits-lt")
    assert (len(found["runs"]), found["machine"]) == (4, "another machine")


def test_runs_of_other_settings_are_no_table(runs, tmp_path):
    data = in_memory(["a", "b"], [150, 5], [9, 9])
    other = resolve("ce", "digits-lt", {"epochs": 3}, seed=2)
    with pytest.raises(SystemExit, match="the runs of ce must differ in the seed alone"):
        recipes.keep([*runs, made_run(tmp_path / "longer", data, config=other, calibrated=False)], "a machine")
    steeper = resolve("focal", "digits-lt", {"epochs": 2}, imbalance_ratio=10)
    with pytest.raises(SystemExit, match=r"must share imbalance_ratio, got 10.0 and 50.0"):
        recipes.keep([*runs, made_run(tmp_path / "steeper", data, config=steeper, calibrated=False)], "a machine")
    assert not recipes.KEPT.exists()


def test_a_recipe_that_cross_entropy_beats_where_classes_are_rare_is_named():
    rows = [{"recipe": name, "stage": "", "few": few, "medium": 1.0} for name, few in (("ce", 50.0), ("mc", 40.0))]
    assert recipes._behind(rows) == ["Worse than `ce` in the group few: `mc`."]
    assert recipes._behind(rows[:1]) == ["Worse than `ce` in the group few: none."]
    assert recipes._behind(rows[1:]) == []


def test_the_answer_of_reproduce_is_kept_without_paths(runs, tmp_path):
    target = Target("kept", "A table", "Nobody 2020", (Row("CE", Tail("digits-lt", 50.0), "ce"),), lost="all")
    made = plan(target, tmp_path / "out", seeds=1, overrides={"epochs": 2})
    made_run(
        made.jobs()[0].folder, in_memory(["a", "b"], [150, 5], [9, 9]), config=made.jobs()[0].config, calibrated=False
    )
    write(answer(made), tmp_path / "answer")
    recipes.keep_table(tmp_path / "answer")
    text = (recipes.REPRODUCED / "kept.json").read_text()
    assert str(tmp_path) not in text
    shown = recipes.reproduced()
    assert shown.startswith("### A table\n\nNobody 2020; training protocol: own.")
    assert "| CE | digits-lt 50 | overall | lost |" in shown


def test_every_recipe_of_the_papers_tables_is_trained():
    found = recipes.recipes_of_the_papers()
    assert set(found) <= set(RECIPES)
    assert {"ce", "mc", "mammc", "mam_drw", "cp_mix", "mm_ldam_drw", "balanced_softmax"} <= set(found)
    assert not {row.recipe for row in TARGETS["mammc-table-1"].rows if row.recipe} - set(found)
