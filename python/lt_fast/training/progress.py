"""A bar on a terminal, lines everywhere else, both on standard error."""

import sys
from collections.abc import Callable
from typing import Any, Self, TextIO

from lt_fast._extras import require
from lt_fast.training.history import Row


class Display:
    """Shows how far a piece of work is, as long as the stream can be written to: one that fails does not stop the work.

    Args:
        total: units of work.
        unit: what they are called.
        done: units done before.
        enabled: False shows nothing.
        stream: where to; standard error when left out. A bar appears only if it is a terminal.

    Attributes:
        has_bar: whether there is a bar, rather than lines or nothing.

    Raises:
        MissingExtraError: if a bar is wanted and tqdm is not installed.
    """

    def __init__(
        self, total: int, *, unit: str, done: int = 0, enabled: bool = True, stream: TextIO | None = None
    ) -> None:
        found = sys.stderr if stream is None else stream  # None for a process whose standard error was closed
        self._stream: TextIO | None = found if enabled else None
        self._bar: Any = None
        if self._stream is not None and _is_terminal(self._stream):
            tqdm = require("tqdm", extra="train", purpose="the progress bar").tqdm
            self._bar = tqdm(total=total, initial=done, unit=unit, file=self._stream, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._try(self._bar.close)

    @property
    def has_bar(self) -> bool:
        """Whether there is a bar, rather than lines or nothing."""
        return self._bar is not None

    def advance(self, units: int = 1) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._try(lambda: self._bar.update(units))

    def note(self, text: str) -> None:
        """Show ``text`` at the end of the bar; nothing where there is none."""
        if self._bar is not None:
            self._try(lambda: self._bar.set_postfix_str(text))

    def line(self, text: str) -> None:
        """Print one line, above the bar where there is one."""
        if self._bar is not None:
            self._try(lambda: self._bar.write(text, file=self._stream))
        elif self._stream is not None:
            self._try(lambda: self._write(f"{text}\n"))

    def _write(self, line: str) -> None:
        assert self._stream is not None
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()

    def _try(self, show: Callable[[], Any]) -> None:
        """Call ``show``; after a stream that cannot be written to, show nothing any more."""
        try:
            show()
        except (OSError, ValueError):  # the reader of a pipe has left, the disk is full, the terminal or stream closed
            if self._bar is not None:
                self._bar.disable = True  # else its destructor writes again
            self._bar = self._stream = None


class Progress(Display):
    """Shows how far a training is: a bar over its steps, or one line per epoch.

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
        super().__init__(epochs * steps, unit="step", done=done, enabled=enabled, stream=stream)
        self._epochs = epochs

    def step(self) -> None:
        """One step more."""
        self.advance()

    def epoch(self, row: Row) -> None:
        """Say what an epoch gave."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch" and value is not None)
        if self.has_bar:
            self.note(shown)
        else:
            self.line(f"epoch {row['epoch']}/{self._epochs}  {shown}")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):  # a closed stream raises
        return False
