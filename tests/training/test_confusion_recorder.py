"""The recorder: what it counts and what not, its state, and the same counts when a training is resumed."""

import signal

import numpy as np
import pytest
import torch
from torch import nn

from lt_fast.errors import Interrupted
from lt_fast.sampling import ConfusionCounts
from lt_fast.training import ConfusionRecorder, RunDirectory, confusion_recorder, cosine, fit
from training.tiny import CLASSES, STEPS, TinyBatches, TinyLoss, all_state, same_bits, tiny_model


def recorder(**options):
    return ConfusionRecorder(TinyLoss(), ConfusionCounts(CLASSES), **options)


def problem(rows=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, CLASSES, generator=draw), torch.randint(CLASSES, (rows,), generator=draw)


def matrix_of(logits, labels):
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(matrix, (labels.numpy(), logits.argmax(1).numpy()), 1)
    return matrix


def test_the_loss_is_the_criterion_s_and_plain_rows_are_counted():
    recording, wanted = recorder(), np.zeros((CLASSES, CLASSES), np.int64)
    for seed in range(5):
        logits, labels = problem(seed=seed)
        assert torch.equal(recording(logits, labels, None, None), TinyLoss()(logits, labels))
        wanted += matrix_of(logits, labels)
    np.testing.assert_array_equal(recording.up_to_date().matrix(), wanted)


@pytest.mark.parametrize(("plain_rows", "counted"), [(None, 0), (lambda rows: rows // 2, 4), (lambda _: 0, 0)])
def test_of_mixed_batches_the_plain_rows_alone(plain_rows, counted):
    recording = recorder(plain_rows=plain_rows)
    logits, labels = problem()
    recording(logits, labels, labels.flip(0), torch.full((8,), 0.5))
    np.testing.assert_array_equal(recording.up_to_date().matrix(), matrix_of(logits[:counted], labels[:counted]))


def test_what_waits_is_counted_when_it_is_read(monkeypatch):
    """As on a GPU, where fetching every batch would make the steps wait."""
    monkeypatch.setitem(confusion_recorder._BATCHES_WAITING, "cpu", 4)
    recording, counts, wanted = recorder(), [], np.zeros((CLASSES, CLASSES), np.int64)
    for seed in range(6):
        logits, labels = problem(seed=seed)
        recording(logits, labels, None, None)
        wanted += matrix_of(logits, labels)
        counts.append(recording._confusion.total)
    assert counts == [0, 0, 0, 32, 32, 32]
    np.testing.assert_array_equal(recording.up_to_date().matrix(), wanted)
    assert recording.state_dict()["_extra_state"][:, 2].sum() == 48
    recording(*problem(), None, None)
    restored = recorder()
    restored(*problem(seed=3), None, None)  # waits, and is forgotten
    restored.load_state_dict(recording.state_dict())
    assert restored.up_to_date() == recording.up_to_date()


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_it_counts_where_the_model_is(device):
    recording, wanted = recorder().to(device), np.zeros((CLASSES, CLASSES), np.int64)
    for seed in range(70):
        logits, labels = problem(seed=seed)
        recording(logits.to(device), labels.to(device), None, None)
        wanted += matrix_of(logits, labels)
    np.testing.assert_array_equal(recording.up_to_date().matrix(), wanted)


def test_gradients_are_the_criterion_s():
    logits, labels = problem()
    gradients = []
    for criterion in (recorder(), TinyLoss()):
        leaf = logits.clone().requires_grad_()
        criterion(leaf, labels, None, None).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_the_counts_are_part_of_the_state():
    recording, restored = recorder(), recorder()
    recording(*problem(), None, None)
    restored(*problem(seed=1), None, None)
    state = recording.state_dict()
    assert state["_extra_state"].dtype == torch.int64
    restored.load_state_dict(state)
    assert restored.up_to_date() == recording.up_to_date()
    with pytest.raises(RuntimeError, match="_extra_state"):
        restored.load_state_dict({name: value for name, value in state.items() if name != "_extra_state"})


def test_a_criterion_is_a_module():
    with pytest.raises(TypeError, match=r"criterion must be a loss \(an nn.Module\), got function"):
        ConfusionRecorder(nn.functional.cross_entropy, ConfusionCounts(3))


def train(run=None, *, resume=False, before=None):
    model, recording = tiny_model(), recorder()
    fit(
        model,
        TinyBatches(before=before),
        recording,
        epochs=3,
        learning_rate=cosine(0.1, epochs=3),
        run=run,
        resume=resume,
        progress=False,
    )
    return all_state(model) | recording.state_dict()


@pytest.mark.parametrize("cut", [(0, 0), (0, 3), (1, 1), (2, 2)])
def test_a_resumed_training_ends_with_the_same_counts(tmp_path, cut):
    def stop(*at):
        if at == cut:
            signal.raise_signal(signal.SIGTERM)

    whole = train()
    assert whole["_extra_state"][:, 2].sum() == 3 * (STEPS // 2) * 6  # the unmixed batches: steps 0 and 2
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=stop)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        same_bits(train(run, resume=True), whole)
