"""Every method, those of the package and three outside it: they learn, resume bit-identically, and predict."""

import signal
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lt_fast import ClassCounts, losses, methods, models
from lt_fast.errors import Interrupted
from lt_fast.training import RunDirectory
from methods.problem import METHODS, Acting, made, trained, training_data
from training.tiny import all_state, same_bits

OUTSIDE = sorted(Path(__file__).parent.glob("outside/*.py"))


def stop():
    signal.raise_signal(signal.SIGTERM)


def test_the_outside_methods_are_short_and_use_public_names_alone():
    assert len(OUTSIDE) == 3
    for file in OUTSIDE:
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 80
        assert "lt_fast._" not in text


@pytest.mark.parametrize("name", METHODS)
def test_it_learns(name):
    method, history = trained(name, epochs=6)
    losses = history.column("train_loss")
    assert losses[1] < losses[0]
    logits, labels = predictions(method)
    assert logits.dtype == torch.float32
    assert (logits.argmax(1) == labels).float().mean() > 0.5


def predictions(method):
    batches = list(training_data().plain_loader())
    method.eval()
    with torch.no_grad():
        logits = torch.cat([method.predict(batch.x) for batch in batches])
    return logits, torch.cat([batch.target for batch in batches])


@cache
def whole(name):
    """State and losses of a training that nothing stops, made once."""
    method, history = trained(name)
    return all_state(method), history.column("train_loss")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cut", [(0, 1), (1, 0), (1, 3)])
def test_it_resumes_bit_identically(name, cut, tmp_path):
    state, losses = whole(name)
    with RunDirectory(tmp_path / "run", {}) as run, pytest.raises(Interrupted):
        trained(name, run=run, wrap=lambda loader: Acting(loader, cut, stop))
    with RunDirectory(tmp_path / "run", {}, resume=True) as run:
        resumed, rows = trained(name, run=run, resume=True)
    same_bits(all_state(resumed), state)
    assert rows.column("train_loss") == losses


@pytest.mark.parametrize("name", METHODS)
def test_workers_change_nothing(name):
    same_bits(all_state(trained(name, options={"workers": 2})[0]), whole(name)[0])


SIZES = [30, 2, 7]
PLAIN = losses.CrossEntropyLoss(SIZES)
WITH_COUNTS = {
    "ace": lambda counts: methods.AllyComplementaryExperts(
        models.digits_net(3, head="cosine", experts=2, seed=1), losses.ACELoss(SIZES, experts=2), counts
    ),
    "cp_mix": lambda counts: methods.ConfusionPairing(models.digits_net(3, seed=1), counts, PLAIN),
    "fasa": lambda counts: methods.FeatureAugmentation(models.digits_net(3, seed=1), counts, PLAIN),
    "risda": lambda counts: methods.RISDA(models.digits_net(3, seed=1), counts, PLAIN),
}


@pytest.mark.parametrize("name", WITH_COUNTS)
@pytest.mark.parametrize("form", [list, np.array, torch.tensor, lambda counts: dict(enumerate(counts))])
def test_counts_are_taken_in_every_form(name, form):
    expected, method = (WITH_COUNTS[name](given) for given in (ClassCounts(SIZES), form(SIZES)))
    same_bits(all_state(method), all_state(expected))
    assert list(method.learning_rates().values()) == list(expected.learning_rates().values())
    with pytest.raises(ValueError, match="counts must be integers >= 0"):
        WITH_COUNTS[name](form([30, -2, 7]))


def test_cp_mix_reads_no_pairs_before_its_second_stage():
    method, loaders = made("cp_mix")
    assert list(loaders) == ["train", "pairs", "mixed"]
    assert [method.active(epoch, 4) for epoch in range(4)] == [("train",), ("train",), None, None]
    method, _ = trained("cp_mix", epochs=1)  # half of one epoch, rounded up, is all of it
    total = sum(len(batch) for batch in training_data().plain_loader())
    assert method.summary()["confusions"]["predictions"] == total
    assert int(method.tables()["confusion_counts"][:, 2].sum()) == total


def test_a_criterion_is_a_module():
    from torch import nn

    from lt_fast.methods import Classification

    with pytest.raises(TypeError, match=r"criterion must be a loss \(an nn.Module\), got function"):
        Classification(nn.Identity(), nn.functional.cross_entropy)


def test_a_deferred_loss_waits_for_its_epoch():
    from torch import nn

    from lt_fast.methods import Classification, DeferredReweighting

    method = Classification(nn.Identity(), DeferredReweighting(nn.CrossEntropyLoss(), nn.CrossEntropyLoss()))
    with pytest.raises(RuntimeError, match=r"on_epoch_start\(epoch, epochs\) must be called before the first step"):
        method.loss(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), None, None)
    phases = []
    for epoch in range(10):
        method.on_epoch_start(epoch, 10)
        phases.append(method.phase(epoch))
    assert phases == ["plain"] * 8 + ["reweighted"] * 2
    assert len(method.state_dict()) == 0
