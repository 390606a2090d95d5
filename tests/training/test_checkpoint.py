import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lt_fast import _files
from lt_fast.errors import DataError
from lt_fast.training import Checkpoints
from lt_fast.training import checkpoint as module
from training.tiny import same_bits


def tensors(value=0.0):
    return {
        "model": {
            "weight": torch.tensor([[1.0, value]]),
            "half": torch.tensor([value], dtype=torch.bfloat16),
            "count": torch.tensor(7),
            "none": torch.zeros(0, 3),
        },
        "training": {"momentum.weight": torch.tensor([[-0.0, float("nan")]])},
    }


def names(checkpoints):
    return [path.name for path in checkpoints.paths()]


@pytest.fixture
def three(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, 0, tensors(epoch), {"epoch": epoch})
    return checkpoints


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    values = {"loss": 0.1 + 0.2, "none": None, "nested": {"rows": [1, 2.5, "x"]}, "unmeasured": float("inf")}
    path = checkpoints.save(3, 17, tensors(), values)
    assert path.name == "epoch-0003-step-000017"
    back = checkpoints.newest()
    assert (back.path, back.epoch, back.step, back.values) == (path, 3, 17, values)
    for group, named in tensors().items():
        ours = {name: tensor.view(torch.uint8) if tensor.ndim else tensor for name, tensor in named.items()}
        theirs = {
            name: tensor.view(torch.uint8) if tensor.ndim else tensor for name, tensor in back.tensors[group].items()
        }
        same_bits(ours, theirs)


def test_the_model_is_an_ordinary_safetensors_file_and_nothing_is_pickled(tmp_path):
    path = Checkpoints(tmp_path).save(1, 0, tensors(5.0), {})
    assert sorted(file.name for file in path.iterdir()) == ["model.safetensors", "state.json", "training.safetensors"]
    assert load_file(path / "model.safetensors")["weight"].tolist() == [[1.0, 5.0]]
    assert json.loads((path / "state.json").read_text())["files"].keys() == {
        "model.safetensors",
        "training.safetensors",
    }


def test_the_newest_is_found_by_number_and_old_ones_go(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for epoch, step in ((9999, 5), (10000, 0), (10000, 3)):
        checkpoints.save(epoch, step, tensors(), {})
    assert names(checkpoints) == ["epoch-10000", "epoch-10000-step-000003"]
    assert (checkpoints.newest().epoch, checkpoints.newest().step) == (10000, 3)


def test_saving_at_the_same_place_again_replaces(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, 0, tensors(), {"attempt": 1})
    checkpoints.save(1, 0, tensors(), {"attempt": 2})
    assert checkpoints.newest().values == {"attempt": 2}
    assert names(checkpoints) == ["epoch-0001"]


def cut(file):
    file.write_bytes(file.read_bytes()[:-3])


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
def test_a_damaged_newest_gives_way_to_the_one_before_with_a_warning(three, name, damage):
    damage(three.paths()[-1] / name)
    with pytest.warns(UserWarning, match=rf"checkpoint .*epoch-0003 is damaged: {name} .*; using the one before it"):
        newest = three.newest()
    assert (newest.epoch, newest.values) == (2, {"epoch": 2})


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", cut, r"model.safetensors has \d+ of \d+ bytes"),
        ("model.safetensors", flip, r"model.safetensors does not match its SHA-256"),
        ("model.safetensors", Path.unlink, r"model.safetensors cannot be read \(No such file or directory\)"),
        ("state.json", cut, r"state.json is not what was written"),
        ("state.json", Path.unlink, r"state.json cannot be read \(No such file or directory\)"),
        ("state.json", lambda file: file.write_text("[1]"), r"state.json is not what was written"),
        (
            "state.json",
            lambda file: file.write_text(file.read_text().replace('"epoch": 3', '"epoch": 2')),
            r"state.json does not match its SHA-256",
        ),
    ],
)
def test_what_is_wrong_is_said(three, name, damage, message):
    path = three.paths()[-1]
    damage(path / name)
    with pytest.raises(DataError, match=message):
        module.read(path)


def test_when_all_are_damaged_it_says_so(three):
    for path in three.paths():
        cut(path / "model.safetensors")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(
            DataError, match=r"holds no readable checkpoint \(.*epoch-0003.*epoch-0001.*\); start another run"
        ),
    ):
        three.newest()


def test_newer_ones_are_dropped_when_a_run_goes_back(three):
    three.drop_newer(module.read(three.paths()[0]))
    assert names(three) == ["epoch-0001"]


class KilledError(BaseException):
    """Stands for the process's end: nothing after it runs, clean-up included."""


class KilledAt:
    """Let ``after`` file operations pass, then stop, the removal of a folder half way."""

    def __init__(self, monkeypatch, after):
        self.left = after
        for owner, name in ((_files, "write_synced"), (_files, "sync_folder"), (Path, "rename"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name), half=self.half_write))
        monkeypatch.setattr(shutil, "rmtree", self.counted(shutil.rmtree, half=self.half_removal))

    def counted(self, operation, half):
        def run(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                half(operation.__name__, *args)
                raise KilledError
            return operation(*args, **kwargs)

        return run

    @staticmethod
    def half_write(name, *args):
        if name == "write_synced":
            args[0].write_bytes(args[1][: len(args[1]) // 2])

    @staticmethod
    def half_removal(_, folder, **__):
        for file in sorted(Path(folder).glob("*"))[:1]:
            file.unlink()


@pytest.mark.parametrize("epoch", [3, 4])
def test_killed_at_any_file_operation_the_newest_is_the_old_or_the_new_one(tmp_path, epoch):
    """Epoch 4 is a new checkpoint; epoch 3 replaces one of the same name, so the one before it may be the newest."""
    for after in range(100):
        checkpoints = Checkpoints(tmp_path / str(after))
        checkpoints.save(2, 0, tensors(2), {"epoch": 2})
        checkpoints.save(3, 0, tensors(3), {"epoch": 3})
        with pytest.MonkeyPatch.context() as monkeypatch:
            KilledAt(monkeypatch, after)
            try:
                checkpoints.save(epoch, 0, tensors(9), {"epoch": 9})
                finished = True
            except KilledError:
                finished = False
        newest = checkpoints.newest()  # a warning here would fail the test: no name may stand for a half checkpoint
        assert newest.values["epoch"] in ({9} if finished else {3, 9} if epoch == 4 else {2, 3, 9})
        checkpoints.save(5, 0, tensors(5), {"epoch": 5})
        assert not list(checkpoints.folder.glob(".*"))
        assert len(checkpoints.paths()) == 2
        if finished:
            return
    pytest.fail("the save never came to its end")


def test_values_must_be_plain(tmp_path):
    with pytest.raises(TypeError, match=r"values of a checkpoint must be plain JSON values: .*int64"):
        Checkpoints(tmp_path).save(0, 1, tensors(), {"position": torch.tensor(3).numpy()[()]})
    assert not list(tmp_path.iterdir())


def test_keep_is_checked(tmp_path):
    with pytest.raises(ValueError, match=r"keep must be >= 1, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_folder_of_another_name_is_no_checkpoint(tmp_path):
    path = Checkpoints(tmp_path).save(1, 0, tensors(), {})
    moved = path.rename(tmp_path / "best")
    with pytest.raises(DataError, match=r"must be named like epoch-0012 or epoch-0012-step-000034, got .*best"):
        module.read(moved)
    assert Checkpoints(tmp_path).newest() is None
