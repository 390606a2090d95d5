"""Files of a run, damaged or falsified by mutation of every value: an error that names the file, or no harm."""

import copy
import hashlib
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from lt_fast import _files
from lt_fast.errors import DataError, UsageError
from lt_fast.methods import Classification
from lt_fast.ranks import Ranks
from lt_fast.training import Checkpoints, History, RunDirectory, cosine, read_config
from lt_fast.training import checkpoint as checkpoint_module
from lt_fast.training.run_directory import differences
from lt_fast.training.saving import beginning
from lt_fast.training.state import Settings, Training
from training.tiny import STEPS, TinyBatches, TinyLoss, tiny_fit, tiny_model

EPOCHS = 2
CONFIG = {"epochs": EPOCHS, "optimizer": {"lr": 0.1, "milestones": [0.8, 0.9]}, "amp": False, "name": "tiny"}
ODD = [None, True, -1, 1.5, 10**30, 10**400, float("nan"), "", "x" * 300, [], [[1]], {}, {"a": {}}, ...]
"""What each value is replaced by; ``...`` removes it."""


def train(run, **keywords):
    return tiny_fit(
        run=run,
        epochs=EPOCHS,
        learning_rate=cosine(0.1, epochs=EPOCHS),
        evaluate=lambda _: {"half": 0.5, "unmeasured": None},
        **keywords,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    with RunDirectory(folder, CONFIG) as run:
        run.write_protocol({"data": {"subset": "abc"}, "versions": {"torch": "1"}})
        train(run)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "a")


def training():
    method = Classification(tiny_model(), TinyLoss())
    optimizer = torch.optim.SGD(method.parameters(), momentum=0.9, weight_decay=2e-4)
    settings, loaders = Settings(EPOCHS, amp=False, channels_last=True), {"train": TinyBatches()}
    return Training(
        method, loaders, optimizer, cosine(0.1, epochs=EPOCHS), settings, torch.device("cpu"), STEPS, Ranks()
    )


def resumed(folder):
    """Read everything that a resumed training reads."""
    with RunDirectory(folder, CONFIG, resume=True) as run:
        run.write_protocol({"data": {"subset": "abc"}, "versions": {"torch": "1"}})
        return beginning(training(), run, resume=True)


def folders(run):
    return sorted((run / "checkpoints").glob("epoch-*"))


def seal(file, record):
    """Write ``state.json`` with the digest that belongs to its content."""
    if isinstance(record, dict) and {"values", "files"} <= record.keys():
        record["sha256"] = checkpoint_module._own_digest(record)
    file.write_text(json.dumps(record))


def replace_tensors(folder, name, data):
    """Give a file of one checkpoint another content, with the right size and digest in ``state.json``."""
    (folder / name).write_bytes(data)
    record = json.loads((folder / "state.json").read_text())
    record["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    seal(folder / "state.json", record)


def places(value, at=()):
    """Every place in a JSON value; of a list, its last entry."""
    yield at
    entries = (
        value.items() if isinstance(value, dict) else list(enumerate(value))[-1:] if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from places(entry, (*at, key))


def mutated(value, at, new):
    """A copy of ``value`` that has ``new`` at one place, or lacks the place where ``new`` is ``...``."""
    if not at:
        return None if new is ... else new
    changed = holder = copy.deepcopy(value)
    for key in at[:-1]:
        holder = holder[key]
    if new is ...:
        del holder[at[-1]]
    else:
        holder[at[-1]] = new
    return changed


# --- JSON, value by value ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:resumed elsewhere")
def test_every_value_of_a_sealed_state(copied):
    """Refused with the checkpoint's name, or no more than a number of the training's record."""
    *_, newest = folders(copied)
    original = json.loads((newest / "state.json").read_text())
    free = {"sums", "samples", "seconds", "learning_rate", "train_loss", "half", "unmeasured", "environment"}
    free |= {"config_sha256"}  # compared where a run is known
    refused, asked_for = [], []
    for at in places(original):
        for new in ODD:
            changed = mutated(original, at, new)
            if json.dumps(changed) == json.dumps(original):
                continue
            seal(newest / "state.json", changed)
            try:
                training().restore(checkpoint_module.read(newest))
            except DataError as error:
                refused.append(str(error))
            except UsageError:
                asked_for.append(at)
            else:
                assert free & set(at) or at == ("sha256",), (at, new)  # sealing writes the digest again
    assert len(refused) > 300
    assert all(str(newest) in words for words in refused)
    assert all("settings" in at for at in asked_for)


@pytest.mark.parametrize("name", ["config.json", "protocol.json"])
def test_every_value_of_the_other_files(copied, name):
    file = copied / name
    original = json.loads(file.read_text())
    for at in places(original):
        for new in ODD:
            file.write_text(json.dumps(mutated(original, at, new)))
            if differences({"": original}, {"": json.loads(file.read_text())}) and "versions" not in at:
                with pytest.raises((DataError, UsageError)) as caught:
                    resumed(copied)
                assert str(copied) in str(caught.value)


ODD_TEXTS = {
    "empty": b"",
    "cut": b'{"epochs": 2',
    "a list": b"[]",
    "null": b"null",
    "null bytes": b"\0" * 900,
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"epochs": 2}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "deep, within Python's limit": b'{"a":' * 40 + b"1" + b"}" * 40,
    "5000 digits": b'{"epochs": ' + b"9" * 5000 + b"}",
    "repeated": b'{"epochs": 2, "epochs": 2}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "lone surrogate as a name": b'{"\\ud800": 1}',
}


@pytest.mark.parametrize("name", ["config.json", "protocol.json", "state.json"])
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_text_that_no_run_has_written(copied, name, text):
    for file in [copied / name] if name != "state.json" else [folder / name for folder in folders(copied)]:
        file.write_bytes(text)
    if name == "state.json":
        with (
            pytest.warns(UserWarning, match="is damaged"),
            pytest.raises(DataError, match=r"state\.json is not what was"),
        ):
            resumed(copied)
    else:
        with pytest.raises(DataError, match=rf"{name} is damaged"):
            resumed(copied)


# --- what lies in the place of a file ---------------------------------------------------------------------------------


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_socket(path):
    # Bound by a relative name: a socket's may have 108 characters.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def a_link_to_a_device(path):
    path.symlink_to("/dev/zero")


def a_link_to_another_folder(path):
    other = path.parent.parent / "other"
    other.write_bytes(b"{}")
    path.symlink_to(other)


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_circle(path):
    path.symlink_to(path.name)


def nothing(_):
    pass


THINGS = [a_folder, a_pipe, a_socket, a_link_to_a_device, a_link_to_another_folder, a_dangling_link, a_circle, nothing]


@pytest.mark.filterwarnings("ignore:unclosed")
@pytest.mark.parametrize("make", THINGS)
@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "training.safetensors"])
def test_something_else_in_the_place_of_a_file_of_a_checkpoint(copied, make, name):
    *_, newest = folders(copied)
    (newest / name).unlink()
    make(newest / name)
    with pytest.warns(UserWarning, match=rf"checkpoint .*{newest.name} is damaged: {name} .*; using the one before it"):
        assert resumed(copied).epoch == EPOCHS - 1
    assert [folder.name for folder in folders(copied)] == ["epoch-0001"]


@pytest.mark.filterwarnings("ignore:unclosed")
@pytest.mark.parametrize("make", THINGS[:-1])
def test_something_else_in_the_place_of_a_file_of_the_run(copied, make):
    for name, read in (
        ("metrics.csv", lambda: History.from_csv(copied / "metrics.csv")),
        ("protocol.json", lambda: resumed(copied)),
        ("config.json", lambda: read_config(copied)),
    ):
        (copied / name).unlink()
        make(copied / name)
        if name == "protocol.json" and make in (a_dangling_link, a_circle):
            continue  # not there: written again
        with pytest.raises(DataError, match=name):
            read()
        shutil.rmtree(copied / "other", ignore_errors=True)
        (copied.parent / "other").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "name",
    [
        "/dev/zero",
        "/etc/hostname",
        "../../../metrics.csv",
        "..",
        ".",
        "",
        "a/b.safetensors",
        "x.bin",
        "a\0.safetensors",
    ],
)
def test_a_state_that_names_a_file_elsewhere(copied, name):
    for folder in folders(copied):
        record = json.loads((folder / "state.json").read_text())
        record["files"] = {name: {"bytes": 1, "sha256": "0" * 64}} | record["files"]
        seal(folder / "state.json", record)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(DataError, match="without a path, got"):
        resumed(copied)


def test_a_file_is_measured_before_it_is_read(copied):
    for folder in folders(copied):
        with (folder / "model.safetensors").open("r+b") as file:
            file.truncate(1 << 40)  # 1 TiB of nothing, which take no room
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(DataError, match=rf"has {1 << 40} of \d+ bytes"):
        resumed(copied)
    for folder in folders(copied):
        record = json.loads((folder / "state.json").read_text())
        record["files"]["model.safetensors"]["bytes"] = 1 << 40
        seal(folder / "state.json", record)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(DataError, match=r"more than the \d+ that such"):
        resumed(copied)


def test_a_checkpoint_that_is_a_link_or_a_file(copied, tmp_path):
    shutil.move(copied / "checkpoints" / "epoch-0002", tmp_path / "elsewhere")
    (copied / "checkpoints" / "epoch-0002").symlink_to(tmp_path / "elsewhere")
    (copied / "checkpoints" / "epoch-0003").write_text("")
    (copied / "checkpoints" / "epoch-0004").symlink_to("nowhere")
    with pytest.warns(UserWarning, match="is damaged"):
        assert resumed(copied).epoch == 1
    assert [path.name for path in (copied / "checkpoints").iterdir()] == ["epoch-0001"]
    assert (tmp_path / "elsewhere" / "state.json").exists()  # the link went, not what it leads to


def test_a_checkpoint_of_another_name(copied):
    shutil.rmtree(copied / "checkpoints" / "epoch-0002")
    (copied / "checkpoints" / "epoch-0001").rename(copied / "checkpoints" / "epoch-0002")
    with pytest.raises(DataError, match=r"epoch-0002 must hold the state that its name says, got that of epoch 1"):
        resumed(copied)


def test_a_number_that_no_training_reaches_is_no_checkpoint(tmp_path):
    (tmp_path / ("epoch-" + "9" * 5000)[:200]).mkdir()
    assert Checkpoints(tmp_path).newest() is None


def test_checkpoints_that_are_no_folder(copied):
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").write_text("")
    with pytest.raises(DataError, match=r"checkpoints cannot be read \(Not a directory\)"):
        Checkpoints(copied / "checkpoints").newest()


# --- tensors ----------------------------------------------------------------------------------------------------------


def as_file(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


ODD_TENSORS = {
    "empty": b"",
    "garbage": b"garbage!" * 2,
    "header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "header that is no JSON": as_file(b"\xff\x00garbage"),
    "offsets beyond the end": as_file({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "shape that overflows": as_file({"w": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 0]}}),
    "unknown dtype": as_file({"w": {"dtype": "X9", "shape": [0], "data_offsets": [0, 0]}}),
    "no tensors": as_file({}),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
@pytest.mark.parametrize("data", ODD_TENSORS.values(), ids=ODD_TENSORS)
def test_a_sealed_file_that_holds_no_tensors_of_this_training(copied, name, data):
    *_, newest = folders(copied)
    replace_tensors(newest, name, data)
    with pytest.warns(UserWarning, match=rf"{newest.name} is .*; using the one before it"):
        assert resumed(copied).epoch == EPOCHS - 1


CHANGES = {
    "NaN": lambda tensor: tensor * float("nan") if tensor.is_floating_point() else tensor,
    "infinity": lambda tensor: tensor + float("inf") if tensor.is_floating_point() else tensor,
    "flat": lambda tensor: tensor.reshape(-1),
    "another dimension": lambda tensor: tensor[None],
    "doubled": lambda tensor: torch.cat([tensor.reshape(-1)] * 2),
    "float64": lambda tensor: tensor.double() if tensor.is_floating_point() else tensor,
    "float16": lambda tensor: tensor.half() if tensor.is_floating_point() else tensor,
    "int8": lambda tensor: tensor.to(torch.int8),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "gone": lambda _: None,
}


@pytest.mark.parametrize("group", ["model", "training"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_tensor_of_another_kind(copied, group, change):
    *_, newest = folders(copied)
    original = load((newest / f"{group}.safetensors").read_bytes())
    refused = {}
    for name, tensor in original.items():
        new = CHANGES[change](tensor)
        if new is not None and new.dtype == tensor.dtype and new.shape == tensor.shape and new.equal(tensor):
            continue
        rest = {other: own for other, own in original.items() if other != name}
        replace_tensors(newest, f"{group}.safetensors", save(rest if new is None else {**rest, name: new.contiguous()}))
        with pytest.raises(DataError) as caught:
            training().restore(checkpoint_module.read(newest))
        refused[name.removeprefix("method.").removeprefix("optimizer.")] = str(caught.value)
    assert all(name in words and str(newest) in words for name, words in refused.items())


def test_groups_that_lack_or_are_too_many(copied):
    *_, newest = folders(copied)
    replace_tensors(newest, "extra.safetensors", save({}))
    with pytest.warns(UserWarning, match=r"must hold model and training, got extra, model, training; using the one"):
        assert resumed(copied).epoch == EPOCHS - 1


def test_no_momentum_at_all_is_damage(copied):
    *_, newest = folders(copied)
    saved = load((newest / "training.safetensors").read_bytes())
    kept = {name: tensor for name, tensor in saved.items() if not name.startswith("optimizer.")}
    replace_tensors(newest, "training.safetensors", save(kept))
    with pytest.warns(UserWarning, match="model and loss: Missing optimizer state .*; using the one before it"):
        assert resumed(copied).epoch == EPOCHS - 1


# --- what is written --------------------------------------------------------------------------------------------------


def in_folder(copied, name):
    """Return the lock, or the temporary file of this process for a file of the run."""
    return copied / name if name == ".lock" else _files.temporary_for(copied / name)


@pytest.mark.parametrize("name", [".lock", "config.json", "metrics.csv", "protocol.json"])
def test_a_link_in_the_folder_is_never_written_through(copied, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    in_folder(copied, name).unlink(missing_ok=True)
    in_folder(copied, name).symlink_to(precious)
    if name == ".lock":
        with pytest.raises(DataError, match=r"cannot be written \(Too many levels of symbolic links\)"):
            resumed(copied)
    else:
        resumed(copied)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", [".lock", "metrics.csv"])
def test_a_pipe_in_the_folder_is_not_waited_for(copied, name):
    in_folder(copied, name).unlink(missing_ok=True)
    os.mkfifo(in_folder(copied, name))
    if name == ".lock":
        with pytest.raises(DataError, match=r"cannot be written \(\.lock is no regular file\)"):
            resumed(copied)
    else:
        assert resumed(copied).epoch == EPOCHS
    assert not list(copied.glob(".*.partial"))


def test_what_killed_processes_left_is_tidied_away_and_nothing_else(copied):
    left = [
        copied / ".config.json.partial",
        copied / "plots" / ".curves.png.partial",
        copied / "checkpoints" / ".epoch-0001.partial",
        copied / "checkpoints" / ".epoch-0001.removed",
    ]
    shutil.copytree(copied / "checkpoints" / "epoch-0001", copied / "checkpoints" / "epoch-0000")
    for path in left:
        path.mkdir() if "epoch" in path.name else path.write_text("half")
    mine = copied / "notes.txt"
    mine.write_text("mine")
    resumed(copied)
    assert not [path for path in left if path.exists()]
    assert [folder.name for folder in folders(copied)] == ["epoch-0001", "epoch-0002"]
    assert mine.exists()
