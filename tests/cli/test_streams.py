"""Output that cannot be written stops no work, and no status 0 hides a lost result; ASCII terminals; real processes."""

import io
import json
import os
import subprocess
import sys
import time

import pytest

from lt_fast.cli import main
from lt_fast.cli.output import Output
from lt_fast.training.progress import Progress

COMMAND = [sys.executable, "-W", "error", "-m", "lt_fast.cli"]
TRAIN = ["train", "--method", "ce", "--data", "digits-lt", "--threads", "1", "--no-plots", "--epochs", "3"]


def _shell(line, **variables):
    """Run a line of shell in which `lt-fast` is this interpreter's."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LT": " ".join(COMMAND), **variables}
    words = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


def test_training_goes_on_after_its_reader_has_left(tmp_path):
    run = tmp_path / "run"
    done = _shell(f"$LT {' '.join(TRAIN)} --run {run} 2>&1 | head -1")
    assert done.returncode == 0, done.stdout
    assert done.stdout == "ce on digits-lt: imbalance ratio 50, exp profile, seed 0, 3 epochs\n"
    assert done.stderr == ""
    assert json.loads((run / "result.json").read_text())["config"]["epochs"] == 3
    assert len((run / "metrics.csv").read_text().splitlines()) == 4
    assert main([*TRAIN, "--run", str(run), "--resume", "--json"]) == 0


def test_training_goes_on_without_a_standard_stream_and_writes_into_no_checkpoint(tmp_path):
    done = _shell(f"$LT {' '.join(TRAIN)} --epochs 1 --run {tmp_path}/run <&- >&- 2>&-".replace("--epochs 3", ""))
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["config"]["epochs"] == 1


@pytest.mark.parametrize("words", ["methods", "--help", "methods mammc --json"])
def test_output_that_was_the_result_and_is_lost_is_status_1(words):
    done = _shell(f"$LT {words} > /dev/full")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("lt-fast: standard output cannot be written: No space left on device; send it to")
    assert "Traceback" not in done.stderr


def test_a_closed_standard_output_is_lost_too_and_a_closed_standard_error_is_nothing():
    done = _shell("$LT methods >&-")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "standard output cannot be written: it is closed" in done.stderr
    done = _shell("$LT methods nothing 2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    done = _shell("$LT methods 2>/dev/full >/dev/full")
    assert done.returncode == 1


def test_files_are_the_result_of_make_lt(tmp_path):
    done = _shell(f"$LT make-lt digits --out {tmp_path}/list.txt > /dev/full")
    assert done.returncode == 0
    assert done.stderr == (
        "lt-fast: warning: standard output cannot be written: No space left on device; the files are complete\n"
    )
    assert (tmp_path / "list.txt").exists()


@pytest.mark.parametrize("words", ["methods", "--help", "methods --json", "--version"])
def test_a_reader_of_words_that_has_left_is_status_0_and_silent(words):
    writer = subprocess.Popen([*COMMAND, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    writer.stdout.close()
    rest = writer.stderr.read()
    writer.stderr.close()
    assert b"lt-fast:" not in rest
    assert b"Broken" not in rest
    assert writer.wait() == 0


def test_a_pipe_that_blocks_nobody_gets_every_word():
    """The other end of a pipe, a terminal for example, may have made it non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen([*COMMAND, "methods", "--json"], stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    time.sleep(0.2)
    with os.fdopen(reader, "rb") as pipe:
        found = json.loads(pipe.read())
    assert process.wait() == 0
    assert "ce" in [recipe["name"] for recipe in found]


def test_an_ascii_terminal_gets_other_signs(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    Output(as_json=False).say("93.5 ± 5.7 → ≥ é \udcff")
    assert stream.buffer.getvalue() == b"93.5 +/- 5.7 -> >= \\xe9 \\udcff\n"


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_names_of_files_that_the_terminal_lacks_are_escaped(variables, tmp_path):
    done = _shell(f"$LT eval $'{tmp_path}/\\xff\\xc3\\xa9'", PYTHONUTF8="0", **variables)
    assert done.returncode == 3, done.stderr
    assert "holds no run" in done.stderr
    assert done.stderr.isascii()
    assert "fault" not in done.stderr


@pytest.mark.slow
def test_the_demo_on_an_ascii_terminal(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert (
        main(["demo", "--out", str(tmp_path / "d\u00e9mo"), "--seeds", "2", "--epochs", "1", "--no-plots", "--quiet"])
        == 0
    )
    text = stream.buffer.getvalue().decode("ascii")
    assert "mean +/- 95 % interval over 2 seeds" in text
    assert "d\\xe9mo" in text


def test_what_a_terminal_would_obey_is_shown_instead(capsys):
    assert main(["methods", "a\x1b[31m\nb\x00"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main(["train", "--method", "ce", "--data", "\x1b]0;x\x07/"]) == 3
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


class _Gone(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_caller_from_python_whose_streams_fail_gets_its_status(monkeypatch):
    monkeypatch.setattr(sys, "stdout", _Gone())
    assert main(["methods"]) == 0
    monkeypatch.setattr(sys, "stderr", _Gone())
    assert main(["methods", "nothing"]) == 2
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["methods"]) == 0
    assert main(["methods", "nothing"]) == 2
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert main(["methods"]) == 1


ROW = {"epoch": 1, "learning_rate": 0.1, "train_loss": 1.0, "seconds": 1.0}


def test_progress_that_nobody_sees_stops_no_training(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (_Gone(), closed):
        with Progress(epochs=2, steps=1, stream=stream) as shown:
            shown.step()
            shown.epoch(ROW)
            shown.epoch(ROW)
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(epochs=2, steps=1) as shown:
        shown.epoch(ROW)


def test_a_bar_whose_terminal_is_gone_stops_no_training():
    stream = io.StringIO()
    stream.isatty = lambda: True
    with Progress(epochs=2, steps=1, stream=stream) as shown:
        stream.write = _Gone().write
        shown.epoch(ROW)
        shown.step()
