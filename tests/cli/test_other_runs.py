"""Files of another run, and files that nobody could have written, in the folder of a run."""

import json
import os
import re
import shutil

import pytest

from lt_fast.cli import main
from lt_fast.training import checkpoint as checkpoint_module

QUIET = ["--quiet", "--threads", "1"]
TRAIN = ["train", "--method", "mammc", "--data", "digits-lt", "--epochs", "2", "--set", "calibrator.epochs=1"]


def trained(folder, *more):
    assert main([*TRAIN, *more, *QUIET, "--no-plots", "--run", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "a", "--seed", "0"), trained(folder / "b", "--seed", "1")


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs[0], tmp_path / "a")


def replaced(runs, run, name):
    shutil.rmtree(run / name)
    shutil.copytree(runs[1] / name, run / name)


def resealed(folder, change):
    record = json.loads((folder / "state.json").read_text())
    change(record["values"])
    record["sha256"] = checkpoint_module._own_digest(record)
    (folder / "state.json").write_text(json.dumps(record))


def test_the_calibration_of_another_run(runs, run, capsys):
    assert main(["eval", str(run), *QUIET]) == 0
    replaced(runs, run, "calibration")
    assert main(["eval", str(run), *QUIET]) == 3
    words = capsys.readouterr().err
    assert f"{run}/calibration is not of this run" in words
    shutil.rmtree(run / "calibration")
    assert main(["train", "--resume", str(run), *QUIET, "--no-plots"]) == 0  # as the message says
    assert main(["eval", str(run), *QUIET]) == 0


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/epoch-0002"])
def test_checkpoints_of_another_run(runs, run, tmp_path, capsys, name):
    replaced(runs, run, name)
    (run / "result.json").unlink()
    another = ["--start-from", str(run), "--run", str(tmp_path / "c")]
    for line in (["eval", str(run)], [*TRAIN, *another], ["train", "--resume", str(run)]):
        assert main([*line, *QUIET]) == 3
        assert f"checkpoint {run}/checkpoints/epoch-0002 is of another run" in capsys.readouterr().err
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["epoch-0001", "epoch-0002"]
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("value", [7, -1, float("nan"), 1e300])
def test_a_measured_share_outside_its_range(run, capsys, value):
    for folder in (run / "checkpoints").iterdir():
        resealed(folder, lambda values: values["place"]["history"][0].update(test_top1=value))
    (run / "result.json").unlink()
    for line in (["eval", str(run)], ["train", "--resume", str(run)]):
        assert main([*line, *QUIET]) == 3
        words = capsys.readouterr().err
        assert "epoch-0002 is damaged: state.json: place.history.0.test_top1 must be a number in [0, 1]" in words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["settings"].update(more=1), "settings must be an object of epochs, amp"),
        (lambda values: values["place"].update(samples=5), "place.samples must be > 0 where place.step is"),
        (lambda values: values["batches"].update(position=3), "is not of these batches: position was 3 and is missing"),
        (lambda values: values["optimizer"].pop("numbers"), "optimizer.numbers is missing"),
    ],
)
def test_values_that_contradict_each_other(run, capsys, change, message):
    for folder in (run / "checkpoints").iterdir():
        resealed(folder, change)
    (run / "result.json").unlink()
    assert main(["train", "--resume", str(run), *QUIET]) == 3
    words = capsys.readouterr().err
    assert message in words
    assert f"{run}/checkpoints/epoch-0002" in words


def test_names_that_were_not_written_push_no_checkpoint_out(run):
    for name in ("epoch-9998", "epoch-9999", "epoch-2", "epoch-00002", "epoch-0002-step-000000"):
        (run / "checkpoints" / name).touch()
    assert main(["train", "--resume", str(run), *QUIET, "--no-plots"]) == 0
    assert {"epoch-0001", "epoch-0002"} <= {path.name for path in (run / "checkpoints").iterdir()}


def test_a_start_from_a_name_that_is_not_unicode(runs, tmp_path):
    source = shutil.copytree(runs[0], os.fsdecode(os.fsencode(tmp_path) + b"/\xffa"))
    trained(tmp_path / "c", "--seed", "0", "--start-from", source)
    assert json.loads((tmp_path / "c" / "config.json").read_text())["start_from"]["run"] == "\\xffa"
    assert main(["eval", str(tmp_path / "c"), *QUIET]) == 0


def test_checkpoints_without_a_configuration(run, capsys):
    for path in run.iterdir():
        if path.name != "checkpoints":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main([*TRAIN, *QUIET, "--run", str(run)]) == 2
    assert re.search(r"holds checkpoints but no config\.json; restore config\.json", capsys.readouterr().err)
    assert [path.name for path in run.iterdir()] == ["checkpoints"]
