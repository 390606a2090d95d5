"""Several ranks over gloo: the numbers of one rank within rounding, exact counts, and an end for all when one ends."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from forked import Forked
from lt_fast.errors import UsageError
from lt_fast.ranks import Ranks
from methods.problem import METHODS, trained, training_data

SCRIPT = Path(__file__).with_name("rank.py")
SECONDS = 240  # a machine that runs other tests at the same time is slow to start


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(world_size, *words, rank=None, port=None):
    """Start ``torchrun``, or with ``rank`` one process without it."""
    launch, environment = [], {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world_size)}
    if rank is None:
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", world_size, f"--master-port={port}"]
        environment = {}
    else:
        environment["RANK"] = str(rank)
    return Forked([*launch, SCRIPT, *words], environment=environment)


def run(world_size, *words):
    """Run all ranks without a launcher; returns their statuses, their standard errors and the seconds."""
    port = free_port()
    processes = [start(world_size, *words, rank=rank, port=port) for rank in range(world_size)]
    began = time.monotonic()
    errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
    return [process.returncode for process in processes], errors, time.monotonic() - began


def states(folder, name, world_size):
    return [load_file(folder / f"{name}-{rank}.safetensors") for rank in range(world_size)]


def assert_close(state, name, **keywords):
    """Compare with a training of one rank; the network of these tests has no batch norm."""
    method, history = trained(name, norm=False, **keywords)
    for key, tensor in method.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=2e-3, atol=2e-4)
    return history


def test_two_ranks_compute_what_one_does(tmp_path):
    statuses, errors, _ = run(2, ",".join(METHODS), tmp_path)
    assert statuses == [0, 0], errors
    for name in METHODS:
        first, second = states(tmp_path, name, 2)
        assert all(torch.equal(first[key], second[key]) for key in first), name
        history = assert_close(first, name)
        rows = json.loads((tmp_path / f"{name}.json").read_text())
        assert [row["train_loss"] for row in rows] == pytest.approx(history.column("train_loss"), rel=1e-3)


def test_three_ranks_share_batches_of_50_and_count_exactly(tmp_path):
    statuses, errors, _ = run(3, "classification,cp_mix,otmix", tmp_path, "--batch", "50")
    assert statuses == [0, 0, 0], errors
    for name in ("classification", "cp_mix", "otmix"):
        assert_close(states(tmp_path, name, 3)[0], name, options={"batch_size": 50})
    counted = [state["record._extra_state"] for state in states(tmp_path, "cp_mix", 3)]
    assert all(torch.equal(one, counted[0]) for one in counted)
    assert int(counted[0][:, 2].sum()) == 2 * len(training_data().source)


LAST = math.ceil(len(training_data().source) / 64) - 1


@pytest.mark.parametrize(("world_size", "cut"), [(1, (1, 2)), (4, (0, LAST))])
def test_a_run_stopped_on_two_ranks_continues_on_others(world_size, cut, tmp_path):
    statuses, errors, _ = run(2, "cp_mix", tmp_path, "--act", "stop", "--rank", "1", "--cut", *cut)
    assert statuses == [4, 4], errors
    assert "stopped by" in errors[0]
    assert f"epoch {cut[0] + 1}" in errors[0]
    statuses, errors, _ = run(world_size, "cp_mix", tmp_path, "--resume")
    assert statuses == [0] * world_size, errors
    assert_close(states(tmp_path, "cp_mix", world_size)[0], "cp_mix")


def test_more_ranks_than_rows_in_the_last_batch(tmp_path):
    rows = len(training_data().source)
    size = next(size for size in range(40, 200) if rows % size in (1, 2))
    names = ("classification", "hybrid_sc", "risda")  # the last two exchange what they compute of their rows
    statuses, errors, _ = run(4, ",".join(names), tmp_path, "--batch", size)
    assert statuses == [0] * 4, errors
    for name in names:
        assert_close(states(tmp_path, name, 4)[0], name, options={"batch_size": size})


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """Trainings of two ranks by how one of them ends, all started now: a lost rank is waited for 15 seconds."""
    started = {}
    try:
        for act, rank in (("fail", 1), ("die", 1), ("freeze", 1), ("freeze", 0)):
            port = free_port()
            arguments = (
                "classification",
                tmp_path_factory.mktemp(act),
                "--act",
                act,
                "--rank",
                rank,
                "--cut",
                "0",
                "1",
            )
            started[act, rank] = [start(2, *arguments, rank=each, port=port) for each in range(2)]
        yield started
    finally:
        for process in (each for pair in started.values() for each in pair):
            process.kill()
            process.communicate()


def test_a_lost_rank_ends_the_others_in_time(ending):
    processes = ending["freeze", 0]  # rank 0 has the store through which ranks hear of each other
    while "T" not in Path(f"/proc/{processes[0].pid}/stat").read_text().rpartition(")")[2].split()[0]:
        assert processes[0].poll() is None
        time.sleep(0.1)
    began = time.monotonic()
    _, error = processes[1].communicate(timeout=SECONDS)
    assert time.monotonic() - began < 30
    assert processes[1].returncode == 1
    assert "rank 0 was lost" in error


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("fail", "rank 1 failed: this rank has had enough; rank 0 ends with it"),
        ("die", "rank 1 was lost"),
        ("freeze", "rank 1 was lost: no sign of life"),
    ],
)
def test_a_rank_that_ends_ends_all(act, words, ending):
    process = ending[act, 1][0]
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert words in error
    assert len([line for line in error.splitlines() if "rank 1" in line]) == 1


def test_an_evaluation_that_fails_on_one_rank_ends_all(tmp_path):
    statuses, errors, _ = run(2, "classification", tmp_path, "--no-measure", "--rank", "1")
    assert statuses == [1, 1]
    assert "rank 1 failed: no such measure; rank 0 ends with it" in errors[0]


def test_ranks_that_disagree_say_so(tmp_path):
    statuses, errors, _ = run(2, "classification", tmp_path, "--batch-of", 64, 32)
    assert all(statuses)
    assert "must be the same on every rank, but from rank 0 to rank 1" in errors[0] + errors[1]


def test_torchrun_starts_and_ends_it(tmp_path):
    process = start(2, "classification", tmp_path, port=free_port())
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, error
    first, second = states(tmp_path, "classification", 2)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, r"environment variable WORLD_SIZE must be an integer >= 0, got None; start with torchrun"),
        ({"WORLD_SIZE": "2"}, r"environment variable RANK must be an integer >= 0, got None"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK must lie in \[0, WORLD_SIZE\), got RANK=2 and WORLD_SIZE=2"),
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            r"environment variable MASTER_PORT must be set where WORLD_SIZE is 2",
        ),
    ],
)
def test_environments_that_say_nothing(environment, message):
    with pytest.raises(UsageError, match=message):
        Ranks.from_environment(environment | {"MASTER_ADDR": "127.0.0.1"})


def test_one_rank_is_alone():
    for environment in ({}, {"WORLD_SIZE": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}):
        ranks = Ranks.from_environment(environment)
        assert ranks == Ranks(0, 1)
    assert ranks.is_main
    assert ranks.any(True, False) == (True, False)
    assert ranks.gather(3) == [3]
    assert ranks.broadcast("x") == "x"
    ranks.barrier()
    tensor = torch.ones(2)
    assert ranks.sum(tensor) is tensor


ENDS_DURING_A_SIGN_OF_LIFE = """
import threading, time
from lt_fast.ranks import Ranks
from lt_fast.training import process_group, processes

entered = threading.Event()

class Slow(processes.PrefixStore):
    def set(self, key, value):
        if key.startswith("alive"):
            entered.set()
            time.sleep(1)
        super().set(key, value)

processes.PrefixStore = Slow
with process_group(Ranks.from_environment()):
    assert entered.wait(30)
print([thread.name for thread in threading.enumerate() if thread is not threading.main_thread()])
"""


def test_no_thread_of_a_rank_outlives_its_group():
    """Python aborts when it ends while a thread is inside the store."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [Forked(["-c", ENDS_DURING_A_SIGN_OF_LIFE], environment={**place, "RANK": str(rank)}) for rank in range(2)]
    for rank in ranks:
        stdout, stderr = rank.communicate(timeout=SECONDS)
        assert (rank.returncode, stdout.strip()) == (0, "[]"), stderr
