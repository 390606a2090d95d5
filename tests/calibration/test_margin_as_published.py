"""Margin calibration as its authors' code runs it: train mode, new images in every epoch, batches left out, warm-up."""

import copy

import pytest
import torch

import reference
from lt_fast import data, datasets, experiment, models, sampling
from lt_fast.calibration import MarginCalibration, collect
from lt_fast.errors import UsageError

SETTINGS = {"epochs": 4, "lr": 0.05, "peak_lr": 0.1, "warmup_epochs": 2, "batch_size": 64, "seed": 3}
SHORT = {"epochs": 1, "calibrator.epochs": 2, "calibrator.as_published": True}


@pytest.fixture(scope="module")
def images():
    return datasets.digits_lt(imbalance_ratio=20, seed=0)


@pytest.fixture(scope="module")
def loader(images):
    mean, std = datasets.channel_stats(images.images)
    return data.Loader(
        data.ArraySource(images.images, images.labels, images.classes),
        sampling.ShuffledBatchSampler(images.labels, batch_size=64, output="numpy", seed=3),
        transform=data.CropFlip(mean=mean, std=std, crop_padding=1, flip=False),
        seed=3,
    )


def unsettled():
    model = models.digits_net(10, seed=1)
    with torch.no_grad():
        model(torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5)
    return model


def used(loader, calibrator):
    def passes(epoch):
        for step, batch in enumerate(loader.batches(epoch)):
            if step == calibrator.batches_of_an_epoch(len(loader.source)):
                return
            yield batch.x, batch.target

    return passes


def test_the_fit_is_that_of_the_authors_code(images, loader):
    counts, model = images.class_counts, unsettled()
    calibrator = MarginCalibration(counts, as_published=True, **SETTINGS)
    before = copy.deepcopy(model.state_dict())
    calibrator.fit_network(model, used(loader, calibrator))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    rates = [reference.marc_rate(epoch, 4, base_lr=0.05, warmup_lr=0.1, warmup_epochs=2) for epoch in range(4)]
    assert rates == [calibrator._rate(epoch) for epoch in range(4)]
    theirs = copy.deepcopy(model)
    omega, beta, moved = reference.marc_second_stage(
        theirs, theirs.head, lambda epoch: ((each.x, each.target) for each in loader.batches(epoch)),
        len(images.labels), counts.counts.tolist(), batch_size=64, rates=rates, gamma=1.2, momentum=0.9,
        weight_decay=5e-4,
    )  # fmt: skip
    torch.testing.assert_close(calibrator.omega, omega, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(calibrator.beta, beta, rtol=1e-6, atol=1e-6)
    test = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = omega * moved(test) + beta * moved.head.weight.norm(dim=1)
        torch.testing.assert_close(calibrator.apply(model).eval()(test), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(calibrator.adapted(model).eval().features(test), model.eval().features(test))


def test_it_survives_the_disk(images, loader, tmp_path):
    calibrator = MarginCalibration(images.class_counts, as_published=True, **SETTINGS)
    calibrator.fit_network(unsettled(), used(loader, calibrator)).save(tmp_path)
    loaded = MarginCalibration.load(tmp_path)
    assert loaded.as_published
    assert loaded.statistics.keys() == calibrator.statistics.keys()
    test = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.apply(unsettled()).eval()(test), calibrator.apply(unsettled()).eval()(test))


def test_another_fit_on_features_forgets_the_statistics(images, loader):
    calibrator = MarginCalibration(images.class_counts, as_published=True, **SETTINGS)
    calibrator.fit_network(unsettled(), used(loader, calibrator))
    features, _, labels = collect(unsettled(), ((each.x, each.target) for each in loader.batches(0)))
    assert calibrator.fit(features, labels, head=unsettled().head).statistics == {}


@pytest.mark.parametrize(("rows", "batches"), [(10_847, 20), (12_406, 23), (1023, 1), (1, 1), (1536, 2)])
def test_the_batches_of_an_epoch(rows, batches):
    assert MarginCalibration([3, 2], batch_size=512).batches_of_an_epoch(rows) == batches


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"as_published": 1}, "as_published must be true or false, got 1"),
        ({"as_published": True, "views": 2}, "views must be 0 with as_published, which augments in every epoch, got 2"),
        ({"as_published": True, "warmup_epochs": 1}, "warmup_epochs must be 0 or >= 2 with as_published, got 1"),
        (
            {"as_published": True, "warmup_epochs": 2, "peak_lr": 0.2},
            "warmup_epochs must leave the first rate >= 0 with as_published, got 2 from 0.05 to 0.2",
        ),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MarginCalibration([3, 2], **options)


def test_an_epoch_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="batches must yield at least one batch, got none in epoch 0"):
        MarginCalibration([3] * 10, as_published=True).fit_network(unsettled(), lambda _: [])


def test_a_run_is_measured_with_the_moved_network_and_again_the_same(tmp_path):
    config = experiment.resolve("mc", "digits-lt", SHORT, seed=5)
    result = experiment.run(config, tmp_path / "run", progress=False)
    found = MarginCalibration.load(tmp_path / "run" / "calibration")
    assert found.as_published
    assert found.statistics
    again = experiment.evaluate_run(tmp_path / "run")
    assert again["metrics"] == result["metrics"]
    import lt_fast

    test = datasets.digits_lt(seed=5, train=False)
    predicted = lt_fast.load(tmp_path / "run").predict(test.images).probabilities.argmax(1)
    assert (predicted == test.labels).mean() == pytest.approx(result["metrics"]["top1"])


def test_a_frozen_network_cannot(tmp_path):
    from lt_fast.experiment.second_stage import refuse_unfit

    calibrator = MarginCalibration([3, 2], as_published=True)
    with pytest.raises(
        UsageError, match=r"calibrator\.as_published must be false where the network is frozen, got true"
    ):
        refuse_unfit({"mode": "freeze"}, calibrator)
