"""Stopped after any step, by a signal or a crash, and resumed: the bits of a training that was never stopped."""

import signal

import pytest
import torch
from torch import nn

from lt_fast import _files
from lt_fast.errors import DataError, Interrupted, UsageError
from lt_fast.methods import DeferredReweighting
from lt_fast.training import RunDirectory
from lt_fast.training import state as state_module
from lt_fast.training.random_layers import RandomLayers
from training.tiny import STEPS, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

EPOCHS = 3
CUTS = [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]


class KilledError(BaseException):
    """Ends a training as a kill does: nothing gets a chance to save."""


def train(run=None, *, resume=False, before=None, model=None, criterion=None, **keywords):
    """Train from fresh objects; returns everything that a resumed training must share with an uninterrupted one."""
    criterion = criterion or DeferredReweighting(TinyLoss(), TinyLoss(0.5), defer_until=0.5)
    method, history = tiny_fit(
        model,
        TinyBatches(before=before),
        criterion,
        run=run,
        resume=resume,
        **{"evaluate": lambda trained: {"norm": float(trained.model[4].weight.norm())}} | keywords,
    )
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return all_state(method), rows


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


def signalling(*cuts, number=signal.SIGTERM):
    def before(epoch, step):
        if (epoch, step) in cuts:
            signal.raise_signal(number)

    return before


def killing(*cuts):
    def before(epoch, step):
        if (epoch, step) in cuts:
            raise KilledError

    return before


def assert_same(result, uninterrupted):
    same_bits(result[0], uninterrupted[0])
    assert result[1] == uninterrupted[1]


@pytest.mark.parametrize("cut", CUTS)
def test_a_signal_at_any_step(tmp_path, uninterrupted, cut):
    number = signal.SIGINT if cut[1] % 2 else signal.SIGTERM
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted) as caught:
        train(run, before=signalling(cut, number=number))
    assert str(caught.value) == (
        f"stopped by {number.name} after epoch {cut[0] + 1}, step {cut[1] + 1}; the state is in "
        f"{run.path}/checkpoints/epoch-{cut[0]:04d}-step-{cut[1] + 1:06d}; continue with --resume"
    )
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        calls = []
        result = train(run, resume=True, before=lambda *at: calls.append(at))
    assert calls == CUTS[CUTS.index(cut) + 1 :]  # from the very next step
    assert_same(result, uninterrupted)


@pytest.mark.parametrize("cut", CUTS)
def test_a_kill_at_any_step(tmp_path, uninterrupted, cut):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(KilledError):
        train(run, before=killing(cut))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        calls = []
        result = train(run, resume=True, before=lambda *at: calls.append(at))
    assert calls == CUTS[CUTS.index((cut[0], 0)) :]  # from the last checkpoint: the start of the epoch
    assert_same(result, uninterrupted)


def test_stopped_at_every_step_in_turn(tmp_path, uninterrupted):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalling(*CUTS))
    for _ in CUTS[1:]:
        with RunDirectory(tmp_path / "a", {}, resume=True) as run, pytest.raises(Interrupted):
            train(run, resume=True, before=signalling(*CUTS))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True), uninterrupted)


@pytest.mark.parametrize("keywords", [{"amp": True}, {"channels_last": False}, {"momentum": 0.0}, {"nesterov": True}])
def test_under_other_settings(tmp_path, keywords):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalling((1, 1)), **keywords)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True, **keywords), train(**keywords))


def test_a_signal_during_the_evaluation_waits_for_the_end_of_the_epoch(tmp_path, uninterrupted):
    def evaluate(trained):
        signal.raise_signal(signal.SIGINT)
        return {"norm": float(trained.model[4].weight.norm())}

    with (
        RunDirectory(tmp_path / "a", {}) as run,
        pytest.raises(Interrupted, match=r"stopped by SIGINT after epoch 1; "),
    ):
        train(run, evaluate=evaluate)
    assert run.checkpoints.newest().path.name == "epoch-0001"
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True), uninterrupted)


def test_a_finished_run_resumes_to_its_end_without_a_step(tmp_path, uninterrupted):
    with RunDirectory(tmp_path / "a", {}) as run:
        assert_same(train(run), uninterrupted)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True, before=killing(*CUTS)), uninterrupted)


# --- signals while saving ---------------------------------------------------------------------------------------------


def test_a_second_signal_while_saving_changes_nothing(tmp_path, uninterrupted, monkeypatch):
    write, signals = _files.write_synced, iter([signal.SIGTERM])

    def write_under_fire(path, data):
        for number in signals if "epoch" in path.parent.name else ():  # in a checkpoint
            signal.raise_signal(number)
        write(path, data)

    monkeypatch.setattr(_files, "write_synced", write_under_fire)
    with (
        RunDirectory(tmp_path / "a", {}) as run,
        pytest.raises(Interrupted, match="stopped by SIGINT after epoch 1, step 2"),
    ):
        train(run, before=signalling((0, 1), number=signal.SIGINT))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True), uninterrupted)


def test_a_third_signal_while_saving_stops_at_once_and_the_checkpoint_before_is_good(
    tmp_path, uninterrupted, monkeypatch
):
    write = _files.write_synced

    def write_under_fire(path, data):
        write(path, data[: len(data) // 2])
        if "step" in path.parent.name:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        write(path, data)

    with monkeypatch.context() as patch, RunDirectory(tmp_path / "a", {}) as run:
        patch.setattr(_files, "write_synced", write_under_fire)
        with pytest.raises(KeyboardInterrupt):
            train(run, before=signalling((1, 1), number=signal.SIGINT))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert run.checkpoints.newest().path.name == "epoch-0001"
        assert_same(train(run, resume=True), uninterrupted)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
def test_a_damaged_newest_checkpoint_costs_an_epoch_and_no_bit(tmp_path, uninterrupted, name):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalling((2, 1)))
    file = run.checkpoints.paths()[-1] / name
    file.write_bytes(file.read_bytes()[:-7])
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        calls = []
        with pytest.warns(UserWarning, match=rf"epoch-0002-step-000002 is damaged: {name} .*; using the one before it"):
            result = train(run, resume=True, before=lambda *at: calls.append(at))
        kept = [path.name for path in run.checkpoints.paths()]
    assert calls[0] == (2, 0)
    assert kept == ["epoch-0002", "epoch-0003"]  # the damaged one did not push a good one out
    assert_same(result, uninterrupted)


def test_metrics_csv_is_cut_back_to_the_checkpoint_and_mended(tmp_path, uninterrupted):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalling((1, 2)))
    whole = run.metrics_path.read_text()
    assert [line.partition(",")[0] for line in whole.splitlines()] == ["epoch", "1"]
    for damaged in (whole + "2,0.05,1.0,3.0,2.0\n3,0.0", "", "ep"):
        run.metrics_path.write_text(damaged)
        with RunDirectory(tmp_path / "a", {}, resume=True) as run, pytest.raises(KilledError):
            train(run, resume=True, before=killing((1, 3)))
        assert run.metrics_path.read_text() == whole
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert_same(train(run, resume=True), uninterrupted)
    assert [line.partition(",")[0] for line in run.metrics_path.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def test_rows_of_a_run_that_begins_again_are_cut_away(tmp_path):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(KilledError):
        train(run, before=killing((0, 2)))
    run.metrics_path.write_text("epoch\n1\n")
    with RunDirectory(tmp_path / "a", {}, resume=True) as run, pytest.raises(KilledError):
        train(run, resume=True, before=killing((0, 1)))
    assert run.metrics_path.read_text() == "\n"


# --- other circumstances ----------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path):
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalling((1, 1)))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        yield run


def test_other_settings_are_refused_by_name(stopped):
    message = (
        r"resume needs the settings of checkpoint .*epoch-0001-step-000002, but epochs was 3 and is 4, "
        r"optimizer.weight_decay was 0.0002 and is 0.1; go back to them, or name another run directory"
    )
    with pytest.raises(UsageError, match=message):
        train(stopped, resume=True, epochs=4, weight_decay=0.1)


def test_another_environment_is_a_warning(stopped, monkeypatch):
    before = state_module.environment
    monkeypatch.setattr(state_module, "environment", lambda device: before(device) | {"threads": 64})
    with pytest.warns(UserWarning, match=r"resumed elsewhere, the last bits may differ: threads was \d+ and is 64"):
        train(stopped, resume=True)


def test_another_model_or_loss_is_named(stopped):
    model = tiny_model()
    del model[4]
    with pytest.raises(DataError, match=r"epoch-0001-step-000002 is not of this model and loss: .*Unexpected key"):
        train(stopped, resume=True, model=model)
    with pytest.raises(DataError, match=r"epoch-0001-step-000002 is not of this model and loss: .*Missing key"):
        train(stopped, resume=True, criterion=TinyLoss())


def test_batches_of_another_data_set_say_so_themselves(stopped):
    with pytest.raises(DataError, match=r"is not of these batches: train.seed was 0 and is 1"):
        tiny_fit(
            None,
            TinyBatches(seed=1),
            DeferredReweighting(TinyLoss(), TinyLoss(0.5), defer_until=0.5),
            run=stopped,
            resume=True,
        )


def test_without_a_run_directory_signals_act_as_ever():
    with pytest.raises(KeyboardInterrupt):
        train(before=signalling((0, 1), number=signal.SIGINT))


@pytest.mark.parametrize("cut", [(0, 1), (1, 0), (2, 2)])
def test_layers_that_draw_random_numbers(tmp_path, cut):
    """Dropout draws what it would have drawn, whatever the global generator; that one is as it was afterwards."""

    def dropping():
        return nn.Sequential(*tiny_model()[:4], nn.Dropout(0.5), tiny_model()[4])

    def trained(run=None, *, seed, **keywords):
        torch.manual_seed(seed)
        before, method = torch.get_rng_state(), tiny_fit(dropping(), run=run, **keywords)[0]
        assert torch.equal(torch.get_rng_state(), before)
        return all_state(method)

    uninterrupted = trained(seed=1)
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        trained(run, seed=2, batches=TinyBatches(before=signalling(cut)))
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        same_bits(trained(run, seed=3, resume=True), uninterrupted)


def test_layers_draw_others_with_another_seed_of_the_batches():
    first, second, other_rank = (
        RandomLayers({"train": TinyBatches(seed=seed)}, torch.device("cpu"), rank)
        for seed, rank in [(0, 0), (1, 0), (0, 1)]
    )
    drawn = []
    for layers, epoch, step in [
        (first, 0, 0), (first, 0, 1), (first, 1, 0), (second, 0, 0), (other_rank, 0, 0), (first, 0, 0),
    ]:  # fmt: skip
        with layers.keyed(epoch, step):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[-1])
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 5
