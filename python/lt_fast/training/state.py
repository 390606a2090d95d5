"""All that a training has to remember, to tensors and plain values and back."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from lt_fast.errors import DataError, UsageError
from lt_fast.training.batches import Batches
from lt_fast.training.checkpoint import Checkpoint
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
            "environment": environment(self.device),
        }
        return tensors, values

    def restore(self, checkpoint: Checkpoint) -> Place:
        """Put everything back where ``capture`` took it.

        Warns when torch, the device or the number of threads is another: the results are as right as before, but may
        differ in the last bits.

        Raises:
            UsageError: if the settings are not those of the checkpoint.
            DataError: if the checkpoint is one of another model or another loss.
        """
        values = checkpoint.values
        changed = differences(values["settings"], asdict(self.settings))
        if changed:
            raise UsageError(
                f"resume needs the settings of checkpoint {checkpoint.path}, but {', '.join(changed.values())}; "
                "go back to them, or name another run directory",
            )
        moved = differences(values["environment"], environment(self.device))
        if moved:
            warnings.warn(f"resumed elsewhere, the last bits may differ: {', '.join(moved.values())}", stacklevel=4)
        self._restore_tensors(checkpoint)
        place = Place.from_values(values["place"])
        self.batches.set_epoch(place.epoch)
        self.batches.load_state_dict(values["batches"])
        return place

    def _restore_tensors(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.tensors["training"]
        try:
            self.model.load_state_dict(checkpoint.tensors["model"])
            self.criterion.load_state_dict(_under("criterion.", training))
            for name, parameter in self._trained():
                if f"momentum.{name}" in training:
                    buffer = torch.empty_like(parameter).copy_(training[f"momentum.{name}"])
                    self.optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
        except RuntimeError as error:
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


def environment(device: torch.device) -> dict[str, Any]:
    """What the bits of a result depend on beside the program and its input."""
    return {"torch": str(torch.__version__), "device": device.type, "threads": torch.get_num_threads()}


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
