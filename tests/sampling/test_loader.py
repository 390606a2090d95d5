"""Real ``DataLoader``s: what the training loop receives is what the sampler says."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from forked import start_server
from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])


class Samples(Dataset):
    """Gives each index back with its label; whole batches through ``__getitems__`` when asked."""

    def __getitem__(self, index):
        return int(index), int(LABELS[index])

    def __len__(self):
        return len(LABELS)


class WholeBatches(Samples):
    def __getitems__(self, indices):
        indices = torch.as_tensor(indices)
        return indices, torch.as_tensor(LABELS)[indices]


def first(batch):
    return batch


def received(loader):
    return [index.tolist() for index, _ in loader]


def delivered(loader, epochs=2):
    return [received(loader) for _ in range(epochs)]


def promised(batches, epochs=2):
    return [[np.asarray(batch).tolist() for batch in batches] for _ in range(epochs)]


def build(sampler, output="list"):
    return sampler(LABELS, batch_size=8, drop_last=False, output=output)


@pytest.mark.parametrize("sampler", [ClassBalancedBatchSampler, ShuffledBatchSampler])
@pytest.mark.parametrize("output", ["list", "numpy"])
@pytest.mark.parametrize(
    "workers",
    [
        {},
        {"num_workers": 2, "multiprocessing_context": "fork"},
        {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
    ],
    ids=["none", "fork", "persistent"],
)
def test_every_loader_delivers_the_sampler_s_batches(sampler, output, workers):
    loader = DataLoader(Samples(), batch_sampler=build(sampler, output), **workers)
    assert len(loader) == 13
    assert delivered(loader) == promised(build(sampler))


def test_workers_that_are_no_forks_deliver_the_sampler_s_batches():
    """As spawned ones, they get the data set pickled; those begin with torch imported."""
    start_server()
    batches = build(ClassBalancedBatchSampler)
    workers = {"num_workers": 2, "multiprocessing_context": "forkserver", "persistent_workers": True}
    assert delivered(DataLoader(Samples(), batch_sampler=batches, **workers)) == promised(
        build(ClassBalancedBatchSampler)
    )


@pytest.mark.parametrize("output", ["list", "numpy"])
def test_whole_batches_at_once(output):
    batches = ClassBalancedBatchSampler(LABELS, batch_size=8, output=output)
    wanted = [np.asarray(batches[position]).tolist() for position in range(12)]
    assert received(DataLoader(WholeBatches(), batch_sampler=batches, collate_fn=first)) == wanted


def test_arrays_without_collation():
    batches = ShuffledBatchSampler(LABELS, batch_size=8, output="numpy")
    loader = DataLoader(LABELS, sampler=batches, batch_size=None)
    received = [labels.tolist() for labels in loader]
    batches.set_epoch(0)
    assert received == [LABELS[batch].tolist() for batch in batches]


def test_class_frequencies_in_the_training_loop():
    loader = DataLoader(Samples(), batch_sampler=ClassBalancedBatchSampler(LABELS, batch_size=8, num_batches=50))
    found = torch.cat([labels for _, labels in loader]).bincount()
    assert found.tolist() == [100, 100, 100, 100]


def test_resume_of_a_loader_in_the_middle_of_an_epoch():
    batches = ClassBalancedBatchSampler(LABELS, batch_size=8)
    loader = DataLoader(Samples(), batch_sampler=batches)
    whole = received(loader)
    batches.set_epoch(0)
    states = [batches.state_dict() for _ in loader]
    for cut, state in enumerate(states, 1):
        batches.load_state_dict(state)
        assert received(loader) == whole[cut:]
