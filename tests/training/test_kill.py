"""Real processes, killed from outside at random steps, resumed, compared bit for bit with one that was left alone."""

import random
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from forked import Forked
from lt_fast.training import History
from training.tiny import same_bits

SCRIPT = Path(__file__).with_name("train_until_stopped.py")
LIVES = [
    ("tiny", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]),
    ("digits", [signal.SIGTERM, signal.SIGKILL]),
]


def live(parts, run, *, resume, number=None, after=0):
    """Let a process train for ``after`` steps, then send it ``number``; without one, until it is done."""
    process = Forked(["-W", "error", SCRIPT, parts, run, *(["--resume"] if resume else [])])
    process.wait_for("step\n", times=after)
    if number is not None:
        process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def outcome(run):
    weights = load_file(run / "final.safetensors")
    rows = [{name: row[name] for name in row if name != "seconds"} for row in History.from_csv(run / "metrics.csv")]
    return weights, rows


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "signals"), LIVES)
def test_killed_at_random_steps_and_resumed_it_ends_in_the_same_bits(tmp_path, parts, signals):
    assert live(parts, tmp_path / "whole", resume=False)[0] == 0
    draw, run = random.Random(f"kill {parts}"), tmp_path / "killed"
    for life, number in enumerate(signals):
        status, errors = live(parts, run, resume=life > 0, number=number, after=draw.randint(2, 9))
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 4), errors
        if number != signal.SIGKILL:
            assert f"stopped by {number.name} after epoch" in errors
    assert live(parts, run, resume=True)[0] == 0
    weights, rows = outcome(tmp_path / "whole")
    killed_weights, killed_rows = outcome(run)
    same_bits(killed_weights, weights)
    assert killed_rows == rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
