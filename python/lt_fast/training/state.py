"""All that a training has to remember, to tensors and plain values and back."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_fast.batch import Batch
from lt_fast.errors import DataError, UsageError
from lt_fast.ranks import Ranks
from lt_fast.records import LIST, NUMBER, OBJECT, POSITIVE, SHA256, TEXT, WHOLE, Rule, check, whole
from lt_fast.training import optimizers
from lt_fast.training.batches import Batches
from lt_fast.training.checkpoint import Checkpoint, OtherRunError
from lt_fast.training.environment import environment
from lt_fast.training.history import History, Row
from lt_fast.training.run_directory import differences
from lt_fast.training.schedules import LearningRate

_MODEL, _METHOD, _OPTIMIZER = "model.", "method.", "optimizer."


@dataclass(frozen=True)
class Settings:
    """What must be the same when a training resumes, in addition to method, loaders and optimizer."""

    epochs: int
    amp: bool
    channels_last: bool


@dataclass
class Place:
    """Where a training is: whole epochs done, steps done in the next one, and the sums of that one so far.

    Attributes:
        epoch: whole epochs done.
        step: steps done in the epoch after them.
        sums: name to sum over the rows of that epoch: ``train_loss`` and what the method logs.
        samples: number of those rows.
        seconds: time spent in that epoch.
        history: rows of the whole epochs.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=History)

    def finish_epoch(self, learning_rate: float, metrics: Mapping[str, float | None]) -> Row:
        """Add the epoch's row to the history and move to the start of the next epoch."""
        means = {name: total / self.samples for name, total in self.sums.items()}
        row: Row = {
            "epoch": self.epoch + 1,
            "learning_rate": learning_rate,
            "train_loss": means.pop("train_loss"),
            "seconds": round(self.seconds, 3),
            **means,
            **metrics,
        }
        self.history.rows.append(row)
        self.epoch, self.step, self.sums, self.samples, self.seconds = self.epoch + 1, 0, {}, 0, 0.0
        return row

    def in_words(self) -> str:
        """``epoch 3`` after whole epochs, ``epoch 4, step 12`` inside one, both counted from 1."""
        return f"epoch {self.epoch + 1}, step {self.step}" if self.step else f"epoch {self.epoch}"

    def to_values(self) -> dict[str, Any]:
        """As plain values."""
        return {name: getattr(self, name) for name in _SUMS} | {"history": self.history.rows}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Place":
        """Back from ``to_values``."""
        return cls(**{name: values[name] for name in _SUMS}, history=History(values["history"]))


_SUMS = ("epoch", "step", "sums", "samples", "seconds")

_MEASURED = Rule("a number or null", lambda value: value is None or type(value) in (int, float))
_VALUES = {
    "place.epoch": WHOLE,
    "place.step": WHOLE,
    "place.sums": OBJECT,
    "place.sums.*": _MEASURED,  # what a method logs may be NaN
    "place.sums.train_loss?": NUMBER,
    "place.samples": WHOLE,
    "place.seconds": POSITIVE,
    "place.history": LIST,
    "place.history.*": OBJECT,
    "place.history.*.*": _MEASURED,  # what the caller's evaluation measured may be NaN
    "place.history.*.epoch": whole(1),
    "place.history.*.learning_rate": POSITIVE,
    "place.history.*.train_loss": NUMBER,
    "place.history.*.seconds": POSITIVE,
    "batches": OBJECT,
    "settings": Rule(
        f"an object of {', '.join(field.name for field in fields(Settings))}",
        lambda value: isinstance(value, dict) and value.keys() == {field.name for field in fields(Settings)},
    ),
    "optimizer": OBJECT,
    "optimizer.settings": OBJECT,
    "optimizer.numbers": OBJECT,
    "optimizer.numbers.*": OBJECT,
    "optimizer.tensors": LIST,
    "optimizer.tensors.*": TEXT,
    "environment": OBJECT,
}
_ROOM = 1 << 31


@dataclass(frozen=True)
class Training:
    """The objects that change while a training runs, and what they were set to.

    Attributes:
        method: what is trained; its ``model`` is saved under its own names.
        loaders: name to loader.
        optimizer: of the method's parameters.
        learning_rate: the rate of every step.
        settings: see ``Settings``.
        device: where the method is.
        steps: in an epoch.
        ranks: of this process.
    """

    method: Any
    loaders: Mapping[str, Batches]
    optimizer: Optimizer
    learning_rate: LearningRate
    settings: Settings
    device: torch.device
    steps: int
    ranks: Ranks

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of one step.

        Raises:
            ValueError: if the schedule gives something that is no rate.
        """
        rate = self.learning_rate(epoch, step, self.steps)
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(
                f"learning_rate must be finite and >= 0, got {rate} at epoch {epoch}, step {step} of {self.steps}",
            )
        return rate

    def on_device(self, batch: Batch) -> Batch:
        """Return a batch where the method is, in the memory order that it computes in."""
        return batch.to(self.device, channels_last=self.settings.channels_last)

    def refuse_disagreement(self) -> None:
        """Compare what every rank is about to train.

        Raises:
            UsageError: on every rank, naming the first difference and the ranks.
        """
        shapes = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in self.method.state_dict().items()}
        optimizer = optimizers.settings_of(self.optimizer)
        same = {"settings": asdict(self.settings), "optimizer": optimizer, "batches": self.batches_identity()}
        refuse_disagreement(self.ranks, {**same, "steps": self.steps, "method": shapes})

    def capture(self, place: Place) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Copy everything to tensors on the host, by file, and plain values."""
        model, method = self._state()
        tensors, numbers = optimizers.state_of(self.optimizer, self.method)
        training = {_METHOD + name: tensor for name, tensor in method.items()}
        training |= {_OPTIMIZER + name: tensor for name, tensor in tensors.items()}
        files = {
            "model": {name: _host_copy(tensor) for name, tensor in model.items()},
            "training": {name: _host_copy(tensor) for name, tensor in training.items()},
        }
        optimizer = {
            "settings": optimizers.settings_of(self.optimizer),
            "numbers": numbers,
            "tensors": sorted(tensors),
        }
        values = {
            "place": place.to_values(),
            "batches": self.batches_identity(),
            "settings": asdict(self.settings),
            "optimizer": optimizer,
            "environment": self.environment(),
        }
        return files, values

    def batches_identity(self) -> dict[str, Any]:
        """Return what tells the batches of this training from others."""
        return {name: dict(loader.identity()) for name, loader in self.loaders.items()}

    def environment(self) -> dict[str, Any]:
        """Return what the last bits of a result depend on."""
        return environment(self.device) | {"ranks": self.ranks.world_size}

    @property
    def most_bytes(self) -> int:
        """Size of the largest file of tensors that a checkpoint of this training can have."""
        return most_bytes(self.method)

    def restore(self, checkpoint: Checkpoint) -> Place:
        """Put everything back where ``capture`` took it.

        Warns when torch, the processor or anything else that rounding depends on is another: the results are as right
        as before, but may differ in the last bits.

        Raises:
            UsageError: if the settings are not those of the checkpoint.
            DataError: if the checkpoint is damaged, or one of another method or other batches.
        """
        values, place = checkpoint.values, place_of(checkpoint)
        recorded = values["settings"] | {"optimizer": values["optimizer"]["settings"]}
        changed = differences(recorded, asdict(self.settings) | {"optimizer": optimizers.settings_of(self.optimizer)})
        if changed:
            raise UsageError(
                f"resume needs the settings of checkpoint {checkpoint.path}, but {', '.join(changed.values())}; "
                "go back to them, or name another run directory",
            )
        if place.epoch > self.settings.epochs or place.step > self.steps:
            limits = f"{self.settings.epochs} epochs of {self.steps} steps"
            raise DataError(f"checkpoint {checkpoint.path} must be within {limits}, got {place.in_words()}")
        self._refuse_other_batches(checkpoint)
        self._check_tensors(checkpoint)
        self._restore_tensors(checkpoint)
        then, now = values["environment"], self.environment()
        moved = differences(then, {name: value for name, value in now.items() if name in then})
        if moved:
            warnings.warn(f"resumed elsewhere, the last bits may differ: {', '.join(moved.values())}", stacklevel=6)
        return place

    def _refuse_other_batches(self, checkpoint: Checkpoint) -> None:
        other = differences(checkpoint.values["batches"], self.batches_identity())
        if other:
            words = ", ".join(other.values())
            raise DataError(f"checkpoint {checkpoint.path} is not of these batches: {words}")

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the state dict of the model, and the rest of the method's."""
        model: dict[str, Tensor] = {}
        rest: dict[str, Tensor] = {}
        for name, tensor in self.method.state_dict().items():
            if name.startswith(_MODEL):
                model[name.removeprefix(_MODEL)] = tensor
            else:
                rest[name] = tensor
        return model, rest

    def _check_tensors(self, checkpoint: Checkpoint) -> None:
        if checkpoint.tensors.keys() != {"model", "training"}:
            groups = ", ".join(sorted(checkpoint.tensors)) or "nothing"
            raise DataError(f"checkpoint {checkpoint.path} must hold model and training, got {groups}")
        training = checkpoint.tensors["training"]
        state, recorded = _under(_OPTIMIZER, training), checkpoint.values["optimizer"]
        stepped = bool(checkpoint.epoch or checkpoint.step)
        model, method = self._state()
        foreign = sorted(name for name in training if not name.startswith((_METHOD, _OPTIMIZER)))
        fault = (
            unlike(checkpoint.tensors["model"], model)
            or unlike(_under(_METHOD, training), method, finite=False)
            or (f"Unexpected key(s): {', '.join(foreign)}" if foreign else None)
            or optimizers.fault_in(self.optimizer, self.method, state, recorded, stepped=stepped)
        )
        if fault is not None:
            raise DataError(f"checkpoint {checkpoint.path} is not of this model and loss: {fault}")

    def _restore_tensors(self, checkpoint: Checkpoint) -> None:
        training, numbers = checkpoint.tensors["training"], checkpoint.values["optimizer"]["numbers"]
        try:
            self.method.load_state_dict(_method_state(checkpoint))
            optimizers.restore_state(self.optimizer, self.method, _under(_OPTIMIZER, training), numbers)
        except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
            reason = " ".join(str(error).split())  # torch spreads it over lines
            raise DataError(f"checkpoint {checkpoint.path} is not of this model and loss: {reason}") from error


def restore_method(method: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the state of a method from a checkpoint, without the optimizer's: what evaluation needs.

    Raises:
        DataError: if the checkpoint is one of another method.
    """
    state = _method_state(checkpoint)
    fault = unlike(state, method.state_dict(), finite=False)
    try:
        if fault is None:
            method.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        fault = " ".join(str(error).split())  # torch spreads it over lines
    if fault is not None:
        raise DataError(f"checkpoint {checkpoint.path} is not of this model and loss: {fault}")


def _method_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    state = {_MODEL + name: tensor for name, tensor in checkpoint.tensors.get("model", {}).items()}
    return state | _under(_METHOD, checkpoint.tensors.get("training", {}))


def refuse_disagreement(ranks: Ranks, values: Mapping[str, Any]) -> None:
    """Compare ``values``, JSON values that must be the same on every rank.

    Raises:
        UsageError: on every rank, naming what differs and where.
    """
    gathered = ranks.gather(values)
    for rank, theirs in enumerate(gathered):
        other = differences(gathered[0], theirs)
        if other:
            name, words = next(iter(other.items()))
            raise UsageError(
                f"{name} must be the same on every rank, but from rank 0 to rank {rank} {words}; start all ranks with "
                "the same options and data"
            )


def unlike(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, finite: bool = True) -> str | None:
    """Say how the tensors of a file differ from those of a module in names, dtypes and shapes, or hold NaN; or None.

    What a module calls its extra state may have any shape: the module checks it.

    Args:
        found: of the file.
        wanted: of the module.
        finite: whether NaN and infinity are refused; a loss may hold the -inf of a class that is left out.
    """
    for words, names in (("Missing", wanted.keys() - found.keys()), ("Unexpected", found.keys() - wanted.keys())):
        if names:
            return f"{words} key(s): {', '.join(sorted(names))}"
    for name, tensor in found.items():
        own, given = _kind(name, wanted[name]), _kind(name, tensor)
        if own != given:
            return f"{name} must be {own}, got {given}"
        if finite and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} must be finite, got NaN or infinity"
    return None


def _kind(name: str, tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return dtype if name.endswith("_extra_state") else f"{dtype} of shape {tuple(tensor.shape)}"


def place_of(checkpoint: Checkpoint) -> Place:
    """Return the place that a checkpoint was written at, after a look at all its plain values.

    Raises:
        DataError: if a value is missing or of another type, or they contradict each other or the checkpoint's name.
    """
    path = checkpoint.path
    try:
        check(checkpoint.values, _VALUES)
    except ValueError as error:
        raise DataError(f"checkpoint {path} is damaged: state.json: {error}") from error
    place = Place.from_values(checkpoint.values["place"])
    if (place.samples > 0) != (place.step > 0):
        raise DataError(
            f"checkpoint {path} is damaged: state.json: place.samples must be > 0 where place.step is, and 0 where it "
            f"is 0, got {place.samples} at step {place.step}"
        )
    if (place.epoch, place.step) != (checkpoint.epoch, checkpoint.step):
        raise DataError(f"checkpoint {path} must hold the state that its name says, got that of {place.in_words()}")
    if [row["epoch"] for row in place.history] != list(range(1, place.epoch + 1)):
        rows = len(place.history)
        raise DataError(f"checkpoint {path} must hold one row of history per epoch, {place.epoch}, got {rows}")
    return place


def refuse_other_run(checkpoint: Checkpoint, identity: str, row_rules: Mapping[str, Rule]) -> None:
    """Refuse a checkpoint that the run did not write, or whose history is none of such a run.

    Args:
        checkpoint: as read.
        identity: ``identity_of`` the run's configuration.
        row_rules: column to rule, for the columns that the run measures.

    Raises:
        OtherRunError: if it is of another configuration.
        DataError: if it does not say of which, or a value breaks its rule.
    """
    rules = {"config_sha256": SHA256, "place": OBJECT, "place.history": LIST}
    rules |= {f"place.history.*.{name}?": rule for name, rule in row_rules.items()}
    try:
        check(checkpoint.values, rules)
    except ValueError as error:
        raise DataError(f"checkpoint {checkpoint.path} is damaged: state.json: {error}") from error
    if checkpoint.values["config_sha256"] != identity:
        raise OtherRunError(
            f"checkpoint {checkpoint.path} is of another run: the configuration that it records is not that of "
            "config.json; restore the run's own checkpoints, or remove this one"
        )


def most_bytes(*modules: nn.Module) -> int:
    """Return the size of the largest file of tensors that a checkpoint of ``modules`` can have.

    Three times their tensors, for the state of the optimizer, and room for what a method counts during the training.
    """
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    return _ROOM + 3 * sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in tensors)


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
