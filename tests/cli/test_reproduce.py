"""``lt-fast reproduce``: the list, a table from real runs, resumption, and every refusal on one line."""

import json

import pytest

from lt_fast.cli import main
from lt_fast.reproduction import TARGETS, Row, Tail, Target, register_target, rows_on

WORDS = ["reproduce", "digits", "--seeds", "1", "--epochs", "1", "--threads", "1", "--workers", "2"]


@pytest.fixture(autouse=True)
def _target():
    """A target that needs no files."""
    tail = Tail("digits-lt", 50.0)
    rows = rows_on((tail,), ("MC", "mc"), ("Wild", "ce", {"learning_rate": 1e25}), ("BBN", None, {}, "why"))
    rows += tuple(
        Row(f"gamma = {gamma}", tail, "mc", {"calibrator.gamma": gamma}, at=gamma, refit=True) for gamma in (0.0, 1.2)
    )
    register_target(Target("digits", "Digits", "Nobody 2020", rows))
    empty = rows_on((Tail("digits-lt", 1000.0),), ("CE", "ce"))
    register_target(Target("emptied", "Emptied", "Nobody 2020", empty))
    yield
    del TARGETS["digits"], TARGETS["emptied"]


def test_a_failing_row_is_named_and_the_others_are_in_the_table(tmp_path, capsys):
    assert main([*WORDS, "--out", str(tmp_path), "--json"]) == 1
    said = capsys.readouterr()
    value = json.loads(said.out)
    mc, wild, bbn, flat, usual = value["entries"]
    assert (mc["runs"], mc["reason"], mc["verdict"]) == (1, "", "")
    assert 0 < mc["measured"] < 100
    assert "loss must stay finite" in wild["reason"]
    assert bbn["reason"] == "why"
    assert "lt-fast: warning: Wild, Digits-LT 50, seed 0 failed: loss must stay finite" in said.err
    assert {path.name for path in (tmp_path / "digits").iterdir()} == {
        "picture.png", "picture.svg", "table.csv", "table.json", "table.txt",
    }  # fmt: skip
    # Rows that differ in their second stage share the training, and each has its own numbers.
    assert usual["measured"] == mc["measured"]
    assert flat["measured"] is not None
    assert value["runs"]["gamma = 0.0, Digits-LT 50"] == value["runs"]["MC, Digits-LT 50"]
    (run,) = tmp_path.glob("mc-*-epochs=1")
    assert {path.name for path in (run / "calibrations").iterdir()} == {"gamma=0.0", "gamma=1.2"}
    hashes = {each["row"]: each["recipe_sha256"] for each in value["trainings"]}
    assert hashes["gamma = 0.0"] != hashes["gamma = 1.2"] == hashes["MC"]
    # What has finished is not trained again.
    assert main([*WORDS, "--out", str(tmp_path), "--rows", "MC", "gamma = 0.0", "--quiet", "--no-plots"]) == 0
    again = capsys.readouterr()
    assert again.err == ""
    assert f"{mc['measured']:.1f}" in again.out


def test_without_a_name_it_lists_what_there_is(capsys):
    assert main(["reproduce", "--json"]) == 0
    said = capsys.readouterr()
    listed = {each["name"]: each for each in json.loads(said.out)}
    assert listed["digits"]["runs"] == 9
    assert listed["digits"]["cannot be run"] == "why"
    assert listed["mammc-table-1"]["numbers"] == {"published": 15, "unverified": 0}
    assert "CIFAR-100-LT 100" in listed["mammc-table-1"]["data"]
    assert "  rows: ResNet-32; MAM; MC; MAM-DRW; MAMMC" in said.err


def test_a_dry_run_shows_the_published_numbers_and_trains_nothing(tmp_path, capsys):
    words = ["reproduce", "ldam-table-2", "--data", "cifar10-lt", "--imbalance-ratio", "100", "--dry-run"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "77.03" in said
    assert "63.3 (unverified)" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["mammc-table-7"], 2, "target must be one of mammc-table-1, "),
        (
            ["digits", "--rows", "MD"],
            2,
            "rows must be some of MC, Wild, BBN, gamma = 0.0, gamma = 1.2, or recipes of",
        ),
        (["digits", "--seeds", "0"], 2, "--seeds must be an integer >= 1, got '0'"),
        (["digits", "--workers", "none"], 2, "--workers must be an integer >= 1, got 'none'"),
        (["digits", "--imbalance-ratio", "much"], 2, "--imbalance-ratio must be a number, got 'much'"),
        (
            ["digits", "--imbalance-ratio", "3"],
            2,
            "digits must have a row that is asked for, got ratio 3.0; it has digits-lt with ratio 50",
        ),
        (
            ["digits", "--data", "digit-lt"],
            2,
            "digits must have a row that is asked for, got data 'digit-lt'; it has di",
        ),
        (["digits", "--epochs", "0", "--rows", "MC"], 2, "digits must have a row that can be run, but epochs must be"),
        (["digits", "--epochs", "x", "--dry-run"], 2, "digits must have a row that can be run, but epochs must be an"),
        (
            ["digits", "--validation", "2", "--dry-run"],
            2,
            "digits must have a row that can be run, but validation must",
        ),
        (["digits", "--step", "graf"], 2, "step must be one of eager, graph, got 'graf'; did you mean 'graph'?"),
        (
            ["digits", "--step", "graph"],
            2,
            "step must be 'eager' on cpu, got 'graph'; a CUDA graph needs --device cuda",
        ),
        (
            ["digits", "--root", "digit-lt=here"],
            2,
            "--root must be DIR, or DATA=DIR with a data set, one of photographs, ",
        ),
        (["digits", "--rows", "BBN"], 2, "digits must have a row that can be run, but why"),
        (["digits", "--protocol", "marx"], 2, "protocol must be one of own"),
        (["digits", "--device", "cuda:99"], 2, "device must be present, got 'cuda:99'"),
        (["digits", "--root", "a", "--root", "b"], 2, "--root must be given once, got a and b"),
        (["emptied"], 2, "imbalance_ratio"),
        (["ldam-table-2"], 2, "--root is needed for cifar10-lt"),
        (["ldam-table-2", "--root", "EMPTY"], 3, "ldam-table-2 needs its data: EMPTY"),
    ],
)
def test_every_refusal_is_one_line_and_leaves_nothing(words, status, line, tmp_path, capsys):
    words = [word.replace("EMPTY", str(tmp_path)) for word in words]
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == status
    said = capsys.readouterr().err
    assert said.startswith(f"lt-fast: {line.replace('EMPTY', str(tmp_path))}")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
