"""How the package's own recipe is chosen: step after step on validation images, each over what was chosen before."""

from pathlib import Path

import pytest
from benches.experiments import lt_fast_choice as choosing

from lt_fast import experiment
from lt_fast.experiment.build import build, load_data
from lt_fast.recipes import RECIPES
from lt_fast.scheduling import Machine
from lt_fast.sweeps.grid import planned


def every_config(grid, data):
    overrides = {**grid.shared, "epochs": 2, "validation": choosing.VALIDATION}
    plan = planned(grid.recipe, data, grid.tried, seeds=1, out=Path("runs"), given={}, overrides=overrides)
    return [job.config for job in plan.jobs]


@pytest.mark.parametrize("step", choosing.STEPS)
def test_every_candidate_of_a_step_can_be_built(step):
    grids = choosing.grids_of(step, {})
    assert grids
    data = load_data(experiment.resolve("ce", "digits-lt", {"validation": 0.2}))
    for grid in grids:
        assert grid.recipe in RECIPES
        for config in every_config(grid, "digits-lt"):
            build(config, data)


def test_a_step_begins_with_what_was_chosen():
    chosen = {"transform": "crop_flip", "mixer": "cutmix"}
    assert [grid.shared for grid in choosing.grids_of("strengths", chosen)] == [chosen]
    assert [list(grid.tried) for grid in choosing.grids_of("strengths", chosen)] == [["calibrator.gamma"]]
    balanced = {**chosen, **choosing.BALANCED_LOSS}
    assert choosing.grids_of("strengths", balanced) == choosing.grids_of("views", balanced) == []


def test_a_step_is_taken(tmp_path):
    """On digits, an epoch each: the best of both grids is chosen, and the next step begins with it."""
    grids = [choosing.Grid("lt_fast", {"learning_rate": (1e-4, 0.1)}, {"mixer": "none"})]
    choice = choosing.take(
        "mixing", grids, "digits-lt", tmp_path, {"epochs": 2, "validation": 0.2, "calibrator": "none"},
        machine=Machine(workers=2), progress=False, plots=False,
    )  # fmt: skip
    rows = choosing.rows_of(choice)
    assert [row["settings"] for row in rows] == ["mixer=none, learning_rate=0.0001", "mixer=none, learning_rate=0.1"]
    best = max(rows, key=lambda row: row["balanced_acc"])
    assert [row["chosen"] for row in rows] == ["yes" if row is best else "" for row in rows]
    assert choosing.chosen_after(choice, {}) == {"mixer": "none", **choice.best.settings}
    others = choice._replace(sweeps=[(grids[0]._replace(recipe="ride"), choice.sweeps[0][1])])
    assert choosing.chosen_after(others, {"mixer": "mam"}) == {"mixer": "mam"}


def test_what_no_run_has_chosen_says_so():
    values = experiment.values_of("lt_fast", "cifar10-lt")
    tried = {"mixer", "loss", "calibrator", "transform", "mixer.omega", "calibrator.gamma", "calibrator.views"}
    assert {name for name, (_, source) in values.items() if "not yet chosen by a run" in source} == tried
    assert not [name for name, (value, source) in values.items() if source == "part of lt_fast" and value is not None]
