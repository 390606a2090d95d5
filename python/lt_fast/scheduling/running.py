"""``Running``: a run in its process, as the scheduler sees it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from lt_fast._files import make_folder
from lt_fast.scheduling import child
from lt_fast.scheduling.jobs import Job, Outcome

_MODULE = "lt_fast.scheduling.child"
_LARGEST = str(2**31 - 1)
# As the command line does for itself: the C library keeps freed memory for the next tensor of its size.
_ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": _LARGEST, "MALLOC_MMAP_THRESHOLD_": _LARGEST}
_CHOSEN_BY_USER = (*_ALLOCATION, "GLIBC_TUNABLES")
_KILLED = {"SIGKILL": ", as the system does where memory is out"}
_TERMINATED = 1 if sys.platform == "win32" else -signal.SIGTERM  # the status of a process after `terminate`
_LAST_WORDS = 5.0


class Running:
    """Starts a run in a process of its own, outside the terminal's group: a Ctrl-C is for the scheduler alone.

    Args:
        job: what to run.
        device: where.
        threads: of torch.
        options: further arguments of ``experiment.run``.

    Attributes:
        epochs: done, as far as the run has reported.
        stopping: whether it has been asked to stop.

    Raises:
        DataError: if the folder of the run directory cannot be made.
        OSError: if the log cannot be written, or no process can be started.
    """

    def __init__(self, job: Job, *, device: str, threads: int, **options: Any) -> None:
        self.job, self.device, self.stopping = job, device, False
        self.epochs = 0
        self._reason: str | None = None
        self._reports: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        make_folder(job.folder.parent)
        given = {"config": dict(job.config), "folder": str(job.folder), "device": device, "threads": threads}
        given["second_stages"] = {str(job.stage_folder(name)): stage for name, stage in job.second_stages.items()}
        with job.log.open("ab") as log:
            self._process = _started(log, threads)
        # A thread, because not every system has pipes that can be read without waiting.
        reading = (self._process.stdout, self._reports)
        self._reader = threading.Thread(target=_pass_on, args=reading, name="lt-fast-reports", daemon=True)
        self._reader.start()
        _hand_over(self._process, json.dumps({**given, **options}).encode())

    def stop(self) -> None:
        """Ask the run to save its state and end."""
        if not self.stopping:
            self.stopping = True
            self._process.terminate()

    def kill(self) -> None:
        """End the run at once; it continues from its last checkpoint."""
        self._process.kill()
        self._process.wait()
        self._reader.join(_LAST_WORDS)

    def look(self) -> Outcome | None:
        """Take what the run has reported; return what became of it, or None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._reader.join(_LAST_WORDS)  # what it reported last is in the pipe
        self._read()
        if status is None:
            return None
        if status == child.DONE:
            return Outcome(self.job, "finished")
        if self.stopping and status in (child.STOPPED, _TERMINATED):
            return Outcome(self.job, "stopped")
        return Outcome(self.job, "failed", self._reason or _ended_by(status))

    def _read(self) -> None:
        while not self._reports.empty():
            told = json.loads(self._reports.get())
            self.epochs = told.get(child.EPOCH, self.epochs)
            self._reason = told.get(child.ERROR, self._reason)


def _pass_on(pipe: IO[bytes], reports: "queue.SimpleQueue[bytes]") -> None:
    with pipe:
        for line in pipe:
            if line.endswith(b"\n"):  # else the process was killed while it wrote
                reports.put(line)


def _started(log: Any, threads: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if not any(name in os.environ for name in _CHOSEN_BY_USER):
        environment |= _ALLOCATION
    return subprocess.Popen(  # noqa: S603  (this interpreter, one module of this package)
        [sys.executable, "-P", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
    )


def _hand_over(process: "subprocess.Popen[bytes]", job: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(job)
        process.stdin.close()
    except OSError:  # it has ended already: its log says why
        return


def _ended_by(status: int) -> str:
    if status >= 0:
        return f"its process ended with exit status {status}"
    name = signal.Signals(-status)
    return f"its process was ended by {name.name}{_KILLED.get(name.name, '')}"
