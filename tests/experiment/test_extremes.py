"""Every setting at its extremes: refused before anything is made, or a run that fails in words and leaves no folder."""

import re

import pytest

from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.cli.train import most_threads
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.experiment.config import arguments_of, run_settings
from lt_fast.recipes import RECIPES

TRAIN = ["train", "--data", "digits-lt", "--no-plots", "--quiet"]
RUN = {"epochs": 1_000_000, "batch_size": 65_536, "learning_rate": 1e30, "defer_until": 1}
METHODS = ("mammc", "mm_drw", "cp_mix", "seesaw", "lade", "focal", "equalization", "logit_adjustment")


def _numbers():
    """Every number of every component that these methods have, once: of the first method that has it."""
    found = {}
    for method in METHODS:
        config = experiment.resolve(method, "digits-lt")
        for slot, parameters in arguments_of(config).items():
            for name, parameter in parameters.items():
                if type(parameter.default) in (int, float) or name in ("momentum", "batch_size"):
                    found.setdefault((slot, config[slot]["name"], name), (method, f"{slot}.{name}"))
    return sorted(found.values())


NUMBERS = _numbers()


@pytest.fixture(scope="module")
def data():
    return load_data(experiment.resolve("ce", "digits-lt"))


@pytest.mark.parametrize("name", sorted(RUN))
@pytest.mark.parametrize("value", ["1e31", "1e300", "1e999999999", pytest.param(10**5000, id="huge"), 1e31])
def test_no_number_of_a_run_is_without_bound(name, value):
    with pytest.raises(UsageError, match=f"{name} must ") as caught:
        experiment.resolve("ldam_drw", "digits-lt", {name: value})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", sorted(RUN))
def test_the_bound_is_said_and_holds(name):
    most = RUN[name]
    usual = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, "subset_seed": 0}
    assert run_settings(**usual | {name: most})[name] == most
    assert experiment.resolve("ldam_drw", "digits-lt", {name: str(most)})[name] == most
    with pytest.raises(UsageError, match=rf"{name} must .*{re.escape(f'{most:g}' if most == 1e30 else str(most))}"):
        experiment.resolve("ldam_drw", "digits-lt", {name: str(2 * most)})


@pytest.mark.parametrize(("method", "name"), NUMBERS)
@pytest.mark.parametrize("value", ["-1", "1e300", "0", "1e18"])
def test_a_component_takes_a_number_or_refuses_it_in_words(data, method, name, value):
    """No number makes a component fail in another way, which would look like a fault of the package."""
    try:
        build(experiment.resolve(method, "digits-lt", {name: value}), data)
    except UsageError as error:
        assert re.search(r"must|needs|Invalid|requires|Nesterov", str(error))  # noqa: PT017


@pytest.mark.parametrize("seed", [2**53, 2**53 + 1, 2**63, 2**64 - 2, 2**64 - 1])
def test_seeds_are_exact_and_reach_the_whole_run(seed):
    for given in (seed, str(seed), f"{seed}.0"):
        config = experiment.resolve("ce", "digits-lt", seed=given)
        assert config["seed"] == config["subset_seed"] == seed
        assert experiment.resolve("ce", "cifar10-lt", {"subset_seed": given})["subset_seed"] == seed
    assert experiment.sources_of(config)["subset_seed"].startswith("ours: ")


def test_the_largest_seed_trains_and_has_a_split_of_its_own(tmp_path):
    config = experiment.resolve("cp_mix", "digits-lt", {"epochs": 1, "calibrator.epochs": 1}, seed=2**64 - 1)
    result = experiment.run(config, tmp_path / "run", progress=False)
    assert result["config"]["subset_seed"] == 2**64 - 1
    for seed in (2**64 - 2, 2**53, 2**53 + 1):
        other = load_data(experiment.resolve("ce", "digits-lt", seed=seed)).train.fingerprint
        assert other != result["data"]["train_fingerprint"]
        result["data"]["train_fingerprint"] = other


@pytest.mark.parametrize(
    ("method", "words", "status", "message"),
    [
        ("ce", ["--epochs", "1e18"], 2, r"epochs must be <= 1000000, got 1000000000000000000"),
        ("ce", ["--set", "batch_size=1e18"], 2, r"batch_size must be <= 65536, got 1000000000000000000"),
        ("ce", ["--seed", "18446744073709551616"], 2, r"seed must be an integer < 2\*\*64, got '184467"),
        ("ce", ["--imbalance-ratio", "1e308"], 2, r"imbalance_ratio must be <= 1000000, got 1e\+308"),
        ("ce", ["--imbalance-ratio", "151"], 2, r"imbalance_ratio must leave every class a sample"),
        ("ce", ["--threads", "1e9"], 2, rf"--threads must be an integer <= {most_threads()}, got '1e9'"),
        ("ce", ["--threads", "9" * 5000], 2, rf"--threads must be an integer <= {most_threads()}, got '999"),
        ("ce", ["--lr", "1"], 2, "has no option '--lr'"),
        ("ce", ["--set", "lr=1", "--set", "learning_rate=2"], 2, "learning_rate must be set once, got '1' and '2'"),
        ("ce", ["--set", "learning_rate="], 2, "learning_rate must be a number, got ''"),
        ("ce", ["--set", "milestones="], 2, r"milestones must be numbers .*, got ''; \[\] is an empty list"),
        ("ce", ["--set", "milestones=0.5,,0.7"], 2, r"milestones must be numbers .*, got '0.5,,0.7'"),
        ("ce", ["--set", "milestones=0.9,0.8"], 2, r"schedule multistep: milestones must increase, got \(0.9, 0.8\)"),
        ("ce", ["--set", "milestones=160,180"], 2, r"milestones must be fractions of the training in \(0, 1\]"),
        ("ce", ["--set", "milestones=" + "[" * 10**5], 2, r"milestones must be numbers"),
        ("ce", ["--set", "momentum=-1"], 2, r"Invalid momentum value: -1"),
        ("ce", ["--set", "seed=5"], 2, r"got 'seed'; it is an argument of its own: --seed on the command line, seed="),
        ("focal", ["--set", "gamma=-1"], 2, r"loss focal: gamma must be finite and >= 0, got -1"),
        ("ce", ["--set", "sampler=weighted"], 2, r"sampler weighted needs weights; give it with --set sampler"),
        (
            "cp_mix",
            ["--set", "mixer=remix"],
            2,
            r"method cp_mix does not use a mixer of the run, got remix; leave it out",
        ),
        ("ce", ["--set", "model=torchvision:resnet18"], 2, r"takes images of 3 channels, these have 1"),
        ("mammc", ["--set", "calibrator.gamma=1e6"], 2, r"gamma must leave every class a weight"),
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
    words = [*TRAIN, "--method", "mc", "--epochs", "1", "--set", "calibrator.lr=1e6", "--run", str(run)]
    assert main(words) == 1
    assert "calibration diverged" in capsys.readouterr().err
    assert (run / "checkpoints" / "epoch-0001").is_dir()


@pytest.mark.parametrize("part", [{"method": None}, {"data": 3}, {"profile": 1.0}, {"overrides": {5: 1}}])
def test_names_of_another_type_are_refused_in_words(part):
    with pytest.raises(UsageError, match="must be"):
        experiment.resolve(**{"method": "ce", "data": "digits-lt"} | part)


@pytest.mark.parametrize(
    "seed",
    [True, 1.5, "1_000", "0x10", "\u0661", "", None, [1], 2.0**60, float("nan"), -1, pytest.param(10**5000, id="huge")],
)
def test_seeds_that_are_none(seed):
    with pytest.raises(UsageError, match=r"seed must be an integer (>= 0|< 2\*\*64), got"):
        experiment.resolve("ce", "digits-lt", seed=seed)


@pytest.mark.parametrize(
    "ratio", [True, "1_0", "\u0665\u0660", "", "0x32", [1], 0, 1e-300, "1e999", pytest.param(10**5000, id="huge")]
)
def test_ratios_that_are_none(ratio):
    with pytest.raises(UsageError, match="imbalance_ratio must be"):
        experiment.resolve("ce", "digits-lt", imbalance_ratio=ratio)


def test_no_milestones_are_asked_for_in_words():
    for none in ("[]", "[ ]", [], ()):
        assert experiment.resolve("ce", "digits-lt", {"milestones": none})["schedule"]["milestones"] == []
    for some in ("[0.5, 0.75]", "0.5,0.75", (0.5, 0.75)):
        assert experiment.resolve("ce", "digits-lt", {"milestones": some})["schedule"]["milestones"] == [0.5, 0.75]


def test_the_recipes_are_those_of_the_papers():
    assert len(RECIPES) >= 24
