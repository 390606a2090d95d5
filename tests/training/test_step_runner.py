"""A captured step computes what an eager one does. Without a GPU the capture is replaced by a plain call."""

import gc
import weakref
from functools import partial

import pytest
import torch

from lt_fast.batch import Batch
from lt_fast.methods import Classification, DeferredReweighting
from lt_fast.training import cosine
from lt_fast.training.step_runner import EagerStep, GraphStep
from lt_fast.training.transfer import CopyAhead
from training.test_transfer import LateStreams
from training.tiny import STEPS, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

EPOCHS = 4


class Held:
    """An output whose tensors stay the same and get new values, as those of a graph."""

    def __init__(self):
        self.loss, self.logs = torch.zeros(()), {}


class PlainCapture:
    """Repeats the function instead of a graph, and counts."""

    def __init__(self):
        self.captures, self.replays = 0, 0

    def __call__(self, function):
        self.captures += 1
        output = Held()

        def replay():
            self.replays += 1
            output.loss.copy_(function().loss.detach())

        return replay, output


def train_by(make_runner, *, epochs=EPOCHS):
    method = Classification(tiny_model(), DeferredReweighting(TinyLoss(), TinyLoss(0.5), defer_until=0.5))
    optimizer = torch.optim.SGD(method.parameters(), momentum=0.9, weight_decay=2e-4)
    runner = make_runner(EagerStep(method, optimizer, device=torch.device("cpu"), amp=False))
    rate, batches, losses, identities = cosine(0.1, epochs=epochs), TinyBatches(), [], set()
    for epoch in range(epochs):
        method.on_epoch_start(epoch, epochs)
        method.train()
        for step, moved in enumerate(runner.moved({"train": batch} for batch in batches.batches(epoch))):
            given = {"phase": method.phase(epoch), "rate": rate(epoch, step, STEPS), "weight": 1.0}
            output = runner(moved, **given, check=lambda loss: losses.append(float(loss.detach())))
            identities.add(id(output.loss))
    return all_state(method), losses, runner


def test_the_same_weights_and_losses_as_eager_steps():
    capture = PlainCapture()
    weights, losses, _ = train_by(lambda eager: eager)
    captured, again, _ = train_by(partial(GraphStep, capture=capture, warm_up=1))
    same_bits(captured, weights)
    assert again == pytest.approx(losses, rel=1e-6)
    # Two phases with plain and mixed batches each; a first step of each is eager, so are the short last batches.
    assert capture.captures == 4
    assert capture.replays > EPOCHS


def test_the_loop_s_own_rates_match(monkeypatch):
    plain, _ = tiny_fit(epochs=2)
    capture = PlainCapture()
    from lt_fast.training import loop

    runner = partial(GraphStep, capture=capture, warm_up=1)
    monkeypatch.setattr(loop, "_step_runner", lambda training, *_: runner(eager_of(training)))
    captured, _ = tiny_fit(epochs=2)
    assert capture.replays > 0
    same_bits(all_state(captured), all_state(plain))


def eager_of(training):
    return EagerStep(training.method, training.optimizer, device=training.device, amp=training.settings.amp)


class PointlessCapture(PlainCapture):
    """Fails in the middle of the step. As under a real capture nothing has been computed: all tensors are as before."""

    def __init__(self, method, optimizer):
        super().__init__()
        self.method, self.optimizer = method, optimizer

    def __call__(self, function):
        self.captures += 1
        tensors = [*self.method.state_dict().values()]
        tensors += [value for state in self.optimizer.state.values() for value in state.values()]
        before = [tensor.clone() for tensor in tensors if isinstance(tensor, torch.Tensor)]
        function()
        for tensor, value in zip([each for each in tensors if isinstance(each, torch.Tensor)], before, strict=True):
            with torch.no_grad():
                tensor.copy_(value)
        raise RuntimeError(
            "CUDA error: operation not permitted when stream is capturing\nCompile with `TORCH_USE_CUDA_DSA`"
        )


def test_a_step_that_cannot_be_captured_runs_eagerly_from_an_untouched_state():
    captures = []

    def runner(eager):
        captures.append(PointlessCapture(eager.method, eager.optimizer))
        return GraphStep(eager, capture=captures[0], warm_up=1)

    message = (
        r"^step='graph' goes on as 'eager': the step cannot be captured: CUDA error: operation not permitted when "
        r"stream is capturing$"
    )
    with pytest.warns(UserWarning, match=message) as told:
        fallen_back, losses, _ = train_by(runner)
    assert (len(told), captures[0].captures) == (1, 1)  # it is tried once, and told once
    eager, wanted, _ = train_by(lambda eager: eager)
    same_bits(fallen_back, eager)
    assert losses == wanted


def test_copies_ahead_change_nothing():
    streams = LateStreams()
    capture = PlainCapture()

    def copying(eager):
        return GraphStep(eager, capture=capture, warm_up=1, streams=streams)

    captured, losses, runner = train_by(copying)
    assert isinstance(runner.moved, CopyAhead)
    assert (capture.replays > EPOCHS, streams.marks > EPOCHS * STEPS) == (True, True)
    eager, wanted, _ = train_by(lambda eager: eager)
    same_bits(captured, eager)
    assert losses == pytest.approx(wanted, rel=1e-6)


def test_rates_are_set_once_for_each_change_and_scaled():
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    groups = [{"params": [first]}, {"params": [second], "lr_scale": 0.5}]
    eager = EagerStep(torch.nn.Identity(), torch.optim.SGD(groups, lr=1.0), device=torch.device("cpu"), amp=False)
    eager.rates.set(0.4)
    assert [group["lr"] for group in eager.optimizer.param_groups] == [0.4, 0.2]
    eager.optimizer.param_groups[0]["lr"] = "untouched"
    eager.rates.set(0.4)
    assert eager.optimizer.param_groups[0]["lr"] == "untouched"


def test_a_batch_is_copied_into_the_inputs_of_its_graph():
    seen = []

    class Seeing(Classification):
        def training_step(self, batches):
            seen.append(batches["train"].x.data_ptr())
            return super().training_step(batches)

    method = Seeing(tiny_model(), TinyLoss())
    optimizer = torch.optim.SGD(method.parameters(), momentum=0.9)
    runner = GraphStep(
        EagerStep(method, optimizer, device=torch.device("cpu"), amp=False), capture=PlainCapture(), warm_up=0
    )
    kept = []
    for epoch in range(3):
        batch = TinyBatches().batch(epoch, 0)
        kept.append(batch)
        runner({"train": batch}, phase=None, rate=0.1, weight=1.0, check=lambda _: None)
    assert len(set(seen)) == 1
    assert seen[0] not in {batch.x.data_ptr() for batch in kept}


def test_a_batch_can_be_cloned_and_overwritten():
    first, second = TinyBatches().batch(0, 1), TinyBatches().batch(1, 1)
    copied = first.clone()
    assert copied.signature() == second.signature()
    copied.copy_(second)
    for name in ("x", "target", "target_b", "lam"):
        assert torch.equal(getattr(copied, name), getattr(second, name))
        assert not torch.equal(getattr(copied, name), getattr(first, name)) or name == "target"
    plain = Batch(views=(first.x,), target=first.target)
    assert plain.signature() != first.signature()


def test_the_graphs_of_a_phase_go_when_another_begins():
    captured = []

    def capture(function):
        replay, output = PlainCapture()(function)
        captured.append(weakref.ref(replay))
        return replay, output

    method = Classification(tiny_model(), TinyLoss())
    optimizer = torch.optim.SGD(method.parameters(), momentum=0.9)
    eager = EagerStep(method, optimizer, device=torch.device("cpu"), amp=False)
    runner = GraphStep(eager, capture=capture, warm_up=0)
    for phase in ("first", "first", "second"):
        runner({"train": TinyBatches().batch(0, 0)}, phase=phase, rate=0.1, weight=1.0, check=lambda _: None)
        gc.collect()
    assert [each() is None for each in captured] == [True, False]


def test_an_optimizer_that_no_graph_can_hold_is_named():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    eager = EagerStep(torch.nn.Identity(), optimizer, device=torch.device("cuda"), amp=False)
    message = r"optimizer must be made with fused=True or capturable=True for step='graph', got SGD with neither"
    with pytest.raises(ValueError, match=message):
        GraphStep(eager)
