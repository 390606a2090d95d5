"""The training loop, to be read from top to bottom."""

import math
import time

import torch
from torch import Tensor, nn

from lt_fast.training.batches import Batches, as_batch, check_batches
from lt_fast.training.determinism import deterministic
from lt_fast.training.evaluation import Evaluate, measure
from lt_fast.training.finite import FiniteWatch
from lt_fast.training.history import History
from lt_fast.training.interruption import Interruption
from lt_fast.training.progress import Progress
from lt_fast.training.run_directory import RunDirectory
from lt_fast.training.saving import Saving, beginning
from lt_fast.training.schedules import LearningRate
from lt_fast.training.state import Place, Settings, Training


def fit(
    model: nn.Module,
    batches: Batches,
    criterion: nn.Module,
    *,
    epochs: int,
    learning_rate: LearningRate,
    run: RunDirectory | None = None,
    evaluate: Evaluate | None = None,
    momentum: float = 0.9,
    weight_decay: float = 2e-4,
    nesterov: bool = False,
    amp: bool = False,
    channels_last: bool = True,
    device: torch.device | str = "cpu",
    progress: bool = True,
    resume: bool = False,
) -> History:
    """Train ``model`` in place by SGD; with a run directory, it can stop at any time and go on to the same bits.

    Given the same initial weights and batches, the result is a function of the arguments alone: no random number is
    drawn here, and only deterministic algorithms run. (Layers that draw from torch's global generator, such as
    dropout, are outside this promise.)

    With ``run``, every epoch ends in a checkpoint and a row of ``metrics.csv``. SIGINT and SIGTERM let the current step
    finish, save it and raise ``Interrupted``; ``resume=True`` then goes on after that step. After a kill it goes on
    after the last checkpoint. Both ways lead to the weights of an uninterrupted run, bit for bit, on the same machine,
    torch and number of threads.

    Args:
        model: moved to ``device``; left there in evaluation mode.
        batches: gives a ``lt_fast.batch.Batch`` or ``(x, y_a, y_b, lam)``: a ``lt_fast.data.Loader``, say.
        criterion: called as ``criterion(logits, y_a, y_b, lam)`` with float32 logits; gives a scalar. A
            ``DeferredReweighting`` is asked for the loss of each epoch.
        epochs: length of the whole training, also when resuming.
        learning_rate: the rate of every step.
        run: where to save; without it nothing is written and signals act as ever.
        evaluate: called with the model in evaluation mode after each epoch, without gradients; its numbers go into
            the epoch's row.
        momentum: of SGD.
        weight_decay: of SGD, on every parameter.
        nesterov: of SGD.
        amp: run the model under bfloat16 autocast. bfloat16 has float32's range, so no gradient scaler is needed.
        channels_last: keep images and weights in the memory order that convolutions prefer.
        device: ``"cpu"``, ``"cuda"``, ...
        progress: show a bar on a terminal, a line an epoch elsewhere.
        resume: go on with the newest checkpoint of ``run``; with none there, start.

    Returns:
        One row an epoch, those before the resumption included.

    Raises:
        TypeError: if ``batches`` lacks a method, or ``evaluate`` gives something other than named numbers.
        ValueError: if a value lies outside its range.
        FloatingPointError: if the loss or a weight becomes NaN or infinite: in that step on the CPU, within 50 steps
            and never later than the next checkpoint elsewhere, so that the host need not wait for every step.
        DataError: if a checkpoint cannot be written, or none of those there can be read.
        UsageError: if the checkpoints were made under other settings, or are there and ``resume`` is False.
        Interrupted: if a signal stopped the training after its state was saved.
    """
    settings = Settings(epochs, momentum, weight_decay, nesterov, amp, channels_last)
    _check(settings)
    device = torch.device(device)
    training = _set_up(model, batches, criterion, learning_rate=learning_rate, settings=settings, device=device)
    place = beginning(training, run, resume=resume)
    watch = FiniteWatch(device)
    done = place.epoch * training.steps + place.step
    with (
        deterministic(device),
        Interruption(enabled=run is not None) as interruption,
        Progress(epochs=epochs, steps=training.steps, done=done, enabled=progress) as shown,
    ):
        saving = Saving(run, training, watch, interruption)
        while place.epoch < epochs:
            _train_epoch(training, place, watch, saving, shown)
            try:
                measured = measure(evaluate, model)
            except Exception:
                saving.save(place)  # the epoch is done, whatever went wrong after it
                raise
            shown.epoch(place.finish_epoch(training.rate(place.epoch, training.steps - 1), measured))
            saving.end_epoch(place)
    model.eval()
    return place.history


def _train_epoch(training: Training, place: Place, watch: FiniteWatch, saving: Saving, shown: Progress) -> None:
    """Go from ``place`` to the end of its epoch."""
    model, optimizer, settings, device = training.model, training.optimizer, training.settings, training.device
    loss_of, sums = training.loss_at(place.epoch), _Sums(place, device)
    if place.step == 0:
        training.batches.set_epoch(place.epoch)
    model.train()

    for raw in training.batches if place.step < training.steps else ():
        batch = as_batch(raw).to(device, channels_last=settings.channels_last)
        rate = training.rate(place.epoch, place.step)
        for group in optimizer.param_groups:
            group["lr"] = rate

        with torch.autocast(device.type, torch.bfloat16, enabled=settings.amp):
            logits = model(batch.x)
        loss = loss_of(logits.float(), batch.target, batch.target_b, batch.lam)
        watch.note(loss, place.epoch, place.step, rate, last=saving.last)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        sums.add(loss, len(batch))
        place.step += 1
        shown.step()
        if saving.due:
            sums.settle()
            raise saving.stop(place)

    sums.settle()
    if place.step != training.steps:
        raise ValueError(f"batches must give len(batches) = {training.steps} batches an epoch, got {place.step}")


def _set_up(
    model: nn.Module,
    batches: Batches,
    criterion: nn.Module,
    *,
    learning_rate: LearningRate,
    settings: Settings,
    device: torch.device,
) -> Training:
    steps = check_batches(batches)
    model.to(device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    criterion.to(device)
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=0.0,  # every step sets its own
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )
    return Training(model, criterion, optimizer, batches, learning_rate, settings, device, steps)


class _Sums:
    """The running sums of an epoch: on the device until they are settled into ``place``, so that no step waits."""

    def __init__(self, place: Place, device: torch.device) -> None:
        self._place = place
        self._loss = torch.tensor(place.loss_sum, dtype=torch.float64, device=device)
        self._began = time.perf_counter() - place.seconds

    def add(self, loss: Tensor, samples: int) -> None:
        self._loss += loss.detach().double() * samples
        self._place.samples += samples

    def settle(self) -> None:
        self._place.loss_sum = self._loss.item()
        self._place.seconds = time.perf_counter() - self._began


def _check(settings: Settings) -> None:
    if settings.epochs < 1:
        raise ValueError(f"epochs must be >= 1, got {settings.epochs}")
    if not 0 <= settings.momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {settings.momentum}")
    if not (math.isfinite(settings.weight_decay) and settings.weight_decay >= 0):
        raise ValueError(f"weight_decay must be finite and >= 0, got {settings.weight_decay}")
    if settings.nesterov and settings.momentum == 0:
        raise ValueError("nesterov must be False without momentum, got True with momentum 0; pass momentum=0.9")
