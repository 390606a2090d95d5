"""Callbacks: told of the start, of every epoch, and of the end, however it comes."""

import signal

import pytest

from lt_fast import experiment
from lt_fast.errors import Interrupted
from lt_fast.training import Callback


class Noting(Callback):
    def __init__(self):
        self.seen = []

    def on_fit_start(self, epochs, history):
        self.seen.append(("start", epochs, len(history)))

    def on_epoch_end(self, row):
        self.seen.append(("epoch", row["epoch"], "train_loss" in row and "test_top1" in row))

    def on_fit_end(self, error):
        self.seen.append(("end", type(error).__name__))


class Stopping(Noting):
    def on_epoch_end(self, row):
        super().on_epoch_end(row)
        signal.raise_signal(signal.SIGTERM)


CONFIG = experiment.resolve("ce", "digits-lt", {"epochs": 2})


def test_callbacks_are_told_in_order_and_change_nothing(tmp_path):
    noting = Noting()
    told = experiment.run(CONFIG, tmp_path / "a", progress=False, callbacks=[noting])
    assert noting.seen == [("start", 2, 0), ("epoch", 1, True), ("epoch", 2, True), ("end", "NoneType")]
    silent = experiment.run(CONFIG, tmp_path / "b", progress=False)
    assert told["metrics"] == silent["metrics"]


def test_an_interruption_is_told_and_a_resumption_knows_the_rows(tmp_path):
    stopping, noting = Stopping(), Noting()
    with pytest.raises(Interrupted):
        experiment.run(CONFIG, tmp_path / "a", progress=False, callbacks=[stopping])
    assert stopping.seen[-1] == ("end", "Interrupted")
    experiment.run(CONFIG, tmp_path / "a", progress=False, callbacks=[noting], resume=True)
    assert noting.seen == [("start", 2, 1), ("epoch", 2, True), ("end", "NoneType")]


def test_an_error_of_a_callback_ends_the_training_with_the_epoch_saved(tmp_path):
    class Failing(Noting):
        def on_epoch_end(self, row):
            raise RuntimeError("mine")

    failing = Failing()
    with pytest.raises(RuntimeError, match="mine"):
        experiment.run(CONFIG, tmp_path / "a", progress=False, callbacks=[failing])
    assert failing.seen[-1] == ("end", "RuntimeError")
    noting = Noting()
    experiment.run(CONFIG, tmp_path / "a", progress=False, callbacks=[noting], resume=True)
    assert noting.seen[0] == ("start", 2, 1)
