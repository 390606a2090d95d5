"""Random and hostile arguments for everything that the Rust module exports; ``make fuzz`` does the same for longer."""

import subprocess
import sys

import pytest
from fuzz.bindings import targets
from fuzz.values import plausible


def test_every_parameter_has_plausible_values():
    """A parameter without an entry in ``fuzz/values.py`` would stop the fuzzing at its first check."""
    unknown = [
        f"{target.name}.{parameter}"
        for target in targets()
        for parameter in target.parameters
        if plausible(target.name, parameter) is None
    ]
    assert unknown == []


def test_everything_public_is_a_target():
    names = {target.name for target in targets()}
    assert {"fill_batch", "ConfusionCounts", "ConfusionCounts.update", "ConfusionCounts.total", "Draws.lists"} <= names
    assert len(names) >= 30


@pytest.mark.slow
def test_no_call_does_more_than_raise_an_exception(tmp_path):
    """A process of its own: a crash is a failure of this test, and the memory is limited."""
    note = tmp_path / "case"
    command = [sys.executable, "-m", "fuzz.bindings", "--seconds", "5", "--note", str(note)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{note.read_text()}\n{run.stdout}\n{run.stderr}"
    assert "panicked" not in run.stderr
    outcomes = dict(line.split(": ", 1) for line in run.stdout.splitlines())
    assert outcomes.keys() == {target.name for target in targets()}
    never = [name for name, outcome in outcomes.items() if outcome.startswith("0 values")]
    assert never == [], "calls that never succeeded are stopped by their first check"
