"""The package without what Windows lacks, in a process that has forgotten it; the libraries of others keep it."""

import json
import os
import subprocess
import sys

FORGET = """
import errno, os, signal, sys, types, _signal
# The libraries of others have decided at their import what they call.
import matplotlib.pyplot, numpy, PIL.Image, safetensors.torch, sklearn.datasets, torch.utils.data, torchvision, tqdm
import multiprocessing.context, shutil, subprocess, tempfile

fork = os.fork
for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "fork", "register_at_fork", "sched_getaffinity",
             "set_blocking", "uname", "getuid", "killpg", "setsid", "statvfs", "getloadavg", "fchmod"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "SIGCHLD"):
    delattr(signal, name)
    delattr(_signal, name)
sys.modules.update(dict.fromkeys(["fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog"]))
sys.platform = "win32"

def locking(descriptor, mode, count):  # a real lock from the present position on, with the error that Windows has
    try:
        os.lockf(descriptor, os.F_TLOCK, count)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error

sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
"""

IMPORT = """
import importlib, pkgutil
import lt_fast
modules = [each.name for each in pkgutil.walk_packages(lt_fast.__path__, "lt_fast.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
"""

TRAIN = """
import contextlib, io, json
from pathlib import Path
from lt_fast._files import open_own
from lt_fast._locks import hold
from lt_fast.cli import main

folder = Path(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    status = main(["train", "--method", "ce", "--data", "digits-lt", "--epochs", "1", "--run", str(folder)])

lock = os.open(folder / ".lock", os.O_RDWR)
hold(lock)
if (child := fork()) == 0:
    try:
        hold(os.open(folder / ".lock", os.O_RDWR))
    except BlockingIOError:
        os._exit(7)
    os._exit(0)
second = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

(folder / "link").symlink_to("result.json")
try:
    opened = open_own(folder / "link", os.O_RDONLY)
except OSError as error:
    opened = errno.errorcode[error.errno]
print(json.dumps([len(modules), status, second, os.read(lock, 20).decode(), os.getpid(), opened]))
"""


def test_every_module_loads_and_a_run_trains_without_posix(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-W", "error", "-c", FORGET + IMPORT + TRAIN, folder]
    without_library = {**os.environ, "LT_FAST_BACKEND": "reference"}  # it is called lt_fast_cpu.dll there
    finished = subprocess.run(command, env=without_library, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    modules, status, second_holder, owner, process, opened_link = json.loads(finished.stdout)
    assert modules > 100
    assert status == 0
    assert json.loads((folder / "result.json").read_text())
    assert second_holder == 7  # refused, and what the file says can be read meanwhile
    assert owner == str(process)
    assert opened_link == "ELOOP"
