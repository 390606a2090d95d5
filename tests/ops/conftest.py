"""The tests of the op, whatever backend this machine has."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that they can import cases.py next to them
