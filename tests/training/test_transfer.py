"""Batches on their way to a device: buffers that are filled ahead, and memory that stays until it has been copied."""

import gc
import weakref

import pytest
import torch

from lt_fast.batch import Batch
from lt_fast.training.transfer import CopyAhead, Transfer, UnderWay
from training.tiny import STEPS, TinyBatches

CPU = torch.device("cpu")


class Done:
    """An event that comes when it is told to, or waited for."""

    def __init__(self, done=False):
        self.done, self.waited = done, 0

    def query(self):
        return self.done

    def synchronize(self):
        self.done, self.waited = True, self.waited + 1


class LateStreams:
    """Copies begin when somebody waits for them, and not before; marks are counted."""

    def __init__(self):
        self.marks, self.after, self.shared = 0, None, []

    def copy(self, function, after):
        self.after, event = after, Done()
        event.copy = function
        return event

    def wait(self, event):
        event.copy()
        event.done = True

    def mark(self):
        self.marks += 1
        return self.marks

    def used_by_copies(self, batch):
        self.shared.append(batch)


def host_steps(epochs=3):
    batches = TinyBatches()
    return [{"train": batches.batch(epoch, step)} for epoch in range(epochs) for step in range(STEPS)]


def test_a_buffer_is_filled_only_after_the_step_that_read_it_last():
    streams, read = LateStreams(), {}
    ahead = CopyAhead(CPU, channels_last=True, streams=streams)
    for batches, found in zip(host_steps(), ahead(iter(host_steps())), strict=True):
        x = found["train"].x
        assert streams.after > read.get(x.data_ptr(), 0)
        read[x.data_ptr()] = streams.marks
        for name in ("x", "target", "target_b", "lam"):
            wanted, given = getattr(batches["train"], name), getattr(found["train"], name)
            assert wanted is given is None or torch.equal(wanted, given)
    shapes = {batches["train"].signature() for batches in host_steps()}
    assert len(read) == len(streams.shared) == 2 * len(shapes)  # two buffers for each shape, and no more


def test_neighbouring_steps_have_different_buffers_of_the_layout_that_was_asked_for():
    image, labels = torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)
    steps = [{"a": Batch(views=(image + step,), target=labels, weight=step)} for step in range(5)]
    pointers = []
    for step, found in enumerate(CopyAhead(CPU, channels_last=True, streams=LateStreams())(iter(steps))):
        batch = found["a"]
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert (batch.weight, batch.x.unique().item()) == (step, step)
        pointers.append(batch.x.data_ptr())
    assert pointers[0] != pointers[1]
    assert pointers[2:] == pointers[:3]


def test_buffers_of_many_shapes_do_not_pile_up():
    steps = [{"a": Batch(views=(torch.zeros(1, 3, size, size),), target=torch.zeros(1))} for size in range(1, 30)]
    ahead = CopyAhead(CPU, channels_last=False, streams=LateStreams())
    assert [found["a"].x.shape[-1] for found in ahead(iter(steps))] == list(range(1, 30))
    assert len(ahead._slots) <= 8


def test_a_batch_stays_until_its_copy_is_done():
    events, kept, under_way = [Done() for _ in range(8)], [], UnderWay(most=3)
    for event in events[:3]:
        batch = TinyBatches().batch(0, 0)
        kept.append(weakref.ref(batch.x))
        under_way.keep({"train": batch}, event)
    del batch
    gc.collect()
    assert all(reference() is not None for reference in kept)
    events[0].done = True
    under_way.keep({}, events[3])
    assert [reference() is None for reference in kept] == [True, False, False]
    assert not any(event.waited for event in events)
    under_way.keep({}, events[4])  # the host is far enough ahead: it waits for the oldest copy
    assert [event.waited for event in events[:5]] == [0, 1, 0, 0, 0]
    assert [reference() is None for reference in kept] == [True, True, False]


def test_on_the_cpu_batches_are_moved_and_nothing_is_kept():
    steps = host_steps(1)
    moved = list(Transfer(CPU, channels_last=True)(iter(steps)))
    assert all(torch.equal(one["train"].x, other["train"].x) for one, other in zip(moved, steps, strict=True))


@pytest.mark.parametrize("channels_last", [False, True])
def test_empty_has_the_shapes_and_types_of_a_batch(channels_last):
    batch = TinyBatches().batch(0, 1)
    empty = batch.empty("cpu", channels_last=channels_last)
    assert empty.signature() == batch.signature()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert empty.x.is_contiguous(memory_format=layout)
    assert empty.x.data_ptr() != batch.x.data_ptr()
