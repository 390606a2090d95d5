"""Memory of batches is used again, but a batch kept in any way is never overwritten; no thread is left behind."""

import copy
import gc
import os
import pickle
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import forked
from data.conftest import LABELS, NORMALIZED, epoch, file_transform, same
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.data import ArraySource, CropFlip, FixedBatches, Loader
from lt_fast.data.buffers import Buffers
from lt_fast.sampling import ShuffledBatchSampler

BATCHES = FixedBatches([np.arange(at, at + 8) for at in range(0, 32, 4)])
WAYS_TO_KEEP = {
    "the tensor": lambda x: x,
    "a slice": lambda x: x[3:5],
    "one number": lambda x: x[7, 2, 7, 7],
    "detached": lambda x: x.detach(),
    "numpy": lambda x: x.numpy(),
    "a slice of numpy": lambda x: x.numpy()[1:3],
    "memoryview": lambda x: memoryview(x.numpy()),
    "storage": lambda x: x.untyped_storage(),
    "DLPack": lambda x: torch.from_dlpack(x.__dlpack__()),
    "DLPack in numpy": np.from_dlpack,
    "channels_last view": lambda x: x.permute(0, 2, 3, 1),
    "saved for the gradient": lambda x: (x * torch.ones(1, requires_grad=True)).sum(),
}


def loader(source, batches=BATCHES, **options):
    return Loader(source, batches, transform=CropFlip(**NORMALIZED), **options)


def contents(kept):
    if isinstance(kept, torch.UntypedStorage):
        return bytes(kept)
    if isinstance(kept, torch.Tensor) and kept.requires_grad:  # what the graph has saved
        (saved,) = (value for value in vars_of(kept.grad_fn) if value is not None)
        return saved.numpy().tobytes()
    return np.asarray(kept).tobytes()


def vars_of(node):
    product = node.next_functions[0][0]
    return [product._saved_self, product._saved_other]


def alike(batch, other):
    return torch.equal(batch.x, other.x)


def addresses(batches):
    return {batch.x.data_ptr() for batch in batches}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("keep", WAYS_TO_KEEP)
def test_a_kept_batch_is_never_overwritten(arrays, keep, workers):
    source, kept, before = ArraySource(arrays.images, LABELS), [], []
    for batch in loader(source, workers=workers):
        kept.append(WAYS_TO_KEEP[keep](batch.x))
        before.append(contents(kept[-1]))
        del batch
    for _ in range(2):
        epoch(loader(source, workers=workers))
    assert [contents(each) for each in kept] == before
    assert len(set(before)) > 1


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous_format", "channels_last"])
def test_memory_that_nothing_refers_to_is_used_again(arrays, workers, dtype, memory_format):
    source = ArraySource(arrays.images, LABELS)
    transform = CropFlip(**NORMALIZED, dtype=dtype, memory_format=memory_format)
    made = Loader(source, BATCHES, transform=transform, workers=workers)
    found = set()
    for _ in range(4):
        for batch in made:
            found.add(batch.x.data_ptr())
            assert batch.x.is_contiguous(memory_format=getattr(torch, memory_format))
            assert batch.x.data_ptr() % 64 == 0
    assert len(found) <= 2 + 3 * workers  # the consumer's, the next, those read ahead, and those being written


def test_free_memory_is_bounded_however_many_batches_were_kept(arrays):
    source = ArraySource(arrays.images, LABELS)
    kept = [batch for _ in range(5) for batch in loader(source)]
    assert len(addresses(kept)) == 40
    kept.clear()
    assert len(source.buffers._free) == 8


def test_a_batch_of_another_size_gets_memory_that_fits():
    buffers = Buffers()
    sizes = [8, 8, 7, 1, 8, 20, 8, 0, 20]
    for size in sizes:
        x, memory = buffers.empty((size, 3), np.float32)
        memory[...] = size
        assert x.shape == (size, 3)
        assert (x == size).all()
        assert x.untyped_storage().nbytes() == 12 * size
        del x, memory
    assert 1 <= len(buffers._free) <= 4


def test_threads_that_share_a_ring_never_get_the_same_memory():
    buffers, wrong = Buffers(), []

    def work(number):
        for turn in range(300):
            x, memory = buffers.empty((64,), np.float32)
            memory[...] = number + turn
            wrong.extend([(number, turn)] if (x != number + turn).any() else [])

    before, threads = sys.getswitchinterval(), [threading.Thread(target=work, args=(1000 * at,)) for at in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert len(buffers._free) <= 8


def test_copies_of_a_source_share_no_memory_of_batches(arrays):
    source = ArraySource(arrays.images, LABELS)
    epoch(loader(source))
    for other in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):
        assert len(other.buffers._free) == 0
        assert all(map(alike, loader(source), loader(other)))


def test_a_batch_outlives_its_source(arrays):
    batches = list(loader(ArraySource(arrays.images, LABELS)))
    gc.collect()
    assert all(map(alike, batches, loader(arrays)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_page_locked_memory_is_not_written_while_a_copy_reads_it(arrays):
    source, copies, plain = ArraySource(arrays.images, LABELS), [], list(loader(arrays, pin_memory=False))
    for _ in range(20):
        torch.cuda._sleep(10_000_000)  # the copies of an epoch wait for this while its batches are freed
        for batch in loader(source, pin_memory=True, workers=2):
            assert batch.x.is_pinned()
            copies.append(batch.x.to("cuda", non_blocking=True))
    for at, found in enumerate(copies):
        assert torch.equal(found.cpu(), plain[at % len(plain)].x)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="memory can be page-locked on this machine")
def test_memory_that_cannot_be_page_locked_is_refused(arrays):
    with pytest.raises(ValueError, match=r"^pin_memory must be False or 'auto' where torch finds no GPU, got True$"):
        loader(arrays, pin_memory=True)


class Breaking:
    """Batches of which one names an image that is not there, as a sampler of somebody else might."""

    batch_size, num_batches = 8, 6

    def batch(self, epoch, step):
        return np.arange(8) + (31 if step == 4 else epoch)

    def set_epoch(self, epoch):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("lt-fast-loader")}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_index_outside_the_images_is_named_and_leaves_no_thread(arrays, workers):
    read = []
    with pytest.raises(IndexError, match=r"^batch_sampler must give indices in \[0, 38\), got 38 at position 7 of a"):
        read.extend(loader(arrays, Breaking(), workers=workers))
    assert threads() == set()


class Planned:
    """A planner of somebody else that has one plan."""

    num_batches = 1

    def __init__(self, plan):
        self._plan = plan

    def plan(self, epoch, step):
        return self._plan

    def set_epoch(self, epoch):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


ROWS = np.array([0, 1])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        (None, TypeError, r"plan\(\) of Planned must return a lt_fast\.batch\.BatchPlan, got NoneType"),
        (
            BatchPlan(0, 0, ROWS.astype(np.int32), ROWS),
            TypeError,
            "index of a BatchPlan must be a NumPy array of int64, got dtype int32",
        ),
        (BatchPlan(0, 0, ROWS, [0, 1]), TypeError, "position of a BatchPlan must be a NumPy array of int64, got list"),
        (
            BatchPlan(0, 0, ROWS, ROWS, MixPlan(ROWS, ROWS, ROWS * 0.5)),
            TypeError,
            r"mix\.lam of a BatchPlan must be a NumPy array of float32, got dtype float64",
        ),
        (BatchPlan(0, 0, ROWS + 37, ROWS), IndexError, r"index must lie in \[0, 38\), got 38 at position 1"),
        (BatchPlan(0, 0, ROWS - 1, ROWS), IndexError, r"index must lie in \[0, 38\), got -1 at position 0"),
        (BatchPlan(0, 0, ROWS, np.arange(3)), ValueError, r"positions must have one entry per index \(2\), got 3"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_line_and_leaves_no_thread(arrays, plan, error, message, workers):
    with pytest.raises(error, match=f"^{message}$"):
        list(loader(arrays, Planned(plan), workers=workers))
    assert threads() == set()


def test_an_error_in_a_thread_arrives_once_the_batches_before_it_have(arrays, monkeypatch):
    source = ArraySource(arrays.images, LABELS)
    read = type(source)._view.__get__(source)

    def failing(plan, *rest):
        if plan.step == 3:
            raise OSError("the memory of this image is gone")
        return read(plan, *rest)

    monkeypatch.setattr(source, "_view", failing)
    seen = []
    with pytest.raises(OSError, match="the memory of this image is gone"):
        seen.extend(batch.index[0].item() for batch in loader(source, workers=2))
    assert seen == [0, 4, 8]
    assert threads() == set()


def test_a_consumer_that_raises_leaves_no_thread(arrays):
    def consume():
        for _ in loader(arrays, workers=3):
            raise LookupError("of the consumer")

    with pytest.raises(LookupError, match="of the consumer"):
        consume()
    assert threads() == set()


def test_an_iterator_in_a_cycle_ends_its_threads_when_it_is_collected(arrays):
    holder = SimpleNamespace(batches=iter(loader(arrays, workers=2)))
    holder.itself = holder
    next(holder.batches)
    assert threads()
    del holder
    gc.collect()
    assert threads() == set()


EXIT = """
import numpy as np
from lt_fast.data import ArraySource, CropFlip, FixedBatches, Loader
source = ArraySource(np.zeros((64, 8, 8, 3), np.uint8), np.arange(64) % 4)
batches = FixedBatches([np.arange(64)] * 1000)
live = iter(Loader(source, batches, transform=CropFlip(mean=(0.5,) * 3, std=(0.5,) * 3), workers=2))
kept = next(live)
print(kept.x.shape[0])
"""


def test_the_interpreter_exits_with_a_live_iterator():
    done = forked.run(["-W", "error", "-c", EXIT], timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "64\n", "")


def in_a_fork(work):
    """Return what ``work`` gives in a forked process, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, work().encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


@pytest.mark.parametrize("workers", [0, 2])
def test_a_forked_process_continues_a_live_iterator_with_workers_of_its_own(make_loader, workers):
    whole, batches = epoch(make_loader()), iter(make_loader(workers=workers))
    first = next(batches)

    def rest():
        return str([same(*pair) for pair in zip(whole[1:], batches, strict=True)])

    assert in_a_fork(rest) == str([True] * 4)
    assert all(map(same, whole, [first, *batches]))


def test_a_forked_process_may_drop_a_live_iterator_and_start_another(arrays):
    def make():
        sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
        return Loader(arrays, sampler, transform=CropFlip(**NORMALIZED), workers=2)

    whole, live = list(make()), [iter(make())]
    next(live[0])

    def other():
        live.clear()
        gc.collect()
        return str([alike(*pair) for pair in zip(whole, make(), strict=True)])

    assert in_a_fork(other) == str([True] * 5)
    assert len(list(live[0])) == 4


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_dropping_an_inherited_iterator_leaves_the_parents_processes_alone(files):
    made = Loader(files, BATCHES, transform=file_transform(), workers=1)
    live = [iter(made)]
    next(live[0])
    assert in_a_fork(lambda: str(live.clear() or gc.collect() >= 0)) == "True"
    assert len(list(live[0])) == len(BATCHES) - 1
