"""``Machine``: how many runs at a time, on which devices, with how many threads."""

import os
from pathlib import Path
from typing import NamedTuple

from lt_fast import _checks
from lt_fast.errors import UsageError

_MOST_WORKERS = 4096


class Machine(NamedTuple):
    """Where and how runs are carried out; nothing here changes their results beyond rounding.

    Attributes:
        workers: runs at a time; left out, ``processors() // threads`` on a CPU, and one per GPU on CUDA.
        threads: threads of torch in each run; left out, 1 on a CPU, and the processors divided by the workers on CUDA.
        device: ``"cpu"``; ``"cuda"``, where the runs are distributed over all GPUs; or ``"cuda:N"``.
        root: folder of the data set's files, where a job names no other.
        step: ``"eager"`` or, on a GPU, ``"graph"``: see ``lt_fast.training.fit``.
        compiler: backend of ``torch.compile`` for the networks' steps.
        test_curves: measure the test images after every epoch too, where images are held out for validation.

    >>> machine = Machine(workers=3, threads=2)
    >>> machine.slots(), machine.threads_per_run()
    (['cpu', 'cpu', 'cpu'], 2)
    """

    workers: int | None = None
    threads: int | None = None
    device: str = "cpu"
    root: Path | None = None
    step: str = "eager"
    compiler: str | None = None
    test_curves: bool = False

    def slots(self) -> list[str]:
        """Return the device of each worker.

        Raises:
            UsageError: if the device is not there, or has no such ``step``.
            ValueError: if ``workers`` or ``threads`` is no integer from 1 to 4096, or ``step`` is unknown.
        """
        self._check_step()
        devices = _devices(self.device)
        usual = len(devices) if devices != ["cpu"] else max(processors() // self._threads_given(1), 1)
        workers = usual if self.workers is None else _count("workers", self.workers)
        return [devices[worker % len(devices)] for worker in range(workers)]

    def _check_step(self) -> None:
        """Raise for a wrong ``step``, which every run would otherwise refuse by itself."""
        _checks.choice("step", self.step, ("eager", "graph"))
        if self.step == "graph" and self.device == "cpu":
            raise UsageError("step must be 'eager' on cpu, got 'graph'; a CUDA graph needs --device cuda")

    def threads_per_run(self) -> int:
        """Return the number of threads of each run."""
        shared = 1 if self.device == "cpu" else max(processors() // len(self.slots()), 1)
        return self._threads_given(shared)

    def _threads_given(self, usual: int) -> int:
        return usual if self.threads is None else _count("threads", self.threads)


def processors() -> int:
    """Return the number of processors that this process may use.

    >>> processors() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(name: str, value: int) -> int:
    return _checks.integer(name, value, least=1, most=_MOST_WORKERS)


def _devices(name: str) -> list[str]:
    from lt_fast.experiment.running import checked_device  # noqa: PLC0415  (imports torch)

    if checked_device(name) != "cuda":
        return [name]
    import torch  # noqa: PLC0415

    found = torch.cuda.device_count()
    if not found:
        raise UsageError("device must be present, got 'cuda' with 0 GPUs here; try --device cpu")
    return [f"cuda:{number}" for number in range(found)]
