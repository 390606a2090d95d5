"""The command line: ``lt-fast train | eval | report | predict | calibrate | compare | export | methods | ...``.

Exit status: 0 done; 1 the installation or the run failed (a check of ``doctor``, a missing extra, a diverged loss, too
little memory, output that cannot be written, a fault of ours); 2 wrong usage; 3 bad data; 4 interrupted and resumable.
An error is one line on stderr; ``LT_FAST_DEBUG=1`` shows where it came from.

Output that nobody reads does not stop the work: after the reader of a pipe has left, a command runs to its end and its
status tells of the result. Where stdout fails in another way (a full disk, a closed descriptor) and the output was the
result, the status is 1.
"""

import sys

from lt_fast.cli.stopping import Stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: the words after ``lt-fast``. Left out, they are the process's own, and the process is taken over: its
            signals and its standard streams serve the command until the process ends.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    with Stopping(words, whole_process=argv is None) as stopping:
        try:
            # Not before the signals are listened to: this takes long enough to be interrupted.
            from lt_fast.cli.program import run  # noqa: PLC0415

            return run(words, stopping)
        except KeyboardInterrupt:  # came while another error was about to be answered
            return stopping.answer()
