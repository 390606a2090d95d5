"""Rows of published tables: the ablation of CP-Mix, and every setting of the Maximum-Margin loss."""

import numpy as np
import pytest

from lt_fast import experiment
from lt_fast.recipes import cp_mix_ablation, mm_settings
from lt_fast.recipes.rows import Row, Table

ABLATION = cp_mix_ablation.ROWS
TABLES = [cp_mix_ablation.TABLE_3, cp_mix_ablation.TABLE_4, *mm_settings.TABLES, mm_settings.CLASS_ERRORS]
CHEAPEST = {"epochs": 2, "batch_size": 64}  # of Digits-LT: 14 steps


def flattened(config):
    return experiment.config.flattened(config)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_of_a_table_is_a_run(table):
    for row in table.rows:
        config = experiment.resolve(
            row.recipe, table.data, row.overrides, imbalance_ratio=table.imbalance_ratio, profile=table.profile
        )
        found = flattened(config)
        assert {name: found[name] for name in row.overrides} == dict(row.overrides)
        assert row.label
        assert row.source
    assert table.source


@pytest.mark.parametrize("table", [cp_mix_ablation.TABLE_3, cp_mix_ablation.TABLE_4], ids=lambda table: table.name)
def test_an_ablation_has_nine_different_rows(table):
    assert isinstance(table, Table)
    configs = [str(experiment.resolve(row.recipe, table.data, row.overrides)) for row in table.rows]
    assert len(set(configs)) == len({row.label for row in table.rows}) == 9


def test_the_rows_of_the_ablation_switch_the_parts_on_and_off():
    parts = []
    for row in ABLATION[2:]:
        config = experiment.resolve(row.recipe, "cifar100-lt", row.overrides)
        method = config["method"]
        parts.append((method["mix_pairs"], method["tau"] > 0, method["regularize"], config["calibrator"] is not None))
    on, off = True, False
    assert parts == [
        (off, off, on, off),
        (off, on, on, off),
        (on, off, off, off),
        (on, on, off, off),
        (on, off, on, off),
        (on, on, on, off),
        (on, on, on, on),
    ]
    assert (
        experiment.resolve(*ABLATION[8][1:2], "digits-lt", ABLATION[8].overrides)["method"]
        == (experiment.resolve("cp_mix", "digits-lt")["method"])
    )


@pytest.mark.parametrize("row", ABLATION, ids=lambda row: row.label)
def test_every_row_of_the_ablation_trains(row, tmp_path):
    config = experiment.resolve(row.recipe, "digits-lt", {**CHEAPEST, **row.overrides}, seed=5)
    result = experiment.run(config, tmp_path / "run", progress=False)
    assert np.isfinite(result["metrics"]["nll"])
    assert (result["metrics_before_calibration"] is None) == (row.overrides.get("calibrator", "") is None
                                                             or row.recipe != "cp_mix")  # fmt: skip


# MATH of the authors' commits: (data, profile, ratio) to (recipe, scale, max_margin, gamma).
COMMITS = {
    ("cifar100-lt", "exp", 100.0): [
        ("mm_drw", 19.0, 1.29, 1.528),
        ("mm_ldam_drw", 26.0, 1.29, 1.528),
        ("mm_drw", 17.0, 1.8, 1.7),
    ],
    ("cifar100-lt", "exp", 10.0): [("mm_ldam_drw", 17.0, 1.9, 1.5)],
    ("cifar100-lt", "step", 10.0): [("mm_ldam_drw", 17.0, 0.5, 1.0), ("mm_ldam_drw", 18.0, 2.6, 1.5)],
    ("cifar10-lt", "exp", 100.0): [("mm", 30.0, 1.4, 1.4)],
    ("cifar10-lt", "exp", 10.0): [("mm_drw", 10.0, 2.7, 1.0)],
}
OF_ANY_DATA = [("mm_drw", 10.0, 2.7, 1.2), ("mm_ldam_drw", 10.0, 2.7, 1.1), ("mm_drw", 30.0, 0.5, 10.0)]


def values(row: Row):
    return (row.recipe, *(row.overrides[f"loss.{name}"] for name in ("scale", "max_margin", "gamma")))


def test_the_settings_of_every_commit_are_there():
    found = {(t.data, t.profile, t.imbalance_ratio): [values(row) for row in t.rows] for t in mm_settings.TABLES}
    assert found == COMMITS
    assert [values(row) for row in mm_settings.ANY_DATA] == OF_ANY_DATA


@pytest.mark.parametrize("case", COMMITS, ids=str)
def test_a_recipe_has_the_newest_setting_where_there_is_one(case):
    data, profile, ratio = case
    recipe, *numbers = COMMITS[case][0]
    loss = experiment.resolve(recipe, data, imbalance_ratio=ratio, profile=profile)["loss"]
    assert [loss["scale"], loss["max_margin"], loss["gamma"]] == numbers


@pytest.mark.parametrize("recipe", ["mm", "mm_drw", "mm_ldam", "mm_ldam_drw"])
def test_the_defect_of_the_published_figures_can_be_chosen(recipe, tmp_path):
    config = experiment.resolve(recipe, "digits-lt", {"loss.compat": "batch_first_label", "epochs": 1}, seed=5)
    assert experiment.resolve(recipe, "digits-lt")["loss"]["compat"] is None
    result = experiment.run(config, tmp_path / "run", progress=False)
    assert np.isfinite(result["metrics"]["nll"])
    source = experiment.values_of(recipe, "digits-lt")["loss.compat"].source
    assert "the figures of ihaeyong/Maximum-Margin-LDAM were made with batch_first_label" in source
