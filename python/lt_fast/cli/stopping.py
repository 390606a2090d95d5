"""Signals on the command line: one line and status 4, from the first import to the end of the process.

Imports only what the interpreter has loaded already, so that it is in force within a millisecond of its own import.
"""

# The built-in half of `signal`, whose other half loads `enum` first: milliseconds in which a signal would just kill.
import _signal as signals  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any, Self

INTERRUPTED = 4
_STARTING, _WORKING, _ENDING = range(3)
# Said by commands that have no --resume; in the others' words it is conditional.
_AGAIN = dict.fromkeys(("demo", "inspect", "reproduce", "sweep"), "the same command continues") | dict.fromkeys(
    ("eval", "report", "calibrate", "compare", "export", "make-lt", "completion", "doctor"),
    "run the same command again",
)


def words_for(command: str | None) -> str:
    """Return what an interrupted command says."""
    return (
        f"interrupted; {_AGAIN.get(command or '', 'the same command continues, with --resume where a run had begun')}"
    )


class Stopping:
    """Within the context, SIGINT, SIGTERM and SIGHUP end the command with ``words_for`` it and status 4.

    While the command works, the first signal raises ``KeyboardInterrupt``, so that what is half done is tidied up.
    During an import, where an exception may come out as another one, or be swallowed, or end in a crash of native code,
    and at the second signal, the process ends at once. Once the status is known, signals change nothing any more.

    Training puts its own handlers in place of these, to save its state first.

    Args:
        words: of the command line, without the program's name.
        whole_process: False for a call from Python: SIGTERM then acts as Ctrl-C does, SIGINT as the caller has it, and
            nothing ends the process.
    """

    def __init__(self, words: "Sequence[str]", *, whole_process: bool) -> None:
        self._words, self.whole_process = words, whole_process
        self._process, self._state, self._received = os.getpid(), _STARTING, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Self":
        if self.whole_process:
            sys.unraisablehook = self._note_unraisable
            self._handle((signals.SIGINT, signals.SIGTERM), self._note)
            hang_up = getattr(signals, "SIGHUP", None)  # Windows has none
            if hang_up is not None and signals.getsignal(hang_up) is not signals.SIG_IGN:  # as under nohup
                self._handle((hang_up,), self._note)
        else:
            self._handle((signals.SIGTERM,), signals.default_int_handler)
        return self

    def __exit__(self, *_: object) -> None:
        # To be ignored is what lasts while the interpreter ends; it gives up a Python handler half-way.
        for number, handler in self._before.items():
            signals.signal(number, signals.SIG_IGN if self.whole_process else handler)

    def working(self) -> None:
        """From here on, until ``ending``, KeyboardInterrupt is expected."""
        self._state = _WORKING

    def ending(self) -> None:
        """From here on the status is known."""
        self._state = _ENDING

    def answer(self) -> int:
        """Say that the command was interrupted, without any of the machinery for words; return the status."""
        self.ending()
        line = words_for(self._words[0] if self._words else None)
        _write(2, f"lt-fast: {line}\n")
        if "--json" in self._words:
            _write(1, f'{{"error": "{line}", "status": {INTERRUPTED}}}\n')
        return INTERRUPTED

    @property
    def received(self) -> bool:
        """Whether a signal has come: whatever exception follows is due to it."""
        return self._received

    def _handle(self, numbers: "Sequence[int]", handler: "Any") -> None:
        for number in numbers:
            try:
                self._before[number] = signals.signal(number, handler)
            except ValueError:  # outside the main thread Python has no say over signals
                return

    def _note(self, number: int, frame: "FrameType | None") -> None:
        if os.getpid() != self._process:  # a forked worker inherits the handler, not the command
            signals.signal(number, signals.SIG_DFL)
            signals.raise_signal(number)
            return
        if self._state == _ENDING:
            return
        first, self._received = not self._received, True
        if first and self._state == _WORKING and not _importing(frame):
            raise KeyboardInterrupt
        os._exit(self.answer())

    def _note_unraisable(self, unraisable: "Any") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):  # raised where Python drops it, in __del__ for example
            os._exit(self.answer())
        sys.__unraisablehook__(unraisable)


def _importing(frame: "FrameType | None") -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _write(descriptor: int, line: str) -> None:
    try:
        os.write(descriptor, line.encode())
    except OSError:  # nobody reads it; the status says the same
        return
