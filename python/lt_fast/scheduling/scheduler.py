"""``carry_out``: many runs side by side, each in a process of its own."""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from lt_fast.errors import Interrupted, UsageError
from lt_fast.scheduling.jobs import Job, Outcome, finished_result
from lt_fast.scheduling.machine import Machine
from lt_fast.scheduling.overview import Overview
from lt_fast.scheduling.running import Running
from lt_fast.training.interruption import Interruption

_LOOK_EVERY = 0.1  # seconds


def carry_out(jobs: Sequence[Job], machine: Machine = Machine(), *, progress: bool = True) -> list[Outcome]:  # noqa: B008
    """Carry every job out, as many side by side as ``machine`` has workers.

    Each run is a process of its own with its own threads, in its run directory, with its messages in ``job.log``. A job
    that has finished under the same configuration is not repeated, a stopped one is resumed. A run that fails does not
    stop the others.

    SIGINT, SIGTERM and SIGHUP let every run save its state after its present step. The third signal ends all at once.

    Args:
        jobs: the runs; each has a name and a folder of its own.
        machine: workers, threads and devices.
        progress: show one bar over the epochs of all runs, and a line for each that ends, on standard error.

    Returns:
        One outcome per job, in the order of the jobs: finished or failed.

    Raises:
        UsageError: if two jobs share a name or a folder, or the device is not there.
        DataError: if a folder cannot be written.
        Interrupted: after a signal, with the states saved; the same call continues.

    Example::

        jobs = [Job(f"seed {s}", resolve("ce", "digits-lt", seed=s), Path(f"runs/{s}")) for s in range(3)]
        failed = [outcome for outcome in carry_out(jobs, Machine(workers=2)) if outcome.status == "failed"]

    >>> from pathlib import Path
    >>> from lt_fast.experiment import resolve
    >>> config = resolve("ce", "digits-lt", {"epochs": 1, "validation": 0.2})
    >>> jobs = [Job("seed 0", config, Path("runs/ce-0"))]  # it has finished, so it is not repeated
    >>> [(outcome.job.name, outcome.status) for outcome in carry_out(jobs, Machine(workers=2), progress=False)]
    [('seed 0', 'finished')]
    """
    _refuse_shared(jobs)
    options = {"threads": machine.threads_per_run(), "step": machine.step, "compiler": machine.compiler}
    options |= {"test_curves": machine.test_curves}
    with Overview(jobs, enabled=progress) as shown, Interruption() as interruption:
        crew = _Crew(jobs, machine, shown, **options)
        try:
            outcomes = crew.work(interruption)
        except BaseException:
            crew.kill()
            raise
    if len(outcomes) < len(jobs) or any(outcome.status == "stopped" for outcome in outcomes.values()):
        raise _stopped(interruption.requested, outcomes, len(jobs))
    return [outcomes[job.name] for job in jobs]


class _Crew:
    """The workers: each has a device and at most one run."""

    def __init__(self, jobs: Sequence[Job], machine: Machine, shown: Overview, **options: Any) -> None:
        self._waiting, self._free, self._shown = deque(jobs), deque(machine.slots()), shown
        self._root, self._options = machine.root, options
        self._running: list[Running] = []
        self._outcomes: dict[str, Outcome] = {}

    def work(self, interruption: Interruption) -> dict[str, Outcome]:
        """Return the outcomes by the names of the jobs; after a signal, those of the jobs that had begun."""
        while self._running or (self._waiting and interruption.requested is None):
            while self._waiting and self._free and interruption.requested is None:
                self._begin(self._waiting.popleft())
            for run in list(self._running):
                self._look(run)
            if interruption.requested is not None:
                for run in self._running:
                    run.stop()
            time.sleep(_LOOK_EVERY if self._running else 0)
        return self._outcomes

    def kill(self) -> None:
        """End every run at once."""
        for run in self._running:
            run.kill()

    def _begin(self, job: Job) -> None:
        if finished_result(job) is not None:
            self._end(Outcome(job, "finished"), earlier=True)
            return
        root = job.root or self._root
        given = {"root": None if root is None else str(root.resolve()), **self._options}
        self._running.append(Running(job, device=self._free[0], **given))
        self._free.popleft()

    def _look(self, run: Running) -> None:
        before, outcome = run.epochs, run.look()
        if run.epochs != before:
            self._shown.epoch(run.job, run.epochs)
        if outcome is not None:
            self._running.remove(run)
            self._free.append(run.device)
            self._end(outcome)

    def _end(self, outcome: Outcome, *, earlier: bool = False) -> None:
        self._outcomes[outcome.job.name] = outcome
        self._shown.ended(outcome, earlier=earlier)


def _refuse_shared(jobs: Sequence[Job]) -> None:
    for what, values in (("name", [job.name for job in jobs]), ("folder", [str(job.folder) for job in jobs])):
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise UsageError(f"every job must have a {what} of its own, got {twice[0]!r} twice; leave one out")


def _stopped(signal: str | None, outcomes: Mapping[str, Outcome], jobs: int) -> Interrupted:
    count = Counter(outcome.status for outcome in outcomes.values())
    failed = f", {count['failed']} have failed" if count["failed"] else ""
    return Interrupted(
        f"stopped by {signal}: {count['finished']} of {jobs} runs are finished{failed}; the same command continues, "
        "each run from its last checkpoint"
    )
