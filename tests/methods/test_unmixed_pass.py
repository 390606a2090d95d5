"""The unmixed pass: trained weights as without it, running statistics of unmixed and mixed images in turn."""

import torch

from lt_fast import mixing, training
from lt_fast.batch import Batch
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import Classification
from lt_fast.models import digits_net
from methods.problem import training_data

RATE = 0.05


def data():
    return training_data(mixer=lambda train: mixing.MAM(train.class_counts, seed=3))


def trained_by_hand(images):
    """Two epochs of SGD as ntucllab/imbalanced-DL takes them: output of the unmixed batch first, then of the mixed."""
    model, criterion = digits_net(10, seed=1).train(), CrossEntropyLoss(images.class_counts, label_rule="mam")
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    mixed, unmixed = images.loader(), images.loader(mixer=None)
    for epoch in range(2):
        for batch, clean in zip(mixed.batches(epoch), unmixed.batches(epoch), strict=True):
            model(clean.x)
            loss = criterion(model(batch.x), batch.target, batch.target_b, batch.lam)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def trained(images, *, unmixed_pass):
    criterion = CrossEntropyLoss(images.class_counts, label_rule="mam")
    method = Classification(digits_net(10, seed=1), criterion, unmixed_pass=unmixed_pass)
    training.fit(
        method,
        method.loaders(images),
        epochs=2,
        learning_rate=lambda *_: RATE,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=RATE, momentum=0.9),
        channels_last=False,  # as the plain loop: the other order of a convolution's sums would be other weights soon
        progress=False,
    )
    return method.model


def test_two_epochs_equal_the_plain_loop():
    images = data()
    by_hand, ours, without = (
        trained_by_hand(images),
        trained(images, unmixed_pass=True),
        trained(images, unmixed_pass=False),
    )
    for name, tensor in by_hand.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
        moved = name.endswith(("running_mean", "running_var"))
        assert torch.allclose(without.state_dict()[name], tensor, rtol=1e-4, atol=1e-6) != (
            moved or name.endswith("num_batches_tracked")
        )


def test_both_loaders_have_the_same_images():
    images = data()
    method = Classification(digits_net(10), CrossEntropyLoss(images.class_counts), unmixed_pass=True)
    loaders = method.loaders(images)
    mixed, clean = (next(iter(loaders[name].batches(0))) for name in ("train", "unmixed"))
    assert torch.equal(mixed.index, clean.index)
    assert clean.target_b is None
    lam = mixed.lam.reshape(-1, 1, 1, 1)
    partner = (mixed.x - lam * clean.x) / (1 - lam)
    rows = [int((clean.x - one).abs().flatten(1).amax(1).argmin()) for one in partner]
    torch.testing.assert_close(clean.x[rows], partner, rtol=1e-3, atol=1e-3)


def test_without_a_mixer_nothing_changes():
    method = Classification(digits_net(10), CrossEntropyLoss([3, 2] * 5), unmixed_pass=True)
    assert list(method.loaders(training_data())) == ["train"]
    batch = Batch(views=(torch.zeros(4, 1, 8, 8),), target=torch.zeros(4, dtype=torch.int64))
    assert method.training_step({"train": batch}).loss.isfinite()
