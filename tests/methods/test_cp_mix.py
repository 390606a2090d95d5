"""CP-Mix's recipes: what each stage is fed, the table that stage 2 draws by, resuming, the ablations, a whole run."""

import json
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import reference
from lt_fast import experiment
from lt_fast.batch import Batch
from lt_fast.counts import ClassCounts
from lt_fast.errors import Interrupted
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss, LDAMLoss
from lt_fast.methods import ConfusionPairing
from lt_fast.report import run_report
from lt_fast.sampling import ConfusionCounts
from lt_fast.training import RunDirectory, fit
from methods.problem import Acting

SHORT = {"epochs": 6, "pairs_per_batch": 16}  # stage 1: epochs 0 to 3; 417 images: seven steps per epoch
EPOCHS = SHORT["epochs"]
ABLATIONS = ["cp_mix", "cp_mix_no_pairs", "cp_mix_no_mixing_function", "cp_mix_no_regularization", "cp_mix_ce"]


@pytest.fixture(scope="module")
def data():
    return load_data(config_of("cp_mix"))


def config_of(name, **overrides):
    return experiment.resolve(name, "digits-lt", {**SHORT, **overrides}, seed=5)


def parts_of(data, name="cp_mix", **overrides):
    config = config_of(name, **overrides)
    return config, build(config, data)


class KilledError(BaseException):
    """Ends a training as a kill does: nothing gets a chance to save."""


def interrupt():
    signal.raise_signal(signal.SIGINT)


def kill():
    raise KilledError


def train(data, *, run=None, resume=False, stop_at=None, stop=interrupt):
    """Train through ``fit`` until ``stop`` before a step, counted from 1 over the whole training; return the method."""
    config, parts = parts_of(data)
    loaders = dict(parts.loaders)
    if stop_at is not None:
        loaders["train"] = Acting(loaders["train"], divmod(stop_at - 1, len(loaders["train"])), stop)
    keywords = {"epochs": config["epochs"], "learning_rate": parts.schedule, "optimizer": parts.optimizer}
    fit(parts.method, loaders, run=run, resume=resume, progress=False, **keywords)
    return parts.method


def test_stage_1_is_plain_and_stage_2_has_three_parts(data):
    _, parts = parts_of(data)
    method, loaders = parts.method, parts.loaders
    method.record.add(torch.tensor([0, 1, 2]), torch.eye(10)[[5, 6, 7]])
    method.merge_ranks()
    ce = build(experiment.resolve("ce", "digits-lt", seed=5), data).loaders["train"]
    assert [method.active(epoch, EPOCHS) for epoch in range(EPOCHS)] == [("train",)] * 4 + [None] * 2
    for epoch in range(EPOCHS):
        method.on_epoch_start(epoch, EPOCHS)
        kinds = zip(*(loader.batches(epoch) for loader in (*loaders.values(), ce)), strict=True)
        for plain, pairs, mixed, other in kinds:
            assert torch.equal(plain.x, other.x)
            assert torch.equal(plain.target, other.target)
            assert plain.target_b is plain.lam is None
            if epoch >= 4:
                check_mixtures(plain, pairs, mixed)


def check_mixtures(plain, pairs, mixed):
    assert len(pairs) == 16
    assert (pairs.target != pairs.target_b).all()
    # The last part is the first one mixed with itself.
    assert torch.equal(mixed.target, plain.target)
    assert torch.equal(mixed.target_b.sort().values, plain.target.sort().values)
    assert len(set(mixed.lam.tolist())) == 1
    share = mixed.lam[0]
    assert pairs.lam[0] != share
    if share < 0.9:
        partner = (mixed.x - share * plain.x) / (1 - share)
        nearest = torch.cdist(partner.flatten(1), plain.x.flatten(1)).argmin(1)
        assert torch.equal(plain.target[nearest], mixed.target_b)


def test_stage_2_samples_by_the_confusions_before_each_epoch(data):
    """Every pair of an epoch is one that the training had confused by its start, where the class had been confused."""
    _, parts = parts_of(data)
    method, sampled = parts.method, {}
    count(method, [0, 0, 3, 5], [1, 1, 7, 2])
    for epoch in (4, 5):
        if epoch == 5:
            count(method, [9], [9])
        method.on_epoch_start(epoch, EPOCHS)
        pairs = np.concatenate(
            [np.stack([b.target, b.target_b], axis=1) for b in parts.loaders["pairs"].batches(epoch)]
        )
        sampled[epoch] = {first: set(pairs[pairs[:, 0] == first, 1].tolist()) for first in range(10)}
        count(method, [1], [8])  # used from the next epoch on
    assert (sampled[4][0], sampled[4][3], sampled[4][5]) == ({1}, {7}, {2})
    assert len(sampled[4][1]) > 1
    assert sampled[5][1] == {8}


def count(method, target, predicted):
    method.record.add(torch.tensor(target), torch.eye(10)[predicted])
    method.merge_ranks()


def test_all_plain_images_are_counted_and_no_other(data):
    counts = train(data).record.up_to_date()
    assert counts.total == EPOCHS * len(data.train)
    np.testing.assert_array_equal(counts.matrix().sum(1), EPOCHS * data.train.class_counts.counts)


class Given(nn.Module):
    """Gives the logits that it was made with, whatever the images are."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x):
        assert len(x) == len(self.logits)
        return self.logits


@pytest.mark.parametrize(
    "options", [{}, {"eta": 0.3, "tau": 0.9}, {"tau": 0.0}, {"mix_pairs": False}, {"regularize": False}]
)
def test_the_loss_is_that_of_the_paper(options):
    counts, rows, pairs = [50, 20, 5, 2], 6, 4
    draw = torch.Generator().manual_seed(0)
    sizes = {"train": rows} | ({"pairs": pairs} if options.get("mix_pairs", True) else {})
    sizes |= {"mixed": rows} if options.get("regularize", True) else {}
    total = sum(sizes.values())
    logits = torch.randn(total, 4, generator=draw)
    target, target_b = torch.randint(4, (2, total), generator=draw)
    lam = torch.rand(total, generator=draw)
    criterion = BalancedSoftmaxLoss(counts)
    method = ConfusionPairing(Given(logits), ClassCounts(counts), criterion, pairs_per_batch=pairs, **options)
    ends = np.cumsum([0, *sizes.values()])
    batches = {}
    for (name, size), first in zip(sizes.items(), ends, strict=False):
        part = slice(first, first + size)
        labels = {} if name == "train" else {"target_b": target_b[part], "lam": lam[part]}
        batches[name] = Batch(views=(torch.zeros(size, 1),), target=target[part], **labels)
    loss = method.training_step(batches).loss
    known = {name: value for name, value in options.items() if name != "mix_pairs"}
    num_pairs = pairs if options.get("mix_pairs", True) else 0
    expected = reference.cp_mix_loss(logits, target, target_b, lam, counts, num_pairs=num_pairs, **known)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert method.model.logits.grad.abs().sum(1).min() > 0
    assert method.record.up_to_date().total == rows


@pytest.mark.parametrize(
    ("stage_1_loss", "first"),
    [
        ("same", reference.ldam_loss),
        ("cross_entropy", reference.cross_entropy_loss),
        ("balanced_softmax", reference.balanced_softmax_loss),
    ],
)
def test_the_loss_of_the_first_stage_is_a_setting(stage_1_loss, first):
    counts, draw = [50, 20, 5, 2], torch.Generator().manual_seed(1)
    logits, target = torch.rand(9, 4, generator=draw), torch.randint(4, (9,), generator=draw)
    method = ConfusionPairing(
        Given(logits), ClassCounts(counts), LDAMLoss(counts), mix_pairs=False, stage_1_loss=stage_1_loss
    )
    batch = Batch(views=(torch.zeros(9, 1),), target=target)
    for epoch, wanted in ((3, first), (4, reference.ldam_loss)):
        method.on_epoch_start(epoch, EPOCHS)
        found = method.training_step({"train": batch}).loss
        torch.testing.assert_close(found, wanted(logits, target, counts).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"stage_1_loss": "erm"}, "stage_1_loss must be one of same, cross_entropy, balanced_softmax, got 'erm'"),
        ({"condition": "pred"}, "condition must be one of true, either, none, got 'pred'"),
    ],
)
def test_an_unknown_reading_is_refused(data, setting, message):
    with pytest.raises(ValueError, match=message):
        parts_of(data, **setting)


def test_pairs_may_be_of_all_errors_at_once(data):
    _, parts = parts_of(data, condition="none")
    count(parts.method, [0, 0, 3], [1, 1, 7])
    parts.method.on_epoch_start(4, EPOCHS)
    batches = list(parts.loaders["pairs"].batches(4))
    pairs = {(int(a), int(b)) for each in batches for a, b in zip(each.target, each.target_b, strict=True)}
    assert pairs == {(0, 1), (3, 7)}


# Steps 1 to 28 are stage 1; the 28th and 35th end an epoch, the 29th is the first that mixes.
@pytest.mark.parametrize(
    ("stop_at", "stop", "error"),
    [(at, interrupt, Interrupted) for at in (9, 28, 29, 31, 35)] + [(at, kill, KilledError) for at in (16, 29, 40)],
)
def test_a_run_stopped_in_either_stage_resumes_bit_identically(data, tmp_path, stop_at, stop, error):
    whole = train(data).state_dict()
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(error):
        train(data, run=run, stop_at=stop_at, stop=stop)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        again = train(data, run=run, resume=True).state_dict()
    assert again.keys() == whole.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("name", "pairs", "regularize", "tau", "plain"),
    [
        ("cp_mix", 16, True, 0.5, BalancedSoftmaxLoss),
        ("cp_mix_no_pairs", 0, True, 0.5, BalancedSoftmaxLoss),
        ("cp_mix_no_mixing_function", 16, True, 0.0, BalancedSoftmaxLoss),
        ("cp_mix_no_regularization", 16, False, 0.5, BalancedSoftmaxLoss),
        ("cp_mix_ce", 16, True, 0.5, CrossEntropyLoss),
    ],
)
def test_each_ablation_leaves_out_what_it_says(data, name, pairs, regularize, tau, plain):
    _, parts = parts_of(data, name)
    method = parts.method
    assert (method.num_pairs, method.regularize, method.tau, method.eta) == (pairs, regularize, tau, 1.0)
    assert type(method.criterion) is plain
    assert list(parts.loaders) == ["train", *["pairs"] * bool(pairs), *["mixed"] * regularize]


@pytest.mark.parametrize("data_set", ["digits-lt", "cifar10-lt", "cifar100-lt"])
def test_the_stages_are_two_thirds_and_one_third(data_set):
    for name in ABLATIONS:
        config = experiment.resolve(name, data_set)
        assert config["method"]["stage_2_from"] == pytest.approx(2 / 3)
        assert config["calibrator"]["name"] == "retraining"
        assert config["calibrator"]["start"] == "trained"
    ours = [source for _, source in experiment.values_of("cp_mix", data_set).values() if source.startswith("ours")]
    assert any("the paper's value was not available" in source for source in ours)


def test_a_run_tells_saves_and_draws_its_confusions(tmp_path, capsys):
    from lt_fast.cli import main

    folder = tmp_path / "run"
    options = [f"--set={name}={value}" for name, value in SHORT.items()]
    status = main(["train", "--method=cp-mix", "--data=digits-lt", "--quiet", f"--run={folder}", "--seed=5", *options])
    words = capsys.readouterr().out
    assert status == 0
    result = json.loads((folder / "result.json").read_text())
    confusions = result["method"]["confusions"]
    assert confusions["predictions"] == 6 * 417
    assert f"most confused while training, of {confusions['errors']} errors on 2502 images" in words
    entries = load_file(folder / "confusion_counts.safetensors")["entries"]
    counts = ConfusionCounts(10)
    counts.load_state_dict({**counts.state_dict(), "entries": entries})
    matrix = counts.matrix()
    assert confusions["errors"] == matrix.sum() - np.trace(matrix)
    first = confusions["most_frequent"][0]
    off_diagonal = matrix - np.diag(np.diag(matrix))
    assert first["count"] == off_diagonal.max()
    row = off_diagonal[int(first["true"])]
    assert first["count"] == row[int(first["predicted"])]
    assert first["share"] == pytest.approx(first["count"] / row.sum())
    assert run_report.confusion_table(result).splitlines()[2].split()[:3] == [
        first["true"], first["predicted"], str(first["count"]),
    ]  # fmt: skip
    assert (folder / "plots" / "confusion_pairs.png").stat().st_size > 10_000
    assert (folder / "calibration" / "calibrator.safetensors").exists()
    again = experiment.evaluate_run(folder)
    assert again["metrics"] == result["metrics"]
    assert again["metrics_before_calibration"] == result["metrics_before_calibration"]


def test_a_loop_without_loaders_is_told_the_classes_of_the_counts():
    counts = ClassCounts([3, 2], names=["cat", "dog"])
    method = ConfusionPairing(nn.Flatten(), counts, CrossEntropyLoss(counts))
    method({"train": Batch(views=(torch.tensor([[0.0, 9.0], [0.0, 9.0]]),), target=torch.tensor([0, 1]))})
    pair = {"true": "cat", "predicted": "dog", "count": 1, "share": 1.0}
    assert method.summary()["confusions"] == {"predictions": 2, "errors": 1, "most_frequent": [pair]}


def test_no_mixture_is_left(data):
    with pytest.raises(ValueError, match="mix_pairs must be True with regularize=False, got False: no mixture is left"):
        parts_of(data, mix_pairs=False, regularize=False)
