"""A reader opens regular files: a pipe or a device may never end."""

import os
import socket

import pytest

from lt_fast.datasets import cifar_lt, csv_table, image_list, inaturalist
from lt_fast.errors import DataError

READERS = pytest.mark.parametrize("read", [image_list, csv_table, inaturalist])


@READERS
def test_a_pipe_is_refused_by_its_name(read, tmp_path):
    os.mkfifo(tmp_path / "list")
    with pytest.raises(DataError, match=r"^\S*list must be a regular file, got a pipe; write what it gives to a file"):
        read(tmp_path / "list")


@READERS
def test_a_link_to_a_device_is_refused(read, tmp_path):
    (tmp_path / "list").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"^\S*list must be a regular file, got a device"):
        read(str(tmp_path / "list"))


@READERS
def test_a_socket_is_refused(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("list")
        with pytest.raises(DataError, match=r"^list must be a regular file, got a socket"):
            read("list")


@READERS
def test_folders_and_missing_files_keep_their_words(read, tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        read(tmp_path / "none")


def test_a_pipe_among_the_files_of_cifar(tmp_path):
    pytest.importorskip("torchvision")
    (tmp_path / "cifar-10-batches-py").mkdir()
    os.mkfifo(tmp_path / "cifar-10-batches-py" / "data_batch_1")
    with pytest.raises(DataError, match="data_batch_1 must be a regular file, got a pipe"):
        cifar_lt(tmp_path, classes=10)
