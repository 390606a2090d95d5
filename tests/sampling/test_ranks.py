"""``.distributed()`` knows who this process is, or says so: it never takes all of the data for every rank."""

import os
import pickle

import pytest
import torch

from lt_fast.sampling import ClassBalancedSampler, ShuffledBatchSampler

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in (*VARIABLES, "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK", "PMIX_SIZE"):
        monkeypatch.delenv(name, raising=False)


def built():
    return ShuffledBatchSampler(100, batch_size=10)


@pytest.fixture
def group(tmp_path):
    """A real process group of one; what rank it has is asked of torch."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("build", [built, lambda: ClassBalancedSampler([0, 0, 1, 1])])
def test_nobody_says_who_this_is(build):
    with pytest.raises(
        ValueError, match=r"called after torch\.distributed\.init_process_group, or with RANK and WO"
    ) as e:
        build().distributed()
    assert ".shard(rank, world_size); a single process needs no .distributed(), or .shard(0, 1)" in str(e.value)
    assert list(build().shard(0, 1)) == list(build())  # the next step that is named


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"RANK": "1"}, "environment variable WORLD_SIZE must be an integer >= 0, got None; start with torchrun"),
        ({"WORLD_SIZE": "4"}, "environment variable RANK must be an integer >= 0, got None; start with torchrun"),
        ({"RANK": "1", "WORLD_SIZE": "two"}, "environment variable WORLD_SIZE must be an integer >= 0, got 'two'"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "environment variable RANK must be an integer >= 0, got '-1'"),
        ({"RANK": "\u00b2", "WORLD_SIZE": "2"}, "environment variable RANK must be an integer >= 0, got '\u00b2'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK must lie in \[0, WORLD_SIZE\), got RANK=2 and WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, r"RANK must lie in \[0, WORLD_SIZE\), got RANK=0 and WORLD_SIZE=0"),
        ({"LOCAL_RANK": "1"}, "only LOCAL_RANK=1 is set, which does not say how many nodes there are"),
    ],
)
def test_half_of_it_is_said(environment, text, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=text):
        built().distributed()


@pytest.mark.parametrize(
    "names",
    [("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")],
)
def test_of_another_launcher_the_line_is_named(names, monkeypatch):
    for name, value in zip(names, ("1", "2"), strict=True):
        monkeypatch.setenv(name, value)
    rank, size = names
    line = f".shard(int(os.environ['{rank}']), int(os.environ['{size}']))"
    with pytest.raises(ValueError, match=f"only {rank}=1 is set: ") as error:
        built().distributed()
    assert line in str(error.value)
    part = eval(f"sampler{line}", {"os": os, "sampler": built()})
    assert (part.rank, part.world_size) == (1, 2)


def test_one_process_may_say_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert list(built().distributed()) == list(built())
    monkeypatch.setenv("RANK", " 0 ")
    part = built().distributed()
    assert (part.rank, part.world_size) == (0, 1)


@pytest.mark.parametrize("names", [("SLURM_PROCID", "SLURM_NTASKS"), ("PMI_RANK", "PMI_SIZE")])
def test_one_process_of_several_tasks_is_refused(names, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    for name, value in zip(names, ("1", "2"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"WORLD_SIZE must agree with {names[1]}, got WORLD_SIZE=1 without RANK"):
        built().distributed()
    monkeypatch.setenv(names[1], "1")
    monkeypatch.setenv(names[0], "0")
    assert list(built().distributed()) == list(built())


@pytest.mark.usefixtures("group")
def test_torch_is_asked_first(monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "9")
    part = built().distributed()
    assert (part.rank, part.world_size) == (0, 1)


@pytest.mark.parametrize("moved", [lambda part: part, lambda part: pickle.loads(pickle.dumps(part))])
def test_a_rank_taken_before_the_process_group_says_another(moved, monkeypatch, request):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    part, chosen = built().distributed(), built().shard(1, 2)
    assert len(list(part)) == 5
    request.getfixturevalue("group")
    with pytest.raises(
        ValueError, match=r"made it rank 1 of 2, the process group says rank 0 of 1; call \.distributed\(\)"
    ):
        iter(moved(part))
    assert len(list(chosen)) == 5  # whoever passes the numbers knows
