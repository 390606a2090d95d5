"""The training loop, to be read from top to bottom."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.ranks import Ranks
from lt_fast.training.batches import Batches, check_loaders, steps_from
from lt_fast.training.callbacks import Callback, telling
from lt_fast.training.compiling import check_compiler, compiled
from lt_fast.training.determinism import deterministic
from lt_fast.training.evaluation import Evaluate, measure
from lt_fast.training.finite import FiniteWatch
from lt_fast.training.graphs import SideStream, current
from lt_fast.training.history import OWN_COLUMNS, History
from lt_fast.training.interruption import Interruption
from lt_fast.training.optimizers import MakeOptimizer, give_momentum, make_optimizer
from lt_fast.training.progress import Progress
from lt_fast.training.random_layers import RandomLayers
from lt_fast.training.run_directory import RunDirectory
from lt_fast.training.saving import Saving, beginning
from lt_fast.training.schedules import MAX_EPOCHS, LearningRate
from lt_fast.training.state import Place, Settings, Training
from lt_fast.training.step_runner import EagerStep, GraphStep, StepRunner
from lt_fast.training.times import NO_TIMES, Part, Times, measuring

_SGD: MakeOptimizer = partial(torch.optim.SGD, momentum=0.9, weight_decay=2e-4)
_FUSED_SGD: MakeOptimizer = partial(torch.optim.SGD, momentum=0.9, weight_decay=2e-4, fused=True)


def fit(
    method: nn.Module,
    loaders: Mapping[str, Batches],
    *,
    epochs: int,
    learning_rate: LearningRate,
    optimizer: MakeOptimizer = _SGD,
    run: RunDirectory | None = None,
    evaluate: Evaluate | None = None,
    amp: bool = False,
    channels_last: bool = True,
    device: torch.device | str = "cpu",
    progress: bool = True,
    resume: bool = False,
    ranks: Ranks = Ranks(),  # noqa: B008  (immutable)
    step: str = "eager",
    save_every: int = 1,
    callbacks: Sequence[Callback] = (),
    compiler: str | None = None,
    times: Times = NO_TIMES,
) -> History:
    """Train ``method`` in place; with a run directory, it can stop at any time and continue bit-identically.

    Given the same initial state and batches, the result is a function of the arguments alone: what layers such as
    dropout draw is keyed by the batches, the epoch and the step, and only deterministic algorithms run. The global
    generators are as they were afterwards. (On several ranks such layers draw others than on one.)

    With ``run``, every epoch, or every ``save_every``-th, ends in a checkpoint and a row of ``metrics.csv``. SIGINT and
    SIGTERM let the current step finish, save it and raise ``Interrupted``; ``resume=True`` then continues after that
    step. After a kill it continues after the last checkpoint. Both ways give the weights of an uninterrupted run, bit
    for bit, on the same machine, torch, number of threads and number of ranks.

    Args:
        method: a ``lt_fast.methods.Method``; moved to ``device``, left there in evaluation mode.
        loaders: name to loader, as from ``method.loaders(data)``; an epoch has as many steps as the first.
        epochs: length of the whole training, also when resuming; 0 saves the method as it is.
        learning_rate: the rate of every step; a parameter group with ``lr_scale`` gets that multiple of it.
        optimizer: from parameters to an optimizer of ``torch.optim``; SGD with momentum 0.9 and weight decay 2e-4 when
            left out.
        run: where to save; without it nothing is written and signals act as usual. On several ranks, rank 0 has it.
        evaluate: called with the method in evaluation mode after each epoch, without gradients; its numbers go into
            the epoch's row. On several ranks every rank calls it.
        amp: run the method under bfloat16 autocast. bfloat16 has float32's range, so no gradient scaler is needed.
        channels_last: keep images and weights in the memory order that convolutions prefer.
        device: ``"cpu"``, ``"cuda"``, ...
        progress: show a bar on a terminal, a line per epoch elsewhere.
        resume: continue with the newest checkpoint of ``run``; with none there, start.
        ranks: of this process; with several, the process group is there and every rank has its shard of the batches.
        save_every: epochs from one checkpoint to the next; the last epoch has one as well. A signal saves at once.
        step: ``"eager"``, or ``"graph"``: the whole step as a CUDA graph, with the same results and fewer launches; a
            step that cannot be captured runs eagerly, with a warning.
        callbacks: told of the start, of every epoch and of the end, on rank 0.
        compiler: backend of ``torch.compile`` for the networks in a step, such as ``"inductor"``; none by default. The
            results are those without it within rounding, names and checkpoints are the same, and ``evaluate`` and the
            caller find the networks as they were. What cannot be compiled runs as it is, with a warning.
        times: told of the parts of every step; see ``lt_fast.training.Measured``.

    Returns:
        One row per epoch, those before the resumption included.

    Raises:
        TypeError: if a loader lacks a method, or ``evaluate`` gives something other than named numbers.
        ValueError: if a value is outside its range.
        FloatingPointError: if the loss or a weight becomes NaN or infinite: in that step on the CPU, within 50 steps
            and never later than the next checkpoint elsewhere, so that the host need not wait for every step.
        DataError: if a checkpoint cannot be written, or none of those there can be read.
        UsageError: if the checkpoints were made under other settings, or are there and ``resume`` is False.
        Interrupted: if a signal stopped the training after its state was saved.

    >>> import numpy as np
    >>> from lt_fast import data, losses, methods, models, sampling, training
    >>> labels = np.repeat([0, 1], [90, 10])
    >>> source = data.ArraySource((20 + 200 * labels).astype(np.uint8).repeat(64).reshape(100, 8, 8, 1), labels)
    >>> sampler = sampling.ClassBalancedBatchSampler(labels, batch_size=20, seed=0)
    >>> loader = data.Loader(source, sampler, transform=data.CropFlip(mean=(0.5,), std=(0.2,)), seed=0)
    >>> method = methods.Classification(models.digits_net(2, seed=0), losses.CrossEntropyLoss(source.class_counts))
    >>> rate = training.cosine(0.05, epochs=2)
    >>> history = fit(method, {"train": loader}, epochs=2, learning_rate=rate, progress=False)
    >>> history, history[1]["train_loss"] < history[0]["train_loss"]
    (History(2 epochs: epoch, learning_rate, train_loss, seconds), True)
    """
    _checks.integer("epochs", epochs, least=0, most=MAX_EPOCHS)
    _checks.integer("save_every", save_every, least=1)
    device, settings = torch.device(device), Settings(epochs, amp, channels_last)
    check_step(step, device, method)
    check_compiler(compiler)
    training = _set_up(method, loaders, optimizer, learning_rate, settings, device, ranks)
    training.refuse_disagreement()
    place = beginning(training, run, resume=resume)
    give_momentum(training.optimizer)
    watch = FiniteWatch(device, ranks)
    done = place.epoch * training.steps + place.step
    listeners = callbacks if ranks.is_main else ()
    with (
        current(device),
        deterministic(device),
        Interruption(enabled=run is not None or ranks.world_size > 1) as interruption,
        Progress(epochs=epochs, steps=training.steps, done=done, enabled=progress and ranks.is_main) as shown,
        telling(listeners, epochs, place.history),
        compiled(method, compiler, amp=amp) as networks,
        measuring(times, device),
    ):
        saving = Saving(run, training, watch, interruption)
        take_step = networks.tried_first(_step_runner(training, step, times))
        if not epochs and saving.last is None:
            saving.end_epoch(place)
        while place.epoch < epochs:
            _train_epoch(training, place, take_step, watch, saving, shown, times)
            ranks.share_buffers(method)  # DistributedDataParallel does so before every step
            try:
                with times.part(Part.EVALUATION), networks.as_they_are():
                    measured = measure(evaluate, method)
            except Exception:
                if ranks.world_size == 1:  # else the other ranks are elsewhere, and cannot join
                    saving.save(place)  # the epoch is done, whatever failed after it
                raise
            shown.epoch(place.finish_epoch(training.rate(place.epoch, training.steps - 1), measured))
            if place.epoch % save_every == 0 or place.epoch == epochs or saving.due():
                with times.part(Part.CHECKPOINT):
                    saving.end_epoch(place)
            for callback in listeners:
                callback.on_epoch_end(dict(place.history[-1]))
    method.eval()
    return place.history


def check_step(step: str, device: torch.device | str, method: nn.Module) -> None:
    """Raise unless the method's steps can be taken so: ``fit`` does it, and a caller may before it makes a folder.

    Raises:
        ValueError: if ``step`` is neither ``"eager"`` nor ``"graph"``, or a graph is asked for where there is no GPU or
            a part of the method does something in Python that a captured step would not repeat.

    >>> check_step("graph", "cpu", nn.Identity())
    Traceback (most recent call last):
        ...
    ValueError: step must be 'eager' on cpu, got 'graph'; a CUDA graph needs device='cuda'
    """
    _checks.choice("step", step, ("eager", "graph"))
    if step == "eager":
        return
    kind = torch.device(device).type
    if kind != "cuda":
        raise ValueError(f"step must be 'eager' on {kind}, got 'graph'; a CUDA graph needs device='cuda'")
    for module in method.modules():
        if not getattr(module, "graphable", True):
            name = type(module).__name__
            raise ValueError(f"step must be 'eager' for {name}, which computes something on the host, got 'graph'")


def _train_epoch(
    training: Training,
    place: Place,
    take_step: StepRunner,
    watch: FiniteWatch,
    saving: Saving,
    shown: Progress,
    times: Times,
) -> None:
    """Continue from ``place`` to the end of its epoch."""
    method, epoch, epochs = training.method, place.epoch, training.settings.epochs
    method.merge_ranks()
    method.on_epoch_start(epoch, epochs)
    method.train()
    phase, sums = method.phase(epoch), _Sums(place, training)
    drawing = RandomLayers(training.loaders, training.device, training.ranks.rank)
    steps = steps_from(training.loaders, method.active(epoch, epochs), epoch, place.step, training.steps)

    for batches in take_step.moved(times.waiting(steps)):
        first = next(iter(batches.values()))
        rate = training.rate(epoch, place.step)
        check = partial(watch.note, epoch=epoch, step=place.step, rate=rate, last=saving.last)
        with drawing.keyed(epoch, place.step):
            output = take_step(batches, phase=phase, rate=rate, weight=first.weight, check=check)

        sums.add(output, first)
        place.step += 1
        shown.step()
        times.step()
        if saving.due():
            sums.settle()
            raise saving.stop(place)
    sums.settle()


def _set_up(
    method: nn.Module,
    loaders: Mapping[str, Batches],
    optimizer: MakeOptimizer,
    learning_rate: LearningRate,
    settings: Settings,
    device: torch.device,
    ranks: Ranks,
) -> Training:
    steps, on_gpu = check_loaders(loaders), device.type == "cuda"
    if ranks.world_size > 1 and on_gpu:  # torch has no batch norm over ranks for the CPU
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
    method.to(device)
    if settings.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = make_optimizer(_FUSED_SGD if optimizer is _SGD and on_gpu else optimizer, method)
    return Training(method, loaders, made, learning_rate, settings, device, steps, ranks)


def _step_runner(training: Training, step: str, times: Times) -> EagerStep | GraphStep:
    method: nn.Module = training.method
    if training.ranks.world_size > 1:
        unused = getattr(method, "may_leave_parameters_unused", False)
        with SideStream(training.device)() if step == "graph" else nullcontext():  # what it sets up can be captured
            method = DistributedDataParallel(method, find_unused_parameters=unused)
    settings = {"amp": training.settings.amp, "channels_last": training.settings.channels_last}
    eager = EagerStep(method, training.optimizer, device=training.device, times=times, **settings)
    return GraphStep(eager) if step == "graph" else eager


class _Sums:
    """The running sums of an epoch: on the device until they are settled into ``place``, so that no step waits."""

    def __init__(self, place: Place, training: Training) -> None:
        self._place, self._ranks = place, training.ranks
        self._device = training.device
        # What was summed before a resumption counts once: on rank 0. All ranks have the same names to sum.
        counts = training.ranks.is_main
        self._sums = {name: self._number(total if counts else 0.0) for name, total in place.sums.items()}
        self._samples = place.samples if training.ranks.is_main else 0
        self._began = time.perf_counter() - place.seconds

    def add(self, output: Any, batch: Batch) -> None:
        """Add the loss and the logs of one step, weighted by its rows."""
        rows = len(batch) if batch.weight else 0
        for name, value in {"train_loss": output.loss, **output.logs}.items():
            if name not in self._sums:
                self._sums[name] = self._number(0.0)
                _refuse_own_column(name, output.logs)
            # The product of a float32 and a number of rows is exact in float64, with or without a fused addition.
            self._sums[name].add_(value.detach(), alpha=rows)
        self._samples += rows

    def settle(self) -> None:
        """Write the sums over all ranks to the place."""
        if self._sums:
            summed = self._ranks.sum(torch.stack([*self._sums.values(), self._number(self._samples)]))
            *totals, samples = summed.tolist()
            self._place.sums = dict(zip(self._sums, totals, strict=True))
            self._place.samples = round(samples)
        self._place.seconds = time.perf_counter() - self._began

    def _number(self, value: float) -> Tensor:
        return torch.full((), float(value), dtype=torch.float64, device=self._device)  # no copy from the host


def _refuse_own_column(name: str, logs: Mapping[str, Tensor]) -> None:
    if name in logs and name in OWN_COLUMNS:
        raise ValueError(f"logs must not use the names {', '.join(OWN_COLUMNS)}, got {name!r}; rename it")
