"""A full disk: no half checkpoint, the last good one loads, the error names the folder and the bytes needed."""

import contextlib
import re
import resource
import subprocess

import pytest
import torch

from lt_fast.errors import DataError
from lt_fast.training import Checkpoints, History, RunDirectory, cosine
from training.tiny import all_state, same_bits, tiny_fit

NEEDED = re.compile(
    r"has no room for (\S+|a checkpoint): (\d+) bytes are needed, \d+ are free \(.*\); free some space, then"
)


@contextlib.contextmanager
def files_no_larger_than(limit):
    """The kernel refuses every write beyond ``limit`` bytes of a file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def tensors(size):
    return {"model": {"weight": torch.zeros(size // 4)}, "training": {"momentum": torch.zeros(size // 4)}}


@pytest.mark.parametrize("limit", [0, 1, 1000, 3999, 4000])
def test_a_checkpoint_that_does_not_fit(tmp_path, limit):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, 0, tensors(4000), {"epoch": 1})
    with files_no_larger_than(limit), pytest.raises(DataError, match=NEEDED) as caught:
        checkpoints.save(2, 0, tensors(4000), {"epoch": 2})
    assert str(checkpoints.folder) in str(caught.value)
    assert 8000 < int(NEEDED.search(str(caught.value))[2]) < 10000
    assert [path.name for path in checkpoints.folder.iterdir()] == ["epoch-0001"]
    assert checkpoints.newest().values == {"epoch": 1}
    checkpoints.save(2, 0, tensors(4000), {"epoch": 2})
    assert checkpoints.newest().values == {"epoch": 2}


def test_a_file_that_does_not_fit_keeps_its_old_content(tmp_path):
    with RunDirectory(tmp_path / "a", {}) as run:
        run.write_metrics(History([{"epoch": 1}]))
        before = run.metrics_path.read_text()
        with files_no_larger_than(3), pytest.raises(DataError, match=NEEDED) as caught:
            run.write_metrics(History([{"epoch": 1}, {"epoch": 2}]))
        assert "a has no room for metrics.csv: 10 bytes are needed" in str(caught.value)
        assert run.metrics_path.read_text() == before
        assert not list(run.path.glob(".*.partial"))


def test_a_run_that_cannot_begin_can_begin_later(tmp_path):
    with files_no_larger_than(2), pytest.raises(DataError, match=r"a has no room for|a cannot be written|lock"):
        RunDirectory(tmp_path / "a", {"epochs": 3})
    RunDirectory(tmp_path / "a", {"epochs": 3}).close()


def train(run, *, resume, evaluate=None):
    keywords = {"run": run, "resume": resume, "evaluate": evaluate}
    method, _ = tiny_fit(epochs=4, learning_rate=cosine(0.1, epochs=4), **keywords)
    return all_state(method.model)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs root; the tests by file size limit cover the same path")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_training_on_a_disk_that_fills_up_goes_on_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"

    def fill(_):
        if run.checkpoints.paths()[-1:] == [run.checkpoints.folder / "epoch-0002"]:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(512)):
                    pass
        return {}

    with RunDirectory(small_disk / "a", {}) as run, pytest.raises(DataError, match=NEEDED) as caught:
        train(run, resume=False, evaluate=fill)
    assert "No space left on device" in str(caught.value)
    assert [path.name for path in run.checkpoints.paths()] == ["epoch-0001", "epoch-0002"]
    assert not list(run.checkpoints.folder.glob(".*"))
    ballast.unlink()
    with RunDirectory(small_disk / "a", {}, resume=True) as run:
        assert run.checkpoints.newest().epoch == 2
        same_bits(train(run, resume=True), train(None, resume=False))
