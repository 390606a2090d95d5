"""What the whole suite starts from."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine is no fault of the code: nothing is timed in a test.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _listening_to_interrupts() -> Iterator[None]:
    """Let SIGINT interrupt, here and in every process a test starts.

    A shell makes what it runs in the background ignore SIGINT, and Python then leaves it ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
