import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lt_fast import _locks
from lt_fast.errors import DataError, UsageError
from lt_fast.training import History, RunDirectory, read_config
from lt_fast.training.run_directory import differences

CONFIG = {"method": "ldam_drw", "optimizer": {"lr": 0.1, "milestones": [0.8, 0.9]}, "epochs": 200}


def open_and_close(path, config=CONFIG, **keywords):
    with RunDirectory(path, config, **keywords) as run:
        return run


def test_what_is_in_it(tmp_path):
    with RunDirectory(tmp_path / "runs" / "a", CONFIG) as run:
        run.write_protocol({"subset": "abc"})
        run.write_metrics(History([{"epoch": 1, "top1": 0.5}]))
        run.write_result({"top1": 0.5})
        names = sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))
    assert names == ["checkpoints", "config.json", "metrics.csv", "plots", "protocol.json", "result.json"]
    assert json.loads((run.path / "config.json").read_text()) == CONFIG == read_config(run.path) == run.config
    assert run.metrics_path.read_text() == "epoch,top1\n1,0.5\n"
    assert json.loads(run.result_path.read_text()) == {"top1": 0.5}


def test_a_second_run_into_the_same_directory(tmp_path):
    open_and_close(tmp_path / "a")
    message = (
        r"run directory .*a holds a run already; continue it with --resume, or name another run directory with --run"
    )
    with pytest.raises(UsageError, match=message):
        open_and_close(tmp_path / "a")


def test_resuming_under_the_same_configuration(tmp_path):
    open_and_close(tmp_path / "a")
    tuples = CONFIG | {"optimizer": {"milestones": (0.8, 0.9), "lr": 0.1}}  # another order and type, the same in JSON
    assert open_and_close(tmp_path / "a", tuples, resume=True).resume


def test_resuming_under_another_configuration_names_every_difference(tmp_path):
    open_and_close(tmp_path / "a")
    other = {"method": "ldam_drw", "optimizer": {"lr": 0.05, "milestones": [0.8, 0.9]}, "epochs": 20, "amp": True}
    with pytest.raises(UsageError) as caught:
        open_and_close(tmp_path / "a", other, resume=True)
    assert str(caught.value) == (
        f"--resume needs the configuration that the run in {tmp_path / 'a'} began with, but "
        "amp was missing and is True, epochs was 200 and is 20, optimizer.lr was 0.1 and is 0.05; "
        "go back to it, or name another run directory with --run"
    )
    open_and_close(tmp_path / "a", resume=True)  # the refusal let the lock go


def test_resuming_where_there_is_no_run_makes_nothing(tmp_path):
    with pytest.raises(
        UsageError, match=r"run directory .*b holds no run to resume; leave --resume out, or correct --run"
    ):
        open_and_close(tmp_path / "b", resume=True)
    assert not (tmp_path / "b").exists()


def test_a_folder_of_other_things_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"run directory .* must be new or empty, got one with 'thesis.tex' in it"):
        open_and_close(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_start_that_was_killed_before_the_configuration_was_there_is_started_again(tmp_path):
    for name in ("plots", "checkpoints"):
        (tmp_path / name).mkdir()
    for name in (".lock", ".config.json.123.partial"):
        (tmp_path / name).write_text('{"meth')
    open_and_close(tmp_path)
    assert read_config(tmp_path) == CONFIG


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    message = r"file/a cannot be written \(Not a directory\); name another run directory with --run"
    with pytest.raises(DataError, match=message):
        open_and_close(tmp_path / "file" / "a")
    with pytest.raises(DataError, match=r"/proc/a cannot be written \(No such file or directory\)"):
        open_and_close("/proc/a")


@pytest.fixture
def locked_folder():
    """Readable, not writable. Root is not asked for permission, so root becomes somebody else for the test."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        if before == 0:
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(before)
        Path(name).chmod(0o755)


@pytest.mark.parametrize("name", [".", "a"])
def test_a_folder_without_permission(locked_folder, name):
    with pytest.raises(
        DataError, match=r"cannot be written \(Permission denied\); name another run directory with --run"
    ):
        open_and_close(locked_folder / name)


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "a"
    with RunDirectory(path, CONFIG):
        for resume in (False, True):
            with pytest.raises(
                UsageError, match=rf"run directory .*a is in use by process {os.getpid()}; wait for it, or"
            ):
                open_and_close(path, resume=resume)
    open_and_close(path, resume=True)


def test_a_dropped_run_directory_lets_go(tmp_path):
    RunDirectory(tmp_path / "a", CONFIG)
    open_and_close(tmp_path / "a", resume=True)


HOLD = """
import sys
from lt_fast.training import RunDirectory
run = RunDirectory(sys.argv[1], {})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_another_process_is_refused_until_the_first_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, tmp_path / "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"is in use by process {holder.pid}"):
            open_and_close(tmp_path / "a", {}, resume=True)
        holder.kill()
        holder.wait()
    open_and_close(tmp_path / "a", {}, resume=True)


def test_the_protocol_must_stay_the_same_but_for_versions(tmp_path):
    protocol = {"data": {"subset": "abc", "groups": [100, 20]}, "versions": {"torch": "2.13"}}
    with RunDirectory(tmp_path / "a", CONFIG) as run:
        run.write_protocol(protocol)
    with RunDirectory(tmp_path / "a", CONFIG, resume=True) as run:
        run.write_protocol(protocol)
        newer = protocol | {"versions": {"torch": "2.14"}}
        with pytest.warns(
            UserWarning, match=r"resumed in another environment: versions.torch was '2.13' and is '2.14'"
        ):
            run.write_protocol(newer)
        other = protocol | {"data": {"subset": "abd", "groups": [100, 20]}}
        message = (
            r"--resume needs the data and rules that .*protocol.json records, but data.subset was 'abc' and is 'abd';"
        )
        with pytest.raises(DataError, match=message):
            run.write_protocol(other)
    assert json.loads((tmp_path / "a" / "protocol.json").read_text()) == newer


@pytest.mark.parametrize("what", ["config", "protocol", "result"])
def test_only_json_goes_in(tmp_path, what):
    message = rf"{what} must hold JSON values only: Object of type PosixPath"
    if what == "config":
        with pytest.raises(TypeError, match=message):
            RunDirectory(tmp_path / "a", {"root": Path("data")})
        return
    with RunDirectory(tmp_path / "a", CONFIG) as run, pytest.raises(TypeError, match=message):
        getattr(run, f"write_{what}")({"root": Path("data")})


def test_a_damaged_configuration_is_named(tmp_path):
    open_and_close(tmp_path / "a")
    file = tmp_path / "a" / "config.json"
    file.write_text('{"epochs": 2')
    with pytest.raises(DataError, match=r"config.json is damaged: Expecting"):
        open_and_close(tmp_path / "a", resume=True)
    file.write_text("[]")
    with pytest.raises(DataError, match=r"config.json is damaged: it must hold an object, got list"):
        read_config(tmp_path / "a")
    with pytest.raises(DataError, match=r"b holds no run: .*config.json is missing"):
        read_config(tmp_path / "b")


def test_an_unreadable_configuration_is_named(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(DataError, match=r"config.json cannot be read \(Is a directory\)"):
        read_config(tmp_path)


def test_a_file_system_without_locks_is_an_error_that_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(_locks.fcntl, "flock", refuse)
    with pytest.raises(DataError, match=r"cannot be written \(No locks available\)"):
        open_and_close(tmp_path / "a")


def test_differences():
    old = {"a": {"b": 1, "c": {}}, "d": float("nan"), "e": 1, "f": [1, 2]}
    assert differences(old, old) == {}
    new = {"a": {"b": 1}, "d": float("nan"), "e": 1.0, "f": [1, 3]}
    assert differences(old, new) == {
        "a.c": "a.c was {} and is missing",
        "e": "e was 1 and is 1.0",
        "f": "f was [1, 2] and is [1, 3]",
    }
