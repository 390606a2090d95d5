"""``--log``: TensorBoard and W&B get what metrics.csv and result.json have, and nothing is imported unasked."""

import json
import re
import signal
import subprocess
import sys

import pytest

from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.errors import Interrupted, UsageError
from lt_fast.experiment.mirrors import TensorBoard
from lt_fast.training import Callback, History

CONFIG = experiment.resolve("ce", "digits-lt", {"epochs": 2})


def _events(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_rows_and_the_result_also_after_a_resumption(tmp_path):
    class Stopping(Callback):
        def on_epoch_end(self, row):
            signal.raise_signal(signal.SIGTERM)

    pytest.importorskip("tensorboard")
    folder = tmp_path / "a"
    with pytest.raises(Interrupted):
        experiment.run(CONFIG, folder, progress=False, log=["tensorboard"], callbacks=[Stopping()])
    result = experiment.run(CONFIG, folder, progress=False, log=["tensorboard"], resume=True)
    rows, events = History.from_csv(folder / "metrics.csv").rows, _events(folder)
    for name in ("train_loss", "test_top1", "learning_rate"):
        assert events[name] == [(row["epoch"], pytest.approx(row[name])) for row in rows]
    assert events["final/top1"] == [(2, pytest.approx(result["metrics"]["top1"]))]


@pytest.mark.slow
def test_wandb_offline_writes_into_the_run_and_nothing_is_imported_unless_asked(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    code = f"""
import sys
from lt_fast import experiment
config = experiment.resolve("ce", "digits-lt", {{"epochs": 2}})
experiment.run(config, {str(tmp_path / "a")!r}, progress=False)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"wandb", "tensorboard", "onnx", "onnxruntime"}}))
experiment.run(config, {str(tmp_path / "b")!r}, progress=False, log=["wandb"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
    assert "failed and is off" not in done.stderr
    files = list((tmp_path / "b" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 1
    content = files[0].read_bytes()
    assert all(name in content for name in (b"train_loss", b"test_top1", b"final/macro_f1"))


def test_a_mirror_that_fails_is_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")

    def refuse(self, values, epoch):
        raise OSError("no space")

    monkeypatch.setattr(TensorBoard, "_send", refuse)
    with pytest.warns(UserWarning, match="--log tensorboard failed and is off: OSError: no space"):
        result = experiment.run(CONFIG, tmp_path / "a", progress=False, log=["tensorboard"])
    assert json.loads((tmp_path / "a" / "result.json").read_text())["metrics"] == result["metrics"]


def test_an_unknown_name_is_refused_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"--log must be one of tensorboard, wandb, got 'tensorbord'; did you mean"):
        experiment.run(CONFIG, tmp_path / "a", log=["tensorbord"])
    words = ["train", "--method", "ce", "--data", "digits-lt", "--log", "x", "--run", str(tmp_path / "a"), "--no-plots"]
    assert main(words) == 2
    assert re.search(r"--log must be one of tensorboard, wandb, got 'x'", capsys.readouterr().err)
    assert not (tmp_path / "a").exists()
