"""Long-tailed digits and a small network, for trainings by methods of all kinds."""

import torch
from torch import nn
from torch.nn import functional

from lt_fast import data, datasets, losses, methods, mixing, models, sampling
from lt_fast.models.initialization import build
from lt_fast.ranks import Ranks
from lt_fast.training import cosine, fit
from methods.outside.prototypes import Prototypes
from methods.outside.two_branches import TwoBranches
from methods.outside.two_experts import TwoExperts

BATCH = 64
ALONE = Ranks()


class NoBatchNorm(nn.Module):
    """A network whose rows do not see each other, so that two ranks compute what one does."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1, device="meta").to_empty(device="cpu")
        self.head = nn.Linear(8 * 16, num_classes, device="meta").to_empty(device="cpu")
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=draw)

    def features(self, x):
        return functional.avg_pool2d(functional.relu(self.first(x)), 2).flatten(1)

    def forward(self, x):
        return self.head(self.features(x))


class TwoFeatures(NoBatchNorm):
    """Its features in two parts, which stand for the two branches of a network with a doubled block."""

    def branch_features(self, x, branch):
        return self.features(x)[:, :64] if branch == "conventional" else self.features(x)[:, 64:]


def training_data(ranks=ALONE, *, mixer=None, workers=0, batch_size=BATCH):
    train = datasets.digits_lt(imbalance_ratio=20, seed=0)
    mean, std = datasets.channel_stats(train.images)
    return methods.TrainingData(
        source=data.ArraySource(train.images, train.labels, train.classes),
        sampler=lambda: sampling.ShuffledBatchSampler(
            train.labels, batch_size=batch_size, drop_last=False, output="numpy", seed=3
        ),
        transform=data.CropFlip(mean=mean, std=std, crop_padding=1, flip=False),
        plain_transform=data.CropFlip(mean=mean, std=std, crop_padding=0, flip=False),
        mixer=None if mixer is None else mixer(train),
        validation=data.ArraySource(train.images[::5], train.labels[::5], train.classes),
        batch_size=batch_size,
        seed=3,
        ranks=ranks,
        workers=workers,
    )


def _network(norm):
    return models.digits_net(10, seed=1) if norm else NoBatchNorm(10)


def _classification(data, *, norm, unmixed_pass=False):
    criterion = losses.LOSSES["cross_entropy"](data.class_counts, label_rule="mam")
    return methods.Classification(_network(norm), criterion, unmixed_pass=unmixed_pass)


def _cp_mix(data, *, norm):
    counts = data.class_counts
    plain = losses.LOSSES["balanced_softmax"](counts)
    return methods.ConfusionPairing(_network(norm), counts, plain, pairs_per_batch=32, stage_2_from=0.5, seed=3)


def _regmixup(data, *, norm):
    return methods.RegMixup(_network(norm), losses.LOSSES["cross_entropy"](data.class_counts), eta=0.5)


def _bbn(data, *, norm):
    network = models.bbn(10, backbone="digits_net", in_channels=1, seed=1) if norm else TwoFeatures(10)
    return methods.BilateralBranches(network, losses.LOSSES["cross_entropy"](data.class_counts), seed=3)


def _hybrid(kind):
    def made(data, *, norm):
        criterion = losses.LOSSES["cross_entropy"](data.class_counts)
        return kind(_network(norm), criterion, temperature=0.5, width=16, seed=3)

    return made


def _fasa(data, *, norm):
    plain = losses.CrossEntropyLoss(data.class_counts)
    return methods.FeatureAugmentation(_network(norm), data.class_counts, plain, probability_scale=5.0, seed=3)


def _otmix(data, *, norm):
    plain = methods.Classification(_network(norm), losses.CrossEntropyLoss(data.class_counts))
    return methods.FeatureMixing(plain, data.mixer, data.num_classes)


def _risda(data, *, norm):
    criterion = losses.LOSSES["cross_entropy"](data.class_counts)
    return methods.RISDA(_network(norm), data.class_counts, criterion, start_at=0.5)


class Experts(models.MultiExpert):
    """Two experts whose rows do not see each other."""

    def __init__(self):
        first = NoBatchNorm(10)
        every = [build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 12)), seed=seed) for seed in (1, 2)]
        heads = build(lambda: models.ExpertHeads(2, "cosine", 12, 10), seed=3)
        super().__init__(nn.Sequential(first.first, nn.ReLU(), nn.AvgPool2d(2)), every, heads, 10)


def _experts(norm):
    return models.digits_net(10, head="cosine", experts=2, seed=1) if norm else Experts()


def _ride(data, *, norm):
    counts = data.class_counts
    reweighted = losses.RIDELoss(counts, weight=losses.effective_number_weights(counts))
    both = methods.DeferredReweighting(losses.RIDELoss(counts), reweighted, defer_until=0.5)
    return methods.Classification(_experts(norm), both, logit_scale=30.0)


def _cp_mix_ride(data, *, norm):
    counts = data.class_counts
    options = {"pairs_per_batch": 32, "stage_2_from": 0.5, "seed": 3, "logit_scale": 30.0}
    return methods.ConfusionPairing(_experts(norm), counts, losses.RIDELoss(counts), **options)


def _distillation(data, *, norm):
    teacher, criterion = _network(norm), losses.RIDELoss(data.class_counts)
    return methods.Distillation(_experts(norm), criterion, teacher=teacher, times_experts=False, logit_scale=30.0)


def _ace(data, *, norm):
    criterion = losses.ACELoss(data.class_counts, experts=2)
    return methods.AllyComplementaryExperts(_experts(norm), criterion, data.class_counts, logit_scale=30.0)


MIXERS = {
    "otmix": lambda train: mixing.OTMix(
        train.labels, 8, epochs=6, probability=0.6, start_at=0.0, stop_at=1.0, transport_exponent=0.3, seed=3
    ),
    "classification": lambda train: mixing.MAM(train.class_counts, seed=3),
    "unmixed_pass": lambda train: mixing.MAM(train.class_counts, seed=3),
    "regmixup": lambda _: mixing.Mixup(20.0, seed=3),
    "cmo": lambda train: mixing.CMO(train.labels, 8, epochs=6, probability=0.5, start_at=0.0, stop_at=1.0, seed=3),
}
METHODS = {
    "ride": _ride,
    "ace": _ace,
    "cp_mix_ride": _cp_mix_ride,
    "distillation": _distillation,
    "classification": _classification,
    "unmixed_pass": lambda data, *, norm: _classification(data, norm=norm, unmixed_pass=True),
    "cp_mix": _cp_mix,
    "fasa": _fasa,
    "otmix": _otmix,
    "regmixup": _regmixup,
    "cmo": lambda data, *, norm: methods.Classification(_network(norm), losses.BalancedSoftmaxLoss(data.class_counts)),
    "bbn": _bbn,
    "hybrid_sc": _hybrid(methods.HybridSC),
    "hybrid_psc": _hybrid(methods.HybridPSC),
    "risda": _risda,
    "two_experts": lambda data, *, norm: TwoExperts(_network(norm), data.num_classes),
    "two_branches": lambda _, *, norm: TwoBranches(_network(norm)),
    "prototypes": lambda data, *, norm: Prototypes(_network(norm), data.num_classes),
}


def made(name, ranks=ALONE, *, norm=True, **options):
    """Return the method ``name`` and its loaders."""
    found = training_data(ranks, mixer=MIXERS.get(name), **options)
    method = METHODS[name](found, norm=norm)
    return method, method.loaders(found)


def trained(name, ranks=ALONE, *, epochs=2, norm=True, wrap=None, options=None, **keywords):
    """Train the method ``name``; ``wrap`` is applied to each loader. Returns the method and the history."""
    method, loaders = made(name, ranks, norm=norm, **(options or {}))
    if wrap is not None:
        loaders = {key: wrap(loader) if at == 0 else loader for at, (key, loader) in enumerate(loaders.items())}
    keywords = {"learning_rate": cosine(0.1, epochs=epochs), "progress": False} | keywords
    return method, fit(method, loaders, epochs=epochs, ranks=ranks, **keywords)


class Acting:
    """A loader that calls ``act`` before one step, ``cut``: (epoch, step)."""

    def __init__(self, loader, cut, act):
        self.loader, self.cut, self.act = loader, cut, act

    def __len__(self):
        return len(self.loader)

    def identity(self):
        return self.loader.identity()

    def batches(self, epoch, start=0):
        for step, batch in enumerate(self.loader.batches(epoch, start), start):
            if (epoch, step) == self.cut:
                self.act()
            yield batch
