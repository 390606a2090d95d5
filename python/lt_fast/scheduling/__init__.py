"""Many runs side by side: a process for each, one progress bar over all, resumable.

Interface::

    jobs = [Job("ce, seed 0", resolve("ce", "digits-lt", seed=0), Path("runs/ce-0")), ...]
    outcomes = carry_out(jobs, Machine(workers=4, threads=1))     # one Outcome per job, in the same order
    [outcome.result() for outcome in outcomes if outcome.status == "finished"]

``Job`` is a configuration of ``experiment.resolve`` and its run directory; with ``second_stages`` it also fits further
calibrators to the one network. ``Machine`` says how many run at a time, on which devices, with how many threads. A
finished run of the same configuration is not repeated, a stopped one is resumed. A run that fails is named with its
log, and the others continue. After SIGINT, SIGTERM or SIGHUP every run saves its state and ``carry_out`` raises
``Interrupted``; the same call continues. ``check_data(jobs, machine)`` reads the data of all jobs first, so that what
is missing is told in one line before anything is trained.
"""

from lt_fast.scheduling.checking import check_data
from lt_fast.scheduling.jobs import Job, Outcome, finished_result
from lt_fast.scheduling.machine import Machine, processors
from lt_fast.scheduling.scheduler import carry_out

__all__ = ["Job", "Machine", "Outcome", "carry_out", "check_data", "finished_result", "processors"]
