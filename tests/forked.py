"""Processes that begin with torch imported: ``run`` and ``Forked`` in place of ``subprocess.run`` and ``Popen``.

To import torch and the libraries around it takes seconds of a processor, more than most tests do with them. One server
a test process does it once, and a copy of it runs each script; ``lt_fast`` itself is imported in the copy.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import warnings
from multiprocessing import forkserver
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "numpy",
        "torch",
        "torch._dynamo",  # the first optimizer imports it
        "torch.distributed.run",
        "torchvision.transforms.v2",
        "sklearn.datasets",
        "sklearn.metrics",
        "safetensors.torch",
        "tqdm",
        "pytest",  # a copy imports the main module of its parent
    ]
)
LONGEST = 300  # seconds; a machine that runs other tests at the same time is slow


class Forked:
    """A process that does what ``python WORDS`` does, for ``[-W error] (SCRIPT | -m MODULE | -c CODE) ARGUMENTS``.

    ``environment`` is set over that of the tests; None takes a variable away. What it writes is read when it has ended.
    """

    def __init__(self, words, *, cwd=None, environment=None):
        self.words = [str(word) for word in words]
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        start_server()
        arguments = (self.words, cwd or Path.cwd(), variables, self._outputs)
        self._process = SERVER.Process(target=_become, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        """The exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def kill(self):
        self._process.kill()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait_for(self, text, times=1):
        """Wait until ``text`` has been written so many times; that it ends before is an error."""
        while sum(path.read_text(encoding="utf-8").count(text) for path in self._outputs if path.exists()) < times:
            assert self.poll() is None, self.communicate()
            time.sleep(0.002)

    def communicate(self, timeout=LONGEST):
        """Wait for the end; return what was written to standard output and to standard error."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.words, timeout)
        if self._folder is not None:
            self._written = tuple(path.read_text(encoding="utf-8") for path in self._outputs)
            self._folder.cleanup()
            self._folder = None
        return self._written


def run(words, *, timeout=LONGEST, **options):
    """Run to the end, as ``subprocess.run(..., capture_output=True, text=True)`` does."""
    process = Forked(words, **options)
    try:
        out, err = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.words, process.returncode, out, err)


def start_server():
    """Start it, with one thread a process: OpenMP reads the variable once, when torch is imported."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _become(words, cwd, variables, outputs):
    gc.freeze()  # a pass over what the server has imported would copy all of its pages
    for number, path in enumerate(outputs, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path[:0] = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-W":
        warnings.simplefilter(words[1])
        words = words[2:]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.fspath(cwd))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(words[0]))  # noqa: PTH120
        runpy.run_path(words[0], run_name="__main__")
