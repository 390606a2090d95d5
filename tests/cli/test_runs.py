"""The commands at work: real processes where the process matters, in-process where the words do."""

import contextlib
import copy
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

import forked
from forked import Forked
from lt_fast import experiment
from lt_fast.calibration import storage
from lt_fast.cli import main
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment import build, results
from lt_fast.experiment.stored import stored_config
from lt_fast.metrics import mean_recall_interval, wilson_interval
from lt_fast.report import run_report
from lt_fast.training import run_files

COMMAND = [sys.executable, "-W", "error", "-m", "lt_fast.cli"]
TRAIN = ["train", "--method", "mammc", "--data", "digits-lt", "--threads", "1", "--no-plots"]


def _error(words, capsys, status):
    assert main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One finished run of four epochs, by a real process: its folder and the process."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    words = [word for word in TRAIN if word != "--no-plots"]
    return folder, forked.run([*COMMAND[1:], *words, "--epochs", 4, "--seed", 3, "--run", folder, "--json"])


def test_train_writes_json_alone_to_stdout_and_words_to_stderr(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["config"]["epochs"] == 4
    assert result["metrics"]["top1"] > 0.15
    stored = json.loads((folder / "result.json").read_text())
    assert {name: result[name] for name in stored} == stored
    assert re.search(r"^epoch 4/4 ", done.stderr, re.MULTILINE)
    assert "before calibration" in done.stderr
    assert sorted(path.name for path in (folder / "plots").iterdir()) == sorted(
        f"{name}.{ending}"
        for name in ("confusion", "curves", "margins", "recall", "reliability")
        for ending in ("png", "svg")
    )
    assert result["pictures"] == [
        str(folder / "plots" / f"{n}.png") for n in ("curves", "recall", "reliability", "confusion", "margins")
    ]


def test_a_second_run_into_the_same_directory(trained, capsys):
    line = _error([*TRAIN, "--epochs", 4, "--seed", 3, "--run", trained[0]], capsys, 2)
    assert "holds a run already; continue it with --resume, or name another run directory with --run" in line


def test_resuming_another_configuration_names_what_differs(trained, capsys):
    line = _error([*TRAIN, "--epochs", 5, "--seed", 3, "--set", "omega=0", "--run", trained[0], "--resume"], capsys, 2)
    assert "epochs was 4 and is 5" in line
    assert "mixer.omega was 0.25 and is 0.0" in line


def test_resuming_a_finished_run_gives_its_result_and_trains_nothing(trained, capsys):
    folder, done = trained
    assert main([*TRAIN, "--epochs", "4", "--seed", "3", "--run", str(folder), "--resume", "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["metrics"] == json.loads(done.stdout)["metrics"]
    assert "epoch 1/4" not in again.err


def test_eval_measures_again_with_intervals(trained, capsys):
    folder, done = trained
    assert main(["eval", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    again, result = json.loads(out), json.loads(done.stdout)
    assert again["metrics"] == result["metrics"]
    low, high = again["intervals"]["many_recall"]
    assert 0 <= low <= again["metrics"]["many_recall"] <= high <= 1
    per_class = again["metrics"]["per_class"]
    total = [entry["n_test"] for entry in per_class]
    right = [round(entry["recall"] * entry["n_test"]) for entry in per_class]
    assert again["intervals"]["balanced_acc"] == list(mean_recall_interval(right, total))
    assert again["intervals"]["per_class"] == wilson_interval(right, total).tolist()
    assert "95 % interval" in err
    assert "negative log-likelihood" in err


def test_eval_of_a_damaged_newest_checkpoint_warns_and_takes_the_one_before(trained, tmp_path, capsys):
    folder = shutil.copytree(trained[0], tmp_path / "copy")
    newest = max((folder / "checkpoints").iterdir()) / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    assert main(["eval", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["epochs_done"] == 3
    assert re.search(
        r"^lt-fast: warning: .*epoch-0004 is damaged: model\.safetensors has .*using the one before", err, re.MULTILINE
    )


def test_eval_of_something_that_is_no_run(tmp_path, capsys):
    assert "holds no run" in _error(["eval", tmp_path], capsys, 3)
    (tmp_path / "config.json").write_text("{")
    assert "config.json is damaged" in _error(["eval", tmp_path], capsys, 3)
    (tmp_path / "config.json").write_text("{}")
    assert "config.json has no recipe; it was written by another version or by hand" in _error(
        ["eval", tmp_path], capsys, 3
    )


def test_eval_before_the_first_checkpoint(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(experiment.resolve("ce", "digits-lt")))
    assert "has no checkpoint yet" in _error(["eval", tmp_path], capsys, 3)


@pytest.mark.slow
def test_sigterm_saves_says_how_to_go_on_and_resuming_ends_in_the_same_bits(trained, tmp_path):
    folder = tmp_path / "stopped"
    words = [*TRAIN, "--epochs", "4", "--seed", "3", "--run", str(folder)]
    stopped = Forked([*COMMAND[1:], *words])
    stopped.wait_for("epoch 1/4")
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate()
    assert stopped.returncode == 4, said
    assert re.search(r"lt-fast: stopped by SIGTERM after epoch .*; continue with --resume", said)
    assert not (folder / "result.json").exists()
    resumed = forked.run([*COMMAND[1:], *words, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    for file in ("checkpoints/epoch-0004/model.safetensors", "calibration/calibrator.safetensors"):
        assert (folder / file).read_bytes() == (trained[0] / file).read_bytes()


@pytest.mark.slow
def test_ctrl_c_before_training_is_status_4_in_one_line():
    code = "import os, signal, sys; from lt_fast.cli import main, methods; "
    code += "methods.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM) or __import__('time').sleep(5); "
    code += "sys.exit(main(['methods']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "lt-fast: interrupted; the same command continues, with --resume where a run had begun\n"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("safetensors", "saving checkpoints needs safetensors"),
        ("sklearn", "measuring by class needs scikit-learn"),
        ("matplotlib", r"drawing plots \(or --no-plots\) needs matplotlib"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_before_anything_is_written(
    module, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, module, None)
    line = _error([*TRAIN[:-1], "--run", tmp_path / "run"], capsys, 1)
    assert re.fullmatch(rf"lt-fast: {words}, which is not installed; run: pip install 'lt-fast\[train\]'", line)
    assert not (tmp_path / "run").exists()


def test_missing_and_truncated_cifar_files_are_named(tmp_path, capsys):
    words = ["train", "--method", "ce", "--data", "cifar10-lt", "--run", tmp_path / "run", "--no-plots"]
    line = _error([*words, "--root", tmp_path / "nowhere"], capsys, 3)
    assert "nowhere" in line
    assert "--download" in line
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80\x04not a batch")
    line = _error([*words, "--root", tmp_path], capsys, 3)
    assert "cifar-10-batches-py" in line
    assert not (tmp_path / "run").exists()


def test_a_run_directory_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = _error([*TRAIN, "--run", tmp_path / "file" / "run"], capsys, 3)
    assert re.search(r"file/run cannot be written \(.*\); name another run directory with --run", line)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("tpu", "device must be cpu, cuda or cuda:N, got 'tpu'"),
        ("meta", "device must be cpu, cuda or cuda:N, got 'meta'"),
        ("cuda:99", r"device must be present, got 'cuda:99' with \d+ GPUs here; try --device cpu"),
    ],
)
def test_a_device_that_is_not_there(device, words, tmp_path, capsys):
    assert re.search(words, _error([*TRAIN, "--device", device, "--run", tmp_path / "run"], capsys, 2))


def test_a_diverging_run_says_where_and_is_status_1(tmp_path, capsys):
    words = [*TRAIN, "--set", "learning_rate=1e30", "--set", "warmup=0", "--epochs", 2, "--run", tmp_path / "run"]
    line = _error(words, capsys, 1)
    assert re.search(r"epoch 1, step \d+.*1e\+30", line), line
    assert "a fault of lt-fast" not in line


def test_imbalance_beyond_the_smallest_class_names_the_class(tmp_path, capsys):
    line = _error([*TRAIN, "--imbalance-ratio", 1000, "--run", tmp_path / "run"], capsys, 2)
    assert re.search(r"imbalance_ratio|class", line)
    assert "1000" in line
    assert not (tmp_path / "run").exists()


def test_a_fault_of_ours_is_one_line_too(monkeypatch, capsys):
    from lt_fast.cli import methods

    def broken(*_):
        raise KeyError("gone")

    monkeypatch.setattr(methods, "run", broken)
    line = _error(["methods"], capsys, 1)
    assert line == "lt-fast: KeyError: 'gone'; a fault of lt-fast or its installation: see `lt-fast doctor`"


def test_a_reader_that_has_seen_enough_is_no_error():
    writer = subprocess.Popen([*COMMAND, "methods", "mammc"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait() == 0


def test_the_default_run_directory_names_what_was_asked(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "train",
                "--method",
                "ldam-drw",
                "--data",
                "digits-lt",
                "--epochs",
                "1",
                "--seed",
                "2",
                "--no-plots",
                "--quiet",
            ]
        )
        == 0
    )
    assert (tmp_path / "runs" / "ldam_drw-digits-lt-50-2-epochs=1" / "result.json").exists()
    assert "runs/ldam_drw-digits-lt-50-2-epochs=1" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_prints_the_table_and_a_second_one_reuses_the_runs(tmp_path, capsys):
    words = ["demo", "--out", str(tmp_path / "demo"), "--seeds", "2", "--epochs", "1", "--quiet"]
    assert main(words) == 0
    out = capsys.readouterr().out
    for row in ("CE ", "LDAM-DRW ", "MAMMC, before calibration ", "MAMMC "):
        assert re.search(rf"^{row} *\d", out, re.MULTILINE), out
    assert "method                     " in out
    assert f"run directories: {tmp_path / 'demo'}/<method>-seed<n>" in out
    assert (tmp_path / "demo" / "mammc-seed0" / "plots" / "reliability.png").exists()
    assert (tmp_path / "demo" / "recall.png").exists()
    began = time.time()
    assert main([*words, "--no-plots", "--json"]) == 0
    again, err = capsys.readouterr()
    table = json.loads(again)["table"]
    assert set(table) == {"CE", "LDAM-DRW", "MAMMC, before calibration", "MAMMC"}
    assert table["CE"]["top1"]["half_width"] > 0
    assert err.count("(finished earlier)") == 6
    assert all((tmp_path / "demo" / f"ce-seed{seed}" / "result.json").stat().st_mtime < began for seed in range(2))


def test_demo_into_a_folder_of_other_settings_names_them(tmp_path, capsys):
    config = experiment.resolve("ce", "digits-lt", {"epochs": 2}, imbalance_ratio=50.0)
    (tmp_path / "ce-seed0").mkdir()
    (tmp_path / "ce-seed0" / "config.json").write_text(json.dumps(config))
    line = _error(["demo", "--out", tmp_path, "--epochs", 1, "--quiet"], capsys, 2)
    assert "epochs was 2 and is 1" in line
    assert "another folder with --out" in line


def test_doctor_passes_here_and_lists_what_a_report_needs(capsys):
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["passed"]
    assert {"python", "torch", "lt-fast", "op backend"} <= set(found["versions"])
    if found["versions"]["op backend"] != "cuda":
        assert "cuda: " in found["versions"]["op not served"]
    assert {check["name"] for check in found["checks"]} >= {
        "op equals its reference (CPU)",
        "class-balanced draws",
        "draws repeat",
    }
    assert "all checks passed" in err


def test_doctor_finds_a_wrong_op_and_a_wrong_sampler(monkeypatch, capsys):
    from lt_fast import ops, sampling

    right = ops.mixed_margin_loss
    monkeypatch.setattr(ops, "mixed_margin_loss", lambda *a, **k: 1.001 * right(*a, **k))
    monkeypatch.setattr(sampling, "ClassBalancedBatchSampler", sampling.ShuffledBatchSampler)
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    failed = {check["name"]: check["detail"] for check in found["checks"] if not check["passed"]}
    assert set(failed) == {"op equals its reference (CPU)", "class-balanced draws"}
    assert "set LT_FAST_BACKEND=reference" in failed["op equals its reference (CPU)"]


# --- a run whose files are gone, or may only be read ------------------------------------------------------------------


WORDS = [*TRAIN, "--epochs", "4", "--seed", "3"]


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "copy")


def _json(words, capsys):
    assert main([*map(str, words), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


@pytest.mark.parametrize("name", ["", "calibrator.json", "calibrator.safetensors"])
def test_a_run_without_its_calibrator_is_not_measured_as_if_it_had_none(copied, name, capsys):
    gone = copied / "calibration" / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    before = (copied / "predictions.safetensors").read_bytes()
    line = _error(["eval", copied], capsys, 3)
    missing = copied / "calibration" / (name or "calibrator.json")
    assert f"{missing} is missing, and without it the network is not calibrated as config.json says" in line
    assert re.search(r"`lt-fast train --resume [^`]*` learns it again", line)
    assert (copied / "predictions.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "names",
    [["calibration"], ["predictions.safetensors"], ["metrics.csv", "protocol.json"], ["result.json"], ["plots"]],
)
def test_what_a_finished_run_lacks_is_made_again_by_resuming(copied, trained, names, capsys):
    for name in names:
        path = copied / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found, err = _json([*WORDS, "--run", copied, "--resume"], capsys)
    assert found["metrics"] == json.loads(trained[1].stdout)["metrics"]
    told = "has a result, but no" in err
    assert told == (names[0] not in ("result.json", "plots"))
    for name in ("calibration/calibrator.safetensors", "predictions.safetensors", "metrics.csv"):
        assert (copied / name).read_bytes() == (trained[0] / name).read_bytes()


def test_resuming_a_finished_run_tidies_up_what_a_kill_left(copied, capsys):
    left = [copied / "checkpoints" / f".epoch-0002.{what}" for what in ("removed", "partial")]
    for folder in [*left, copied / "checkpoints" / "epoch-0002"]:
        shutil.copytree(copied / "checkpoints" / "epoch-0003", folder)
    names = (".result.json.partial", "calibration/.calibrator.json.123.partial", "calibration/.calibrator.json.123")
    for name in names:
        (copied / name).write_text("{")
    _json(["eval", copied], capsys)
    assert all((copied / name).exists() for name in names)  # eval only reads
    _json([*WORDS, "--run", copied, "--resume"], capsys)
    assert not any((copied / name).exists() for name in names)
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["epoch-0003", "epoch-0004"]


def test_a_finished_run_that_lacks_files_and_checkpoints(copied, capsys):
    shutil.rmtree(copied / "checkpoints")
    (copied / "predictions.safetensors").unlink()
    line = _error([*WORDS, "--run", copied, "--resume"], capsys, 3)
    assert "has a result, but neither predictions.safetensors nor a checkpoint; restore them" in line


def test_a_result_of_another_run(copied, capsys):
    result = json.loads((copied / "result.json").read_text())
    result["config"]["seed"] = 4
    (copied / "result.json").write_text(json.dumps(result))
    line = _error([*WORDS, "--run", copied, "--resume"], capsys, 3)
    assert "result.json is not the result of this run: seed was 4 and is 3; remove it and" in line


def test_a_training_whose_checkpoints_were_lost_says_that_it_starts_again(copied, capsys):
    shutil.rmtree(copied / "checkpoints")
    (copied / "result.json").unlink()
    _, err = _json([*WORDS, "--run", copied, "--resume"], capsys)
    assert "checkpoints is empty: the training starts again at epoch 1" in err


def test_eval_before_the_last_epoch_measures_the_network_and_says_so(copied, capsys):
    shutil.rmtree(copied / "checkpoints" / "epoch-0004")
    before = (copied / "predictions.safetensors").read_bytes()
    found, err = _json(["eval", copied], capsys)
    assert (found["epochs_done"], found["calibrated"], found["metrics_before_calibration"]) == (3, False, None)
    assert "not calibrated: that is done after epoch 4" in err
    assert "the predictions were not written: the checkpoint is that of epoch 3 of 4" in err
    assert (copied / "predictions.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", [None, b"garbage"])
def test_eval_writes_predictions_that_are_missing_or_damaged(copied, trained, damage, capsys):
    path = copied / "predictions.safetensors"
    path.unlink() if damage is None else path.write_bytes(damage)
    found, _ = _json(["eval", copied], capsys)
    assert found["not_written"] is None
    assert path.read_bytes() == (trained[0] / "predictions.safetensors").read_bytes()


@contextlib.contextmanager
def _read_only(folder):
    """Nobody may write in ``folder``. Root is not asked for permission, so root becomes somebody else meanwhile."""
    paths = [*folder.rglob("*"), folder]
    modes = {path: path.stat().st_mode for path in [*paths, folder.parent]}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.parent.chmod(0o755)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(before)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def open_folder():
    """A folder that every user of the machine may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_eval_of_a_run_that_may_only_be_read(trained, open_folder, capsys):
    folder = shutil.copytree(trained[0], open_folder / "run")
    with _read_only(folder):
        found, _ = _json(["eval", folder], capsys)
    assert found["metrics"] == json.loads(trained[1].stdout)["metrics"]
    (folder / "predictions.safetensors").unlink()
    with _read_only(folder):
        again, err = _json(["eval", folder], capsys)
    assert again["metrics"] == found["metrics"]
    assert f"the predictions were not written: {folder} cannot be written (Permission denied)" in err
    assert "--run" not in err
    assert again["not_written"] in err


def test_eval_of_a_file_that_may_not_be_read(trained, open_folder, capsys):
    folder = shutil.copytree(trained[0], open_folder / "run")
    (folder / "config.json").chmod(0)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        assert "config.json cannot be read (Permission denied)" in _error(["eval", folder], capsys, 3)
    finally:
        os.seteuid(before)


# --- falsified files of a real run ------------------------------------------------------------------------------------

ODD = [None, True, -1, 10**30, 10**400, float("nan"), "x", [], {"a": 1}]


@pytest.mark.parametrize("new", ODD, ids=repr)
def test_every_setting_of_the_configuration_is_checked_as_the_command_line_checks_it(copied, new, capsys):
    config = json.loads((copied / "config.json").read_text())
    for at in _places(config):
        changed = _mutated(config, at, new)
        if not at or changed == config:
            continue
        (copied / "config.json").write_text(json.dumps(changed))
        try:
            stored_config(copied)
        except DataError as error:
            assert re.search(r"config\.json (is damaged|has)", str(error))  # noqa: PT017
        else:  # options are refused by the component when it is made, and where it takes them, by the checkpoint
            assert re.search(r"config\.json is damaged|is of another run", _error(["eval", copied], capsys, 3))
    for name in ("recipe", "epochs", "calibrator"):
        if config[name] != new and not (name == "calibrator" and new is None):
            (copied / "config.json").write_text(json.dumps(config | {name: new}))
            assert "config.json" in _error(["eval", copied], capsys, 3)
            assert "config.json" in _error([*WORDS, "--run", copied, "--resume"], capsys, 3)


def test_a_setting_of_another_method_or_none_is_named(copied):
    config = json.loads((copied / "config.json").read_text())
    for change, words in (
        ({"tau": 1.0}, "has an unknown setting tau; it was written by another version or by hand"),
        ({"calibrator": {"name": "margin"}}, "calibrator must be {'name': 'margin', 'gamma': 1.2"),
        (
            {"loss": {"name": "cross_entropy", "gama": 1}},
            "got 'loss.gama'; loss cross_entropy takes label_smoothing,",
        ),
        ({"epochs": 4.0}, "epochs must be 4 for this method, got 4.0"),
        ({"model": {"name": "os:system"}}, "got 'os:system'"),
        ({"recipe_file": {"path": "evil.py", "sha256": "0" * 64}}, "evil.py must be recorded with its whole path"),
    ):
        (copied / "config.json").write_text(json.dumps(config | change))
        with pytest.raises((DataError, UsageError), match=re.escape(words)):
            stored_config(copied)


def _places(value, at=()):
    yield at
    entries = (
        value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from _places(entry, (*at, key))


def _mutated(value, at, new):
    if not at:
        return new
    changed = holder = copy.deepcopy(value)
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = new
    return changed


def test_every_value_of_a_result_is_checked_before_it_is_shown(copied):
    file = copied / "result.json"
    original = json.loads(file.read_text())
    shown = ("config", "metrics", "metrics_before_calibration", "data", "selection", "seconds")
    places = [at for at in _places(original) if at and at[0] in shown]
    for at in places:
        for new in ODD:
            file.write_text(json.dumps(_mutated(original, at, new)))
            try:
                result = run_files.read_result(copied)
            except DataError as error:
                assert re.search(r"result\.json .*; remove it and `lt-fast train --resume ", str(error))  # noqa: PT017
            else:
                run_report.run_table(result)
                run_report.title_of(result["config"])
                assert run_report.class_table(result)


def test_every_value_of_a_calibrator_is_checked(copied):
    file = copied / "calibration" / "calibrator.json"
    original = json.loads(file.read_text())
    config = json.loads((copied / "config.json").read_text())
    data = build.load_data(config)
    wanted = build.make_calibrator(config, data.train.class_counts)
    ties = storage.ties_of(copied / "calibration")
    refused = 0
    for at in _places(original):
        for new in ODD:
            file.write_text(json.dumps(_mutated(original, at, new)))
            try:
                found = results.loaded_calibrator(wanted, copied / "calibration", ties)
            except DataError as error:
                assert str(copied / "calibration") in str(error)  # noqa: PT017
                refused += 1
            else:
                assert found.counts.counts.tolist() == wanted.counts.counts.tolist()
                assert found.scale == wanted.scale
    assert refused > 100


CHANGES = {
    "float16": lambda tensor: tensor.to(torch.float16),
    "int64": lambda tensor: tensor.to(torch.int64),
    "one dimension more": lambda tensor: tensor[None],
    "NaN": lambda tensor: tensor * float("nan"),
    "one row less": lambda tensor: tensor[:-1].clone(),
}


@pytest.mark.parametrize("name", ["predictions.safetensors", "calibration/calibrator.safetensors"])
@pytest.mark.parametrize("change", [*CHANGES, "gone"])
def test_every_tensor_of_a_result_is_checked(copied, name, change):
    from safetensors.torch import load, save

    config = json.loads((copied / "config.json").read_text())
    counts = build.load_data(config).train.class_counts
    calibrator = build.make_calibrator(config, counts)
    folder = copied / "calibration"
    ties = storage.ties_of(folder)
    read = {
        "predictions.safetensors": lambda: run_files.read_predictions(copied, num_classes=10),
        "calibration/calibrator.safetensors": lambda: results.loaded_calibrator(calibrator, folder, ties),
    }
    original = load((copied / name).read_bytes())
    for key in original:
        if key == "calibrated_logits" and change == "gone":
            continue  # a run without a calibrator has none
        rest = {other: tensor for other, tensor in original.items() if other != key}
        if change != "gone":
            rest[key] = CHANGES[change](original[key])
            if rest[key].dtype == original[key].dtype and rest[key].equal(original[key]):
                continue
        (copied / name).write_bytes(save(rest))
        with pytest.raises(DataError, match=r"predictions\.safetensors|calibration"):
            read[name]()


@pytest.mark.parametrize("new", [None, -1, 10**30, "x"], ids=repr)
@pytest.mark.parametrize("name", ["position", "epoch", "num_samples", "version"])
def test_a_sealed_position_that_the_samplers_refuse(copied, name, new, capsys):
    from lt_fast.training import checkpoint

    (copied / "result.json").unlink()
    for file in sorted((copied / "checkpoints").glob("*/state.json")):
        record = json.loads(file.read_text())
        record["values"]["batches"][name] = new
        record["sha256"] = checkpoint._own_digest(record)
        file.write_text(json.dumps(record))
    line = _error([*WORDS, "--run", copied, "--resume"], capsys, 3)
    assert re.search(r"epoch-0004 is not of these batches: .*; start another run", line)


# --- the weights of another run ---------------------------------------------------------------------------------------


def test_more_epochs_are_refused_with_a_way_that_exists(trained, tmp_path, capsys):
    folder, _ = trained
    line = _error([*TRAIN, "--epochs", 5, "--seed", 3, "--run", folder, "--resume"], capsys, 2)
    assert "epochs was 4 and is 5" in line
    advice = re.search(r"to train on from its weights by a new schedule, add (--start-from \S+) there", line)
    words = [*TRAIN, "--epochs", 1, "--seed", 3, "--run", tmp_path / "on", *advice[1].split()]
    found, _ = _json(words, capsys)
    assert found["config"]["start_from"] == {
        "run": folder.name,
        "recipe": "mammc",
        "epoch": 4,
        "sha256": hashlib.sha256((folder / "checkpoints/epoch-0004/model.safetensors").read_bytes()).hexdigest(),
    }
    assert json.loads((tmp_path / "on" / "protocol.json").read_text())["start_from"] == found["config"]["start_from"]
    # One epoch more from these weights is better than the first epoch of new ones.
    first = (folder / "metrics.csv").read_text().splitlines()[1].split(",")
    on = (tmp_path / "on" / "metrics.csv").read_text().splitlines()[1].split(",")
    assert float(on[2]) < float(first[2])
    assert _json(["eval", tmp_path / "on"], capsys)[0]["metrics"] == found["metrics"]


def test_a_run_that_starts_from_another_resumes_with_and_without_naming_it(trained, tmp_path, capsys):
    words = [*TRAIN, "--epochs", 2, "--seed", 3, "--start-from", trained[0]]
    whole, _ = _json([*words, "--run", tmp_path / "whole"], capsys)
    for number, again in enumerate((words, words[:-2])):
        folder = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        (folder / "result.json").unlink()
        shutil.rmtree(folder / "checkpoints" / "epoch-0002")
        found, _ = _json([*again, "--run", folder, "--resume"], capsys)
        assert found["metrics"] == whole["metrics"]
        assert (folder / "checkpoints/epoch-0002/model.safetensors").read_bytes() == (
            tmp_path / "whole" / "checkpoints/epoch-0002/model.safetensors"
        ).read_bytes()
    shutil.rmtree(folder / "checkpoints")
    (folder / "result.json").unlink()
    (folder / "metrics.csv").unlink()
    line = _error([*words[:-2], "--run", folder, "--resume"], capsys, 2)
    assert "has no checkpoint yet and begins with the weights of the run a; give --start-from again" in line
    found, _ = _json([*words, "--run", folder, "--resume"], capsys)
    assert found["metrics"] == whole["metrics"]


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(trained, tmp_path, capsys):
    new = tmp_path / "new"
    words = ["train", "--data", "digits-lt", "--epochs", 1, "--no-plots", "--run", new, "--start-from", trained[0]]
    line = _error([*words, "--method", "ldam", "--seed", 3], capsys, 2)
    assert (
        "--start-from needs a run of the same data and network, but model.head is 'linear' there and 'cosine' here"
        in line
    )
    line = _error([*words, "--method", "ce", "--seed", 4], capsys, 2)
    assert "--start-from needs a run on the same images, or what is tested may have been trained on" in line
    line = _error([*words[:-1], new, "--method", "ce", "--seed", 3], capsys, 2)
    assert "--start-from must be another run than --run" in line
    line = _error([*words[:-1], tmp_path / "none", "--method", "ce", "--seed", 3], capsys, 3)
    assert "none holds no run" in line
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(trained[0] / "config.json", empty)
    shutil.copy(trained[0] / "protocol.json", empty)
    line = _error([*words[:-1], empty, "--method", "ce", "--seed", 3], capsys, 3)
    assert "empty has no checkpoint yet" in line
    assert not new.exists()
