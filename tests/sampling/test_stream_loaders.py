"""``ClassBalancedStream`` in torch's ``DataLoader``, torchdata's ``StatefulDataLoader`` and webdataset."""

import collections
import copy
import gc
import io
import itertools
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset as wds
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import datasets
from lt_fast.sampling import ClassBalancedStream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torchdata about itself
    from torchdata.stateful_dataloader import StatefulDataLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),  # torchdata calls it on torch 2.13
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # of webdataset
]
COUNTS = [240, 60, 20]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), COUNTS)).tolist()
FACTORS = np.sum(COUNTS) / 3 / np.array(COUNTS)
WORKERS = {
    "none": {},
    "two": {"num_workers": 2, "multiprocessing_context": "fork"},
    "persistent": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
}


class Samples(IterableDataset):
    """A stream that gives each worker its part."""

    def __iter__(self):
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return iter(list(enumerate(LABELS))[number::workers])


class Unsplit(IterableDataset):
    """A stream that gives everything to every worker."""

    def __iter__(self):
        return iter(list(enumerate(LABELS)))


def stream(source=None, **options):
    return ClassBalancedStream(source or Samples(), COUNTS, **{"buffer_size": 80, **options})


def read(loader, most=None):
    """Samples of each batch of one pass, and the loader's state after each."""
    batches, states = [], []
    for numbers, labels in loader:
        batches.append(list(zip(numbers.tolist(), labels.tolist(), strict=True)))
        states.append(copy.deepcopy(loader.state_dict()) if hasattr(loader, "state_dict") else None)
        if len(batches) == most:
            break
    return batches, states


def drawn(batches):
    return np.bincount([label for batch in batches for _, label in batch], minlength=3)


# --- DataLoader -------------------------------------------------------------------------------------------------------


def test_a_data_loader_sees_an_iterable_data_set():
    assert isinstance(stream(), IterableDataset)
    assert isinstance(pickle.loads(pickle.dumps(stream())), IterableDataset)
    batches, _ = read(DataLoader(stream(), batch_size=16))
    assert list(itertools.chain(*batches)) == list(stream())
    assert len(DataLoader(stream(num_samples=100), batch_size=16)) == 7


@pytest.mark.slow
@pytest.mark.parametrize("source", [Samples(), Unsplit()], ids=["split by itself", "round robin"])
def test_each_worker_has_its_own_stream(source):
    split = "round_robin" if isinstance(source, Unsplit) else "source"
    batches, _ = read(DataLoader(stream(source, split=split), batch_size=8, **WORKERS["two"]))
    assert (abs(drawn(batches) - FACTORS * COUNTS) < 2 + 1e-9).all()  # each worker is off by less than one
    by_worker = [{number for batch in batches[worker::2][:12] for number, _ in batch} for worker in range(2)]
    assert {number % 2 for number in by_worker[0]} == {0}
    assert {number % 2 for number in by_worker[1]} == {1}
    given = collections.Counter(number for batch in batches for number, _ in batch)
    assert all(given[number] <= np.ceil(FACTORS[label]) for number, label in enumerate(LABELS))


@pytest.mark.slow
def test_epochs_with_workers():
    """``set_epoch`` before each pass; persistent workers count by themselves and agree."""

    def epochs(workers):
        balanced, found = stream(num_samples=150), []
        loader = DataLoader(balanced, batch_size=8, **WORKERS[workers])
        for epoch in range(3):
            balanced.set_epoch(epoch)
            found.append(read(loader)[0])
        return found

    fresh, persistent = epochs("two"), epochs("persistent")
    assert fresh == persistent
    assert fresh[0] != fresh[1]
    assert [sum(map(len, batches)) for batches in fresh] == [150] * 3


# --- StatefulDataLoader -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "options", "cuts"),
    [
        ("none", {}, (1, 3, 9, 15, 20)),
        ("none", {"num_samples": 290}, (1, 9, 19)),
        pytest.param("two", {"num_samples": 290}, (9,), marks=pytest.mark.slow),
        pytest.param("persistent", {}, (18,), marks=pytest.mark.slow),
    ],
)
def test_resume_in_the_middle(workers, options, cuts):
    def loader():
        balanced = stream(**options)
        return balanced, StatefulDataLoader(balanced, batch_size=16, **WORKERS[workers])

    balanced, whole = loader()
    first, states = read(whole)
    balanced.set_epoch(1)
    second, _ = read(whole)
    assert first != second
    for cut in cuts:
        balanced, resumed = loader()
        resumed.load_state_dict(states[cut - 1])
        assert read(resumed)[0] == first[cut:], cut
        balanced.set_epoch(1)
        assert read(resumed)[0] == second


def test_two_resumes_in_one_epoch():
    first, _ = read(StatefulDataLoader(stream(), batch_size=16))
    begun, states = read(StatefulDataLoader(stream(), batch_size=16), 6)
    for more in (5, None):
        resumed = StatefulDataLoader(stream(), batch_size=16)
        resumed.load_state_dict(states[-1])
        batches, states = read(resumed, more)
        begun += batches
    assert begun == first


@pytest.mark.slow
def test_a_state_of_another_number_of_workers_is_refused():
    one = {"num_workers": 1, "multiprocessing_context": "fork"}
    _, states = read(StatefulDataLoader(stream(), batch_size=16, **one), 3)
    resumed = StatefulDataLoader(stream(), batch_size=16, **WORKERS["two"])
    resumed.load_state_dict(states[-1])
    with pytest.raises(ValueError, match="parts was 1, is 2; make the stream and its loader as they were"):
        read(resumed)


# --- Hugging Face -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_samples": 400}], ids=["one pass", "a length"])
def test_a_hugging_face_stream_continues_from_its_state(options):
    def made():
        table = datasets.Dataset.from_dict({"number": list(range(len(LABELS))), "label": LABELS})
        source = table.to_iterable_dataset(num_shards=4).shuffle(seed=3, buffer_size=1)
        return stream(source, label="label", **options)

    whole = made()
    first, second = list(whole), list(whole)
    assert first != second
    begun = made()
    part = list(itertools.islice(begun, 250))
    state = begun.state_dict()
    assert state["block"]["stream"] is not None
    resumed = made()
    resumed.load_state_dict(state)
    assert part + list(resumed) == first
    assert list(resumed) == second


# --- webdataset -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def files_left_open():
    """Let go of the files that webdataset leaves open, while the warnings about them are ignored."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Four tar files in which each sample has an array and a label."""
    folder = tmp_path_factory.mktemp("shards")
    with wds.ShardWriter(f"{folder}/%02d.tar", maxcount=80, verbose=0) as writer:
        for number, label in enumerate(LABELS):
            array = io.BytesIO()
            np.save(array, np.full((2, 2), number, np.float32))
            writer.write({"__key__": f"{number:05d}", "npy": array.getvalue(), "cls": str(label).encode()})
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def undecoded(shards, **options):
    return wds.WebDataset(shards, shardshuffle=False, empty_check=False, **options)


def decoded(sample):
    return int(np.load(io.BytesIO(sample["npy"]))[0, 0]), int(sample["cls"])


def test_the_shards_are_resampled_before_they_are_decoded(shards):
    balanced = stream(undecoded(shards), label="cls", transform=decoded)
    samples = list(balanced)
    assert samples == list(stream())  # the same samples in the same order: the same decisions
    assert (abs(drawn([samples]) - FACTORS * COUNTS) < 1 + 1e-9).all()


def test_a_pipeline_may_continue_after_the_stream(shards):
    pipeline = wds.DataPipeline(
        stream(undecoded(shards), label="cls"), wds.map(decoded), wds.batched(16, collation_fn=None)
    )
    batches = list(pipeline)
    assert [sample for batch in batches for sample in batch] == list(stream())


def test_a_shuffled_and_decoded_pipeline_is_a_stream_too(shards):
    source = undecoded(shards).shuffle(50).decode().to_tuple("npy", "cls")
    samples = list(stream(source))
    assert (abs(np.bincount([label for _, label in samples]) - FACTORS * COUNTS) < 1 + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["none", "two"])
def test_webdataset_in_workers_resumes(shards, workers):
    def loader():
        balanced = stream(undecoded(shards), label="cls", transform=decoded, num_samples=200)
        return StatefulDataLoader(balanced, batch_size=8, **WORKERS[workers])

    first, states = read(loader())
    assert sum(map(len, first)) == 200
    for cut in (20,):
        resumed = loader()
        resumed.load_state_dict(states[cut - 1])
        assert read(resumed)[0] == first[cut:]


def test_a_broken_shard_interrupts_and_a_repaired_one_continues(shards, tmp_path):
    files = [tmp_path / f"{number}.tar" for number in range(len(shards))]
    for number, file in enumerate(files):
        file.write_bytes(Path(shards[number]).read_bytes()[: 5000 if number == 2 else None])
    names = [str(file) for file in files]
    begun, given = stream(undecoded(names), label="cls", transform=decoded), collections.deque()
    with pytest.raises(Exception, match=r"empty header|unexpected end of data"):
        given.extend(begun)
    files[2].write_bytes(Path(shards[2]).read_bytes())
    repaired = stream(undecoded(names), label="cls", transform=decoded)
    repaired.load_state_dict(begun.state_dict())
    assert list(given) + list(repaired) == list(stream())


@pytest.mark.slow
def test_ranks_of_a_process_group_read_their_own_shards(shards, monkeypatch):
    ranks = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        source = undecoded(shards, nodesplitter=wds.split_by_node)
        ranks.append(list(stream(source, label="cls", transform=decoded, rate="over", buffer_size=200).distributed()))
    numbers = [{number for number, _ in rank} for rank in ranks]
    assert sorted(itertools.chain(*numbers)) == list(range(len(LABELS)))


def test_the_stream_needs_numpy_alone_and_torch_may_come_later():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import lt_fast as lt\n"
        "stream = lt.sampling.ClassBalancedStream([(0, 0), (1, 0), (2, 1)] * 20, [40, 20], rate='under')\n"
        "print(len(list(stream)), stream.shard(0, 1).state_dict()['position'])\n"
        "del sys.modules['torch']\n"
        "from torch.utils.data import DataLoader, IterableDataset\n"
        "print(isinstance(stream, IterableDataset), isinstance([], IterableDataset), len(list(DataLoader(stream))))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "40 0\nTrue False 40\n", done.stderr


def test_a_tensor_is_a_label():
    samples = [(number, torch.tensor(label)) for number, label in enumerate(LABELS)]
    assert [number for number, _ in stream(samples)] == [number for number, _ in stream()]
