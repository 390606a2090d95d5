"""Where the time of a training went: the parts make up the whole, and nothing else changes."""

import gzip
import json
import time

import torch

from lt_fast.errors import Interrupted
from lt_fast.training import Measured, RunDirectory
from lt_fast.training.times import NO_TIMES, Part, measuring
from training.tiny import STEPS, TinyBatches, all_state, same_bits, tiny_fit

EPOCHS = 4


def slow_data(epoch, step):
    time.sleep(0.01)


def test_the_parts_of_a_training_and_a_trace_of_four_steps(tmp_path):
    times = Measured(tmp_path / "trace.json.gz")
    plain, _ = tiny_fit(epochs=EPOCHS)
    with RunDirectory(tmp_path / "run", {}) as run:
        batches = TinyBatches(before=slow_data)
        measured, _ = tiny_fit(batches=batches, epochs=EPOCHS, run=run, times=times, evaluate=lambda _: {"a": 1.0})
    same_bits(all_state(measured), all_state(plain))
    assert set(times.seconds) == set(Part) - {Part.GRAPH}
    assert all(seconds > 0 for seconds in times.seconds.values())
    assert sum(times.seconds.values()) <= times.total
    assert times.seconds[Part.DATA] >= 0.01 * (EPOCHS * STEPS - 4)  # all steps but those of the trace
    named = [
        event.get("name")
        for event in json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    ]
    assert named.count(str(Part.BACKWARD)) == 4
    table = times.table().splitlines()
    assert table[0].split() == ["where", "the", "time", "went", "seconds", "share"]
    assert [line.partition("  ")[0] for line in table[1:-1]] == [*map(str, times.seconds), "rest"]
    assert table[-1] == f"trace of 4 steps: {tmp_path / 'trace.json.gz'}"
    assert abs(sum(float(line.split()[-2]) for line in table[1:-1]) - 100) < 1


def test_a_training_that_is_shorter_than_the_trace_has_one_of_fewer_steps(tmp_path):
    times = Measured(tmp_path / "trace.json.gz")
    tiny_fit(epochs=2, times=times)
    assert (tmp_path / "trace.json.gz").exists()  # it begins after the last step of these, and ends with them
    assert not torch.autograd.profiler._is_profiler_enabled


def test_a_trace_that_cannot_be_written_is_a_warning(tmp_path, recwarn):
    times = Measured(tmp_path / "missing" / "trace.json.gz")
    tiny_fit(epochs=EPOCHS, times=times)
    assert [str(warning.message).startswith("no trace: ") for warning in recwarn] == [True]


def test_the_clock_stops_with_the_training(tmp_path):
    class Stopping(Measured):
        def step(self):
            raise Interrupted("stopped")

    times = Stopping()
    try:
        tiny_fit(times=times)
    except Interrupted:
        assert times.total > 0
    assert Measured().table() == "where the time went: nothing was trained"


def test_nothing_is_measured_unasked():
    items = iter([1, 2])
    with measuring(NO_TIMES, torch.device("cpu")), NO_TIMES.part(Part.DATA):
        assert NO_TIMES.waiting(items) is items
