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
from training.tiny import STEPS, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

EPOCHS = 4
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


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
        for step, batch in enumerate(batches.batches(epoch)):
            moved = {"train": batch.to("cpu", channels_last=True)}
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


@GPU
@pytest.mark.parametrize("amp", [False, True])
def test_on_a_gpu_a_graph_gives_the_weights_of_eager_steps(amp):
    optimizer = partial(torch.optim.SGD, momentum=0.9, weight_decay=2e-4, fused=True)
    states = [
        all_state(tiny_fit(epochs=EPOCHS, device="cuda", optimizer=optimizer, step=step, amp=amp)[0])
        for step in ("eager", "graph")
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
