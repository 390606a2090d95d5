"""One command from its words to its exit status: every way to end is one line on stderr at most."""

import errno
import os
import re
import traceback
import warnings
from collections.abc import Sequence

from lt_fast.cli import memory, streams
from lt_fast.cli.output import Output
from lt_fast.cli.parser import FILES_ARE_THE_RESULT, ONE_PROCESS, parse
from lt_fast.cli.stopping import INTERRUPTED, Stopping, words_for
from lt_fast.errors import DataError, Interrupted, MissingExtraError, UsageError

DONE, FAILED, USAGE, DATA = range(4)

# What starts several processes, the variable with their number, and one without which that number is of a job that
# has not started this process: inside an allocation of several tasks, sbatch runs one script.
_LAUNCHERS = (
    ("torchrun", "WORLD_SIZE", None),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", None),
    ("mpirun", "MV2_COMM_WORLD_SIZE", None),
    ("mpirun", "PMI_SIZE", None),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
_MANY = re.compile(r"[+]?0*(?:[2-9]|[1-9][0-9]+)")


def run(words: Sequence[str], stopping: Stopping) -> int:
    """Run the command that ``words`` name and return its exit status."""
    if stopping.whole_process:
        streams.secure()
        memory.keep_freed_memory()
    output = Output(as_json="--json" in words, silent=_another_speaks(words))
    with warnings.catch_warnings():
        # Ours are words for the user, also under `python -W error`.
        warnings.filterwarnings("always", category=UserWarning, module="lt_fast")
        warnings.showwarning = lambda message, *_, **__: output.warn(str(message))
        try:
            stopping.working()
            status, in_files = _done(words, output)
            stopping.ending()
        except BaseException as error:  # the last net, also for a panic in Rust: every error is one line
            stopping.ending()
            if not stopping.whole_process and not isinstance(error, Exception | KeyboardInterrupt):
                raise
            return _answered(error, words, output, interrupted=stopping.received)
    return _delivered(status, output, in_files=in_files)


def _another_speaks(words: Sequence[str]) -> bool:
    """Return whether this is a rank of a training other than the first, which reports for all."""
    many = _MANY.fullmatch(os.environ.get("WORLD_SIZE", "").strip()) is not None
    rank = os.environ.get("RANK", "").strip()
    return many and words[:1] == ["train"] and rank.isdecimal() and int(rank) > 0


def _done(words: Sequence[str], output: Output) -> tuple[int, bool]:
    """Return the status, and whether the result is in files."""
    arguments = parse(words)
    if arguments is None:  # --help or --version has been printed
        return DONE, False
    if arguments.name in ONE_PROCESS:
        _refuse_other_processes(arguments.name)
    _require_current_directory()
    status: int = arguments.command(arguments, output)
    return status, arguments.name in FILES_ARE_THE_RESULT or getattr(arguments, "csv", None) is not None


def _refuse_other_processes(name: str) -> None:
    """Under a launcher each process would do the whole work, or fight for the folder."""
    sampler = "" if name == "eval" else "; in a training loop of your own, distributed() of a sampler shards it"
    for launcher, variable, rank in _LAUNCHERS:
        if name == "train" and launcher == "torchrun":
            continue  # its ranks train together
        size = os.environ.get(variable, "").strip()
        if _MANY.fullmatch(size) and (rank is None or rank in os.environ):
            raise UsageError(
                f"lt-fast {name} must run in one process, got {variable}={size}, which {launcher} sets; start it "
                f"without {launcher}, or unset {variable}{sampler}"
            )


def _require_current_directory() -> None:
    """Torch's libraries end the process, in words of their own, where the current directory has been removed."""
    try:
        os.getcwd()  # noqa: PTH109  (the same call, in fewer steps)
    except OSError as error:
        raise DataError(f"the current directory cannot be used ({error.strerror}); cd to one that exists") from None


def _delivered(status: int, output: Output, *, in_files: bool) -> int:
    """Return ``status``, or FAILED where the output was the result and is lost.

    A reader that has left (`lt-fast methods | head`) has seen what it wanted.
    """
    lost = output.lost
    if lost is None or lost.errno == errno.EPIPE:
        return status
    said = f"standard output cannot be written: {lost.strerror or lost}"
    if in_files and not output.as_json:
        output.warn(f"{said}; the files are complete")
        return status
    output.error(f"{said}; send it to a place that can be written", status or FAILED)
    return status or FAILED


def _answered(error: BaseException, words: Sequence[str], output: Output, *, interrupted: bool) -> int:
    if os.environ.get("LT_FAST_DEBUG") == "1":
        traceback.print_exception(error)
    if interrupted and not isinstance(error, Interrupted):  # what it came out as is no concern of the user's
        error = KeyboardInterrupt()
    status, line = _verdict(error, words)
    output.error(line, status)
    return status


def _verdict(error: BaseException, words: Sequence[str]) -> tuple[int, str]:
    status, line = FAILED, str(error)
    match error:
        case KeyboardInterrupt():
            status, line = INTERRUPTED, words_for(words[0] if words else None)
        case Interrupted():
            status = INTERRUPTED
        case MissingExtraError() | FloatingPointError():
            pass
        case ModuleNotFoundError() if error.name == "torch":
            line = "torch is not installed: pip install torch torchvision; `lt-fast doctor` says what works without it"
        case _ if _is_about_memory(error):
            line = f"the memory does not suffice ({line.strip() or type(error).__name__}); free some, or ask for less"
        case DataError():
            status = DATA
        case OSError() if error.errno is not None:  # without a number it is a library that does not load
            status, line = DATA, _about_file(error)
        case ValueError() | TypeError():
            status = USAGE
        case _:
            line = f"{type(error).__name__}: {line}; a fault of lt-fast or its installation: see `lt-fast doctor`"
    return status, line


def _about_file(error: OSError) -> str:
    if error.filename is None:
        return str(error)
    return f"{error.filename} cannot be used: {error.strerror}; name another path, or mend this one"


def _is_about_memory(error: BaseException) -> bool:
    """Whether ``error`` means that memory is out: numpy's, torch's, CUDA's and the loader's way of saying so."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError | OSError)
        and any(words in said for words in ("allocate memory", "out of memory", "failed to map segment"))
    )
