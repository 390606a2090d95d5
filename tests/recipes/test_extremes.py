"""Every setting at its extremes: refused before anything is made, or a run that fails in words and leaves no folder."""

import re

import pytest

from lt_fast import recipes
from lt_fast.cli import main
from lt_fast.cli.train import most_threads
from lt_fast.errors import UsageError
from lt_fast.recipes import settings
from lt_fast.recipes.assembly import load_data

TRAIN = ["train", "--data", "digits-lt", "--no-plots", "--quiet"]
UNBOUNDED = {name: setting for name, setting in settings.SETTINGS.items() if setting.kind in ("number", "whole")}


@pytest.mark.parametrize("name", sorted(UNBOUNDED))
@pytest.mark.parametrize("value", ["1e31", "1e300", "1e999999999", pytest.param(10**5000, id="huge"), 1e31])
def test_no_number_is_without_bound(name, value):
    with pytest.raises(UsageError, match=f"{name} must be ") as caught:
        settings.checked(name, value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", sorted(name for name, setting in UNBOUNDED.items() if setting.most is not None))
def test_the_bound_is_said_and_holds(name):
    most = settings.SETTINGS[name].most
    assert settings.checked(name, most) == settings.checked(name, str(most)) == most
    bound = re.escape(f"{most:.15g}")
    with pytest.raises(UsageError, match=rf"{name} must be a (whole )?number <= {bound}, got '{2 * most}'$"):
        settings.checked(name, str(2 * most))


@pytest.mark.parametrize("seed", [2**53, 2**53 + 1, 2**63, 2**64 - 2, 2**64 - 1])
def test_seeds_are_exact_and_reach_the_whole_run(seed):
    for given in (seed, str(seed), f"{seed}.0"):
        config = recipes.resolve("ce", "digits-lt", seed=given)
        assert config["seed"] == config["subset_seed"] == seed
        assert recipes.resolve("ce", "cifar10-lt", {"subset_seed": given})["subset_seed"] == seed
    assert recipes.sources_of(config)["subset_seed"].startswith("ours: ")


def test_the_largest_seed_trains_and_has_a_split_of_its_own(tmp_path):
    config = recipes.resolve("cp_mix", "digits-lt", {"epochs": 1, "calibration_epochs": 1}, seed=2**64 - 1)
    result = recipes.run(config, tmp_path / "run", progress=False)
    assert result["config"]["subset_seed"] == 2**64 - 1
    for seed in (2**64 - 2, 2**53, 2**53 + 1):
        other = load_data(recipes.resolve("ce", "digits-lt", seed=seed)).train.fingerprint
        assert other != result["data"]["train_fingerprint"]
        result["data"]["train_fingerprint"] = other


@pytest.mark.parametrize(
    ("method", "words", "status", "message"),
    [
        ("ce", ["--epochs", "1e18"], 2, r"epochs must be a whole number <= 1000000, got '1e18'"),
        ("ce", ["--set", "batch_size=1e18"], 2, r"batch_size must be a whole number <= 65536, got '1e18'"),
        ("ce", ["--seed", "18446744073709551616"], 2, r"seed must be a whole number in \[0, 2\^64\), got '184467"),
        ("ce", ["--imbalance-ratio", "1e308"], 2, r"imbalance_ratio must be <= 1000000, got 1e\+308"),
        ("ce", ["--imbalance-ratio", "151"], 2, r"imbalance_ratio must leave every class a sample"),
        ("ce", ["--threads", "1e9"], 2, rf"--threads must be a whole number <= {most_threads()}, got '1e9'"),
        ("ce", ["--threads", "9" * 5000], 2, rf"--threads must be a whole number <= {most_threads()}, got '999"),
        ("ce", ["--lr", "1"], 2, "has no option '--lr'"),
        ("ce", ["--set", "lr=1", "--set", "learning_rate=2"], 2, "learning_rate must be set once, got '1' and '2'"),
        ("ce", ["--set", "learning_rate="], 2, "learning_rate must be a number > 0, got ''"),
        ("ce", ["--set", "milestones="], 2, r"milestones must be rising fractions in \(0, 1\), got ''; \[\] is none"),
        ("ce", ["--set", "milestones=0.5,,0.7"], 2, r"milestones must be rising fractions .*, got '0.5,,0.7'"),
        ("ce", ["--set", "milestones=" + "[" * 10**5], 2, r"milestones must be rising fractions"),
        ("ce", ["--set", "seed=5"], 2, r"got 'seed'; it is an argument of its own: --seed on the command line, seed="),
        ("mammc", ["--set", "calibration_gamma=1e6"], 2, r"calibration_gamma\) must leave every class a weight"),
        ("ce", ["--set", "learning_rate=1e30"], 1, "loss must stay finite, got .* no checkpoint was written yet"),
    ],
)
def test_a_start_that_fails_says_so_and_leaves_no_folder(method, words, status, message, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*TRAIN, "--method", method, "--run", str(run), *words]) == status
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not run.exists()


def test_a_calibration_that_diverges_is_a_failed_run_that_keeps_its_network(tmp_path, capsys):
    run = tmp_path / "run"
    words = [*TRAIN, "--method", "mc", "--epochs", "1", "--set", "calibration_learning_rate=1e6", "--run", str(run)]
    assert main(words) == 1
    assert "calibration diverged" in capsys.readouterr().err
    assert (run / "checkpoints" / "epoch-0001").is_dir()


@pytest.mark.parametrize("part", [{"method": None}, {"data": 3}, {"profile": 1.0}, {"overrides": {5: 1}}])
def test_names_of_another_type_are_refused_in_words(part):
    with pytest.raises(UsageError, match="must be"):
        recipes.resolve(**{"method": "ce", "data": "digits-lt"} | part)


@pytest.mark.parametrize(
    "seed",
    [True, 1.5, "1_000", "0x10", "\u0661", "", None, [1], 2.0**60, float("nan"), -1, pytest.param(10**5000, id="huge")],
)
def test_seeds_that_are_none(seed):
    with pytest.raises(UsageError, match=r"seed must be a whole number in \[0, 2\^64\), got"):
        recipes.resolve("ce", "digits-lt", seed=seed)


@pytest.mark.parametrize(
    "ratio", [True, "1_0", "\u0665\u0660", "", "0x32", [1], 0, 1e-300, "1e999", pytest.param(10**5000, id="huge")]
)
def test_ratios_that_are_none(ratio):
    with pytest.raises(UsageError, match="imbalance_ratio must be"):
        recipes.resolve("ce", "digits-lt", imbalance_ratio=ratio)


def test_no_milestones_are_asked_for_in_words():
    for none in ("[]", "[ ]", [], ()):
        assert settings.checked("milestones", none) == []
    assert settings.checked("milestones", "[0.5, 0.75]") == settings.checked("milestones", "0.5,0.75") == [0.5, 0.75]
