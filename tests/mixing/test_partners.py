"""CMO and LOBM, whose partners are drawn from the whole data set: frequencies, keys, pixels, epochs and refusals."""

import math
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

import reference
from lt_fast import _rust
from lt_fast.batch import BatchPlan
from lt_fast.data import ArraySource, CropFlip, FileSource, Loader, SamplerPlans
from lt_fast.mixing import CMO, LOBM, CutMix, Mixup
from lt_fast.mixing.partners import AFTER_THE_EPOCH, ClassDrawnPartners
from lt_fast.sampling import ClassBalancedBatchSampler

COUNTS = [40, 20, 10, 5, 1]
LABELS = np.repeat(np.arange(5), COUNTS)
SIZE = (6, 5)


def cmo(**settings):
    return CMO(LABELS, **{"image_size": SIZE, "epochs": 200, "probability": 1.0, "start_at": 0.0, **settings})


MIXERS = {"cmo": cmo, "lobm": lambda **settings: LOBM(LABELS, **settings)}
every_mixer = pytest.mark.parametrize("name", MIXERS)


def batch_of(epoch=0, step=0, size=8, index=None):
    rows = np.arange(size)
    return BatchPlan(epoch, step, rows if index is None else index, step * size + rows)


def partners(q=0.0, seed=0, epoch=0, step=0, size=8):
    return ClassDrawnPartners(LABELS, q=q, seed=seed).of(batch_of(epoch, step, size))[0]


def test_partners_are_a_class_and_then_one_of_its_images():
    for seed, epoch in ((0, 0), (7, 3)):
        key = seed ^ int.from_bytes(b"partner", "big")
        expected = reference.class_then_sample_draws(LABELS.tolist(), key, epoch, 60)
        assert partners(seed=seed, epoch=epoch, size=60).tolist() == expected


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, -1.0])
def test_classes_are_as_frequent_as_the_authors_weights_make_them(q):
    drawn = np.bincount(LABELS[partners(q=q, seed=3, size=20_000)], minlength=5)
    expected = 20_000 * np.array(reference.cmo_share(COUNTS, 1 - q))
    assert ((drawn - expected) ** 2 / expected).sum() < 18.5  # 4 degrees of freedom, p = 0.001


def test_images_of_a_class_are_equally_frequent():
    drawn = np.bincount(partners(q=1.0, seed=5, size=38_000), minlength=76)
    assert ((drawn - 500) ** 2 / 500).sum() < 118.6  # 75 degrees of freedom, p = 0.001


@pytest.mark.parametrize("q", [-500.0, 500.0])
def test_an_extreme_exponent_draws_from_one_class(q):
    assert set(LABELS[partners(q=q, size=200)]) == {4 if q < 0 else 0}


def test_the_partner_of_a_position_does_not_depend_on_the_size_of_batches():
    whole = partners(seed=2, epoch=1, size=24)
    assert np.concatenate([partners(seed=2, epoch=1, step=step, size=6) for step in range(4)]).tolist() == (
        whole.tolist()
    )


def test_partners_are_independent_of_a_sampler_with_the_same_seed():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=4000, within_class="replace", num_batches=1, seed=9)
    equal = np.mean(sampler.batch(0, 0) == partners(seed=9, size=4000))
    assert equal == pytest.approx(np.mean([1 / (5 * n) for n in COUNTS]), abs=0.03)
    key = partners(seed=9, size=4000), ClassDrawnPartners(LABELS, q=0.0, seed=8).of(batch_of(size=4000))[0]
    assert (key[0] != key[1]).mean() > 0.5


def test_a_partner_is_augmented_by_a_key_of_its_own():
    batch = batch_of(0, 3)
    _, position = ClassDrawnPartners(LABELS, q=0.0, seed=0).of(batch)
    np.testing.assert_array_equal(position, batch.position + AFTER_THE_EPOCH)
    placed = _rust.placements(position, (0, 0, 0, 4, True))
    assert not np.array_equal(placed, _rust.placements(batch.position, (0, 0, 0, 4, True)))


@every_mixer
def test_every_key_counts_and_nothing_else(name):
    def planned(seed, epoch, step):
        plan = MIXERS[name](seed=seed, per_sample=True).plan(batch_of(epoch, step), LABELS[:8])
        return plan.partner.tolist(), plan.lam.tolist()

    keys = [(seed, epoch, step) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    before, numpy_before = torch.random.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    made = [planned(*key) for key in keys]
    assert len({str(one) for one in made}) == len(keys)
    assert [planned(*key) for key in reversed(keys)] == made[::-1]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == numpy_before  # noqa: NPY002


@pytest.mark.parametrize("per_sample", [False, True])
def test_lobm_has_the_coefficients_of_mixup(per_sample):
    mixer = LOBM(LABELS, alpha=0.4, per_sample=per_sample, seed=6)
    plan = mixer.plan(batch_of(2, 5), LABELS[:8])
    np.testing.assert_array_equal(plan.lam, Mixup(0.4, per_sample=per_sample, seed=6).coefficients(2, 5, 8))
    assert plan.boxes is None
    assert plan.partner.tolist() == partners(seed=6, epoch=2, step=5).tolist()


def test_lobm_gives_every_class_the_same_label_weight():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=76, within_class="replace", output="numpy", seed=1)
    mixer, weight = LOBM(LABELS, seed=1), np.zeros(5)
    for epoch in range(300):
        plan = SamplerPlans(sampler, LABELS, mixer=mixer).plan(epoch, 0)
        np.add.at(weight, LABELS[plan.index], plan.mix.lam)
        np.add.at(weight, LABELS[plan.mix.partner], 1 - plan.mix.lam)
    np.testing.assert_allclose(weight / weight.sum(), 0.2, atol=0.01)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_cmo_has_the_rectangles_of_cutmix(per_sample, probability):
    mixer = cmo(probability=probability, per_sample=per_sample, alpha=2.0, seed=4)
    like = CutMix(SIZE, alpha=2.0, probability=probability, per_sample=per_sample, seed=4)
    for step in range(6):
        batch = batch_of(3, step, index=np.arange(8) + 30)
        plan, boxes = mixer.plan(batch, LABELS[batch.index]), like.plan(batch, LABELS[batch.index])
        np.testing.assert_array_equal(plan.boxes, boxes.boxes)
        np.testing.assert_array_equal(plan.lam, boxes.lam)
        drawn, key = ClassDrawnPartners(LABELS, q=0.0, seed=4).of(batch)
        np.testing.assert_array_equal(plan.partner, np.where(plan.lam < 1, drawn, batch.index))
        np.testing.assert_array_equal(plan.position, np.where(plan.lam < 1, key, batch.position))


def mixes(mixer, epoch):
    plan = mixer.plan(BatchPlan(epoch, 0, np.arange(500), np.arange(500)), LABELS[:1].repeat(500))
    return bool((plan.lam < 1).any())


def test_the_first_and_the_last_epochs_are_those_of_the_authors():
    mixer = CMO(LABELS, SIZE, epochs=200, probability=1.0, per_sample=True)
    for epoch in (0, 3, 4, 5, 100, 196, 197, 199):
        assert mixes(mixer, epoch) == reference.cmo_mixes(epoch, 200)


@pytest.mark.parametrize(("epochs", "mixed"), [(1, [0]), (3, [0, 1, 2]), (40, range(1, 39))])
def test_a_short_training_mixes_too(epochs, mixed):
    mixer = CMO(LABELS, SIZE, epochs=epochs, probability=1.0, per_sample=True)
    assert [epoch for epoch in range(epochs) if mixes(mixer, epoch)] == list(mixed)


def test_an_unmixed_batch_is_as_it_was():
    batch = batch_of(0, 2, index=np.arange(8) + 11)
    plan = CMO(LABELS, SIZE, epochs=200).plan(batch, LABELS[batch.index])
    np.testing.assert_array_equal(plan.partner, batch.index)
    np.testing.assert_array_equal(plan.position, batch.position)
    assert (plan.lam == 1).all()
    assert (plan.boxes == 0).all()
    assert [part.dtype for part in plan] == [np.int64, np.int64, np.float32, np.int32]


def pixels():
    generator = torch.Generator().manual_seed(2)
    return torch.randint(256, (len(LABELS), *SIZE, 3), generator=generator, dtype=torch.uint8).numpy()


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def source_of(images, folder):
    if folder is None:
        return CropFlip(crop_padding=0, flip=False, mean=(0.0,) * 3, std=(1.0,) * 3), ArraySource(images, LABELS)
    for at, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{at}.png")
    return to_tensor, FileSource([f"{at}.png" for at in range(len(images))], LABELS, root=folder)


@every_mixer
@pytest.mark.parametrize("from_files", [False, True])
@pytest.mark.parametrize("per_sample", [False, True])
def test_loaders_mix_as_the_authors_code(name, from_files, per_sample, tmp_path):
    images, rows = pixels(), [np.array([3, 1, 60, 0, 75]), np.array([2, 70, 6, 4])]
    transform, source = source_of(images, tmp_path if from_files else None)
    mixer = MIXERS[name](per_sample=per_sample, seed=6)
    ordered = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    for step, batch in enumerate(Loader(source, rows, transform=transform, mixer=mixer)):
        plan = mixer.plan(BatchPlan(0, step, rows[step], step * 5 + np.arange(len(rows[step]))), LABELS[rows[step]])
        first, second = ordered[rows[step]], ordered[plan.partner]
        if plan.boxes is None:
            lam = torch.from_numpy(plan.lam)[:, None, None, None]
            expected = lam * first + (1 - lam) * second
        else:
            expected, share = reference.cmo_images(first, second, torch.from_numpy(plan.boxes))
            np.testing.assert_allclose(batch.lam, share, atol=1e-7)
            np.testing.assert_array_equal(batch.boxes, plan.boxes)
        torch.testing.assert_close(batch.x, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(batch.lam, plan.lam)
        np.testing.assert_array_equal(batch.target, LABELS[rows[step]])
        np.testing.assert_array_equal(batch.target_b, LABELS[plan.partner])


@every_mixer
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_the_rows_of_one_global_plan(name, world_size):
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=10, output="numpy", seed=1)
    plan = SamplerPlans(sampler, LABELS, mixer=MIXERS[name](seed=1)).plan(1, 2)
    shards = [plan.shard(rank, world_size).mix for rank in range(world_size)]
    np.testing.assert_array_equal(np.concatenate([mix.partner for mix in shards]), plan.mix.partner)
    np.testing.assert_array_equal(np.concatenate([mix.lam for mix in shards]), plan.mix.lam)


@every_mixer
def test_labels_may_be_words_or_a_tensor(name):
    words = np.array(["ash", "birch", "cedar", "elm", "fir"])[LABELS]
    options = {"image_size": SIZE, "epochs": 9, "probability": 1.0} if name == "cmo" else {}
    plans = []
    for labels in (LABELS, words.tolist(), torch.from_numpy(LABELS)):
        mixer = {"cmo": CMO, "lobm": LOBM}[name](labels, **options)
        plans.append((mixer.plan(batch_of(4), LABELS[:8]).partner.tolist(), repr(mixer)))
    assert plans[1:] == plans[:1] * 2


@every_mixer
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"q": math.nan}, ValueError, r"q must be finite, got nan; 0 draws every class equally often"),
        ({"alpha": 0.0}, ValueError, r"alpha must be finite and > 0, got 0\.0; leave the mixer out"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        ({"seed": 0.5}, TypeError, r"seed must be an integer, got 0\.5"),
    ],
)
def test_wrong_settings_are_named(name, settings, error, message):
    with pytest.raises(error, match=message):
        MIXERS[name](**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epochs": 0}, ValueError, r"epochs must be >= 1, got 0"),
        ({"probability": 1.5}, ValueError, r"probability must lie in \[0, 1\], got 1\.5"),
        ({"start_at": -0.1}, ValueError, r"start_at must lie in \[0, 1\], got -0\.1"),
        ({"stop_at": 1.1}, ValueError, r"stop_at must lie in \[0, 1\], got 1\.1"),
        ({"start_at": 0.9, "stop_at": 0.1}, ValueError, r"start_at must be <= stop_at \(0\.1\), got 0\.9; nothing"),
        ({"image_size": 0}, ValueError, r"image_size must be >= 1, got 0"),
    ],
)
def test_wrong_settings_of_cmo_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        cmo(**settings)


@every_mixer
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, -1, 2], ValueError, "-1"),
        ([], ValueError, re.escape("labels must be a one-dimensional, non-empty sequence, got shape (0,)")),
        ([0.5, 1.0], TypeError, "labels"),
    ],
)
def test_wrong_labels_are_named(name, labels, error, message):
    options = {"image_size": SIZE, "epochs": 9} if name == "cmo" else {}
    with pytest.raises(error, match=message):
        {"cmo": CMO, "lobm": LOBM}[name](labels, **options)


def test_a_class_without_images_is_never_drawn():
    mixer = ClassDrawnPartners([0, 0, 3], q=-2.0, seed=0)
    drawn, _ = mixer.of(batch_of(size=400))
    assert set(drawn.tolist()) == {0, 1, 2}
    assert (drawn == 2).mean() == pytest.approx(0.8, abs=0.08)  # 1 to 1/4


@every_mixer
@pytest.mark.parametrize(("key", "message"), [((-1, 0), r"epoch must lie in"), ((0, 2**32), r"step must lie in")])
def test_a_wrong_key_is_named(name, key, message):
    epoch, step = key
    with pytest.raises(ValueError, match=message):
        MIXERS[name]().plan(BatchPlan(epoch, step, np.arange(3), np.arange(3)), LABELS[:3])
