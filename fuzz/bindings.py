"""Fuzz the Rust module: ``python -m fuzz.bindings --seconds 60``.

Every function and every method of ``lt_fast._rust`` is called with plausible arguments, with hostile ones and with
arrays that another thread rewrites. A call must return a value or raise an ``Exception``, within its time and memory. A
case depends on the seed and its number alone, but for the threads: ``--only NUMBER`` repeats it.
"""

import argparse
import faulthandler
import inspect
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz.values import hostile, plausible, twisted
from lt_fast import _rust

ALARM, LATEST = 0.1, 1.5  # a call is interrupted after so many seconds; so much of the processor it may take in all
MORE_BYTES = 1 << 30
KEPT = 12


class OverdueError(Exception):
    """What the alarm raises in a call that takes long."""


class FaultError(Exception):
    """What no call may do."""


class Target:
    """One callable of the module and the names of its parameters."""

    def __init__(self, name: str, function: Callable[..., Any], owner: type | None = None) -> None:
        self.name, self.function, self.owner = name, function, owner
        names = [] if isinstance(function, property) else list(inspect.signature(function).parameters)
        self.parameters = [name for name in names if name != "self"]

    def arguments(self, random: Random) -> list[Any]:
        """Draw all arguments: as a rule most of them plausible, for others would stop at the first check."""
        wild = random.choice([0.0, 0.0, 0.15, 0.4, 1.0])
        return [self._argument(random, name, wild) for name in self.parameters]

    def _argument(self, random: Random, parameter: str, wild: float) -> Any:
        draw = plausible(self.name, parameter)
        if draw is None or random.random() < wild / 2:
            return hostile(random)
        value = draw(random)
        if isinstance(value, np.ndarray) and random.random() < wild:
            return twisted(random, value)
        return value


def targets() -> Iterator[Target]:
    """Yield everything public that the module holds: what is added to it is fuzzed without a word here."""
    for name, member in vars(_rust).items():
        if name.startswith("_") or not callable(member):
            continue
        if not isinstance(member, type):
            yield Target(name, member)
            continue
        if _is_made_by_its_constructor(member):
            yield Target(name, member)
        for method, function in vars(member).items():
            if not method.startswith("_"):
                is_property = inspect.isgetsetdescriptor(function)
                yield Target(f"{name}.{method}", property(function.__get__) if is_property else function, member)


def _is_made_by_its_constructor(member: type) -> bool:
    return "__new__" in vars(member)


class Rewriter(threading.Thread):
    """Rewrites arrays while calls read them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.arrays: list[np.ndarray] = []

    def run(self) -> None:
        """Write other numbers, and the old ones again."""
        random = Random(0)
        while True:
            for array in self.arrays:
                if array.size and array.flags.writeable and array.dtype.kind in "iuf":
                    kept = array.copy()
                    array[...] = random.choice([0, 2, 99, 1])
                    array[...] = kept
            time.sleep(0)


class Fuzzer:
    """Runs numbered cases and counts their outcomes."""

    def __init__(self, seed: int, note: Path | None = None) -> None:
        self.seed, self.note = seed, note
        self.targets = list(targets())
        self.objects: dict[type, list[Any]] = {}
        self.returned: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()
        self.rewriter = Rewriter()
        self.rewriter.start()

    def case(self, number: int) -> None:
        """Run one case.

        Raises:
            FaultError: if the call does what none may do.
        """
        random = Random(f"{self.seed}/{number}")
        target = self.targets[number % len(self.targets)]
        if self.note is not None:
            self.note.write_text(f"case {number}, {target.name}", encoding="utf-8")
        owner = [self._owner(random, target.owner)] if target.owner else []
        if owner == [None]:
            return
        arguments = target.arguments(random)
        if random.random() < 0.05:
            arguments = [_longer(random, value) for value in arguments]
        self.rewriter.arrays = [value for value in arguments if isinstance(value, np.ndarray) and random.random() < 0.3]
        result = self._call(number, target, [*owner, *arguments])
        if type(result) in (_rust.Draws, _rust.ConfusionCounts):
            pool = self.objects.setdefault(type(result), [])
            pool.append(result)
            del pool[:-KEPT]

    def _owner(self, random: Random, owner: type) -> Any:
        pool = self.objects.get(owner)
        return random.choice(pool) if pool else None

    def _call(self, number: int, target: Target, arguments: list[Any]) -> Any:
        function = target.function.fget if isinstance(target.function, property) else target.function
        began, result = time.thread_time(), None
        signal.setitimer(signal.ITIMER_REAL, ALARM)
        try:
            result = function(*arguments)
            self.returned[target.name] += 1
        except KeyboardInterrupt:
            raise
        except Exception as error:
            self.raised[target.name] += 1
            if "fault of lt-fast" in str(error):
                raise FaultError(f"case {number}, {target.name}: {error}") from error
        except BaseException as error:
            raise FaultError(f"case {number}, {target.name}: {type(error).__mro__[:2]} {error}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.rewriter.arrays = []
        spent = time.thread_time() - began
        if spent > LATEST:
            raise FaultError(f"case {number}, {target.name}: {spent:.1f} s, to be interrupted after {ALARM} s")
        return result


def _longer(random: Random, value: Any) -> Any:
    """Repeat a short array so often that another thread has time to change it."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and 0 < value.size < 10 and not value.dtype.hasobject:
        return np.tile(value, random.choice([1, 10_000]))
    return value


def _overdue(*_: object) -> None:
    raise OverdueError


def limit_memory() -> None:
    """Leave the process ``MORE_BYTES`` bytes more than it has: an allocation beyond is refused, not served."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    """Fuzz for some seconds; status 1 if a call did what none may do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this case")
    parser.add_argument("--note", type=Path, help="a file for the case that runs, to be read after a crash")
    options = parser.parse_args()
    faulthandler.enable()
    sys.setswitchinterval(1e-4)
    signal.signal(signal.SIGALRM, _overdue)
    limit_memory()
    fuzzer = Fuzzer(options.seed, options.note)
    if options.only is not None:
        fuzzer.case(options.only)
        return 0
    end, number = time.monotonic() + options.seconds, 0
    least = 60 * len(fuzzer.targets)
    while number < least or time.monotonic() < end:
        try:
            fuzzer.case(number)
        except OverdueError:
            pass  # between the end of a call and the end of its alarm
        except FaultError as fault:
            print(fault)
            return 1
        number += 1
    for target in fuzzer.targets:
        print(f"{target.name}: {fuzzer.returned[target.name]} values, {fuzzer.raised[target.name]} exceptions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
