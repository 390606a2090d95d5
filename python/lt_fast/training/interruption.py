"""SIGINT, SIGTERM and SIGHUP (on Windows SIGBREAK) as a request to stop at the next safe place."""

import os
import signal
import threading
from types import FrameType
from typing import Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # no system has all
_SIGNALS = tuple(signal.Signals[name] for name in _NAMES if hasattr(signal, name))
_PATIENCE = 3


class Interruption:
    """Within the context, Ctrl-C, SIGTERM and SIGHUP are noted in ``requested`` and stop nothing by themselves.

    The third signal raises ``KeyboardInterrupt`` at once, for a process that does not come to its next safe place.
    Outside the main thread Python has no say over signals; there the context does nothing.

    Args:
        enabled: False leaves the signals alone.

    Attributes:
        requested: name of the first signal received, or None.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.requested: str | None = None
        self._enabled = enabled
        self._received = 0
        self._process = os.getpid()
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if self._enabled and threading.current_thread() is threading.main_thread():
            try:
                self._listen()
            except BaseException:  # a signal that came in between, to the handler of before
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _listen(self) -> None:
        for number in _SIGNALS:
            if number.name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN:  # as under nohup
                continue
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker inherits the handler, not the duty to save
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        self._received += 1
        self.requested = self.requested or signal.Signals(number).name
        if self._received >= _PATIENCE:
            raise KeyboardInterrupt
