"""What is refused before any work: several processes, no folder, numbers without measure, a directory that is gone."""

import errno
import os

import pytest

from lt_fast.cli import main
from lt_fast.cli.program import _verdict
from lt_fast.cli.train import most_threads

TRAIN = ["train", "--method", "ce", "--data", "digits-lt"]


@pytest.mark.parametrize("words", [["demo", "--out"], ["make-lt", "digits", "--out"]])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_every_rank_is_refused(words, rank, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main([*words, str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line == (
        f"lt-fast: lt-fast {words[0]} must run in one process, got WORLD_SIZE=2, which torchrun sets; start it without "
        "torchrun, or unset WORLD_SIZE; in a training loop of your own, distributed() of a sampler shards it\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("world", ["1", "", "01", "many"])
def test_a_world_of_one_is_none(world, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", world)
    assert main(["train", "--method", "ce"]) == 2
    assert "--data is needed" in capsys.readouterr().err


def test_what_only_reads_runs_under_torchrun_too(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["methods", "ce"]) == 0
    out = capsys.readouterr().out
    assert "cross_entropy" in out
    assert "<class" not in out  # what has no default is given by the run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TRAIN, "--run", ""], r"argument --run: must name a folder, got ''"),
        (["demo", "--out", ""], r"argument --out: must name a folder, got ''"),
        (
            [*TRAIN, "--threads", "1000000000"],
            rf"--threads must be an integer <= {most_threads()}, got '1000000000'",
        ),
        ([*TRAIN, "--threads", "9" * 5000], rf"--threads must be an integer <= {most_threads()}, got '999"),
        (["demo", "--seeds", "99999999999999999999"], r"--seeds must be an integer <= 1000, got"),
        ([*TRAIN, "--run", "a\0b"], r"an argument must not hold a NUL character, got 'a\\x00b'"),
    ],
)
def test_values_without_measure(words, message, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message.replace("\\\\", "\\") in err
    assert err.count("\n") == 1


def test_a_current_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert main([*TRAIN]) == 3
    finally:
        os.chdir(tmp_path)
    assert "the current directory cannot be used (No such file or directory); cd to one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError(), 1, "the memory does not suffice (MemoryError)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "the memory does not suffice"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 1, "the memory does not suffice"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a/b"), 3, "a/b cannot be used: File name too long; name"),
        (OSError("libcudart.so.13: cannot open shared object file"), 1, "a fault of lt-fast or its installation"),
        (ValueError("x must be 1, got 2"), 2, "x must be 1, got 2"),
    ],
)
def test_errors_that_a_machine_makes(error, status, words):
    found, line = _verdict(error, ["train"])
    assert found == status
    assert words in line
