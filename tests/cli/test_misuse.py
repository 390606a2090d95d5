"""Options that do not apply, are given twice or name nothing; launchers; what is printed of a path."""

import argparse
import json
import os
import subprocess
import sys

import pytest

from lt_fast.cli import main
from lt_fast.cli.demo import _in_words_of_the_demo, _refuse_gaps
from lt_fast.cli.output import Output
from lt_fast.cli.train import add_arguments, config_of, most_threads
from lt_fast.errors import DataError

TRAIN = ["train", "--method", "ce", "--data", "digits-lt"]
LONG = "9" * 5000


def _refused(words, capsys, status=2):
    assert main(words) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert len(err) < 400
    return err


@pytest.mark.parametrize("words", ["train --help", "make-lt -h", "eval --help", "inspect --help"])
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_help_that_is_lost_is_status_1_for_every_command(words, where):
    line = f"{sys.executable} -m lt_fast.cli {words} {where}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lt-fast: standard output cannot be written: ")
    assert "complete" not in done.stderr


TORCHRUN = [
    ({"WORLD_SIZE": " 2"}, "got WORLD_SIZE=2, which torchrun sets"),
    ({"WORLD_SIZE": "+10"}, "got WORLD_SIZE=+10, which torchrun sets"),
]


@pytest.mark.parametrize("command", ["eval", "demo", "make-lt"])
@pytest.mark.parametrize(("variables", "said"), TORCHRUN)
def test_torchrun_is_for_training_alone(command, variables, said, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert said in _refused([command], capsys)


def test_a_rank_without_a_number_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    assert "environment variable RANK must be an integer >= 0, got None; start with torchrun" in _refused(TRAIN, capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["train", "eval", "demo", "make-lt", "inspect"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "got OMPI_COMM_WORLD_SIZE=2, which mpirun sets"),
        ({"PMI_SIZE": "3", "PMI_RANK": "1"}, "start it without mpirun, or unset PMI_SIZE"),
        (
            {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
            "start it without srun, or unset SLURM_STEP_NUM_TASKS",
        ),
    ],
)
def test_every_launcher_of_several_processes_is_refused(command, variables, said, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    err = _refused([command], capsys)
    assert f"lt-fast {command} must run in one process, " in err
    assert said in err


@pytest.mark.parametrize(
    "variables",
    [
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"PMI_SIZE": "01"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},  # a script of sbatch
        {"SLURM_STEP_NUM_TASKS": "2"},
        {"WORLD_SIZE": "-2"},
    ],
)
def test_one_process_of_a_launcher_goes_on(variables, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert "--method is needed" in _refused(["train"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--seed", "1", "--seed", "2"], "--seed must be given once, got '1' and '2'; leave one out"),
        (["train", "--run", "a", "--run=a"], "--run must be given once, got 'a' and 'a'"),
        ([*TRAIN, "--method", "ldam"], "--method must be given once, got 'ce' and 'ldam'"),
        (["train", "--resume", "--resume", "a"], "--resume must be given once, got nothing and 'a'"),
        (["demo", "--epochs", LONG, "--epochs", "2"], "--epochs must be given once, got '999"),
        (["make-lt", "digits", "--counts", "1", "--counts", "2"], "--counts must be given once"),
        (["eval", "a", "--threads", "1", "--threads", "1"], "--threads must be given once"),
        (["train", "--start-from", ""], "argument --start-from: must name a folder, got ''"),
        (["train", "--resume", ""], "argument --resume: must name a folder, got ''"),
        ([*TRAIN, "--root", ""], "argument --root: must name a folder, got ''"),
        (["eval", ""], "argument run: must name a folder, got ''"),
        (
            [*TRAIN, "--root", "."],
            "--root is for photographs, imagenet-lt, places-lt, inaturalist-2018, cifar10-lt, cifar100-lt, got",
        ),
        ([*TRAIN, "--download"], "--download is for cifar10-lt, cifar100-lt, got digits-lt; leave it out"),
        (["eval", "--", "-x", "--threads", "1"], "lt-fast eval takes no option after --, got '--threads'; put it"),
        ([*TRAIN, "--augment", "light"], "augment must be one of autoaugment, randaugment, trivialaugment, simclr, "),
        ([*TRAIN, "--augment", "autoagment"], "got 'autoagment'; did you mean 'autoaugment'?"),
        ([*TRAIN, "--augment", "simclr", "--set", "transform=crop_flip"], "transform must be set once, got crop_flip"),
    ],
)
def test_options_twice_without_a_name_or_without_use(words, message, capsys):
    assert message in _refused(words, capsys)


def test_augment_is_a_transform_of_images_in_memory_too():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    found = config_of(parser.parse_args([*TRAIN[1:], "--augment", "autoaugment"]))
    assert found == config_of(parser.parse_args([*TRAIN[1:], "--set", "transform=autoaugment"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--method", "x"], "--method must be one of ldam, counter, got 'x'"),
        (["digits", "--method", "countr"], "got 'countr'; did you mean 'counter'?"),
        (["digits", "--method", "ldam"], "--method must be counter for digits, got 'ldam'; leave it out"),
        (["digits", "--counts", "1", "--profile", "step"], "--counts and --profile exclude each other"),
        (["digits", "--noise-toward", "prior"], "--noise-toward is for --label-noise, which was not given"),
        (["digits", "--seed", LONG], "--seed must be an integer < 2**64, got '999"),
        (["digits", "--seed", "1e300"], "--seed must be an integer < 2**64, got '1e300'"),
        (["digits", "--seed", "-1"], "--seed must be an integer >= 0, got '-1'"),
        (["digits", "--counts=-1,2,2,2,2,2,2,2,2,2"], "--counts must be integers >= 0 and < 2**63, got -1"),
        (["digits", "--seed", "1.5"], "--seed must be an integer >= 0, got '1.5'"),
        (["digits", "--seed", "\u0661"], "--seed must be an integer >= 0, got"),
        (["digits", "--imbalance-ratio", LONG], "--imbalance-ratio must be a float, got '999"),
        (["digits", "--imbalance-ratio", "1_0"], "--imbalance-ratio must be a number in decimal digits, got '1_0'"),
        (["digits", "--imbalance-ratio", "0.5"], "--imbalance-ratio must be >= 1"),
        (["digits", "--counts", f"1,{LONG[:390]}"], "--counts must be integers >= 0 and < 2**63, got 999"),
        (["digits", "--counts", "1_0"], "--counts must be numbers with commas between, got '1_0'"),
        (["digits", "--counts", "1,2"], "--counts must have one entry"),
        (["digits", "--profile", "stp"], "--profile must be"),
        (["digits", "--label-noise", "2"], "--label-noise: rate must lie in [0, 1], got 2.0"),
        (["digits", "--label-noise", "0.1", "--noise-toward", "x"], "--noise-toward must be one of uniform, prior"),
        ([""], "a data set is needed"),
    ],
)
def test_make_lt_names_its_options(words, message, tmp_path, capsys):
    assert message in _refused(["make-lt", *words, "--out", str(tmp_path / "l.txt")], capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["", ".", "/", "./", "new/"])
def test_the_list_needs_the_name_of_a_file(out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert f"argument --out: must name a file, got {out!r}" in _refused(["make-lt", "digits", "--out", out], capsys)


def test_make_lt_reads_numbers_as_train_does(tmp_path, capsys):
    counts = ",".join(["1e1", "5.0", *["3"] * 8])
    assert main(["make-lt", "digits", "--out", str(tmp_path / "l.txt"), "--counts", counts, "--seed", "1e1"]) == 0
    record = json.loads((tmp_path / "l.txt.json").read_text())
    assert (record["counts"][:3], record["seed"], record["method"]) == ([10, 5, 3], 10, "counter")


@pytest.mark.parametrize("name", ["f.txt", "f.csv", "f.tsv", "f.json"])
def test_make_lt_waits_for_no_pipe(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    err = _refused(["make-lt", name, "--out", "l.txt"], capsys, 3)
    assert err == f"lt-fast: {name} must be a regular file, got a pipe; write what it gives to a file first\n"


@pytest.mark.parametrize("name", ["names", "names.json"])
def test_make_lt_reads_no_names_from_a_device(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to("/dev/zero")
    (tmp_path / "t.txt").write_text("a.jpg 0\nb.jpg 1\n")
    err = _refused(["make-lt", "t.txt", "--classes", name, "--out", "l.txt"], capsys, 3)
    assert f"{name} must be a regular file, got a device" in err


def test_the_bound_of_threads_follows_the_machine(capsys):
    most = most_threads()
    assert most >= 4
    assert most % 4 == 0
    assert f"--threads must be an integer <= {most}, got '1e6'" in _refused([*TRAIN, "--threads", "1e6"], capsys)


def test_the_demo_refuses_a_result_with_a_gap_by_its_file(tmp_path):
    entries = [{"name": "0", "recall": 1.0}, {"name": "1", "recall": None}]
    result = {"metrics": {"per_class": entries}, "metrics_before_calibration": None}
    with pytest.raises(DataError, match=r"result.json is damaged: metrics.per_class must have a recall for class 1"):
        _refuse_gaps(result, tmp_path / "result.json")
    entries.pop()
    _refuse_gaps(result, tmp_path / "result.json")


def test_the_demo_advises_no_option_that_it_lacks():
    said = (
        "began with, but epochs was 1 and is 2; go back to it, or name another run directory with --run; to train on "
        "from its weights by a new schedule, add --start-from a/b there"
    )
    assert _in_words_of_the_demo(said) == (
        "began with, but epochs was 1 and is 2; go back to it, or give the demo another folder with --out"
    )


def test_a_path_in_words_obeys_nothing(capsys):
    Output(as_json=False).say("run directory: a\x1b[31m\x07b\nnext ± line")
    assert capsys.readouterr().out == "run directory: a\\x1b[31m\\x07b\nnext ± line\n"
