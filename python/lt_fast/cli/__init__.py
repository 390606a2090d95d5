"""The command line: ``lt-fast train | eval | methods | demo | make-lt | doctor``.

Exit status: 0 done; 1 the installation or the run failed (a check of ``doctor``, a missing extra, a diverged loss, a
fault of ours); 2 wrong usage; 3 bad data; 4 interrupted and resumable. An error is one line on stderr;
``LT_FAST_DEBUG=1`` shows where it came from.
"""

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lt_fast.cli.output import Output
from lt_fast.errors import DataError, Interrupted, MissingExtraError

DONE, FAILED, USAGE, DATA, INTERRUPTED = range(5)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    output = Output(as_json="--json" in words)
    with warnings.catch_warnings(), _terminable():
        # Ours are words for the user, also under `python -W error`.
        warnings.filterwarnings("always", category=UserWarning, module="lt_fast")
        warnings.showwarning = lambda message, *_, **__: output.warn(str(message))
        try:
            return _run(words, output)
        except BrokenPipeError:  # `lt-fast methods | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the last net: every error is one line)
            return _answered(error, output)


@contextmanager
def _terminable() -> Iterator[None]:
    """Within, SIGTERM acts as Ctrl-C does, so that both end in the same words and status; training adds its saving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(words: list[str], output: Output) -> int:
    from lt_fast.cli.parser import parse  # noqa: PLC0415  (inside main's net)

    arguments = parse(words)
    if arguments is None:  # --help or --version has been printed
        return DONE
    status: int = arguments.command(arguments, output)
    return status


def _answered(error: BaseException, output: Output) -> int:
    if os.environ.get("LT_FAST_DEBUG") == "1":
        traceback.print_exception(error)
    status, words = _verdict(error)
    output.error(words, status)
    return status


def _verdict(error: BaseException) -> tuple[int, str]:
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted; the same command goes on, with --resume where a run had begun"
        case Interrupted():
            return INTERRUPTED, str(error)
        case MissingExtraError() | FloatingPointError():
            return FAILED, str(error)
        case DataError() | OSError():
            return DATA, str(error)
        case ValueError() | TypeError():
            return USAGE, str(error)
    return FAILED, f"{type(error).__name__}: {error}; a fault of lt-fast or its installation: see `lt-fast doctor`"
