"""Batches whose pairs the network chooses: the authors' pairs and pixels, whose confusions, state, and refusals."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import reference
from lt_fast import experiment, mixing
from lt_fast.batch import Batch
from lt_fast.calibration.collecting import in_eval_mode
from lt_fast.errors import MissingExtraError, UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import Classification, FeatureMixing, Method, RegMixup, StepOutput
from methods.problem import MIXERS, NoBatchNorm, made, training_data


class Recorded(Method):
    """Keeps the batches that it is given."""

    def training_step(self, batches):
        self.batches = dict(batches)
        return StepOutput(self.model(batches["train"].x).sum())


def recorded(*, norm=True, **settings):
    """Return a method that records its batches under OTMix, its loaders, and its training data."""
    options = {"epochs": 6, "start_at": 0.0, "stop_at": 1.0, "probability": 1.0, "seed": 3, **settings}
    data = training_data(mixer=lambda train: mixing.OTMix(train.labels, 8, **options))
    method = FeatureMixing(Recorded(made("classification", norm=norm)[0].model), data.mixer, data.num_classes)
    return method, method.loaders(data), data


def epoch_by_transport(method, *, wanted=True):
    return next(epoch for epoch in range(6) if method.mixer.by_features(epoch) == wanted)


def steps(method, loaders, epoch):
    method.on_epoch_start(epoch, 6)
    method.train()
    names = method.active(epoch, 6)
    for batches in zip(*(loaders[name].batches(epoch) for name in names), strict=True):
        given = dict(zip(names, batches, strict=True))
        method(given)
        yield given, method.method.batches["train"]


def confusions(method, source):
    """Count the predictions of all images of a source as (C, C) lists."""
    counts = np.zeros((10, 10), int)
    with torch.no_grad(), in_eval_mode(method):
        for batch in source:
            np.add.at(counts, (batch.target.numpy(), method.predict(batch.x).argmax(1).numpy()), 1)
    return counts


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_step_mixes_as_the_authors_code(per_sample):
    # Without batch norm, whose statistics move, the features are those of the step also after it.
    method, loaders, data = recorded(norm=False, per_sample=per_sample, probability=0.6)
    epoch = epoch_by_transport(method)
    counts, mixed_steps = confusions(method, data.plain_loader(data.validation)).tolist(), 0
    for given, mixed in steps(method, loaders, epoch):
        behind, front = given["train"], given["train_foregrounds"]
        assert torch.equal(behind.target, behind.target_b)
        assert set(behind.lam.tolist()) == {1.0}
        if front.lam is None:
            assert len(front) == 1
            assert mixed is behind
            continue
        mixed_steps += 1
        if mixed_steps > 2:
            break
        with torch.no_grad(), in_eval_mode(method):
            f, b = (method.model.features(each.x) for each in (front, behind))
        chosen, rows = torch.arange(len(front)), (front.lam < 1).nonzero().flatten()
        y_front, y_behind = front.target[rows].tolist(), behind.target.tolist()
        chosen[rows] = torch.tensor(reference.otmix_backgrounds(f[rows], b, y_front, y_behind, counts))
        expected, shares = reference.cmo_images(behind.x[chosen], front.x, front.boxes)
        torch.testing.assert_close(mixed.x, expected, rtol=0, atol=0)
        torch.testing.assert_close(mixed.lam, torch.tensor(shares), atol=1e-6, rtol=0)
        assert torch.equal(mixed.target, behind.target[chosen])
        assert torch.equal(mixed.index, behind.index[chosen])
        assert torch.equal(mixed.target_b, front.target)
    assert mixed_steps > 0


def test_other_epochs_are_those_of_cmo():
    method, loaders, data = recorded()
    epoch = epoch_by_transport(method, wanted=False)
    cmo = mixing.CMO(data.labels, 8, epochs=6, start_at=0.0, stop_at=1.0, probability=1.0, alpha=4.0, seed=3)
    like = data.loader(mixer=cmo)
    assert method.active(epoch, 6) == ["train"]
    for (given, mixed), expected in zip(steps(method, loaders, epoch), like.batches(epoch), strict=True):
        assert mixed is given["train"]
        assert all(torch.equal(*pair) for pair in zip(mixed.tensors(), expected.tensors(), strict=True))


def test_confusions_are_of_the_validation_images_at_the_start_of_an_epoch():
    method, _, data = recorded(transport_exponent=0.0)
    method.on_epoch_start(0, 6)
    first = method.table.counts.matrix()
    assert first.sum() == len(data.validation)
    np.testing.assert_array_equal(first, confusions(method, data.plain_loader(data.validation)))
    nn.init.zeros_(method.model.head.weight)
    method.on_epoch_start(0, 6)  # a training that resumes inside the epoch
    np.testing.assert_array_equal(method.table.counts.matrix(), first)
    method.on_epoch_start(1, 6)
    assert (method.table.counts.matrix().sum(0) > 0).sum() == 1


def test_the_network_is_saved_once_and_batch_norm_sees_the_mixed_images_alone():
    method, loaders, _ = recorded(transport_exponent=0.0)
    before = {name: tensor.clone() for name, tensor in method.model.named_buffers()}
    method.on_epoch_start(0, 6)
    assert all(torch.equal(before[name], tensor) for name, tensor in method.model.named_buffers())
    given, mixed = next(steps(method, loaders, 0))
    other = made("classification")[0].model.train()
    other(mixed.x)
    assert all(torch.equal(*pair) for pair in zip(method.model.buffers(), other.buffers(), strict=True))
    state = method.state_dict()
    assert not any(name.startswith("method.model.") for name in state)
    again, _, _ = recorded(transport_exponent=0.0)
    again.load_state_dict(state)
    assert again.method.model is again.model
    assert torch.equal(again.predict(given["train"].x), method.predict(given["train"].x))
    assert again.table.counts == method.table.counts


def test_classes_may_be_alone_in_a_batch():
    method, loaders, _ = recorded(transport_exponent=0.0)
    given, _ = next(steps(method, loaders, 0))
    behind, front = given["train"], given["train_foregrounds"]
    for rows in (1, 2):
        few = {name: each.mapped(lambda tensor, rows=rows: tensor[:rows]) for name, each in given.items()}
        assert method(few).loss.isfinite()
    one = torch.zeros_like(behind.target)
    method({"train": replace(behind, target=one), "train_foregrounds": replace(front, target=one)})
    assert set(method.method.batches["train"].target.tolist()) == {0}


SETTINGS = {"mixer": "otmix", "mixer.probability": 1.0, "mixer.transport_exponent": 0.0, "validation": 0.1, "epochs": 6}


def parts_of(recipe="otmix", **settings):
    config = experiment.resolve(recipe, "digits-lt", {**SETTINGS, **settings}, seed=5)
    return build(config, load_data(config))


def one_step(parts, epoch=2):
    method = parts.method
    method.on_epoch_start(epoch, 6)
    names = method.active(epoch, 6)
    batches = {name: next(parts.loaders[name].batches(epoch)) for name in names}
    return method(batches)


@pytest.mark.parametrize("loss", ["balanced_softmax", "focal", "ldam", "seesaw", "lade"])
def test_it_goes_with_any_loss(loss):
    parts = parts_of(loss=loss, **({"model.head": "cosine"} if loss == "ldam" else {}))
    value = one_step(parts).loss
    value.backward()
    assert value.isfinite()
    assert parts.method.model.head.weight.grad.abs().sum() > 0


def test_it_goes_with_other_methods_and_with_averaging():
    parts = parts_of("regmixup")
    assert type(parts.method.method) is RegMixup
    assert list(parts.loaders) == ["train", "mixed", "mixed_foregrounds"]
    assert one_step(parts).loss.isfinite()
    with pytest.raises(UsageError, match="method cp_mix does not use a mixer of the run, got otmix"):
        parts_of("cp_mix")


class Experts(NoBatchNorm):
    """Two heads over shared features of two parts."""

    def __init__(self):
        super().__init__(10)
        self.other = nn.Linear(8 * 16, 10)

    def forward(self, x):
        return (self.head(self.features(x)) + self.other(self.features(x))) / 2


def test_it_goes_with_a_network_of_several_experts():
    data = training_data(mixer=MIXERS["otmix"])
    plain = Classification(Experts(), CrossEntropyLoss(data.class_counts))
    method = FeatureMixing(plain, data.mixer, 10)
    loaders = method.loaders(data)
    for _ in range(2):
        epoch = epoch_by_transport(method)
        method.on_epoch_start(epoch, 6)
        method({name: next(loaders[name].batches(epoch)) for name in method.active(epoch, 6)}).loss.backward()
    assert method.model.other.weight.grad.abs().sum() > 0


def test_a_run_without_validation_images_says_what_to_do():
    message = r"mixer OTMix needs validation images, .* the run has none; hold some out with --set validation=0\.1"
    with pytest.raises(UsageError, match=message):
        parts_of(validation=0.0)


def test_without_validation_images_it_says_what_to_call():
    data = training_data(mixer=MIXERS["otmix"])
    method = FeatureMixing(Recorded(NoBatchNorm(10)), data.mixer, 10)
    with pytest.raises(RuntimeError, match=r"loaders\(data\) must be called before an epoch that mixes by features"):
        method.on_epoch_start(epoch_by_transport(method), 6)


def test_a_run_without_pot_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingExtraError, match=r"the mixer otmix needs POT, .*'lt-fast\[transport\]'"):
        parts_of()


def test_a_network_without_features_is_refused():
    data = training_data(mixer=MIXERS["otmix"])
    plain = Classification(nn.Flatten(), CrossEntropyLoss(data.class_counts))
    with pytest.raises(TypeError, match=r"model must have features\(x\), by which pairs are chosen, got Flatten"):
        FeatureMixing(plain, data.mixer, 10)


def test_a_batch_without_rectangles_is_left_alone():
    method, _, _ = recorded()
    batch = Batch(views=(torch.zeros(2, 1, 8, 8),), target=torch.zeros(2, dtype=torch.int64))
    assert method._mixed(batch, batch) is batch
