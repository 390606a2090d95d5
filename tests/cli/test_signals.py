"""A signal ends a command with status 4 and one line at any moment: real processes, signals at chosen places."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import forked

GOES_ON = "lt-fast: interrupted; the same command continues, with --resume where a run had begun\n"
TRAIN = ["train", "--method", "ce", "--data", "digits-lt", "--threads", "1", "--no-plots"]

# The console script as an installer writes it, and a hook that sends signals when the process comes to a place.
SCRIPT = """
import os, sys
numbers, event, place = [int(number) for number in sys.argv[1].split(",")], sys.argv[2], sys.argv[3]
def hook(name, arguments):
    if name == event and numbers and place in str(arguments[0] if arguments else ""):
        while numbers:
            os.kill(os.getpid(), numbers.pop())
sys.addaudithook(hook)
sys.argv[1:] = sys.argv[4:]
from lt_fast.cli import main
sys.exit(main())
"""


# The suite itself may run under nohup, whose ignored SIGHUP every process inherits.
HEARING = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"


def _run(words, *numbers, event, place):
    """Run in an interpreter of its own where the place is an import; elsewhere torch may be there already."""
    hooked = [HEARING + SCRIPT, ",".join(str(int(n)) for n in numbers), event, place]
    command = ["-W", "error", "-c", *hooked, *words]
    if event != "import":
        return forked.run(command)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("lt_fast.cli.program", signal.SIGTERM),
        ("argparse", signal.SIGINT),
        ("numpy", signal.SIGTERM),
        ("numpy._core._multiarray_umath", signal.SIGINT),
        ("torch._C", signal.SIGINT),
        ("lt_fast._rust", signal.SIGTERM),
        ("sklearn", signal.SIGHUP),
    ],
)
def test_during_an_import_it_is_one_line_and_status_4(place, number, tmp_path):
    done = _run([*TRAIN, "--run", str(tmp_path / "run")], number, event="import", place=place)
    assert (done.returncode, done.stderr) == (4, GOES_ON)


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
@pytest.mark.parametrize(("event", "place"), [("import", "lt_fast.cli.parser"), ("open", "config.json")])
def test_two_signals_are_one_line_too(event, place, numbers, tmp_path):
    done = _run([*TRAIN, "--run", str(tmp_path / "run")], *numbers, event=event, place=place)
    assert (done.returncode, done.stderr) == (4, GOES_ON)


def test_in_the_middle_of_work_what_is_half_done_is_tidied_up(tmp_path):
    words = ["make-lt", "digits", "--out", str(tmp_path / "list.txt")]
    done = _run(words, signal.SIGTERM, event="os.rename", place="list.txt")
    assert (done.returncode, done.stderr) == (4, "lt-fast: interrupted; run the same command again\n")
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "list.txt"])


@pytest.mark.parametrize("command", ["eval", "demo", "make-lt", "doctor", "methods", "inspect"])
def test_every_command_answers_and_names_no_option_that_it_lacks(command):
    done = _run([command], signal.SIGTERM, event="import", place="lt_fast.cli.parser")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("lt-fast: interrupted; ")
    assert "--resume" not in done.stderr or command == "methods"


def test_with_json_stdout_has_the_error(tmp_path):
    done = _run([*TRAIN, "--json", "--run", str(tmp_path)], signal.SIGINT, event="import", place="lt_fast.cli.parser")
    assert json.loads(done.stdout) == {"error": done.stderr.strip().removeprefix("lt-fast: "), "status": 4}


def test_after_the_last_word_a_signal_changes_nothing():
    # `atexit` runs its callbacks after `main` has returned.
    script = SCRIPT.replace("sys.addaudithook(hook)", "import atexit; atexit.register(hook, event, [place])")
    command = [sys.executable, "-c", script, "15,2", "leaving", "leaving", "methods", "ce"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cross_entropy" in done.stdout


def test_while_an_error_is_answered_a_signal_adds_no_second_line():
    script = SCRIPT.replace("sys.addaudithook(hook)", HOOKED_WRITE)
    command = [sys.executable, "-c", script, "15,2", "writing", "", "methods", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "method must be one of" in done.stderr


HOOKED_WRITE = """
from lt_fast.cli.output import Output
error = Output.error
Output.error = lambda self, *words: (hook("writing", ()), error(self, *words))
"""


def test_an_interrupt_that_python_drops_ends_the_process_all_the_same():
    code = (
        "import os, signal, sys\n"
        "from lt_fast.cli import main, methods\n"
        "class Dropping:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT); sum(range(1000)); len('x')\n"
        "def run(*_):\n"
        "    Dropping()\n"
        "    import time; time.sleep(20)\n"
        "methods.run = run; sys.argv[1:] = ['methods']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (4, GOES_ON)


@pytest.mark.parametrize("surfaces_as", ["ImportError('initialization failed')", "SystemError('error return')"])
def test_an_interrupt_that_comes_out_as_another_error_is_an_interrupt(surfaces_as):
    code = (
        "import os, signal, sys\n"
        "from lt_fast.cli import main, methods\n"
        "def run(*_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); sum(range(1000))\n"
        "    except KeyboardInterrupt:\n"
        f"        raise {surfaces_as} from None\n"
        "methods.run = run; sys.argv[1:] = ['methods']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, GOES_ON)


def test_under_nohup_a_closed_terminal_stops_nothing():
    script = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{SCRIPT}"
    command = [sys.executable, "-c", script, str(int(signal.SIGHUP)), "import", "lt_fast.cli.parser", "methods"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_any_time_from_the_start_into_the_training(number, tmp_path):
    """Processes side by side, each stopped at another time; the interpreter's own start is not ours to answer in."""
    begun, times = [], [0.02, 0.1, 0.2, 0.4, 0.8, 1.4]
    for at, _ in enumerate(times):
        ready, mark = os.pipe()
        command = [sys.executable, "-c", MAIN.format(mark), *TRAIN, "--epochs", "400"]
        words = [*command, "--run", str(tmp_path / str(at))]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=[mark])
        os.close(mark)
        os.read(ready, 1)
        os.close(ready)
        begun.append((process, time.monotonic()))
    for (process, since), after in zip(begun, times, strict=True):
        time.sleep(max(0.0, since + after - time.monotonic()))
        process.send_signal(number)
    for process, _ in begun:
        lines = [line for line in process.communicate(timeout=100)[1].splitlines() if not line.startswith("epoch ")]
        assert process.returncode == 4, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith(("lt-fast: interrupted; ", f"lt-fast: stopped by {number.name} after "))


MAIN = "import os, sys; from lt_fast.cli import main; os.write({}, b'.'); sys.exit(main())"
