"""Training on a GPU: a graph gives the weights of eager steps, nothing waits inside an epoch, and failures are told."""

import gzip
import json
from functools import partial

import pytest
import torch
from torch import nn

from lt_fast.batch import Batch
from lt_fast.methods import Classification, DeferredReweighting
from lt_fast.training import Measured, cosine, fit
from lt_fast.training.finite import FiniteWatch
from lt_fast.training.graphs import cuda_graph
from lt_fast.training.times import Part
from lt_fast.training.transfer import CopyAhead
from training.tiny import CLASSES, SIZE, all_state, tiny_fit, tiny_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=2e-4, fused=True),
    "adamw": partial(torch.optim.AdamW, weight_decay=1e-2, fused=True, capturable=True),
}
EPOCHS, STEPS, ROWS = 2, 60, 16


class PinnedBatches:
    """Many steps of pinned memory, which is filled with another value as soon as nobody holds the batch."""

    def __init__(self, rows=ROWS):
        self.rows = rows
        self._free = []

    def __len__(self):
        return STEPS

    def identity(self):
        return {"seed": 0}

    def batches(self, epoch, start=0):
        for step in range(start, STEPS):
            draw = torch.Generator().manual_seed(epoch * STEPS + step)
            x = torch.rand(self.rows, 1, SIZE, SIZE, generator=draw).pin_memory()
            yield Batch(views=(x,), target=torch.randint(CLASSES, (self.rows,), generator=draw).pin_memory())


class Loss(nn.Module):
    """Cross entropy, whose labels need no look at the host."""

    def forward(self, logits, target, target_b=None, lam=None):
        return nn.functional.cross_entropy(logits, target)


def trained(model=None, *, batches=None, epochs=EPOCHS, criterion=None, **keywords):
    method = Classification(tiny_model() if model is None else model, Loss() if criterion is None else criterion)
    keywords = {"learning_rate": cosine(0.05, epochs=epochs), "progress": False, "device": "cuda"} | keywords
    loaders = {"train": PinnedBatches() if batches is None else batches}
    return method, fit(method, loaders, epochs=epochs, **keywords)


def same(left, right):
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_graph_gives_the_weights_of_eager_steps(optimizer, amp):
    states = [all_state(trained(optimizer=OPTIMIZERS[optimizer], step=step, amp=amp)[0]) for step in ("eager", "graph")]
    same(*states)


def test_with_short_batches_mixed_ones_and_two_phases():
    states = []
    for step in ("eager", "graph"):
        criterion = DeferredReweighting(Loss(), Loss(), defer_until=0.5)
        method, _ = tiny_fit(criterion=criterion, epochs=6, device="cuda", optimizer=OPTIMIZERS["sgd"], step=step)
        states.append(all_state(method))
    same(*states)


def test_the_loop_s_own_optimizer_can_be_captured():
    same(all_state(trained(step="graph")[0]), all_state(trained(step="eager")[0]))


def test_dropout_draws_the_same_in_a_graph():
    def dropping():
        return nn.Sequential(*tiny_model()[:4], nn.Dropout(0.3), tiny_model()[4])

    same(*(all_state(trained(dropping(), step=step)[0]) for step in ("eager", "graph")))


@pytest.mark.parametrize("step", ["eager", "graph"])
def test_nothing_waits_for_the_gpu_inside_an_epoch(step):
    class Watched(PinnedBatches):
        """An error of torch where the host waits, from the 8th step of the second epoch to the one before the last."""

        def batches(self, epoch, start=0):
            try:
                for number, batch in enumerate(super().batches(epoch, start)):
                    if epoch == 1 and number == 8:
                        torch.cuda.set_sync_debug_mode("error")
                    yield batch
            finally:
                torch.cuda.set_sync_debug_mode("default")

    _, history = trained(batches=Watched(), step=step)
    assert len(history.rows) == EPOCHS


def test_the_first_step_of_an_epoch_does_not_wait_either():
    class Watched(PinnedBatches):
        def batches(self, epoch, start=0):
            if epoch == 1:
                torch.cuda.set_sync_debug_mode("error")
            try:
                yield from super().batches(epoch, start)
            finally:
                torch.cuda.set_sync_debug_mode("default")

    trained(batches=Watched(), step="graph")


def test_a_loss_that_is_not_finite_is_found_within_50_steps():
    class Bad(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))

        def forward(self, logits, target, target_b=None, lam=None):
            self.step += 1
            return nn.functional.cross_entropy(logits, target) + torch.where(self.step == 31, float("nan"), 0.0)

    steps = []

    class Counted(PinnedBatches):
        def batches(self, epoch, start=0):
            for batch in super().batches(epoch, start):
                steps.append(epoch)
                yield batch

    with pytest.raises(FloatingPointError, match="got nan in epoch 1, step 31 "):
        trained(batches=Counted(), criterion=Bad())
    assert 31 < len(steps) <= 31 + 50


def test_the_watch_looks_a_block_later():
    watch = FiniteWatch(torch.device("cuda"), every=3)
    losses = [1.0, float("inf"), 1.0, 1.0, 1.0]
    for step, loss in enumerate(losses):
        watch.note(torch.tensor(loss, device="cuda"), epoch=0, step=step, rate=0.1, last=None)
    with pytest.raises(FloatingPointError, match="got inf in epoch 1, step 2 "):
        watch.note(torch.tensor(1.0, device="cuda"), epoch=0, step=5, rate=0.1, last=None)


def test_what_the_host_must_know_cannot_be_captured_and_runs_eagerly():
    class Looking(Loss):
        def forward(self, logits, target, target_b=None, lam=None):
            loss = super().forward(logits, target)
            return loss * (2.0 if float(loss.detach()) > 1e9 else 1.0)

    with pytest.warns(UserWarning, match="step='graph' goes on as 'eager': the step cannot be captured: ") as told:
        graph = all_state(trained(criterion=Looking(), step="graph")[0])
    assert len(told) == 1
    same(graph, all_state(trained(step="eager")[0]))
    same(all_state(trained(step="graph")[0]), graph)  # another graph can be captured afterwards


def test_a_capture_that_fails_gives_the_stream_back():
    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        cuda_graph(lambda: torch.ones(1, device="cuda").item())
    assert torch.cuda.current_stream() == stream
    assert torch.ones(3, device="cuda").sum().item() == 3
    replay, output = cuda_graph(lambda: torch.ones(3, device="cuda") + 1)
    replay()
    assert output.tolist() == [2, 2, 2]


def test_other_threads_may_pin_memory_during_a_capture():
    import threading

    def pinning():
        thread = threading.Thread(target=lambda: pinned.append(torch.zeros(1 << 20).pin_memory()))
        thread.start()
        thread.join()
        return torch.ones(1, device="cuda") + 1

    pinned = []
    replay, output = cuda_graph(pinning)
    replay()
    assert (output.item(), len(pinned)) == (2, 1)


@pytest.mark.parametrize("channels_last", [False, True])
def test_copies_ahead_arrive(channels_last):
    steps = [
        {"train": Batch(views=(torch.full((4, 3, 64, 64), float(k)).pin_memory(),), target=torch.full((4,), k))}
        for k in range(50)
    ]
    sums = [
        torch.stack((found["train"].x.sum(), found["train"].target.sum()))
        for found in CopyAhead(torch.device("cuda"), channels_last=channels_last)(iter(steps))
    ]
    assert torch.stack(sums).tolist() == [[k * 4 * 3 * 64 * 64, 4 * k] for k in range(50)]


def test_the_times_of_a_graph_and_its_trace(tmp_path):
    times = Measured(tmp_path / "trace.json.gz")
    plain, _ = trained(step="graph")
    method, _ = trained(step="graph", times=times)
    same(all_state(method), all_state(plain))
    assert times.device_seconds[Part.GRAPH] > 0
    assert 0 < times.busy <= 1
    assert "on the GPU" in times.table()
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]


def test_predictions_by_graphs_are_those_of_the_method():
    from lt_fast.experiment.captured import CapturedPrediction

    method = Classification(tiny_model(), Loss()).cuda().eval()
    captured = CapturedPrediction(method, torch.device("cuda")).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for rows in (64, 64, 64, 10, 64):
            x = torch.rand(rows, 1, SIZE, SIZE, generator=draw).cuda()
            assert torch.equal(captured.predict(x), method.predict(x))
        for parameter in method.parameters():
            parameter.mul_(0.5)  # as an optimizer does, in place
        assert torch.equal(captured.predict(x), method.predict(x))
