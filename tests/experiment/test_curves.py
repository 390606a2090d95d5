"""The rows of ``metrics.csv``: of validation images where there are some, of test images too if asked for."""

import pytest

from lt_fast.experiment import resolve, run
from lt_fast.training import History


@pytest.mark.parametrize(
    ("validation", "test_curves", "measured"),
    [(0.0, False, {"test"}), (0.0, True, {"test"}), (0.2, False, {"validation"}), (0.2, True, {"validation", "test"})],
)
def test_rows_have_the_images_that_were_asked_for(validation, test_curves, measured, tmp_path):
    config = resolve("ce", "digits-lt", {"epochs": 2, "validation": validation})
    result = run(config, tmp_path / "run", progress=False, test_curves=test_curves)
    rows = History.from_csv(tmp_path / "run" / "metrics.csv")
    assert {name.partition("_")[0] for name in rows.columns if name.endswith("_top1")} == measured
    if "test" in measured:
        assert rows[-1]["test_top1"] == pytest.approx(result["metrics"]["top1"])


def test_curves_change_nothing_else(tmp_path):
    config = resolve("ce", "digits-lt", {"epochs": 2, "validation": 0.2})
    found = [run(config, tmp_path / str(on), progress=False, test_curves=on)["metrics"] for on in (False, True)]
    assert found[0] == found[1]
