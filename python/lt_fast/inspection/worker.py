"""A process that looks at files: a JSON list of paths per line on stdin, a JSON list of facts per line on stdout.

An exception is an answer, too: ``{"error": "KeyError: ..."}``.

It ends at the end of its input, so also when the process that started it is gone, however it ended.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def main() -> None:
    """Answer until the input ends; the first argument names the function as ``module:function``."""
    module, _, function = sys.argv[1].partition(":")
    look = getattr(importlib.import_module(module), function)
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)  # what native code prints is no answer
        for line in sys.stdin:
            answers.write(json.dumps(_answer(look, json.loads(line))) + "\n")
            answers.flush()


def _answer(look: Callable[[str], Any], files: Sequence[str]) -> Any:
    try:
        return [look(file) for file in files]
    except Exception as error:  # noqa: BLE001  (raised again by the process that asked)
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
