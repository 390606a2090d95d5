"""torchdata's ``StatefulDataLoader``: exact resume at every cut, with workers that draw ahead."""

import copy
import warnings

import numpy as np
import pytest
from torch.utils.data import Dataset

from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    MPerClassBatchSampler,
    MultilabelBalancedSampler,
    RepeatFactorSampler,
    ShuffledBatchSampler,
    StratifiedBatchSampler,
    WeightedRandomSampler,
    repeat_factors,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torchdata about itself
    from torchdata.stateful_dataloader import StatefulDataLoader

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata calls it on torch 2.13
LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])
SAMPLERS = {
    "cycle": lambda: ClassBalancedBatchSampler(LABELS, batch_size=8, q=0.5, drop_last=False, seed=3),
    "replace": lambda: ClassBalancedBatchSampler(LABELS, batch_size=8, within_class="replace", seed=3),
    "shuffled": lambda: ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=3),
    "m per class": lambda: MPerClassBatchSampler(LABELS, m=4, classes_per_batch=2, seed=3),
    "stratified": lambda: StratifiedBatchSampler(LABELS, batch_size=8, seed=3),
    "a share": lambda: ClassBalancedBatchSampler(LABELS, batch_size=8, drop_last=False, seed=3).shard(1, 2),
}
ROWS = (np.arange(102), LABELS)
BY_INDEX = {
    "class-balanced": lambda: ClassBalancedSampler(LABELS, num_samples=96, seed=3),
    "weighted": lambda: WeightedRandomSampler(1.0 / (1 + LABELS), 96, seed=3),
    "without replacement": lambda: WeightedRandomSampler(1.0 + LABELS, 96, False, seed=3),
    "repeat factor": lambda: RepeatFactorSampler(repeat_factors(LABELS, 0.3), seed=3),
    "least sampled": lambda: MultilabelBalancedSampler(*ROWS, strategy="least_sampled", num_samples=96, seed=3),
    "a share": lambda: ClassBalancedSampler(LABELS, num_samples=192, seed=3).shard(1, 2),
}
WORKERS = {
    "none": {},
    "two": {"num_workers": 2, "multiprocessing_context": "fork"},
    "persistent": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
}


class Indices(Dataset):
    def __getitem__(self, index):
        return index

    def __len__(self):
        return len(LABELS)


def loader_of(build, workers):
    return StatefulDataLoader(Indices(), batch_sampler=build(), **workers)


def read(loader, most=None):
    """Batches of one pass, or of its first ``most``, and the loader's state after each."""
    batches, states = [], []
    for batch in loader:
        batches.append(batch.tolist())
        states.append(copy.deepcopy(loader.state_dict()))
        if len(batches) == most:
            break
    return batches, states


def epochs_of(build, epochs=3):
    sampler = build()
    return [[list(batch) for batch in sampler] for _ in range(epochs)]


@pytest.mark.parametrize("build", SAMPLERS.values(), ids=SAMPLERS)
def test_resume_at_every_cut(build):
    first, second, _ = epochs_of(build)
    received, states = read(loader_of(build, {}))
    assert received == first
    for cut, state in enumerate(states, 1):
        resumed = loader_of(build, {})
        resumed.load_state_dict(state)
        rest = read(resumed)[0]
        # A state taken after the last batch is the epoch's end: nothing is left, and the next pass is the next epoch.
        assert rest == first[cut:]
        assert read(resumed)[0] == second


@pytest.mark.parametrize("build", BY_INDEX.values(), ids=BY_INDEX)
def test_resume_at_every_cut_by_index(build):
    def loader():
        return StatefulDataLoader(Indices(), batch_size=8, sampler=build(), drop_last=True)

    sampler = build()
    received, states = read(loader())
    drawn = list(sampler)
    assert [i for batch in received for i in batch] == drawn[: len(drawn) // 8 * 8]
    for cut, state in enumerate(states, 1):
        resumed = loader()
        resumed.load_state_dict(state)
        assert read(resumed)[0] == received[cut:]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["two", "persistent"])
def test_resume_with_workers(workers):
    build = SAMPLERS["cycle"]
    first, second, third = epochs_of(build)
    loader = loader_of(build, WORKERS[workers])
    received, states = read(loader)
    assert received == first
    assert read(loader)[0] == second
    for cut, state in enumerate(states, 1):
        resumed = loader_of(build, WORKERS[workers])
        resumed.load_state_dict(state)
        assert read(resumed)[0] == first[cut:], cut
        assert read(resumed)[0] == second
        assert read(resumed)[0] == third


@pytest.mark.parametrize("workers", ["none", pytest.param("two", marks=pytest.mark.slow)])
@pytest.mark.parametrize("cuts", [(1, 1), (3, 4), (5, 7)])
def test_two_resumes_in_one_epoch(workers, cuts):
    build = SAMPLERS["cycle"]
    first, second, _ = epochs_of(build)
    begun, states = read(loader_of(build, WORKERS[workers]), cuts[0])
    again = loader_of(build, WORKERS[workers])
    again.load_state_dict(states[-1])
    more, states = read(again, cuts[1])
    last = loader_of(build, WORKERS[workers])
    last.load_state_dict(states[-1])
    assert begun + more + read(last)[0] == first
    assert read(last)[0] == second


def test_resume_in_a_later_epoch():
    build = SAMPLERS["cycle"]
    loader = loader_of(build, {})
    received = [read(loader)[0] for _ in range(2)]
    part, states = read(loader, 5)
    resumed = loader_of(build, {})
    resumed.load_state_dict(states[-1])
    assert [*received, part + read(resumed)[0]] == epochs_of(build)


def test_resume_on_another_number_of_ranks():
    whole, _, _ = epochs_of(SAMPLERS["cycle"])
    share = loader_of(lambda: SAMPLERS["cycle"]().shard(0, 2), {})
    read(share, 3)
    state = share.state_dict()
    resumed = loader_of(SAMPLERS["cycle"], {})
    place = next(value for value in state.values() if isinstance(value, dict) and "position" in value)
    sampler = resumed.batch_sampler
    sampler.load_state_dict(place)
    assert read(resumed)[0] == whole[6:]


def test_coverage_of_what_was_received_around_a_resume():
    loader = loader_of(SAMPLERS["shuffled"], {})
    begun, states = read(loader, 6)
    resumed = loader_of(SAMPLERS["shuffled"], {})
    resumed.load_state_dict(states[-1])
    assert sorted(i for batch in begun + read(resumed)[0] for i in batch) == list(range(101))


def test_a_state_of_another_sampler_is_refused():
    loader = loader_of(SAMPLERS["cycle"], {})
    _, states = read(loader, 2)
    other = loader_of(SAMPLERS["shuffled"], {})
    other.load_state_dict(states[-1])
    with pytest.raises(ValueError, match="state must come from the same data set and settings"):
        next(iter(other))
