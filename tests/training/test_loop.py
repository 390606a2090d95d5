import contextlib
import math
import os
import random
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import reference
from lt_fast.batch import Batch
from lt_fast.errors import Interrupted, UsageError
from lt_fast.methods import Classification, DeferredReweighting, Method, StepOutput
from lt_fast.training import Checkpoints, History, RunDirectory, check_step, cosine, deterministic, fit, multistep
from lt_fast.training.finite import FiniteWatch
from training.tiny import CLASSES, IMAGES, STEPS, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

EPOCHS = 3


def train(model=None, batches=None, criterion=None, **keywords):
    method, history = tiny_fit(model, batches, criterion, **keywords)
    return method.model, history


def test_it_is_plain_gradient_descent_with_momentum():
    deferred = DeferredReweighting(TinyLoss(), TinyLoss(0.5), defer_until=0.5)
    trained, history = train(criterion=deferred, weight_decay=5e-3)
    plain, batches, rate = tiny_model(), TinyBatches(), cosine(0.1, epochs=EPOCHS)
    means = reference.train_plainly(
        plain,
        lambda epoch: TinyLoss(0.5 if epoch >= 2 else 1.0),
        lambda epoch: [batches.batch(epoch, step) for step in range(STEPS)],
        lambda epoch, step: rate(epoch, step, STEPS),
        epochs=EPOCHS,
        momentum=0.9,
        weight_decay=5e-3,
    )
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert history.column("train_loss") == pytest.approx(means, rel=1e-5)


def test_the_history():
    learning_rate = multistep(0.1, epochs=EPOCHS, milestones=(0.4,), warmup=0)
    _, history = train(learning_rate=learning_rate, evaluate=lambda _: {"top1": torch.tensor(0.5), "few_recall": None})
    assert history.columns == ("epoch", "learning_rate", "train_loss", "seconds", "top1", "few_recall")
    assert history.column("epoch") == [1, 2, 3]
    assert history.column("learning_rate") == pytest.approx([0.1, 1e-3, 1e-3])
    assert history.column("top1") == [0.5] * 3
    assert history.column("few_recall") == [None] * 3
    assert all(seconds > 0 for seconds in history.column("seconds"))


def test_no_epochs_save_the_method_as_it_is(tmp_path):
    before, weights = tiny_model(), tiny_model().state_dict()
    with RunDirectory(tmp_path / "run", {}) as run:
        _, history = train(before, epochs=0, run=run)
    assert len(history) == 0
    assert len(History.from_csv(tmp_path / "run" / "metrics.csv")) == 0
    (saved,) = Checkpoints(tmp_path / "run" / "checkpoints").paths()
    tensors = load_file(saved / "model.safetensors")
    same_bits(tensors, weights)
    written = saved.stat().st_mtime_ns
    with RunDirectory(tmp_path / "run", {}, resume=True) as run:
        train(tiny_model(), epochs=0, run=run, resume=True)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").iterdir()] == [written]


@pytest.mark.parametrize(("nesterov", "momentum"), [(False, 0.0), (False, 0.9), (True, 0.9)])
def test_the_optimizer_gets_its_settings(nesterov, momentum):
    trained, _ = train(momentum=momentum, nesterov=nesterov, weight_decay=0.01, channels_last=False)
    plain, batches, rate = tiny_model(), TinyBatches(), cosine(0.1, epochs=EPOCHS)
    optimizer = torch.optim.SGD(plain.parameters(), lr=1, momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            batch = batches.batch(epoch, step)
            optimizer.param_groups[0]["lr"] = rate(epoch, step, STEPS)
            optimizer.zero_grad()
            TinyLoss()(plain(batch.x), batch.target, batch.target_b, batch.lam).backward()
            optimizer.step()
    same_bits(all_state(trained), all_state(plain))


def test_the_same_arguments_give_the_same_bits_and_no_global_generator_is_touched():
    first, _ = train()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002  (read to see it unchanged)
    second, _ = train()
    same_bits(all_state(first), all_state(second))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    now = np.random.get_state()  # noqa: NPY002
    assert states[2][2:] == now[2:]
    assert np.array_equal(states[2][1], now[1])


def test_modes_gradients_and_determinism_are_right_where_they_matter():
    model, seen = tiny_model().eval(), []

    def evaluate(evaluated):
        assert evaluated.model is model
        seen.append((model.training, torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()))
        return {}

    def before(*_):
        seen.append((model.training, torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()))

    train(model, TinyBatches(before=before), evaluate=evaluate)
    assert seen == ([(True, True, True)] * STEPS + [(False, False, True)]) * EPOCHS
    assert not model.training
    assert not torch.are_deterministic_algorithms_enabled()


def outputs_of(model, layer, **keywords):
    seen = []
    handle = model[layer].register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    train(model, **keywords)
    handle.remove()
    return seen


@pytest.mark.parametrize(("amp", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_amp_runs_the_model_in_bfloat16_and_the_loss_in_float32(amp, dtype):
    model = tiny_model()
    seen = outputs_of(model, 4, amp=amp, epochs=1)  # TinyLoss itself insists on float32
    assert {output.dtype for _, output in seen} == {dtype}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_is_the_order_of_images_and_weights(channels_last):
    model = tiny_model()
    with torch.no_grad():
        wide = nn.Conv2d(4, 4, 3, padding=1, device="meta").to_empty(device="cpu")
        for parameter in wide.parameters():
            parameter.fill_(0.1)
    model.insert(1, wide)
    seen = outputs_of(model, 1, channels_last=channels_last, epochs=1)
    assert all(given.is_contiguous(memory_format=torch.channels_last) is channels_last for given, _ in seen)
    assert wide.weight.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_inputs_without_image_dimensions_pass():
    batch = Batch(views=(torch.zeros(2, 3),), target=torch.zeros(2, dtype=torch.int64))
    assert batch.to(torch.device("cpu"), channels_last=True).x.shape == (2, 3)


def test_frozen_parameters_stay():
    model = tiny_model()
    model[0].weight.requires_grad_(requires_grad=False)
    before = model[0].weight.clone()
    train(model)
    assert torch.equal(model[0].weight, before)


def test_determinism_is_restored_after_an_error_too():
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        with deterministic("cuda"):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
        with contextlib.suppress(KeyError), deterministic():
            raise KeyError
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(mode=False)


# --- numbers that are none --------------------------------------------------------------------------------------------


class BadLoss(TinyLoss):
    """Not finite in one step, counted from 0 over the whole training."""

    def __init__(self, at, value):
        super().__init__()
        self.left, self.value = at, value

    def forward(self, *batch):
        self.left -= 1
        return super().forward(*batch) * (self.value if self.left == -1 else 1.0)


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_in_that_step(tmp_path, value, shown):
    model, rate = tiny_model(), multistep(0.05, epochs=EPOCHS, warmup=0)
    with RunDirectory(tmp_path / "a", {}) as run:
        with pytest.raises(FloatingPointError) as caught:
            train(model, criterion=BadLoss(STEPS + 2, value), learning_rate=rate, run=run)
        last = run.checkpoints.newest()
    assert str(caught.value) == (
        f"loss must stay finite, got {shown} in epoch 2, step 3 (learning rate 0.05); "
        f"the last checkpoint, {last.path}, is intact; start another run with a lower learning rate or a longer warm-up"
    )
    assert last.path.name == "epoch-0001"
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_a_first_loss_that_is_not_finite_is_not_put_down_to_the_learning_rate():
    with pytest.raises(FloatingPointError) as caught:
        train(criterion=BadLoss(0, float("inf")))
    assert "got inf in epoch 1, step 1" in str(caught.value)
    assert "no weight has been updated yet: look for NaN or infinity in images" in str(caught.value)
    assert "lower learning rate" not in str(caught.value)


def test_without_a_checkpoint_it_says_so():
    with pytest.raises(
        FloatingPointError, match=r"got nan in epoch 1, step 2 .*; no checkpoint was written yet; start"
    ):
        train(criterion=BadLoss(1, float("nan")))


def test_a_weight_that_is_not_finite_is_never_saved(tmp_path):
    model = tiny_model()

    def evaluate(_):
        with torch.no_grad():
            model[4].bias[1] = float("inf") if model[1].num_batches_tracked > STEPS else 0
        return {}

    with RunDirectory(tmp_path / "a", {}) as run:
        message = (
            r"weights must stay finite, got nan or infinity in 4.bias after epoch 2; the last checkpoint, .*0001, is"
        )
        with pytest.raises(FloatingPointError, match=message):
            train(model, evaluate=evaluate, run=run)
        assert run.checkpoints.newest().epoch == 1


def test_the_watch_looks_every_few_losses_and_names_the_first_bad_one():
    watch = FiniteWatch(torch.device("cpu"), every=5)
    losses = [1.0] * 7 + [float("-inf"), float("nan")]
    for step, loss in enumerate(losses):
        watch.note(torch.tensor(loss), epoch=3, step=step, rate=0.1 / (step + 1), last=None)
    with pytest.raises(FloatingPointError, match=r"got -inf in epoch 4, step 8 \(learning rate 0.0125\)"):
        watch.note(torch.tensor(1.0), epoch=3, step=9, rate=0.01, last=None)
    watch = FiniteWatch(torch.device("cpu"), every=5)
    watch.note(torch.tensor(float("nan")), epoch=0, step=0, rate=0.1, last=None)
    with pytest.raises(FloatingPointError, match=r"got nan in epoch 1, step 1"):
        watch.check(last=None)
    assert FiniteWatch(torch.device("cpu")).every == 1


class Copied:
    """An event that says whether it was waited for."""

    waited = False

    def synchronize(self):
        self.waited = True


def test_where_copies_take_time_the_watch_looks_at_a_block_when_the_next_is_complete():
    events = []
    watch = FiniteWatch(torch.device("cpu"), every=3, mark=lambda: events.append(Copied()) or events[-1])
    losses = [1.0, float("inf"), 1.0, 1.0, 1.0, 1.0, 1.0]
    for step, loss in enumerate(losses[:5]):
        watch.note(torch.tensor(loss), epoch=0, step=step, rate=0.1, last=None)
    assert [event.waited for event in events] == [False]
    with pytest.raises(FloatingPointError, match=r"got inf in epoch 1, step 2 "):
        watch.note(torch.tensor(1.0), epoch=0, step=5, rate=0.1, last=None)
    for copied, after in ((1, 4), (4, 6)):  # in a block that is under way, and in one that is not complete
        watch = FiniteWatch(torch.device("cpu"), every=3, mark=Copied)
        for step in range(after):
            loss = torch.tensor(float("nan") if step == copied else 1.0)
            watch.note(loss, epoch=0, step=step, rate=0.1, last=None)
        with pytest.raises(FloatingPointError, match=rf"got nan in epoch 1, step {copied + 1} "):
            watch.check(last=None)


# --- bad input --------------------------------------------------------------------------------------------------------


class Listed(TinyBatches):
    """Gives what it was told to, whatever its length claims."""

    def __init__(self, items, length):
        super().__init__()
        self.items, self.length = items, length

    def __len__(self):
        return self.length

    def batches(self, epoch, start=0):
        return iter(self.items[start:])


@pytest.mark.parametrize(
    ("loaders", "kind", "message"),
    [
        (TinyBatches(), TypeError, r"loaders must map names to loaders, got TinyBatches; pass {'train': loader}"),
        ({}, ValueError, r"loaders must hold at least one loader, got none; pass {'train': loader}"),
        (
            {"train": [1]},
            TypeError,
            r"loaders\['train'\] must have __len__, .* got list without batches, identity",
        ),
        ({"train": Listed([], 0)}, ValueError, r"must hold at least one batch, got none; lower batch_size or keep the"),
        (
            {"train": TinyBatches(), "pairs": Listed([], 3)},
            ValueError,
            r"loaders\['pairs'\] must have at least the 4 steps of loaders\['train'\], got 3; set num_batches",
        ),
    ],
)
def test_loaders_that_do_not_fit(loaders, kind, message):
    with pytest.raises(kind, match=message):
        fit(Classification(tiny_model(), TinyLoss()), loaders, epochs=1, learning_rate=cosine(0.1, epochs=1))


@pytest.mark.parametrize("given", [(1, 2), torch.zeros(3), {"x": 1}])
def test_batches_of_another_type(given):
    message = (
        rf"loaders\['train'\] must give lt_fast.batch.Batch, got {type(given).__name__}; make one by Batch\(views="
    )
    with pytest.raises(TypeError, match=message):
        train(batches=Listed([given], 1))


def test_fewer_batches_than_promised():
    with pytest.raises(ValueError, match=r"loaders\['train'\] must give 2 batches per epoch, got 1"):
        train(batches=Listed([TinyBatches().batch(0, 0)], 2))


def test_a_longer_loader_is_cut():
    _, history = train(batches=Listed([TinyBatches().batch(0, 0)] * 3, 2), epochs=1)
    assert len(history) == 1


class Logging(Classification):
    """Logs a number of each step, reads another loader in odd epochs."""

    def active(self, epoch, epochs):
        return ("train",) if epoch % 2 == 0 else None

    def training_step(self, batches):
        output = super().training_step(batches)
        return StepOutput(output.loss, {"loaders": torch.tensor(len(batches)), "twice": 2 * output.loss})


def test_logs_are_averaged_and_inactive_loaders_are_not_read():
    read = []
    other = TinyBatches(seed=1, before=lambda epoch, _: read.append(epoch))
    loaders = {"train": TinyBatches(), "other": other}
    method = Logging(tiny_model(), TinyLoss())
    history = fit(method, loaders, epochs=3, learning_rate=cosine(0.1, epochs=3), progress=False)
    assert history.column("loaders") == [1, 2, 1]
    assert history.column("twice") == pytest.approx([2 * loss for loss in history.column("train_loss")])
    assert read == [1] * STEPS


class Own(Classification):
    def __init__(self, names=None, logs=None):
        super().__init__(tiny_model(), TinyLoss())
        self.names, self.logs = names, logs or {}

    def active(self, epoch, epochs):
        return self.names

    def training_step(self, batches):
        return StepOutput(super().training_step(batches).loss, self.logs)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Own(names=("trian",)), r"active must name loaders among train, got \['trian'\]"),
        (Own(names=()), r"active must name loaders among train, got none"),
        (Own(logs={"seconds": torch.tensor(1.0)}), r"logs must not use the names epoch, .*, got 'seconds'; rename it"),
    ],
)
def test_methods_that_do_not_fit(method, message):
    with pytest.raises(ValueError, match=message):
        fit(method, {"train": TinyBatches()}, epochs=1, learning_rate=cosine(0.1, epochs=1), progress=False)


class NotANumber(Classification):
    """Logs NaN, as a ratio does in a batch without such rows."""

    def training_step(self, batches):
        return StepOutput(super().training_step(batches).loss, {"ratio": torch.tensor(float("nan"))})


def test_a_log_that_is_nan_is_saved_and_restored(tmp_path):
    def stop(epoch, step):
        if (epoch, step) == (0, 1):
            signal.raise_signal(signal.SIGTERM)

    def fitted(run, *, before=None, resume=False):
        method, rate = NotANumber(tiny_model(), TinyLoss()), cosine(0.1, epochs=1)
        loaders = {"train": TinyBatches(before=before)}
        return fit(method, loaders, epochs=1, learning_rate=rate, run=run, resume=resume, progress=False)

    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        fitted(run, before=stop)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert math.isnan(fitted(run, resume=True).column("ratio")[0])


def test_what_records_in_python_is_not_captured():
    class Counting(Classification):
        graphable = False

    with pytest.raises(ValueError, match=r"step must be 'eager' for Counting, which computes something on the host"):
        check_step("graph", "cuda", Counting(tiny_model(), TinyLoss()))
    check_step("graph", "cuda", Classification(tiny_model(), TinyLoss()))


def test_a_method_without_a_step_says_so():
    with pytest.raises(NotImplementedError, match=r"Method must define training_step\(batches\)"):
        fit(Method(tiny_model()), {"train": TinyBatches()}, epochs=1, learning_rate=cosine(0.1, epochs=1))
    with pytest.raises(TypeError, match=r"model must be an nn.Module, got int"):
        Method(1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"epochs": -1}, r"epochs must be >= 0, got -1"),
        ({"step": "graph"}, r"step must be 'eager' on cpu, got 'graph'; a CUDA graph needs device='cuda'"),
        ({"step": "grahp"}, r"step must be one of eager, graph, got 'grahp'; did you mean 'graph'\?"),
        ({"optimizer": torch.optim.LBFGS}, r"optimizer must step without a closure, got LBFGS; use SGD or AdamW"),
        ({"resume": True}, r"resume must be False without a run directory, got True; pass run=RunDirectory\(...\)"),
        (
            {"learning_rate": lambda *_: float("nan")},
            r"learning_rate must be finite and >= 0, got nan at epoch 0, step 0 of 4",
        ),
        (
            {"learning_rate": lambda *_: -0.1},
            r"learning_rate must be finite and >= 0, got -0.1 at epoch 0, step 0 of 4",
        ),
        (
            {"evaluate": lambda _: {"epoch": 1}},
            r"evaluate must not use the names epoch, learning_rate, .*, got 'epoch'",
        ),
    ],
)
def test_values_out_of_range(keywords, message):
    with pytest.raises(ValueError, match=message):
        train(**keywords)


class RowLoss(TinyLoss):
    def forward(self, logits, *_):
        return logits.sum(1)


def test_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match=r'criterion must give a scalar, got shape \(6,\); pass reduction="mean"'):
        train(criterion=RowLoss())


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([0.5], r"evaluate must return named numbers, got list"),
        ({"per_class": [1]}, r"evaluate must return a number or None under each name, got per_class=\[1\]"),
        ({"top1": "high"}, r"evaluate must return a number or None under each name, got top1='high'"),
    ],
)
def test_evaluations_of_the_wrong_form(result, message):
    with pytest.raises(TypeError, match=message):
        train(evaluate=lambda _: result)


def test_an_evaluation_that_fails_loses_no_epoch(tmp_path):
    def fail(_):
        raise RuntimeError("out of memory")

    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(RuntimeError, match="out of memory"):
        train(run=run, evaluate=fail)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        assert run.checkpoints.newest().path.name == "epoch-0000-step-000004"
        calls = []
        batches = TinyBatches(before=lambda *at: calls.append(at))
        resumed, _ = train(batches=batches, run=run, resume=True, evaluate=lambda _: {})
    assert calls[0] == (1, 0)
    same_bits(all_state(resumed), all_state(train()[0]))


def test_checkpoints_are_not_written_over_by_accident(tmp_path):
    with RunDirectory(tmp_path / "a", {}) as run:
        train(run=run)
        with pytest.raises(UsageError, match=r"a holds checkpoints; continue with resume=True, or name another run"):
            train(run=run)


def test_the_tiny_parts_are_what_the_tests_take_them_for():
    sizes = [len(TinyBatches().batch(0, step)) for step in range(STEPS)]
    assert sum(sizes) == IMAGES
    assert sizes[-1] < sizes[0]
    assert set(TinyBatches().labels.tolist()) == set(range(CLASSES))


def test_progress_lines_go_to_standard_error(capsys):
    train(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
