"""``python -m lt_fast.cli``: the same as ``lt-fast``."""

import sys

from lt_fast.cli import main

sys.exit(main())
