"""A run directory trusts no file because of its name: locks, checkpoints and configurations of somebody else."""

import os

import pytest

from lt_fast import _files
from lt_fast.errors import DataError
from lt_fast.experiment import running
from lt_fast.training import Checkpoints, RunDirectory, cosine, read_config
from training.tiny import tiny_fit


def train(run, **keywords):
    tiny_fit(run=run, epochs=2, learning_rate=cosine(0.1, epochs=2), **keywords)


def test_checkpoints_moved_under_another_configuration(tmp_path):
    with RunDirectory(tmp_path / "a", {"seed": 0}) as run:
        train(run)
    with RunDirectory(tmp_path / "b", {"seed": 1}) as other:
        other.checkpoints.folder.rmdir()
        run.checkpoints.folder.rename(other.checkpoints.folder)
        with pytest.raises(DataError, match=r"checkpoint .*b/checkpoints/epoch-0002 is of another run"):
            train(other, resume=True)
        assert len(other.checkpoints.paths()) == 2


def test_an_order_of_settings_is_no_other_configuration(tmp_path):
    with RunDirectory(tmp_path / "a", {"seed": 0, "rate": 0.1}) as run:
        train(run)
    with RunDirectory(tmp_path / "a", {"rate": 0.1, "seed": 0}, resume=True) as run:
        train(run, resume=True)


def test_a_lock_with_another_name_is_not_written_to(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("words")
    (tmp_path / "a").mkdir()
    os.link(precious, tmp_path / "a" / ".lock")
    with pytest.raises(DataError, match=r"a cannot be written \(\.lock is a hard link to another file\)"):
        RunDirectory(tmp_path / "a", {})
    assert precious.read_text() == "words"


def test_damaged_checkpoints_push_no_good_one_out(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save(epoch, 0, {}, {})
    for name in ("epoch-0003", "epoch-9998", "epoch-2"):
        (tmp_path / name).touch()
    Checkpoints(tmp_path).tidy()
    assert len(list(tmp_path.iterdir())) == 5
    checkpoints.save(4, 0, {}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-0002",
        "epoch-0003",
        "epoch-0004",
        "epoch-2",
        "epoch-9998",
    ]


@pytest.fixture
def closed_folder(tmp_path):
    """A folder that may not be entered. Root may enter any, so root becomes somebody else for the test."""
    folder, before = tmp_path / "closed", os.geteuid()
    folder.mkdir(mode=0)
    for parent in folder.parents[:3]:
        parent.chmod(0o755)
    if before == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(before)


def test_a_folder_that_may_not_be_entered_is_not_said_to_be_empty(closed_folder):
    with pytest.raises(DataError, match=r"config\.json cannot be read \(Permission denied\)"):
        read_config(closed_folder)


def test_a_full_disk_before_the_first_checkpoint_does_not_advise_to_resume(tmp_path):
    error = OSError(28, "No space left on device")
    full = _files.unwritable(tmp_path, error, what="a checkpoint", needed=10, next_step=_files.FOR_RUN)
    with (
        RunDirectory(tmp_path / "a", {}) as run,
        pytest.raises(DataError, match=r"free some space, then start the run again$"),
        running._removed_without_checkpoint(run),
    ):
        raise full
    assert not (tmp_path / "a").exists()


def test_checkpoints_of_another_run_push_none_of_this_run_out(tmp_path):
    with RunDirectory(tmp_path / "a", {}) as run:
        train(run)
        for epoch in (3, 4):
            run.checkpoints.keep = 9
            run.checkpoints.save(epoch, 0, {}, {"config_sha256": "0" * 64})
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        run.tidy()
        assert [path.name for path in run.checkpoints.paths()] == [f"epoch-{epoch:04d}" for epoch in (1, 2, 3, 4)]
