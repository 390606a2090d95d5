"""Batches from memory and from files: their definition, mixing, views, pairs, and what a loader refuses."""

import json
import multiprocessing
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from data.conftest import LABELS, NORMALIZED, Partners, epoch, same
from lt_fast.data import ArraySource, CropFlip, FixedBatches, Loader, PairPlans
from lt_fast.data.plans import described
from lt_fast.errors import DataError
from lt_fast.mixing import Mixup
from lt_fast.sampling import ClassBalancedSampler, ConfusionPairBatchSampler, ShuffledBatchSampler

# torch says so wherever there are more workers than cores; the batches must be the same there, too.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def test_a_batch_is_the_same_image_by_image_as_its_definition(arrays):
    transform = CropFlip(**NORMALIZED, crop_padding=0, flip=False)
    loader = Loader(arrays, FixedBatches([np.arange(8), np.arange(8, 13)]), transform=transform)
    for batch, rows in zip(loader, (slice(0, 8), slice(8, 13)), strict=True):
        unit = torch.from_numpy(arrays.images[rows]).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(NORMALIZED[name])[:, None, None] for name in ("mean", "std"))
        assert torch.equal(batch.x, (unit - mean) / std)
        assert batch.target.tolist() == LABELS[rows].tolist()
        assert batch.lam is None
        assert batch.target_b is None


def test_mixing_blends_or_pastes(make_loader):
    plain, blended, pasted = (
        epoch(make_loader(mixer=mixer)) for mixer in (None, Partners(paste=False), Partners(paste=True))
    )
    changed = 0
    for a, b, c in zip(plain, blended, pasted, strict=True):
        partner = (b.x - 0.75 * a.x) / 0.25
        outside = torch.ones(8, 8, dtype=torch.bool)
        outside[1:5, 2:6] = False
        assert torch.equal(c.x[..., outside], a.x[..., outside])
        assert torch.allclose(c.x[..., ~outside], partner[..., ~outside], atol=1e-4)
        changed += int((c.x != a.x).any())
    assert changed == 5


def test_views_differ_and_the_first_is_that_of_one_view(make_loader):
    for one, two in zip(epoch(make_loader(views=1)), epoch(make_loader(views=2)), strict=True):
        assert torch.equal(one.x, two.x)
        assert not torch.equal(*two.views)


def test_no_global_generator_is_read_or_written(make_loader):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    first = epoch(make_loader()), epoch(make_loader(workers=2))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    torch.rand(3)
    assert all(map(same, first[0], epoch(make_loader())))


def running():
    return {*threading.enumerate(), *multiprocessing.active_children()}


@pytest.mark.parametrize("way", ["closed", "dropped"])
def test_an_epoch_left_early_leaves_no_thread_or_process_behind(make_loader, way):
    before = running()
    batches = iter(make_loader(workers=2))
    next(batches)
    assert running() - before
    if way == "closed":
        batches.close()
    else:
        del batches
    deadline = time.monotonic() + 20  # processes, and the feeders of torch's queues after them, end a moment later
    while running() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running() - before == set()


def test_the_next_epoch_has_other_batches(make_loader):
    loader = make_loader()
    first, second = list(loader), list(loader)
    assert loader.epoch == 2
    assert not any(map(same, first, second))
    assert all(map(same, second, epoch(make_loader(), 1)))


def test_pairs_are_mixed_without_a_pixel_too_many(arrays, monkeypatch):
    sampler = ConfusionPairBatchSampler(LABELS, np.ones((4, 4)), pairs_per_batch=6, num_batches=3, seed=2)
    planner = PairPlans(sampler, arrays.labels, lambda *key: np.full(key[-1], 0.25))
    transform = CropFlip(**NORMALIZED, crop_padding=0, flip=False)
    read = []
    monkeypatch.setattr(arrays, "_view", lambda plan, *rest: (read.append(len(plan.index)), original(plan, *rest))[1])
    original = type(arrays)._view.__get__(arrays)
    for step, batch in enumerate(Loader(arrays, planner, transform=transform)):
        rows = np.reshape(sampler.batch(0, step), (-1, 2))
        assert batch.target.tolist() == LABELS[rows[:, 0]].tolist()
        assert batch.target_b.tolist() == LABELS[rows[:, 1]].tolist()
        first, second = (
            arrays.read(replace(planner.plan(0, step), mix=None, index=rows[:, at].copy()), transform, 0)[0]
            for at in (0, 1)
        )
        assert torch.allclose(batch.x, 0.25 * first + 0.75 * second)
    assert set(read) == {0, 6}


def test_a_damaged_file_is_named_from_a_worker_too(files, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = type(files)(["bad.png"], [0], root=tmp_path)
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"bad\.png cannot be read"):
            list(Loader(source, [[0]], transform=lambda image: image, workers=workers))


def test_refuses_what_does_not_fit(arrays, files, make_loader):
    transform = CropFlip(**NORMALIZED)
    with pytest.raises(TypeError, match="batch_sampler must give its batches by number"):
        Loader(arrays, {"no": "sampler"}, transform=transform)
    with pytest.raises(
        TypeError, match="got ClassBalancedSampler, which gives single indices; name a sampler of batches"
    ):
        Loader(arrays, ClassBalancedSampler(LABELS), transform=transform)
    with pytest.raises(
        TypeError, match=r"transform must be a lt_fast\.data\.CropFlip for images in memory, got function"
    ):
        Loader(arrays, [[0]], transform=lambda image: image)
    with pytest.raises(TypeError, match="transform must be callable"):
        Loader(files, [[0]], transform="crop")
    with pytest.raises(ValueError, match="mean and std must have one entry per channel"):
        Loader(arrays, [[0]], transform=CropFlip(mean=(0.5,), std=(0.5,)))
    with pytest.raises(ValueError, match=r"dtype must be one of float32, bfloat16, float16, got 'float64'"):
        CropFlip(**NORMALIZED, dtype="float64")
    with pytest.raises(IndexError, match=r"indices in \[0, 38\), got 38 at position 1 of a batch"):
        list(Loader(arrays, [[0, 38]], transform=transform))
    sampler = ShuffledBatchSampler(LABELS, batch_size=8, seed=1)
    planner = Loader(arrays, sampler, transform=transform).planner
    with pytest.raises(ValueError, match="mixer and views must be left out"):
        Loader(arrays, planner, transform=transform, views=2)
    with pytest.raises(ValueError, match="seed was 5, is 6"):
        make_loader(seed=6).load_state_dict(make_loader().state_dict())
    state = make_loader().state_dict()
    with pytest.raises(ValueError, match="num_samples was 3, is absent"):
        make_loader().load_state_dict({**state, "num_samples": 3})
    with pytest.raises(ValueError, match=r"state\['plans'\] must be what identifies the batches, got None"):
        make_loader().load_state_dict({**state, "plans": None})
    smaller = ShuffledBatchSampler(LABELS, batch_size=4, seed=1)
    one = make_loader()
    other = Loader(one.source, smaller, transform=one.transform, mixer=Partners(paste=False), views=2, seed=5)
    with pytest.raises(ValueError, match="batch_size was 8, is 4"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="shape"):
        list(Loader(files, [[0, 1]], transform=lambda image: torch.zeros(3, *image.size)))


def test_another_mixer_is_refused_by_name(arrays):
    def make(mixer):
        sampler = ShuffledBatchSampler(LABELS, batch_size=8, seed=1)
        return Loader(arrays, sampler, transform=CropFlip(**NORMALIZED), mixer=mixer)

    loaders = [make(mixer) for mixer in (Mixup(0.5), Mixup(0.5, seed=1), Mixup(0.1 + 0.2), Mixup(0.3), None)]
    identities = [json.dumps(loader.identity()) for loader in loaders]
    assert len(set(identities)) == len(loaders)
    assert json.dumps(make(Mixup(0.5)).identity()) == identities[0]
    make(Mixup(0.5)).load_state_dict(json.loads(json.dumps(loaders[0].state_dict())))
    loaders[4].load_state_dict(make(None).state_dict())
    wanted = (
        r"mixer was Mixup\(alpha=0\.5, per_sample=False, seed=0\), is Mixup\(alpha=0\.5, per_sample=False, seed=1\)"
    )
    with pytest.raises(ValueError, match=f"state must be of the same batches: {wanted}"):
        loaders[1].load_state_dict(loaders[0].state_dict())
    with pytest.raises(ValueError, match=r"mixer was None, is Mixup\("):
        loaders[0].load_state_dict(loaders[4].state_dict())


def test_what_identifies_a_mixer():
    @dataclass
    class Told:
        share: float
        rule: Any = len

    class Own(Told):
        def __repr__(self):
            return f"<Own of {self.share} at 0x7f00beef>"

    assert described(None) is None
    assert described(Partners(paste=True)) == "Partners"  # the address of an object would be another every time
    assert described(Told(0.5)).endswith("Told(share=0.5, rule=<built-in function len>)")
    assert described(Own(0.25)) == "<Own of 0.25>"
    assert " at 0x" not in described(Told(0.5, lambda: None))


def test_pairs_are_identified_by_the_mixer_of_their_coefficients(arrays):
    def identity(coefficients):
        sampler = ConfusionPairBatchSampler(LABELS, np.ones((4, 4)), pairs_per_batch=6, num_batches=3, seed=2)
        planner = PairPlans(sampler, arrays.labels, coefficients)
        return Loader(arrays, planner, transform=CropFlip(**NORMALIZED)).identity()["plans"]["mixer"]

    assert identity(Mixup(0.5, seed=3).coefficients) == "Mixup(alpha=0.5, per_sample=False, seed=3)"
    assert identity(lambda *key: np.full(key[-1], 0.25)) == identity(lambda *key: np.full(key[-1], 0.25))


def test_labels_and_images_must_agree():
    with pytest.raises(ValueError, match=r"labels must have one entry per image \(2\), got 1"):
        ArraySource(np.zeros((2, 4, 4, 3), np.uint8), [0])


def test_other_views_or_another_augmentation_are_other_batches(arrays):
    plain = Loader(arrays, [[0, 1]], transform=CropFlip(**NORMALIZED))
    padded = Loader(arrays, [[0, 1]], transform=CropFlip(**NORMALIZED, crop_padding=2))
    doubled = Loader(arrays, [[0, 1]], transform=CropFlip(**NORMALIZED), views=2)
    assert plain.identity() == Loader(arrays, [[0, 1]], transform=CropFlip(**NORMALIZED)).identity()
    with pytest.raises(ValueError, match="same loader: transform was"):
        padded.load_state_dict(plain.state_dict())
    with pytest.raises(ValueError, match="same loader: views was 1, is 2"):
        doubled.load_state_dict(plain.state_dict())
