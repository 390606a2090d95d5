"""Any optimizer of ``torch.optim``: its state in a checkpoint, and back to the same bits."""

import inspect
import json
import signal
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lt_fast.errors import Interrupted, UsageError
from lt_fast.methods import Classification, StepOutput
from lt_fast.training import RunDirectory, cosine, fit
from lt_fast.training.optimizers import make_optimizer, restore_state, settings_of
from training.tiny import CLASSES, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

# LBFGS needs a closure, SparseAdam sparse gradients, Muon matrices alone.
NAMES = sorted(
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found)
    and issubclass(found, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
)
CUT = (1, 1)


def stop(epoch, step):
    if (epoch, step) == CUT:
        signal.raise_signal(signal.SIGTERM)


def train(optimizer, **keywords):
    method, history = tiny_fit(None, TinyBatches(before=keywords.pop("before", None)), optimizer=optimizer, **keywords)
    return all_state(method), history.column("train_loss")


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_ends_in_the_same_bits(name, tmp_path):
    optimizer = getattr(torch.optim, name)
    weights, losses = train(optimizer)
    with RunDirectory(tmp_path / "run", {}) as run, pytest.raises(Interrupted):
        train(optimizer, run=run, before=stop)
    with RunDirectory(tmp_path / "run", {}, resume=True) as run:
        resumed, again = train(optimizer, run=run, resume=True)
    same_bits(resumed, weights)
    assert again == losses


def test_there_is_something_to_restore():
    assert len(NAMES) >= 10
    assert {"SGD", "AdamW", "RMSprop", "Adagrad"} <= set(NAMES)


def test_the_state_is_tensors_and_json(tmp_path):
    with RunDirectory(tmp_path / "run", {}) as run:
        train(partial(torch.optim.AdamW, weight_decay=0.1), run=run)
    newest = run.checkpoints.paths()[-1]
    names = {name for name in load_file(newest / "training.safetensors") if name.startswith("optimizer.")}
    assert "optimizer.model.4.bias.exp_avg" in names
    assert "optimizer.model.4.bias.step" in names
    recorded = json.loads((newest / "state.json").read_text())["values"]["optimizer"]
    assert recorded["settings"]["name"] == "AdamW"
    assert recorded["settings"]["weight_decay"] == 0.1
    assert not {"lr", "params", "foreach", "fused"} & recorded["settings"].keys()


@pytest.mark.parametrize(
    ("options", "counted_on"),
    [({}, "cpu"), ({"foreach": True}, "cpu"), ({"fused": True}, "meta"), ({"capturable": True}, "meta")],
)
def test_the_count_of_steps_is_where_the_kernel_reads_it(options, counted_on):
    """The device "meta" stands for a GPU: a fused kernel would read a count on the CPU through a wrong address."""
    method = nn.Linear(2, 3, device="meta")
    optimizer = torch.optim.AdamW(method.parameters(), **options)
    tensors = {"weight.step": torch.tensor(7.0), "weight.exp_avg": torch.ones(3, 2), "weight.other": torch.ones(3)}
    restore_state(optimizer, method, tensors, {})
    state = optimizer.state[method.weight]
    assert {name: tensor.device.type for name, tensor in state.items()} == {
        "step": counted_on, "exp_avg": "meta", "other": "meta",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (partial(torch.optim.SGD, momentum=0.5), r"optimizer.momentum was 0.9 and is 0.5"),
        (torch.optim.AdamW, r"optimizer.name was 'SGD' and is 'AdamW'"),
    ],
)
def test_another_optimizer_is_refused_by_name(tmp_path, other, words):
    sgd = partial(torch.optim.SGD, momentum=0.9)
    with RunDirectory(tmp_path / "run", {}) as run, pytest.raises(Interrupted):
        train(sgd, run=run, before=stop)
    with RunDirectory(tmp_path / "run", {}, resume=True) as run, pytest.raises(UsageError, match=words):
        train(other, run=run, resume=True)


def test_groups_have_rates_of_their_own():
    def grouped(parameters):
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr_scale": 0.0}, {"params": rest, "weight_decay": 0.5}], lr=1.0)

    model = tiny_model()
    before = all_state(model)
    method, _ = tiny_fit(model, optimizer=grouped)
    assert torch.equal(method.model[0].weight, before["0.weight"])
    assert not torch.equal(method.model[4].weight, before["4.weight"])
    groups = settings_of(grouped(model.parameters()))["groups"]
    assert [group["weight_decay"] for group in groups] == [0, 0.5]


class Odd(torch.optim.SGD):
    """Keeps a list in its state."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["seen"] = [1, 2]
        return super().step(closure)


def test_state_that_no_checkpoint_holds_is_named(tmp_path):
    message = "state of Odd must hold tensors and numbers, got seen of type list; use another optimizer where"
    with RunDirectory(tmp_path / "run", {}) as run, pytest.raises(TypeError, match=message):
        train(Odd, run=run)


def test_optimizers_that_are_none():
    frozen = tiny_model().requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"method must have a parameter that requires a gradient, got none; requires_"):
        make_optimizer(torch.optim.SGD, frozen)
    with pytest.raises(TypeError, match=r"optimizer must return a torch.optim.Optimizer, got list"):
        make_optimizer(list, nn.Linear(1, 1))


class LaterHead(Classification):
    """A second head whose first gradient comes in the second epoch."""

    may_leave_parameters_unused = True

    def __init__(self, model, criterion):
        super().__init__(model, criterion)
        self.second = nn.Linear(CLASSES, CLASSES)
        with torch.no_grad():
            for parameter in self.second.parameters():
                parameter.fill_(0.1)

    def on_epoch_start(self, epoch, epochs):
        super().on_epoch_start(epoch, epochs)
        self.epoch = epoch

    def training_step(self, batches):
        batch = batches["train"]
        logits = self.model(batch.x)
        logits = logits if self.epoch == 0 else self.second(logits)
        return StepOutput(self.loss(logits, batch.target, batch.target_b, batch.lam))


def test_a_parameter_may_get_its_first_gradient_later_also_in_one_kernel(tmp_path):
    states = []
    for fused in (False, True):
        method = LaterHead(tiny_model(), TinyLoss())
        optimizer = partial(torch.optim.SGD, momentum=0.9, fused=fused)
        with RunDirectory(tmp_path / str(fused), {}) as run:
            fit(
                method, {"train": TinyBatches()}, epochs=3, learning_rate=cosine(0.1, epochs=3), optimizer=optimizer,
                progress=False, run=run,
            )  # fmt: skip
        states.append(all_state(method))
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, msg=name)
