"""A process that looks at files: a JSON list of paths per line on stdin, a JSON list of facts per line on stdout.

It ends at the end of its input, so also when the process that started it is gone, however it ended.
"""

import importlib
import json
import os
import sys


def main() -> None:
    """Answer until the input ends; the first argument names the function as ``module:function``."""
    module, _, function = sys.argv[1].partition(":")
    look = getattr(importlib.import_module(module), function)
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)  # what native code prints is no answer
        for line in sys.stdin:
            answers.write(json.dumps([look(file) for file in json.loads(line)]) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
