import functools
import hashlib
import http.server
import pickle
import re
import sys
import tarfile
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

import reference
from lt_fast.datasets import CIFAR10_STATS, DATASETS, channel_stats, cifar_lt
from lt_fast.errors import DataError, MissingExtraError, UsageError

RATIO = 10


def same_images(found, source, labels):
    np.testing.assert_array_equal(found.images, source[found.indices])
    np.testing.assert_array_equal(found.labels, labels[found.indices])


@pytest.mark.parametrize(("classes", "tree"), [(10, "cifar10_tree"), (100, "cifar100_tree")])
@pytest.mark.parametrize("profile", ["exp", "step"])
def test_training_set_is_ldams(classes, tree, profile, request):
    tree = request.getfixturevalue(tree)
    found = cifar_lt(tree.root, classes=classes, imbalance_ratio=RATIO, profile=profile, seed=3)
    counts = reference.long_tailed_counts(20, classes, RATIO, profile)
    assert found.indices.tolist() == reference.ldam_indices(tree.labels.tolist(), counts, 3)
    assert found.class_counts.counts.tolist() == counts
    same_images(found, tree.images, tree.labels)
    assert found.classes == tuple(f"class {i}" for i in range(classes))
    assert found.protocol == {
        "name": f"cifar{classes}-lt",
        "split": "train",
        "imbalance_ratio": 10.0,
        "profile": profile,
        "seed": 3,
        "method": "ldam",
        "subset_sha256": found.protocol["subset_sha256"],
    }


@pytest.mark.parametrize(("classes", "tree"), [(10, "cifar10_tree"), (100, "cifar100_tree")])
def test_test_set_is_whole(classes, tree, request):
    tree = request.getfixturevalue(tree)
    found = cifar_lt(str(tree.root), classes=classes, train=False)
    assert found.indices.tolist() == list(range(4 * classes))
    same_images(found, tree.test_images, tree.test_labels)


def test_registry(cifar10_tree):
    train, test = DATASETS["cifar10-lt"](cifar10_tree.root, imbalance_ratio=5, profile="step", seed=1, download=False)
    expected = cifar_lt(cifar10_tree.root, classes=10, imbalance_ratio=5, profile="step", seed=1)
    assert train.fingerprint == expected.fingerprint
    assert test.fingerprint == cifar_lt(cifar10_tree.root, classes=10, train=False).fingerprint
    for name in ("cifar10-lt", "cifar100-lt"):
        message = f"root must be given for {name}, got None; name the folder of its files: --root DIR"
        with pytest.raises(UsageError, match=re.escape(message)):
            DATASETS[name](None)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("train", [True, False])
def test_missing_file(cifar10_tree, name, train):
    path = cifar10_tree.root / "cifar-10-batches-py" / name
    path.unlink()
    with pytest.raises(DataError) as caught:
        cifar_lt(cifar10_tree.root, classes=10, imbalance_ratio=RATIO, train=train)
    message = str(caught.value)
    assert message.startswith(
        f"{path} is missing; pass download=True (`lt-fast train --download` does), or unpack https://www.cs.toronto.edu"
    )
    assert message.endswith(f"so that {path.parent} holds its files")
    assert "\n" not in message


def test_missing_folder(tmp_path):
    for classes, folder in ((10, "cifar-10-batches-py"), (100, "cifar-100-python")):
        with pytest.raises(DataError, match=re.escape(str(tmp_path / "nowhere" / folder))):
            cifar_lt(tmp_path / "nowhere", classes=classes)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:middle],
            "empty": b"",
            "a flipped bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "another pickle": f"cos\nmkdir\n(S'{path}.ran'\ntR.".encode(),
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "empty", "a flipped bit", "another pickle"])
@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_damaged_file_is_named_and_never_unpickled(cifar10_tree, name, how):
    path = cifar10_tree.root / "cifar-10-batches-py" / name
    damage(path, how)
    with pytest.raises(DataError) as caught:
        cifar_lt(cifar10_tree.root, classes=10, imbalance_ratio=RATIO)
    assert re.match(
        re.escape(f"{path} is damaged: {path.stat().st_size} bytes with MD5 ") + "[0-9a-f]{32}, expected ",
        str(caught.value),
    )
    assert not path.with_name(f"{name}.ran").exists()


def test_the_pickle_of_that_test_would_run(tmp_path):
    path = tmp_path / "data_batch_2"
    path.write_bytes(b"x")
    damage(path, "another pickle")
    pickle.loads(path.read_bytes())
    assert (tmp_path / "data_batch_2.ran").exists()


def test_directory_in_place_of_a_file(cifar10_tree):
    path = cifar10_tree.root / "cifar-10-batches-py" / "test_batch"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=re.escape(f"{path} cannot be read: Is a directory")):
        cifar_lt(cifar10_tree.root, classes=10)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder and the address at which this machine serves it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download(cifar10_tree, tmp_path, served, monkeypatch):
    folder, address = served
    content = cifar10_tree.root / "cifar-10-batches-py"
    with tarfile.open(folder / CIFAR10.filename, "w:gz") as tar:
        tar.add(content, arcname=content.name)
    monkeypatch.setattr(CIFAR10, "url", f"{address}/{CIFAR10.filename}")
    fresh, options = tmp_path / "fresh", {"classes": 10, "imbalance_ratio": RATIO}

    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"is missing .*corrupted.*; pass download=True"):
        cifar_lt(fresh, **options, download=True)

    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((folder / CIFAR10.filename).read_bytes()).hexdigest())
    found = cifar_lt(fresh, **options, download=True)
    assert found.fingerprint == cifar_lt(cifar10_tree.root, **options).fingerprint
    assert cifar_lt(fresh, **options).fingerprint == found.fingerprint


def test_download_without_a_network(tmp_path, monkeypatch):
    def unreachable(*args, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(DataError) as caught:
        cifar_lt(tmp_path, classes=10, download=True)
    first = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    assert str(caught.value).startswith(f"{first} is missing (<urlopen error Name or service not known>); pass")


def test_refused_values(cifar10_tree):
    with pytest.raises(ValueError, match="classes must be 10 or 100, got 20"):
        cifar_lt(cifar10_tree.root, classes=20)
    with pytest.raises(ValueError, match=r"got 0\.01; did you mean 100\?"):
        cifar_lt(cifar10_tree.root, classes=10, imbalance_ratio=0.01)


def test_without_torchvision(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchvision.datasets")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    message = "reading CIFAR needs torchvision, which is not installed; run: pip install 'lt-fast[train]'"
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        cifar_lt("data")


@pytest.mark.slow
def test_official_files(official_cifar10):
    source = CIFAR10(official_cifar10)
    labels = np.array(source.targets)
    found = cifar_lt(official_cifar10, classes=10)
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert found.indices.tolist() == reference.ldam_indices(source.targets, counts, 0)
    same_images(found, source.data, labels)
    assert found.classes[0] == "airplane"
    np.testing.assert_allclose(channel_stats(source.data)[0], CIFAR10_STATS[0], atol=1e-4)
    np.testing.assert_allclose(channel_stats(source.data)[1], (0.2470, 0.2435, 0.2616), atol=1e-4)
    test = cifar_lt(official_cifar10, classes=10, train=False)
    assert test.class_counts.counts.tolist() == [1000] * 10
