"""All that a training has to remember, to tensors and plain values and back."""

import math
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from lt_fast.errors import DataError, UsageError
from lt_fast.records import LIST, NUMBER, OBJECT, POSITIVE, SHA256, TEXT, WHOLE, Rule, check, whole
from lt_fast.training.batches import Batches
from lt_fast.training.checkpoint import Checkpoint, OtherRunError
from lt_fast.training.environment import environment
from lt_fast.training.history import History, Row
from lt_fast.training.reweighting import DeferredReweighting
from lt_fast.training.run_directory import differences
from lt_fast.training.schedules import LearningRate


@dataclass(frozen=True)
class Settings:
    """What must be the same when a training goes on, beside the objects handed to it."""

    epochs: int
    momentum: float
    weight_decay: float
    nesterov: bool
    amp: bool
    channels_last: bool


@dataclass
class Place:
    """Where a training is: whole epochs done, steps done in the next one, and the sums of that one so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=History)

    def finish_epoch(self, learning_rate: float, metrics: Mapping[str, float | None]) -> Row:
        """Add the epoch's row to the history and move to the start of the next epoch."""
        row: Row = {
            "epoch": self.epoch + 1,
            "learning_rate": learning_rate,
            "train_loss": self.loss_sum / self.samples,
            "seconds": round(self.seconds, 3),
            **metrics,
        }
        self.history.rows.append(row)
        self.epoch, self.step, self.loss_sum, self.samples, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0
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


_SUMS = ("epoch", "step", "loss_sum", "samples", "seconds")

_MEASURED = Rule("a number or null", lambda value: value is None or type(value) in (int, float))
_VALUES = {
    "place.epoch": WHOLE,
    "place.step": WHOLE,
    "place.loss_sum": NUMBER,
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
    "momentum": LIST,
    "momentum.*": TEXT,
    "environment": OBJECT,
}
_ROOM = 1 << 31
_MOMENTUM = "momentum."


@dataclass(frozen=True)
class Training:
    """The objects that change while a training runs, and what they were set to."""

    model: nn.Module
    criterion: nn.Module
    optimizer: SGD
    batches: Batches
    learning_rate: LearningRate
    settings: Settings
    device: torch.device
    steps: int

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

    def loss_at(self, epoch: int) -> nn.Module:
        """Return the loss of ``epoch``."""
        if isinstance(self.criterion, DeferredReweighting):
            return self.criterion.at(epoch, self.settings.epochs)
        return self.criterion

    def capture(self, place: Place) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Copy everything to tensors on the host, by group, and plain values."""
        tensors = {
            "model": {name: _host_copy(tensor) for name, tensor in self.model.state_dict().items()},
            "training": {name: _host_copy(tensor) for name, tensor in self._other_tensors()},
        }
        values = {
            "place": place.to_values(),
            "batches": self.batches.state_dict(),
            "settings": asdict(self.settings),
            "momentum": [name.removeprefix(_MOMENTUM) for name in tensors["training"] if name.startswith(_MOMENTUM)],
            "environment": environment(self.device),
        }
        return tensors, values

    @property
    def most_bytes(self) -> int:
        """Size of the largest file of tensors that a checkpoint of this training can have."""
        return most_bytes(self.model, self.criterion)

    def restore(self, checkpoint: Checkpoint) -> Place:
        """Put everything back where ``capture`` took it.

        Warns when torch, the processor or anything else that rounding depends on is another: the results are as right
        as before, but may differ in the last bits.

        Raises:
            UsageError: if the settings are not those of the checkpoint.
            DataError: if the checkpoint is damaged, or one of another model, another loss or other batches.
        """
        values, place = checkpoint.values, place_of(checkpoint)
        changed = differences(values["settings"], asdict(self.settings))
        if changed:
            raise UsageError(
                f"resume needs the settings of checkpoint {checkpoint.path}, but {', '.join(changed.values())}; "
                "go back to them, or name another run directory",
            )
        self._check_place(place, checkpoint)
        self._check_tensors(checkpoint)
        self._restore_batches(place, checkpoint)
        self._restore_tensors(checkpoint)
        recorded, now = values["environment"], environment(self.device)
        moved = differences(recorded, {name: value for name, value in now.items() if name in recorded})
        if moved:
            warnings.warn(f"resumed elsewhere, the last bits may differ: {', '.join(moved.values())}", stacklevel=6)
        return place

    def _check_place(self, place: Place, checkpoint: Checkpoint) -> None:
        if place.epoch > self.settings.epochs or place.step > self.steps:
            limits = f"{self.settings.epochs} epochs of {self.steps} steps"
            raise DataError(f"checkpoint {checkpoint.path} must be within {limits}, got {place.in_words()}")
        for epoch, position in _positions(checkpoint.values["batches"]):
            if epoch * self.steps + position != place.epoch * self.steps + place.step:
                raise DataError(
                    f"checkpoint {checkpoint.path} must hold batches of its own position, epoch {place.epoch}, step "
                    f"{place.step}, got epoch {epoch}, step {position}"
                )

    def _check_tensors(self, checkpoint: Checkpoint) -> None:
        if checkpoint.tensors.keys() != {"model", "training"}:
            groups = ", ".join(sorted(checkpoint.tensors)) or "nothing"
            raise DataError(f"checkpoint {checkpoint.path} must hold model and training, got {groups}")
        training = checkpoint.tensors["training"]
        momentum = _under(_MOMENTUM, training)
        foreign = sorted(name for name in training if not name.startswith(("momentum.", "criterion.")))
        fault = (
            unlike(checkpoint.tensors["model"], self.model.state_dict())
            or unlike(_under("criterion.", training), self.criterion.state_dict(), finite=False)
            or unlike(momentum, {name: tensor for name, tensor in self._trained() if name in momentum})
            or (f"Unexpected key(s): {', '.join(foreign)}" if foreign else None)
            or _other_names(momentum, checkpoint.values["momentum"])
        )
        if fault is None and self.settings.momentum and not momentum and (checkpoint.epoch or checkpoint.step):
            fault = "Missing momentum"
        if fault is not None:
            raise DataError(f"checkpoint {checkpoint.path} is not of this model and loss: {fault}")

    def _restore_batches(self, place: Place, checkpoint: Checkpoint) -> None:
        try:
            self.batches.set_epoch(place.epoch)
            self.batches.load_state_dict(checkpoint.values["batches"])
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
            raise DataError(f"checkpoint {checkpoint.path} is not of these batches: {error}") from error

    def _restore_tensors(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.tensors["training"]
        self.optimizer.state.clear()
        try:
            self.model.load_state_dict(checkpoint.tensors["model"])
            self.criterion.load_state_dict(_under("criterion.", training))
            for name, parameter in self._trained():
                if f"momentum.{name}" in training:
                    buffer = torch.empty_like(parameter).copy_(training[f"momentum.{name}"])
                    self.optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
        except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
            reason = " ".join(str(error).split())  # torch spreads it over lines
            raise DataError(f"checkpoint {checkpoint.path} is not of this model and loss: {reason}") from error

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)

    def _other_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.criterion.state_dict().items():
            yield f"criterion.{name}", tensor
        for name, parameter in self._trained():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                yield f"momentum.{name}", buffer


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


def _positions(state: Any) -> Iterator[tuple[int, int]]:
    """Yield epoch and step of every ``Loader`` in a state of batches; what others count is not known."""
    if not isinstance(state, dict):
        return
    if {"version", "epoch", "position", "plans"} <= state.keys():
        found = state["epoch"], state["position"]
        if all(WHOLE.holds(value) for value in found):  # else the loader itself refuses it
            yield found
        return
    parts = state.get("parts")
    for part in (*(parts if isinstance(parts, list) else ()), state.get("current")):
        yield from _positions(part)


def _other_names(momentum: Collection[str], recorded: Collection[str]) -> str | None:
    lacking, foreign = set(recorded) - set(momentum), set(momentum) - set(recorded)
    if lacking:
        return f"Missing momentum of {', '.join(sorted(lacking))}"
    return f"Unexpected momentum of {', '.join(sorted(foreign))}" if foreign else None


def most_bytes(*modules: nn.Module) -> int:
    """Return the size of the largest file of tensors that a checkpoint of ``modules`` can have.

    Twice their tensors, for the momentum, and room for what a criterion counts during the training: its table grows.
    """
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    return _ROOM + 2 * sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in tensors)


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
