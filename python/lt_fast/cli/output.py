"""Where words and results go: words to stdout for people; with ``--json``, words to stderr and JSON alone to stdout."""

import json
import sys
from typing import IO, Any

from lt_fast.cli.streams import loss_of

# Signs of tables and messages, for terminals that have ASCII or a national character set only.
_PLAIN = str.maketrans(
    {
        "\N{PLUS-MINUS SIGN}": "+/-",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    }
)


class Output:
    """What a command says and what it returns. A stream that cannot be written to stops nothing.

    Args:
        as_json: stdout gets one JSON value and nothing else.
        silent: print nothing at all: another rank reports for this one.
    """

    def __init__(self, *, as_json: bool, silent: bool = False) -> None:
        self.as_json, self._silent = as_json, silent
        self._lost: OSError | None = None

    @property
    def lost(self) -> OSError | None:
        """Why something that was meant for stdout did not get there, or None."""
        return self._lost or loss_of(sys.stdout)

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        self._print("\n".join(map(_shown, text.split("\n"))), sys.stderr if self.as_json else sys.stdout)

    def result(self, value: Any) -> None:
        """Print the command's result as JSON where it was asked for; NaN is a fault here, never silently written."""
        if self.as_json:
            self._print(json.dumps(value, indent=1, allow_nan=False), sys.stdout)

    def warn(self, message: str) -> None:
        """Print one line on stderr."""
        self._print(f"lt-fast: warning: {_one_line(message)}", sys.stderr)

    def error(self, message: str, status: int) -> None:
        """Print one line on stderr; with ``--json`` also ``{"error", "status"}`` on stdout."""
        line = _one_line(message)
        self._print(f"lt-fast: {line}", sys.stderr)
        self.result({"error": line, "status": status})

    def _print(self, text: str, stream: IO[str] | None) -> None:
        if self._silent or stream is None:  # None: Python's way of saying that the descriptor was closed
            return
        try:
            stream.write(_writable(f"{text}\n", getattr(stream, "encoding", None) or "utf-8"))
            stream.flush()
        except OSError as error:
            self._lost = error if stream is sys.stdout else self._lost
        except ValueError as error:  # the caller has closed the object
            self._lost = OSError(str(error)) if stream is sys.stdout else self._lost


def _one_line(message: str) -> str:
    """Return ``message`` on one line, with what a terminal would obey instead of show as an escape."""
    return _shown(" ".join(message.split()))


def _shown(line: str) -> str:
    """Return ``line`` with what a terminal would obey as an escape; lone surrogates stay, the stream escapes them."""
    if line.isprintable():
        return line
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def _writable(text: str, encoding: str) -> str:
    """Return ``text`` with other signs for those that ``encoding`` lacks; bytes of file names become escapes."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text
