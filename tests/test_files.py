"""Files and folders that are complete or absent, whatever stops the writer."""

import os

import pytest

from lt_fast import _files
from lt_fast.errors import DataError


def fail(*_, **__):
    raise OSError(28, os.strerror(28))


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"old", b"new"):
        _files.replace_file(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["write_synced", "sync_folder"])
def test_a_full_disk_keeps_the_old_content(tmp_path, monkeypatch, step):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(_files, step, fail)
    words = "has no room for a.json: 3 bytes are needed, .*; free some space, then continue"
    with pytest.raises(DataError, match=words):
        _files.replace_file(path, b"new", next_step=_files.NextStep("elsewhere", "then continue"))
    assert path.read_bytes() in (b"old", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"gone.a\.json cannot be written \(No such file or directory\); choose"):
        _files.replace_file(tmp_path / "gone" / "a.json", b"")


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    target, path = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"kept")
    path.symlink_to(target)
    _files.temporary_for(path).symlink_to(target)
    _files.replace_file(path, b"new")
    assert (target.read_bytes(), path.read_bytes(), path.is_symlink()) == (b"kept", b"new", False)


def test_a_folder_is_replaced(tmp_path):
    path = tmp_path / "a"
    _files.replace_folder(path, {"x": b"1", "y": b"2"})
    _files.replace_folder(path, {"x": b"3"})
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == {"x": b"3"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a"
    _files.replace_folder(path, {"x": b"1"})
    monkeypatch.setattr(_files, "write_synced", fail)
    with pytest.raises(OSError, match="No space left"):
        _files.replace_folder(path, {"x": b"2"})
    assert (path / "x").read_bytes() == b"1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_json_is_bounded_and_checked(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2]}')
    assert _files.read_json(path) == {"a": [1, 2]}
    with pytest.raises(DataError, match=r"a\.json has 13 bytes, more than the 12 that such a file can have"):
        _files.read_json(path, most=12)
    for damaged, words in (('{"a": 1, "a": 2}', '"a" twice'), ("[" * 40 + "]" * 40, "deeper than 32"), ("{", "Expect")):
        path.write_text(damaged)
        with pytest.raises(DataError, match=f"a.json is damaged: .*{words}"):
            _files.read_json(path)
