"""OTMix: pairs of the authors' transport, which epochs go by it, and what a loader alone does."""

import math
import re
import sys

import numpy as np
import pytest
import torch

import reference
from lt_fast import _rust
from lt_fast.batch import BatchPlan
from lt_fast.errors import MissingExtraError
from lt_fast.methods.feature_mixing import ConfusionRates
from lt_fast.mixing import CMO, OTMix, otmix_backgrounds
from lt_fast.sampling import ConfusionCounts

COUNTS = [40, 20, 10, 5, 1]
LABELS = np.repeat(np.arange(5), COUNTS)
SIZE = (6, 5)


def otmix(**settings):
    return OTMix(LABELS, SIZE, **{"epochs": 40, "probability": 1.0, **settings})


def problem(front, behind, classes, seed, *, features=6):
    draw = torch.Generator().manual_seed(seed)
    f, b = (torch.rand(rows, features, generator=draw) for rows in (front, behind))
    y_f, y_b = (torch.randint(classes, (rows,), generator=draw).tolist() for rows in (front, behind))
    table = torch.randint(5, (classes, classes), generator=draw).tolist()
    table[0] = [0] * classes  # a class without validation images
    return f, b, y_f, y_b, table


def rates_of(table):
    counts, table = ConfusionCounts(len(table)), np.array(table)
    true, predicted = np.nonzero(table)
    counts.update(true.repeat(table[true, predicted]), predicted.repeat(table[true, predicted]))
    return ConfusionRates(counts)


@pytest.mark.parametrize(
    ("front", "behind", "classes", "settings"),
    [
        (9, 9, 5, {}),
        (5, 8, 2, {}),
        (8, 3, 1, {}),  # all of one class
        (1, 1, 3, {}),
        (7, 7, 4, {"feature_weight": 0.01, "regularization": 0.05}),
        (7, 7, 4, {"feature_weight": 1.0, "regularization": 0.003}),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_backgrounds_are_those_of_the_authors_code(front, behind, classes, settings, seed):
    f, b, y_f, y_b, table = problem(front, behind, classes, seed)
    confused = rates_of(table).between(np.array(y_f), np.array(y_b))
    names = {"feature_weight": "w", "regularization": "reg"}
    options = {names[name]: value for name, value in settings.items()}
    expected = reference.otmix_backgrounds(f, b, y_f, y_b, table, **options)
    assert otmix_backgrounds(f, b, confused, **settings).tolist() == expected
    assert otmix(**settings).backgrounds(f, b, confused).tolist() == expected


def test_a_background_of_the_class_that_is_confused_is_preferred():
    f = torch.ones(2, 3)
    confused = np.array([[0.0, 0.9], [0.8, 0.0]])
    assert otmix_backgrounds(f, f, confused).tolist() == [1, 0]


def test_similar_features_decide_between_equal_classes():
    f = torch.eye(4)
    order = [2, 0, 3, 1]
    assert otmix_backgrounds(f, f[order], np.zeros((4, 4))).tolist() == np.argsort(order).tolist()


def test_backgrounds_of_no_foreground_and_of_features_that_are_zero():
    assert otmix_backgrounds(torch.zeros(0, 3), torch.zeros(4, 3), np.zeros((0, 4))).tolist() == []
    assert len(otmix_backgrounds(torch.zeros(5, 3), torch.zeros(4, 3), np.zeros((5, 4)))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), torch.ones(4, 2), np.zeros((2, 4))), r"must be (F, D) and (B, D), got (2, 3) and (4, 2)"),
        ((torch.ones(3), torch.ones(4, 3), np.zeros((3, 4))), r"must be (F, D) and (B, D), got (3,) and (4, 3)"),
        ((torch.ones(2, 3), torch.ones(4, 3), np.zeros((4, 2))), r"confused must have one entry per pair, (2, 4), got"),
        ((torch.ones(2, 3), torch.ones(0, 3), np.zeros((2, 0))), r"background must hold at least one image, got none"),
    ],
)
def test_wrong_shapes_are_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        otmix_backgrounds(*arguments)


def test_the_rates_are_shares_of_a_true_class():
    rates = rates_of([[0, 0, 0], [1, 2, 1], [3, 0, 1]])
    classes = np.arange(3)
    np.testing.assert_array_equal(rates.between(classes, classes), [[0, 0, 0], [0.25, 0, 0.25], [0.75, 0, 0]])
    assert (ConfusionRates(ConfusionCounts(3)).between(classes, classes) == 0).all()


@pytest.mark.parametrize("u", [0.0, 0.4, 1.0, 3.0])
def test_later_epochs_go_by_transport_more_often(u):
    by_transport = np.zeros(40)
    for seed in range(60):
        mixer = otmix(transport_exponent=u, start_at=0.0, stop_at=1.0, seed=seed)
        key = seed ^ int.from_bytes(b"transpor", "big")
        for epoch in range(40):
            drawn = _rust.uniform(key, _rust.STREAM_MIX, epoch, 0, 1)[0]
            expected = reference.otmix_goes_by_transport(drawn, epoch, 40, u)
            assert mixer.by_features(epoch) == expected
            by_transport[epoch] += expected
    wanted = 60 * (np.arange(40) / 40) ** u
    assert abs(by_transport.sum() - wanted.sum()) < 4 * math.sqrt(max(wanted.sum(), 1))
    assert by_transport[0] == (60 if u == 0 else 0)


def test_a_plan_is_cmo_or_unmixed():
    mixer, cmo = otmix(alpha=4.0, seed=2), CMO(LABELS, SIZE, epochs=40, alpha=4.0, probability=1.0, seed=2)
    kinds = set()
    for epoch in range(4, 36):
        batch = BatchPlan(epoch, 3, np.arange(8) + 30, np.arange(8) + 24)
        plan, like = (each.plan(batch, LABELS[batch.index]) for each in (mixer, cmo))
        kinds.add(mixer.by_features(epoch))
        if mixer.by_features(epoch):
            assert (plan.lam == 1).all()
            np.testing.assert_array_equal(plan.partner, batch.index)
        else:
            for found, expected in zip(plan, like, strict=True):
                np.testing.assert_array_equal(found, expected)
        for found, expected in zip(mixer.foregrounds(batch, LABELS[batch.index]), like, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert kinds == {False, True}


def test_the_first_and_the_last_epochs_are_those_of_the_authors():
    mixer = OTMix(LABELS, SIZE, epochs=240, probability=1.0, transport_exponent=0.0)
    assert [mixer.by_features(epoch) for epoch in (0, 3, 4, 236, 237, 239)] == [False, False, True, True, False, False]
    assert all(mixer.by_features(epoch) == reference.cmo_mixes(epoch, 240) for epoch in range(240))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_weight": 1.5}, r"feature_weight must lie in \[0, 1\], got 1\.5"),
        ({"regularization": 0.001}, r"regularization must be finite and >= 0\.003, got 0\.001; the authors have 0\.01"),
        ({"regularization": math.inf}, r"regularization must be finite and >= 0\.003, got inf"),
        ({"transport_exponent": -1.0}, r"transport_exponent must be finite and >= 0, got -1\.0"),
        ({"epochs": 0}, r"epochs must be >= 1, got 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        otmix(**settings)


def test_without_pot_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    message = r"the mixer otmix needs POT, which is not installed; run: pip install 'lt-fast\[transport\]'"
    with pytest.raises(MissingExtraError, match=message):
        otmix().check()
