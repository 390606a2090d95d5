"""Where words and results go: words to stdout for people; with ``--json``, words to stderr and JSON alone to stdout."""

import json
import sys
from typing import Any


class Output:
    """What a command says and what it returns.

    Args:
        as_json: stdout gets one JSON value and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def result(self, value: Any) -> None:
        """Print the command's result as JSON where it was asked for; NaN is a fault here, never silently written."""
        if self.as_json:
            print(json.dumps(value, indent=1, allow_nan=False), flush=True)  # noqa: T201

    def warn(self, message: str) -> None:
        """Print one line on stderr."""
        print(f"lt-fast: warning: {' '.join(message.split())}", file=sys.stderr, flush=True)  # noqa: T201

    def error(self, message: str, status: int) -> None:
        """Print one line on stderr; with ``--json`` also ``{"error", "status"}`` on stdout."""
        line = " ".join(message.split())
        print(f"lt-fast: {line}", file=sys.stderr, flush=True)  # noqa: T201
        self.result({"error": line, "status": status})
