import io
import sys

import pytest

from lt_fast.errors import MissingExtraError
from lt_fast.training.progress import Progress

ROW = {"epoch": 2, "learning_rate": 0.1, "train_loss": 1.23456, "seconds": 3.5, "top1": 0.5, "few_recall": None}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_away_from_a_terminal_it_is_one_line_an_epoch():
    stream = io.StringIO()
    with Progress(epochs=5, steps=3, stream=stream) as shown:
        for _ in range(3):
            shown.step()
        assert stream.getvalue() == ""
        shown.epoch(ROW)
    assert stream.getvalue() == "epoch 2/5  learning_rate 0.1  train_loss 1.235  seconds 3.5  top1 0.5\n"


def test_away_from_a_terminal_tqdm_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with Progress(epochs=1, steps=1, stream=io.StringIO()) as shown:
        shown.epoch(ROW)


def test_on_a_terminal_it_is_a_bar_that_counts_the_steps_done_before():
    stream = Terminal()
    with Progress(epochs=5, steps=3, done=7, stream=stream) as shown:
        shown.step()
        shown.epoch(ROW)
        assert (shown._bar.n, shown._bar.total) == (8, 15)
    assert "8/15" in stream.getvalue()
    assert "train_loss 1.235" in stream.getvalue()


def test_on_a_terminal_a_missing_tqdm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(MissingExtraError, match=r"the progress bar needs tqdm, .* pip install 'lt-fast\[train\]'"):
        Progress(epochs=1, steps=1, stream=Terminal())


def test_disabled_it_is_silent():
    for stream in (io.StringIO(), Terminal()):
        with Progress(epochs=5, steps=3, enabled=False, stream=stream) as shown:
            shown.step()
            shown.epoch(ROW)
        assert stream.getvalue() == ""
