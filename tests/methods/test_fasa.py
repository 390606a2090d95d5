"""FASA on the class level: the authors' statistics, probabilities and clusters, the loss, state, and refusals."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from lt_fast import ClassCounts, experiment
from lt_fast.calibration.collecting import in_eval_mode
from lt_fast.errors import MissingExtraError, UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import FeatureAugmentation
from lt_fast.methods.fasa import adapted, first_probabilities
from lt_fast.methods.feature_statistics import FeatureStatistics, feature_clusters
from methods.problem import NoBatchNorm, training_data

COUNTS = [50, 20, 5, 1]


def test_the_statistics_are_those_of_the_authors_code():
    draw = torch.Generator().manual_seed(0)
    batches = [(torch.randn(n, 3, generator=draw), torch.randint(4, (n,), generator=draw)) for n in (9, 1, 6, 2, 8)]
    batches.append((torch.randn(5, 3, generator=draw), torch.zeros(5, dtype=torch.int64)))
    found = FeatureStatistics(6, 3, decay=0.1)
    for features, labels in batches:
        found.update(features, labels)
    mean, variance = reference.fasa_statistics(batches, 4, 0.1)
    torch.testing.assert_close(found.mean[:4], torch.stack(mean).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.variance[:4], torch.stack(variance).float(), rtol=1e-5, atol=1e-6)
    assert found.seen.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize(("power", "scale"), [(1.0, 1.0), (0.5, 2.0), (0.0, 0.3), (2.0, 10.0)])
def test_the_first_probabilities_are_those_of_the_authors_code(power, scale):
    found = first_probabilities(ClassCounts(COUNTS), power=power, scale=scale)
    np.testing.assert_allclose(found, reference.fasa_probabilities(COUNTS, power, scale), rtol=1e-12)


def test_the_classes_of_a_cluster_move_together():
    before, after = [0.5, 0.2, 0.3, 0.1, 0.4], [0.6, 0.05, 0.3, 0.1, 0.5]
    probability = [0.1, 0.95, 0.5, 0.2, 0.7]
    clusters = np.array([0, 0, 1, 1, 2])
    change = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64)
    found = adapted(torch.tensor(probability, dtype=torch.float64), change, clusters, up=1.1, down=0.9)
    expected = reference.fasa_adapted(probability, before, after, [[0, 1], [2, 3], [4]], 1.1, 0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(expected, [0.11, 1.0, 0.5, 0.2, 0.63])


def test_near_classes_are_one_cluster():
    centres = np.repeat(np.array([[0.0, 0], [9, 0], [0, 9]]), 3, axis=0) + np.arange(9)[:, None] * [[0.01, 0]]
    near = feature_clusters(centres.astype(np.float32))
    assert [len(set(near[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(near)) == 3
    far = feature_clusters(centres.astype(np.float32), far_together=True)
    assert not np.array_equal(far, near)


@pytest.mark.parametrize("means", [np.zeros((4, 2)), np.zeros((1, 2)), np.ones((2, 3)), np.array([[0.0], [5]])])
def test_means_that_cannot_be_clustered_are_fine(means):
    found = feature_clusters(means.astype(np.float32))
    assert found.shape == (len(means),)
    assert found.min() >= 0


def method_of(**settings):
    data = training_data()
    settings = {"probability_scale": 5.0, "start_at": 0.0, "seed": 3, **settings}
    method = FeatureAugmentation(NoBatchNorm(10), data.class_counts, CrossEntropyLoss(data.class_counts), **settings)
    return method, method.loaders(data), data


def test_the_loss_adds_that_of_virtual_features():
    method, loaders, _ = method_of()
    method.on_epoch_start(0, 2)
    own = []
    for step, batch in enumerate(loaders["train"].batches(0)):
        features = method.model.features(batch.x)
        own.append((features.detach(), batch.target))
        loss = method({"train": batch}).loss
        generator = np.random.default_rng((3, step, 3))
        drawn = [k for k, draw in enumerate(generator.random(10)) if draw < float(method.probability[k])]
        mean, variance = reference.fasa_statistics(own, 10, 0.1)
        drawn = [k for k in drawn if mean[k] is not None]
        noise = torch.from_numpy(generator.standard_normal((len(drawn), features.shape[1])))
        expected = F.cross_entropy(method.model.head(features), batch.target)
        if drawn:
            virtual = torch.stack([mean[k] + variance[k].sqrt() * noise[i] for i, k in enumerate(drawn)]).float()
            expected = expected + 0.1 * F.cross_entropy(method.model.head(virtual), torch.tensor(drawn))
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert int(method.step) == len(own) > 3


def test_only_the_head_learns_from_virtual_features():
    gradients = []
    for weight in (0.0, 5.0):
        method, loaders, _ = method_of(weight=weight, probability_scale=1000.0)
        method.on_epoch_start(0, 2)
        method({"train": next(iter(loaders["train"]))}).loss.backward()
        gradients.append((method.model.first.weight.grad, method.model.head.weight.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


def test_probabilities_follow_the_validation_loss_by_class():
    method, loaders, data = method_of()
    losses, probabilities = [], []
    for epoch in range(3):
        method.on_epoch_start(epoch, 3)
        with torch.no_grad(), in_eval_mode(method):
            found = np.zeros(10)
            for batch in data.plain_loader(data.validation):
                rows = F.cross_entropy(method.predict(batch.x), batch.target, reduction="none")
                np.add.at(found, batch.target.numpy(), rows.numpy())
        losses.append(found / len(data.validation))
        probabilities.append(method.probability.tolist())
        if epoch:
            np.testing.assert_allclose(method.validation_loss, losses[epoch], rtol=1e-5)
        for batch in loaders["train"].batches(epoch):
            method({"train": batch})
        with torch.no_grad():
            method.model.head.weight.mul_(1.5)
            clusters = feature_clusters(method.statistics.mean.numpy())
        groups = [np.flatnonzero(clusters == each).tolist() for each in set(clusters.tolist())]
    assert probabilities[0] == probabilities[1]  # nothing to compare with
    method.on_epoch_start(3, 4)
    expected = reference.fasa_adapted(probabilities[2], losses[2], method.validation_loss.tolist(), groups, 1.1, 0.9)
    np.testing.assert_allclose(method.probability, expected, rtol=1e-9)
    assert method.probability.tolist() != probabilities[0]
    before = method.probability.clone()
    method.on_epoch_start(3, 4)  # a training that resumes inside the epoch
    assert torch.equal(method.probability, before)


@pytest.mark.parametrize(("start_at", "first"), [(1 / 24, 1), (0.5, 12), (0.0, 0), (1.0, None)])
def test_virtual_features_come_after_the_first_of_24_epochs(start_at, first):
    method, _, _ = method_of(start_at=start_at)
    adding = []
    for epoch in range(24):
        method.adapted_epoch.fill_(epoch)
        method.on_epoch_start(epoch, 24)
        adding.append(method._adds)
    assert (adding.index(True) if any(adding) else None) == first


def parts_of(**settings):
    config = experiment.resolve("fasa", "digits-lt", {"epochs": 2, **settings}, seed=5)
    return build(config, load_data(config))


@pytest.mark.parametrize("loss", ["balanced_softmax", "focal", "ldam"])
def test_it_goes_with_any_loss(loss):
    parts = parts_of(loss=loss, start_at=0.0, **({"model.head": "cosine"} if loss == "ldam" else {}))
    parts.method.on_epoch_start(0, 2)
    for batch in parts.loaders["train"].batches(0):
        assert parts.method({"train": batch}).loss.isfinite()


def test_classes_may_be_alone_in_a_batch():
    method, loaders, _ = method_of(probability_scale=1000.0)
    method.on_epoch_start(0, 2)
    batch = next(iter(loaders["train"]))
    for rows in (1, 2):
        assert method({"train": batch.mapped(lambda tensor, rows=rows: tensor[:rows])}).loss.isfinite()
    batch.target.fill_(4)
    assert method({"train": batch}).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.0}, r"method fasa needs validation images, .* hold some out with --set validation=0\.1"),
        ({"mixer": "mixup"}, "method fasa does not use a mixer of the run, got mixup"),
        ({"decay": 1.5}, r"decay must lie in \[0, 1\], got 1\.5"),
        ({"method.weight": -1.0}, r"weight must be finite and >= 0, got -1\.0"),
        ({"up": 0.0}, r"up must be finite and > 0, got 0\.0"),
        ({"power": -1.0}, r"power must be finite and >= 0, got -1\.0"),
        ({"compat": "far"}, r"compat must be one of distance_as_similarity, got 'far'"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, message):
    with pytest.raises(UsageError, match=message):
        parts_of(**settings)


def test_a_network_without_features_or_a_class_without_images_is_refused():
    counts = ClassCounts([3, 2])
    with pytest.raises(TypeError, match=r"model must have features\(x\) and a head with a weight, .* got Linear"):
        FeatureAugmentation(nn.Linear(2, 2), counts, CrossEntropyLoss(counts))
    empty = ClassCounts([3] * 9 + [0])
    with pytest.raises(ValueError, match="class"):
        FeatureAugmentation(NoBatchNorm(10), empty, CrossEntropyLoss([3] * 10))


def test_without_validation_images_it_says_what_to_call():
    counts = ClassCounts([3] * 10)
    method = FeatureAugmentation(NoBatchNorm(10), counts, CrossEntropyLoss(counts))
    method.on_epoch_start(0, 4)
    with pytest.raises(RuntimeError, match=r"loaders\(data\) must be called before the second epoch"):
        method.on_epoch_start(1, 4)


def test_a_run_without_scikit_learn_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    data = training_data()
    method = FeatureAugmentation(NoBatchNorm(10), data.class_counts, CrossEntropyLoss(data.class_counts))
    with pytest.raises(MissingExtraError, match="the method fasa needs scikit-learn"):
        method.loaders(data)
