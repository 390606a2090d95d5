"""Mirrors of a run in TensorBoard and Weights & Biases: the same numbers as ``metrics.csv`` and ``result.json``."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.training import Callback, History

_FINAL = (
    "top1",
    "balanced_acc",
    "many_recall",
    "medium_recall",
    "few_recall",
    "worst_class_recall",
    "macro_f1",
    "ece15",
)


class Mirror(Callback):
    """Sends the rows of a training, and the final metrics, somewhere else.

    A mirror that fails is a warning: the training does not depend on it.
    """

    name: str

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder, self._config = folder, config
        self._open = False

    def on_fit_start(self, epochs: int, history: History) -> None:  # noqa: ARG002
        """Begin, and send the rows before a resumption."""
        self._open = self._tried(lambda: self._begin(resumed=len(history) > 0))
        for row in history:
            self.on_epoch_end(row)

    def on_epoch_end(self, row: Mapping[str, float | None]) -> None:
        """Send a row."""
        values = {name: value for name, value in row.items() if name != "epoch" and value is not None}
        if self._open:
            self._open = self._tried(lambda: self._send(values, int(row["epoch"] or 0)))

    def on_fit_end(self, error: BaseException | None) -> None:
        """Close, unless the final metrics are still to come."""
        if error is not None:
            self.close()

    def result(self, result: Mapping[str, Any]) -> None:
        """Send the final metrics, and close."""
        final = {f"final/{name}": result["metrics"][name] for name in _FINAL if result["metrics"][name] is not None}
        if self._open:
            self._open = self._tried(lambda: self._finish(final, int(result["config"]["epochs"])))
        self.close()

    def close(self) -> None:
        """Let go of what is open."""
        if self._open:
            self._open = False
            self._tried(self._end)

    def _tried(self, act: Callable[[], Any]) -> bool:
        try:
            act()
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a network or a full disk makes of it)
            warnings.warn(f"--log {self.name} failed and is off: {type(error).__name__}: {error}", stacklevel=2)
            return False
        return True

    def _begin(self, *, resumed: bool) -> None:
        raise NotImplementedError

    def _send(self, values: Mapping[str, float], epoch: int) -> None:
        raise NotImplementedError

    def _finish(self, values: Mapping[str, float], epoch: int) -> None:
        self._send(values, epoch)

    def _end(self) -> None:
        raise NotImplementedError


class TensorBoard(Mirror):
    """Event files in ``RUN/tensorboard``; ``tensorboard --logdir runs`` shows all runs."""

    name = "tensorboard"

    def _begin(self, *, resumed: bool) -> None:
        writer = require("torch.utils.tensorboard", extra="tensorboard", purpose="--log tensorboard").SummaryWriter
        # What was sent before a resumption is sent again: the older events are hidden.
        self._writer = writer(str(self._folder / self.name), purge_step=0 if resumed else None)

    def _send(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def _end(self) -> None:
        self._writer.close()


class WeightsAndBiases(Mirror):
    """A run of the project ``lt-fast`` (or ``$WANDB_PROJECT``); offline where ``WANDB_MODE=offline``.

    Files are in ``RUN/wandb``. A resumed training continues the same run there.
    """

    name = "wandb"

    def _begin(self, *, resumed: bool) -> None:  # noqa: ARG002
        wandb = require("wandb", extra="wandb", purpose="--log wandb")
        place = str(self._folder.resolve())
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lt-fast"),
                name=self._folder.resolve().name,
                id=hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16],
                resume="allow",
                dir=place,
                config=dict(self._config),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.UsageError as error:
            raise UsageError(
                f"--log wandb needs an account ({error}); run `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def _send(self, values: Mapping[str, float], epoch: int) -> None:
        self._run.log(dict(values), step=epoch)

    def _finish(self, values: Mapping[str, float], epoch: int) -> None:  # noqa: ARG002
        self._run.summary.update(dict(values))

    def _end(self) -> None:
        self._run.finish()


MIRRORS: Mapping[str, type[Mirror]] = {each.name: each for each in (TensorBoard, WeightsAndBiases)}
"""Name of ``--log`` to the mirror."""


def checked_log(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names`` without repeats, if each is a mirror whose package is installed.

    Raises:
        UsageError: if one is unknown.
        MissingExtraError: if a package is missing; names the command that installs it.
    """
    for name in names:
        if name not in MIRRORS:
            raise UsageError(f"--log must be one of {', '.join(MIRRORS)}, got {name!r}{nearest(name, MIRRORS)}")
        require(name, extra=name, purpose=f"--log {name}")
    return tuple(dict.fromkeys(names))


def mirrors_of(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Mirror]:
    """Return the mirrors of a run, not open yet."""
    return [MIRRORS[name](folder, config) for name in names]
