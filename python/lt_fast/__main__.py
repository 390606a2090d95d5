"""``python -m lt_fast``: the same as ``lt-fast``."""

import sys

from lt_fast.cli import main

sys.exit(main())
