"""``Overview``: one progress bar over the epochs of all runs, and one line for each run that ends."""

from collections.abc import Sequence
from typing import Self

from lt_fast.scheduling.jobs import Job, Outcome
from lt_fast.training.progress import Display

_SHOWN = 3  # runs that the bar names


class Overview:
    """Shows how many epochs of all runs are done.

    Args:
        jobs: all of them.
        enabled: False shows nothing.
    """

    def __init__(self, jobs: Sequence[Job], *, enabled: bool) -> None:
        self._total, self._ended = len(jobs), 0
        self._done: dict[str, int] = {}
        self._epochs = {job.name: int(job.config["epochs"]) for job in jobs}
        self._display = Display(sum(self._epochs.values()), unit="epoch", enabled=enabled)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._display.__exit__(*error)

    def epoch(self, job: Job, done: int) -> None:
        """Take that a run has done ``done`` of its epochs."""
        self._advance(job, done)
        shown = [f"{name} {number}/{self._epochs[name]}" for name, number in self._done.items()]
        more = ", ..." if len(shown) > _SHOWN else ""
        self._display.note(f"{self._ended} of {self._total} runs, now {', '.join(shown[:_SHOWN])}{more}")

    def ended(self, outcome: Outcome, *, earlier: bool = False) -> None:
        """Take that a run has ended, in this call or an earlier one."""
        self._ended += 1
        job = outcome.job
        if outcome.status == "finished":
            self._advance(job, self._epochs[job.name])
        self._done.pop(job.name, None)
        words = f"{outcome.status}{' earlier' if earlier else ''}"
        reason = "" if outcome.reason is None else f": {outcome.reason}; its messages are in {job.log}"
        self._display.line(f"run {self._ended} of {self._total}: {job.name}: {words}{reason}")

    def _advance(self, job: Job, done: int) -> None:
        self._display.advance(max(done - self._done.get(job.name, 0), 0))
        self._done[job.name] = done
