"""A validation split: every class keeps an image, the curves are of it, the test set is measured once at the end."""

import json

import numpy as np
import pytest

from lt_fast import experiment
from lt_fast.errors import UsageError
from lt_fast.experiment.build import load_data
from lt_fast.training import History


def config(**overrides):
    return experiment.resolve("ldam_drw", "digits-lt", {"epochs": 2, **overrides}, seed=0)


def test_classes_are_divided_and_nothing_is_lost():
    whole, parts = load_data(config()), load_data(config(validation=0.2))
    assert whole.validation is None
    train, held_out = parts.train.class_counts.counts, parts.validation.class_counts.counts
    assert (train + held_out == whole.train.class_counts.counts).all()
    assert train.min() >= 1
    assert held_out.min() >= 1
    assert np.array_equal(parts.test.images, whole.test.images)


def test_the_curves_are_those_of_the_validation_set(tmp_path):
    result = experiment.run(config(validation=0.2), tmp_path / "run", progress=False)
    columns = History.from_csv(tmp_path / "run" / "metrics.csv").columns
    assert "validation_top1" in columns
    assert not [name for name in columns if name.startswith("test_")]
    assert result["metrics"]["images"] == 240
    protocol = json.loads((tmp_path / "run" / "protocol.json").read_text())
    assert protocol["data"]["validation_images"] + protocol["data"]["train_images"] == 417
    again = experiment.evaluate_run(tmp_path / "run")
    assert again["metrics"]["top1"] == result["metrics"]["top1"]


@pytest.mark.parametrize("fraction", [1.0, -0.1])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(UsageError, match=r"validation must lie in \[0, 1\), got"):
        config(validation=fraction)
