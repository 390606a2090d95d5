"""The commands at work: real processes where the process matters, in-process where the words do."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lt_fast import recipes
from lt_fast.cli import main

COMMAND = [sys.executable, "-W", "error", "-m", "lt_fast.cli"]
TRAIN = ["train", "--method", "mammc", "--data", "digits-lt", "--threads", "1", "--no-plots"]


def _process(*words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, env=environment, check=False, **options
    )


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
    return folder, _process(*words, "--epochs", 4, "--seed", 3, "--run", folder, "--json")


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
        f"{name}.{ending}" for name in ("confusion", "curves", "recall", "reliability") for ending in ("png", "svg")
    )
    assert result["pictures"] == [
        str(folder / "plots" / f"{n}.png") for n in ("curves", "recall", "reliability", "confusion")
    ]


def test_a_second_run_into_the_same_directory(trained, capsys):
    line = _error([*TRAIN, "--epochs", 4, "--seed", 3, "--run", trained[0]], capsys, 2)
    assert "holds a run already; continue it with --resume, or name another run directory with --run" in line


def test_resuming_another_configuration_names_what_differs(trained, capsys):
    line = _error([*TRAIN, "--epochs", 5, "--seed", 3, "--set", "omega=0", "--run", trained[0], "--resume"], capsys, 2)
    assert "epochs was 4 and is 5" in line
    assert "omega was 0.25 and is 0.0" in line


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
    assert len(again["intervals"]["per_class"]) == 10
    assert "95 % interval" in err
    assert "negative log-likelihood" in err


def test_eval_of_a_damaged_newest_checkpoint_warns_and_takes_the_one_before(trained, tmp_path, capsys):
    import shutil

    copy = shutil.copytree(trained[0], tmp_path / "copy")
    newest = max((copy / "checkpoints").iterdir()) / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    assert main(["eval", str(copy), "--json"]) == 0
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
    assert "config.json has no method; it was written by another version or by hand" in _error(
        ["eval", tmp_path], capsys, 3
    )


def test_eval_before_the_first_checkpoint(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(recipes.resolve("ce", "digits-lt")))
    assert "has no checkpoint yet" in _error(["eval", tmp_path], capsys, 3)


@pytest.mark.slow
def test_sigterm_saves_says_how_to_go_on_and_resuming_ends_in_the_same_bits(trained, tmp_path):
    folder = tmp_path / "stopped"
    words = [*TRAIN, "--epochs", "4", "--seed", "3", "--run", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        for line in running.stderr:
            if line.startswith("epoch 1/4"):
                running.send_signal(signal.SIGTERM)
                break
        rest = running.stderr.read()
    assert running.returncode == 4, rest
    assert re.search(r"lt-fast: stopped by SIGTERM after epoch .*; continue with --resume", rest)
    assert not (folder / "result.json").exists()
    resumed = _process(*words, "--resume")
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
    assert done.stderr == "lt-fast: interrupted; the same command goes on, with --resume where a run had begun\n"


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
    assert (tmp_path / "runs" / "ldam_drw-digits-lt-50-2" / "result.json").exists()
    assert "runs/ldam_drw-digits-lt-50-2" in capsys.readouterr().out


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
    config = recipes.resolve("ce", "digits-lt", {"epochs": 2}, imbalance_ratio=50.0)
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
        "op equals its twin (CPU)",
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
    assert set(failed) == {"op equals its twin (CPU)", "class-balanced draws"}
    assert "set LT_FAST_BACKEND=reference" in failed["op equals its twin (CPU)"]
