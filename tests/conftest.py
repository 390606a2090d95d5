"""Settings of the whole suite."""

import gc
import signal
from collections.abc import Generator, Iterator

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and let it look at nothing of this again.

    Modules and tests are millions of objects that stay: a full pass over them takes half a second, and in a process
    that is forked from here it would copy all their pages.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# The files that take longest, longest first, as a fresh clone runs them: it builds a wheel and compiles crates.
LONGEST = (
    "tests/packaging/test_wheel.py",
    "tests/packaging/test_journey.py",
    "tests/models/test_libraries.py",
    "tests/test_contributing_rust.py",
    "tests/cli/test_runs.py",
    "tests/test_examples.py",
    "tests/training/test_ranks.py",
    "tests/experiment/test_ranks.py",
    "tests/cli/test_signals.py",
    "tests/cli/test_streams.py",
    "tests/packaging/test_cuda_on_cpu.py",  # compiles what two other files then find
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: files go to the test processes whole, and none may be left for the end.

    ``make test`` also passes ``--no-loadscope-reorder``: pytest-xdist would begin with the files of many short tests.
    """
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
