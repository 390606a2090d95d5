"""A bar on a terminal, one line an epoch everywhere else, both on standard error."""

import sys
from typing import Any, Self, TextIO

from lt_fast.errors import require
from lt_fast.training.history import Row


class Progress:
    """Shows how far a training is.

    Args:
        epochs: length of the training.
        steps: steps in an epoch.
        done: steps done before, by the run that this one resumes.
        enabled: False shows nothing.
        stream: where to; standard error when left out. A bar appears only if it is a terminal.

    Raises:
        MissingExtraError: if a bar is wanted and tqdm is not installed.
    """

    def __init__(
        self,
        *,
        epochs: int,
        steps: int,
        done: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._epochs, self._enabled = epochs, enabled
        self._bar: Any = None
        if enabled and self._stream.isatty():
            tqdm = require("tqdm", extra="train", purpose="the progress bar").tqdm
            self._bar = tqdm(total=epochs * steps, initial=done, unit="step", file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update()

    def epoch(self, row: Row) -> None:
        """Say what an epoch gave."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch" and value is not None)
        if self._bar is not None:
            self._bar.set_postfix_str(shown)
        elif self._enabled:
            self._stream.write(f"epoch {row['epoch']}/{self._epochs}  {shown}\n")
            self._stream.flush()
