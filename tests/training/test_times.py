"""Where the time of a training went: the parts make up the whole, and nothing else changes."""

import gzip
import json
import time

import pytest
import torch

from lt_fast.errors import Interrupted
from lt_fast.training import Measured, RunDirectory, times
from lt_fast.training.times import NO_TIMES, Part, measuring
from training.tiny import STEPS, TinyBatches, all_state, same_bits, tiny_fit

EPOCHS = 4


def slow_data(epoch, step):
    time.sleep(0.01)


def test_the_parts_of_a_training_and_a_trace_of_four_steps(tmp_path):
    measured = Measured(tmp_path / "trace.json.gz")
    plain, _ = tiny_fit(epochs=EPOCHS)
    with RunDirectory(tmp_path / "run", {}) as run:
        batches = TinyBatches(before=slow_data)
        method, _ = tiny_fit(batches=batches, epochs=EPOCHS, run=run, times=measured, evaluate=lambda _: {"a": 1.0})
    same_bits(all_state(method), all_state(plain))
    assert set(measured.seconds) == set(Part) - {Part.GRAPH}
    assert all(seconds > 0 for seconds in measured.seconds.values())
    assert sum(measured.seconds.values()) <= measured.total
    assert measured.seconds[Part.DATA] >= 0.01 * (EPOCHS * STEPS - 4)  # all steps but those of the trace
    named = [
        event.get("name")
        for event in json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    ]
    assert named.count(str(Part.BACKWARD)) == 4
    table = measured.table().splitlines()
    assert table[0].split() == ["where", "the", "time", "went", "seconds", "share"]
    assert [line.partition("  ")[0] for line in table[1:-1]] == [*map(str, measured.seconds), "rest"]
    assert table[-1] == f"trace of 4 steps: {tmp_path / 'trace.json.gz'}"
    assert abs(sum(float(line.split()[-2]) for line in table[1:-1]) - 100) < 1


@pytest.mark.parametrize(("begin", "said"), [(6, "trace of 2 steps: "), (7, "trace of 1 step: "), (8, None)])
def test_a_training_that_is_shorter_than_the_trace_has_one_of_fewer_steps(begin, said, tmp_path, monkeypatch):
    monkeypatch.setattr(times, "_TRACE_FROM", begin)
    measured = Measured(tmp_path / "trace.json.gz")
    tiny_fit(epochs=2, times=measured)
    assert (tmp_path / "trace.json.gz").exists() == (said is not None)
    assert measured.table().splitlines()[-1].startswith("rest " if said is None else said)
    assert not torch.autograd.profiler._is_profiler_enabled


def test_a_trace_that_cannot_be_written_is_a_warning(tmp_path, recwarn):
    measured = Measured(tmp_path / "missing" / "trace.json.gz")
    tiny_fit(epochs=EPOCHS, times=measured)
    assert "trace" not in measured.table()
    assert [str(warning.message).startswith("no trace: ") for warning in recwarn] == [True]


def test_the_clock_stops_with_the_training(tmp_path):
    class Stopping(Measured):
        def step(self):
            raise Interrupted("stopped")

    stopping = Stopping()
    try:
        tiny_fit(times=stopping)
    except Interrupted:
        assert stopping.total > 0
    assert Measured().table() == "where the time went: nothing was trained"


def test_nothing_is_measured_unasked():
    items = iter([1, 2])
    with measuring(NO_TIMES, torch.device("cpu")), NO_TIMES.part(Part.DATA):
        assert NO_TIMES.waiting(items) is items
