"""CP-Mix's recipes: what each stage is fed, the table that stage 2 draws by, resuming, the ablations, a whole run."""

import json
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lt_fast import experiment
from lt_fast.errors import Interrupted
from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss
from lt_fast.recipes import assembly
from lt_fast.report import run_report
from lt_fast.sampling import ConfusionCounts
from lt_fast.training import RunDirectory, fit

SHORT = {"epochs": 6, "pairs_per_batch": 16}  # stage 1: epochs 0 to 3; 417 images: seven steps an epoch
ABLATIONS = ["cp_mix", "cp_mix_no_pairs", "cp_mix_no_mixing_function", "cp_mix_no_regularization", "cp_mix_ce"]


@pytest.fixture(scope="module")
def data():
    return assembly.load_data(config_of("cp_mix"))


def config_of(name, **overrides):
    return experiment.resolve(name, "digits-lt", {**SHORT, **overrides}, seed=5)


def parts_of(data, name="cp_mix", **overrides):
    config = config_of(name, **overrides)
    criterion = assembly.make_criterion(config, data.train.class_counts)
    return config, criterion, assembly.make_batches(config, data, criterion)


class KilledError(BaseException):
    """Ends a training as a kill does: nothing gets a chance to save."""


def interrupt():
    signal.raise_signal(signal.SIGINT)


def kill():
    raise KilledError


def train(data, *, run=None, resume=False, stop_at=None, stop=interrupt, seen=None):
    """Train through ``fit``, noting every batch; returns the weights and the counts."""
    config, criterion, batches = parts_of(data)
    model, steps = assembly.make_model(config, data), []

    def watched(logits, *labels):
        steps.append(None)
        if seen is not None:
            seen.append([None if part is None else part.clone() for part in labels])
        if len(steps) == stop_at:
            stop()
        return forward(logits, *labels)

    forward, criterion.forward = criterion.forward, watched
    fit(
        model,
        batches,
        criterion,
        epochs=config["epochs"],
        learning_rate=assembly.make_schedule(config),
        run=run,
        resume=resume,
        progress=False,
    )
    return model.state_dict(), criterion.up_to_date()


def test_stage_1_is_plain_and_stage_2_has_three_parts(data):
    _, _, batches = parts_of(data)
    plain = assembly.make_batches(experiment.resolve("ce", "digits-lt", seed=5), data, torch.nn.Identity())
    for epoch in range(6):
        batches.set_epoch(epoch)
        plain.set_epoch(epoch)
        for batch, plain_batch in zip(batches, plain, strict=True):
            x, y_a, y_b, lam = batch.x, batch.target, batch.target_b, batch.lam
            x_plain, y_plain, rows = plain_batch.x, plain_batch.target, len(plain_batch)
            assert torch.equal(x[:rows], x_plain)
            assert torch.equal(y_a[:rows], y_plain)
            if epoch < 4:
                assert y_b is lam is None
                continue
            assert len(x) == 2 * rows + 16
            assert (lam[:rows] == 1).all()
            # The last part is the first one mixed with itself.
            mixed, second = x[rows + 16 :], y_b[rows + 16 :]
            assert torch.equal(y_a[rows + 16 :], y_plain)
            assert torch.equal(second.sort().values, y_plain.sort().values)
            assert len(set(lam[rows + 16 :].tolist())) == 1
            share = lam[-1]
            partner = (mixed - share * x_plain) / (1 - share).clamp_min(1e-3)
            if share < 0.9:
                nearest = torch.cdist(partner.flatten(1), x_plain.flatten(1)).argmin(1)
                assert torch.equal(y_plain[nearest], second)
            assert (y_a[rows : rows + 16] != y_b[rows : rows + 16]).all()
            assert lam[rows] != share


def test_stage_2_draws_by_the_confusions_before_each_epoch(data):
    """Every pair of an epoch is one that the training had confused by its start, where the class had been confused."""
    config, criterion, batches = parts_of(data)
    counts = criterion.up_to_date()
    counts.update([0, 0, 3, 5], [1, 1, 7, 2])
    drawn = {}
    for epoch in (4, 5):
        batches.set_epoch(epoch)
        if epoch == 5:
            counts.update([9], [9])
        pairs = np.concatenate(
            [np.stack([b.target[-80:-64], b.target_b[-80:-64]], axis=1) for b in batches if len(b) == 144]
        )
        drawn[epoch] = {first: set(pairs[pairs[:, 0] == first, 1].tolist()) for first in range(10)}
        counts.update([1], [8])  # counts from the next epoch on
    assert (drawn[4][0], drawn[4][3], drawn[4][5]) == ({1}, {7}, {2})
    assert len(drawn[4][1]) > 1
    assert drawn[5][1] == {8}
    assert config["pairs_per_batch"] == 16


def test_all_plain_images_are_counted_and_no_other(data):
    seen = []
    _, counts = train(data, seen=seen)
    assert counts.total == 6 * len(data.train)
    np.testing.assert_array_equal(counts.matrix().sum(1), 6 * data.train.class_counts.counts)
    assert len(seen) == 42


# Steps 1 to 28 are stage 1; the 28th and 35th end an epoch, the 29th is the first that mixes.
@pytest.mark.parametrize(
    ("stop_at", "stop", "error"),
    [(at, interrupt, Interrupted) for at in (9, 28, 29, 31, 35)] + [(at, kill, KilledError) for at in (16, 29, 40)],
)
def test_stopped_in_either_stage_and_resumed_to_the_same_bits(data, tmp_path, stop_at, stop, error):
    weights, counts = train(data)
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(error):
        train(data, run=run, stop_at=stop_at, stop=stop)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        again, counted = train(data, run=run, resume=True)
    assert counted == counts
    assert all(torch.equal(weights[name], again[name]) for name in weights)


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
    _, criterion, batches = parts_of(data, name)
    loss = criterion.criterion
    assert (loss.num_pairs, loss.regularize, loss.tau, loss.eta) == (pairs, regularize, tau, 1.0)
    assert type(loss.plain) is plain
    batches.set_epoch(4)
    assert len(next(iter(batches))) == 64 * (1 + regularize) + pairs


@pytest.mark.parametrize("data_set", ["digits-lt", "cifar10-lt", "cifar100-lt"])
def test_the_stages_are_two_thirds_and_one_third(data_set):
    for name in ABLATIONS:
        config = experiment.resolve(name, data_set)
        assert config["stage_2_from"] == pytest.approx(2 / 3)
        assert config["calibrator"] == "retraining"
        assert config["calibration_start"] == "trained"
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
    confusions = result["confusions"]
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


def test_no_mixture_is_left():
    config = config_of("cp_mix", mix_pairs=False, regularize=False)
    with pytest.raises(ValueError, match="no mixture is left"):
        assembly.make_criterion(config, assembly.load_data(config).train.class_counts)
