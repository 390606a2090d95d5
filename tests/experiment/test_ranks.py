"""``torchrun ... -m lt_fast.cli train``: one run directory, every test image once, one line when a rank ends."""

import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import forked
from experiment.photographs import NET, write_photographs
from forked import Forked
from lt_fast.cli import main

TESTS = Path(__file__).parents[1]
TRAIN = ("train", "--data", "digits-lt", "--epochs", "2", "--quiet", "--no-plots", "--threads", "1")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def torchrun(world_size, *words, cwd):
    # Without "--", torchrun takes --run for one of its own options.
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", world_size, f"--master-port={free_port()}", "-m", "--"]
    return forked.run([*launch, "lt_fast.cli", *words], cwd=cwd)


def by_hand(*commands, cwd, program=("-m", "lt_fast.cli"), **environment):
    """Run one rank by each command, with the variables that torchrun sets; return statuses, outputs and errors."""
    place = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= environment
    ranks = [
        Forked([*program, *words], cwd=cwd, environment={**place, "RANK": str(rank)})
        for rank, words in enumerate(commands)
    ]
    try:
        said = [rank.communicate() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], *zip(*said, strict=True)


def ours(error):
    return [line for line in error.splitlines() if line.startswith("lt-fast: ")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(2, *TRAIN, "--method", "mammc", "--run", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def test_two_ranks_keep_the_best_classes_of_every_image_once(trained, tmp_path):
    command = (*TRAIN, "--method", "mammc", "--run", "run", "--most-logits", "0")
    statuses, outputs, errors = by_hand(command, command, cwd=tmp_path)
    assert statuses == [0, 0], errors
    assert "`lt-fast eval run --logits` stores every score" in outputs[0]
    saved, logits = (load_file(folder / "predictions.safetensors") for folder in (tmp_path / "run", trained[0]))
    assert torch.equal(saved["labels"], logits["labels"])
    assert torch.equal(saved["classes"][:, 0], logits["logits"].argmax(1))
    assert torch.equal(saved["calibrated_classes"][:, 0], logits["calibrated_logits"].argmax(1))
    results = [json.loads((folder / "result.json").read_text()) for folder in (tmp_path / "run", trained[0])]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_a_run_on_two_ranks_is_one_run(trained):
    run, stdout = trained
    assert stdout.count("run directory:") == 1
    result = json.loads((run / "result.json").read_text())
    assert result["ranks"] == 2
    assert result["metrics"]["images"] == 240
    assert load_file(run / "predictions.safetensors")["labels"].bincount().tolist() == [24] * 10


def test_one_process_evaluates_it(trained, capsys):
    run, _ = trained
    before = load_file(run / "predictions.safetensors")
    assert main(["eval", str(run), "--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = json.loads((run / "result.json").read_text())
    assert found["metrics"]["top1"] == pytest.approx(result["metrics"]["top1"])
    for name, tensor in load_file(run / "predictions.safetensors").items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-4, atol=1e-4)


def test_a_finished_run_is_not_repeated(trained):
    run, _ = trained
    before = (run / "result.json").read_bytes()
    statuses, _, errors = by_hand(*[("train", "--resume", run, "--quiet", "--no-plots")] * 2, cwd=run.parent)
    assert statuses == [0, 0], errors
    assert (run / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "ldam_drw"), "loss.normalization must be 'expected' or 'batch' on 2 ranks, got 'weights'"),
        (("--method", "ce", "--step", "graph"), "step must be 'eager' on cpu, got 'graph'"),
        (("--method", "ce", "--imbalance-ratio", "0.01"), "imbalance_ratio must be"),
    ],
)
def test_what_every_rank_refuses_is_said_once(words, message, tmp_path):
    statuses, _, errors = by_hand(*[(*TRAIN, *words, "--run", "run")] * 2, cwd=tmp_path)
    assert all(statuses)
    (said,) = [line for error in errors for line in ours(error)]
    assert message in said
    assert not (tmp_path / "run").exists()


RANK_0_ALONE_LOOKS = """
import os, sys
from lt_fast.inspection import scanning
if os.environ["RANK"] == "1":
    scanning.scan = None
from lt_fast.cli import main
sys.exit(main())
"""


def test_photographs_are_checked_by_the_first_rank(tmp_path):
    (write_photographs(tmp_path / "photos") / "clay" / "zero.jpg").touch()
    words = ["train", "photos", "--model", NET, "--freeze", "--epochs", "1", "--run", "run", "--threads", "1"]
    words += ["--set", "data.groups=duplicates", "--set", "transform.size=16", "--workers", "0", "--no-plots"]
    words += ["--quiet"]
    statuses, _, errors = by_hand(
        words,
        words,
        cwd=tmp_path,
        program=("-c", RANK_0_ALONE_LOOKS),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PYTHONPATH=str(TESTS),
    )
    assert statuses == [0, 0], errors
    (said,) = [line for error in errors for line in ours(error)]
    assert "1 of 29 images cannot be read and are left out (clay/zero.jpg)" in said
    assert json.loads((tmp_path / "run" / "result.json").read_text())["ranks"] == 2


def test_ranks_with_other_settings_end_together(tmp_path):
    """Started by hand, one of them with another seed."""
    commands = [(*TRAIN, "--method", "ce", "--seed", rank, "--run", "run") for rank in range(2)]
    statuses, _, errors = by_hand(*commands, cwd=tmp_path)
    assert all(statuses)
    (said,) = [line for error in errors for line in ours(error)]
    assert "must be the same on every rank, but from rank 0 to rank 1" in said
    assert "seed was 0 and is 1" in said
