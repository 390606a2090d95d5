"""Real processes on Digits-LT: finished, failing, stopped and resumed runs, and what is said of them."""

import signal
import time

import pytest

from forked import Forked
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment import resolve, run
from lt_fast.scheduling import Job, Machine, carry_out, check_data, finished_result, processors
from lt_fast.training import RunDirectory

# What the scheduler is called from, as a program of its own: it gets the signals.
PROGRAM = """
import sys
from pathlib import Path
from lt_fast.errors import Interrupted
from lt_fast.experiment import resolve, run
from lt_fast.scheduling import Job, Machine, carry_out
folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
jobs = [Job(f"seed {s}", resolve("ce", "digits-lt", {"epochs": epochs}, seed=s), folder / str(s)) for s in range(2)]
try:
    print([outcome.status for outcome in carry_out(jobs, Machine(workers=1))])
except Interrupted as error:
    sys.exit(str(error))
"""


def job(name, folder, overrides=None, *, method="ce", seed=0):
    return Job(name, resolve(method, "digits-lt", {"epochs": 1, **(overrides or {})}, seed=seed), folder / name)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory):
    """A run in a folder that has begun under another configuration, and a good one after it."""
    folder = tmp_path_factory.mktemp("runs")
    jobs = [job("taken", folder), job("good", folder)]
    RunDirectory(jobs[0].folder, job("taken", folder, {"learning_rate": 0.05}).config).close()
    return jobs, carry_out(jobs, Machine(workers=1), progress=False)


def test_a_failing_run_is_named_and_the_others_are_finished(carried_out):
    (taken, good), outcomes = carried_out
    assert [(outcome.job, outcome.status) for outcome in outcomes] == [(taken, "failed"), (good, "finished")]
    assert "learning_rate was 0.05 and is 0.1" in outcomes[0].reason
    assert "Traceback" in taken.log.read_text()
    assert outcomes[1].result()["config"]["epochs"] == 1


def test_a_run_in_a_process_is_that_of_experiment_run(carried_out, tmp_path):
    (_, good), (_, outcome) = carried_out
    alone = run(good.config, tmp_path / "alone", progress=False)
    assert outcome.result()["metrics"] == alone["metrics"]


def test_a_finished_run_is_not_repeated(carried_out, capsys):
    good = carried_out[0][1]
    before = good.log.stat().st_mtime_ns
    (outcome,) = carry_out([good])
    assert outcome.status == "finished"
    assert good.log.stat().st_mtime_ns == before
    assert capsys.readouterr().err == "run 1 of 1: good: finished earlier\n"


def test_the_result_of_another_configuration_does_not_count(carried_out):
    good = carried_out[0][1]
    assert finished_result(good)["config"]["recipe"] == "ce"
    assert finished_result(good._replace(config={**good.config, "batch_size": 32})) is None


def test_a_process_that_is_killed_is_a_failure_with_its_signal(tmp_path, monkeypatch):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (outcome,) = carry_out([job("a", tmp_path)], progress=False)
    assert outcome.reason == "its process was ended by SIGKILL, as the system does where memory is out"


def test_after_a_signal_the_state_is_saved_and_the_same_call_continues(tmp_path):
    run, other = tmp_path / "0", tmp_path / "1"
    process = started(tmp_path, epochs=2000)
    wait_for(lambda: epochs_in(run) > 0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=150)
    assert process.returncode == 1
    assert said.splitlines() == [
        "run 1 of 2: seed 0: stopped",
        "stopped by SIGINT: 0 of 2 runs are finished; the same command continues, each run from its last checkpoint",
    ]
    assert not other.exists()
    done = epochs_in(run)
    process = started(tmp_path, epochs=2000)
    wait_for(lambda: epochs_in(run) > done)
    process.kill()  # the run notices when it reports its next epoch
    process.communicate()
    gone = "the process that started this run has gone; continue with --resume"
    wait_for(lambda: gone in (tmp_path / "0.log").read_text())
    assert (tmp_path / "0.log").read_text().count("epoch 1/2000") == 1


def test_jobs_do_not_share_a_folder_or_a_name(tmp_path):
    first = job("a", tmp_path)
    with pytest.raises(UsageError, match="every job must have a name of its own, got 'a' twice"):
        carry_out([first, first])
    with pytest.raises(UsageError, match="every job must have a folder of its own"):
        carry_out([first, first._replace(name="b")])


def test_data_that_is_missing_is_told_before_anything_is_trained(tmp_path):
    jobs = [Job("a", resolve("ce", "cifar10-lt"), tmp_path / "a")]
    with pytest.raises(UsageError, match="--root is needed for cifar10-lt"):
        check_data(jobs, Machine())
    with pytest.raises(DataError, match="download"):
        check_data(jobs, Machine(root=tmp_path))
    emptied = [Job("a", resolve("ce", "digits-lt", imbalance_ratio=1000), tmp_path / "a")]
    with pytest.raises(ValueError, match="imbalance_ratio"):
        check_data(emptied, Machine())
    assert list(tmp_path.iterdir()) == []


def test_the_workers_of_a_machine():
    assert Machine().slots() == ["cpu"] * processors()
    assert Machine(threads=4 * processors()).slots() == ["cpu"]
    assert Machine(workers=3).slots() == ["cpu"] * 3
    assert Machine(workers=3).threads_per_run() == 1
    assert Machine(threads=2).threads_per_run() == 2
    with pytest.raises(ValueError, match="workers must be"):
        Machine(workers=0).slots()
    with pytest.raises(UsageError, match="device must be"):
        Machine(device="cuda:77").slots()


def started(folder, *, epochs):
    return Forked(["-W", "error", "-c", PROGRAM, folder, epochs])


def epochs_in(folder):
    try:
        return len((folder / "metrics.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


def wait_for(condition, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
