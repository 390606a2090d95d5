"""Linear probes against simplicity bias: fits by gradients written out, perturbations, fine-tuning, every refusal."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from lt_fast import models
from lt_fast.calibration import (
    LinearProbe,
    collect,
    fine_tuned,
    uncertainty_perturbation,
    virtual_adversarial_loss,
)
from lt_fast.calibration.descent import CalibrationDivergedError, class_balanced, shuffled
from lt_fast.models.initialization import build

COUNTS = [40, 12, 4]
ROWS, WIDTH = sum(COUNTS), 5
SETTINGS = {"epochs": 3, "lr": 0.1, "batch_size": 16, "momentum": 0.9, "weight_decay": 5e-4, "seed": 4}
PERTURBED = {"penalty": 0.4, "radius": 0.7, "distance": 3.0, "step_size": 0.2, "steps": 5}
VARIANTS = ["plain", "vat", "udp", "soup"]


def problem(dtype=torch.float64):
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]])
    return (centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=draw)).to(dtype), labels


def linear(bias=True):
    return build(lambda: nn.Linear(WIDTH, 3, bias=bias), seed=1).double()


def cosine():
    return build(lambda: models.CosineHead(WIDTH, 3), seed=1).double()


def rates(epochs):
    return [SETTINGS["lr"] * (1 + np.cos(np.pi * epoch / epochs)) / 2 for epoch in range(epochs)]


def batches(order, epochs=3, size=16):
    drawn = [np.asarray(order(epoch, ROWS)) for epoch in range(epochs)]
    return [[torch.from_numpy(rows[at : at + size]) for at in range(0, ROWS, size)] for rows in drawn]


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fit_is_that_of_the_paper(variant, balanced):
    features, labels = problem()
    probe = LinearProbe(COUNTS, variant=variant, balanced=balanced, probes=2, **SETTINGS, **PERTURBED)
    probe.fit(features, labels)
    beginning = LinearProbe(COUNTS, variant=variant, probes=2, epochs=1, lr=1e-300, weight_decay=0.0, seed=4)
    if variant == "soup":
        pool = beginning._pool(features, torch.zeros(3, WIDTH, dtype=torch.float64), torch.zeros(3).double())
    else:
        beginning.fit(features, labels)
        pool = [(beginning.weight, torch.zeros(3).double())]
    order = class_balanced(labels.numpy(), 4) if balanced else shuffled(4)
    options = {"momentum": 0.9, "weight_decay": 5e-4, **PERTURBED}
    weight, bias = reference.linear_probe_fit(
        features, labels, pool, variant=variant, rates=rates(3), batches=batches(order), **options
    )
    torch.testing.assert_close(probe.weight, weight, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(probe.bias, bias, rtol=1e-9, atol=1e-9)


def test_a_soup_begins_with_one_part_of_the_features_each():
    features, _ = problem()
    pool = LinearProbe(COUNTS, variant="soup", probes=2)._pool(features, torch.zeros(3, 5).double(), None)
    used = [(weight != 0).all(0).tolist() for weight, _ in pool]
    assert used == [[True, True, False, False, False], [False, False, True, True, True]]
    assert all((weight != 0).any(0).tolist() == part for (weight, _), part in zip(pool, used, strict=True))


def test_the_perturbations_are_those_of_the_paper():
    features, _ = problem()
    head = linear()
    weight, bias = head.weight.detach(), head.bias.detach()
    r = reference.adversarial_direction(features, weight, bias, 0.7, 3.0)
    p, q = (F.softmax(head(x), 1).detach() for x in (features, features + r))
    wanted = (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(virtual_adversarial_loss(head, features, radius=0.7, distance=3.0).detach(), wanted)
    torch.testing.assert_close(r.norm(dim=1), torch.full((ROWS,), 0.7).double())
    found = uncertainty_perturbation(head, features, radius=0.3, step_size=0.2, steps=5)
    torch.testing.assert_close(found, reference.uncertain_perturbation(features, weight, bias, 0.3, 0.2, 5))
    assert found.abs().max() == pytest.approx(0.3)
    assert not found.requires_grad


def test_an_uncertain_point_is_less_certain():
    features, _ = problem()
    head = linear()

    def entropy(x):
        p = F.softmax(head(x), 1)
        return -(p * p.log()).sum(1).mean().item()

    moved = features + uncertainty_perturbation(head, features, radius=0.5, step_size=0.1, steps=10)
    assert entropy(moved) > entropy(features)


def test_a_certain_prediction_has_a_finite_perturbation():
    features = torch.full((2, WIDTH), 1e4)
    head = nn.Linear(WIDTH, 3, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        head.weight.copy_(torch.arange(15.0).reshape(3, 5))
        head.bias.zero_()
    assert uncertainty_perturbation(head, features).isfinite().all()
    assert virtual_adversarial_loss(head, features).isfinite()
    assert virtual_adversarial_loss(head, torch.zeros(2, WIDTH)).isfinite()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make", [linear, lambda: linear(bias=False), cosine], ids=["linear", "no bias", "cosine"])
def test_any_head_is_probed(make, variant):
    features, labels = problem()
    head = make()
    probe = LinearProbe(COUNTS, variant=variant, probes=2, epochs=10, batch_size=16, lr=0.3, scale=3.0)
    probe.fit(features, labels, head=head)
    assert (probe.bias is None) == (getattr(head, "bias", None) is None)
    recalls = [(probe.transform(features).argmax(1) == labels)[labels == c].double().mean() for c in range(3)]
    assert torch.stack(recalls).mean() > 0.6


def test_a_trained_start_continues_from_the_head():
    features, labels = problem()
    head = linear()
    probe = LinearProbe(COUNTS, start="trained", epochs=1, lr=1e-300, weight_decay=0.0)
    probe.fit(features, labels, head=head)
    assert torch.equal(probe.weight, head.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "fgsm"}, "variant must be one of plain, vat, udp, soup, got 'fgsm'"),
        ({"start": "new"}, "start must be one of fresh, trained, got 'new'"),
        ({"variant": "soup", "start": "trained"}, "start must be 'fresh' with variant='soup'"),
        ({"penalty": -1.0}, "penalty must be finite and >= 0, got -1.0"),
        ({"step_size": 0.0}, "step_size must be finite and > 0, got 0"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"probes": 0}, "probes must be >= 1, got 0"),
        ({"finetune_epochs": -1}, "finetune_epochs must be >= 0, got -1"),
        ({"finetune_lr": 0.0}, "finetune_lr must be finite and > 0, got 0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe(COUNTS, **settings)


def test_more_probes_than_features_are_refused():
    features, labels = problem()
    with pytest.raises(ValueError, match=r"probes must be <= the number of features \(5\), got 6"):
        LinearProbe(COUNTS, variant="soup", probes=6).fit(features, labels)


# --- fine-tuning ------------------------------------------------------------------------------------------------------


def images():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(2)
    return torch.randn(ROWS, 1, 8, 8, generator=draw) + labels.view(-1, 1, 1, 1), labels


def passes(epochs):
    x, labels = images()
    return [[(x[rows], labels[rows]) for rows in epoch] for epoch in batches(shuffled(1), epochs)]


def probed(**settings):
    model = models.digits_net(3, seed=0)
    features, _, labels = collect(model, [images()])
    return model, LinearProbe(COUNTS, epochs=5, lr=0.1, **settings).fit(features, labels, head=model.head)


def test_fine_tuning_is_sgd_on_all_weights_in_eval_mode():
    model, probe = probed(finetune_lr=0.02, finetune_weight_decay=1e-3)
    before = copy.deepcopy(model.state_dict())
    plain = probe.apply(model).eval()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3, nesterov=True)
    for rate, epoch in zip((0.02, 0.01), passes(2), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for x, labels in epoch:
            optimizer.zero_grad()
            F.cross_entropy(plain(x), labels).backward()
            optimizer.step()
    probe.finetune(model, passes(2), epochs=2)
    tuned = probe.apply(model)
    for name, values in plain.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[name], values)
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    assert len(probe.finetune_losses) == 2
    assert probe.finetune_losses[1] < probe.finetune_losses[0]


def test_what_was_fine_tuned_survives_the_disk(tmp_path):
    model, probe = probed(scale=2.0)
    probe.finetune(model, passes(1), epochs=1)
    probe.save(tmp_path / "probe")
    loaded = LinearProbe.load(tmp_path / "probe")
    x, _ = images()
    with torch.no_grad():
        wanted = probe.apply(model).eval()(x)
        assert torch.equal(loaded.apply(model).eval()(x), wanted)
        features, _, _ = collect(loaded.adapted(model), [images()])
        torch.testing.assert_close(loaded.transform(features), wanted, rtol=1e-4, atol=1e-4)
    unchanged, _, _ = collect(model, [images()])
    assert not torch.allclose(unchanged, features)


def test_a_new_fit_forgets_the_fine_tuning():
    model, probe = probed()
    probe.finetune(model, passes(1), epochs=1)
    features, _, labels = collect(model, [images()])
    assert probe.adapted(model) is not model
    assert probe.fit(features, labels, head=model.head).adapted(model) is model


def test_what_cannot_be_fine_tuned_is_refused():
    model, probe = probed()
    with pytest.raises(RuntimeError, match="LinearProbe must be fitted before finetune"):
        LinearProbe(COUNTS).finetune(model, passes(1), epochs=1)
    with pytest.raises(ValueError, match="epochs must be >= 1, got 0"):
        probe.finetune(model, passes(1))
    with pytest.raises(ValueError, match="passes must have the batches of each of 2 epochs, got 1"):
        probe.finetune(model, passes(1), epochs=2)
    with pytest.raises(ValueError, match="passes must have the batches of each of 1 epochs, got more"):
        probe.finetune(model, passes(2), epochs=1)
    with pytest.raises(ValueError, match="rates must have the learning rate of at least one epoch, got none"):
        fine_tuned(model, [], rates=[])
    probe.finetune(model, passes(1), epochs=1)
    with pytest.raises(ValueError, match=r"model must have .* as was fine-tuned, got none"):
        probe.apply(nn.Sequential())
    with pytest.raises(CalibrationDivergedError, match="calibration diverged"):
        fine_tuned(model, passes(2), rates=[1e30, 1e30])
