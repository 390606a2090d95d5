"""Settings of the whole suite."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Test processes share the machine: an example that takes long, or is generated slowly, is not a fault of the code.
settings.register_profile("untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _listening_to_interrupts() -> Iterator[None]:
    """Let SIGINT interrupt, here and in every process that a test starts.

    A shell makes what it runs in the background ignore SIGINT, and Python then leaves it ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest: files go to the test processes whole, and it must not be the last."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/training/test_ranks.py"))
