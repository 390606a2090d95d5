"""Configurations: published schedules, settings by name, text read as the component's types, refusals in words."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.cli import main
from lt_fast.datasets import CIFAR10_STATS
from lt_fast.errors import UsageError
from lt_fast.experiment import resolve, run_name, sources_of, values_of
from lt_fast.experiment.config import arguments_of, flattened, split_assignment
from lt_fast.recipes import RECIPES
from lt_fast.registry import DATASETS

PAIRS = [(method, data) for method in RECIPES for data in DATASETS]


@pytest.mark.parametrize(("method", "data"), PAIRS)
def test_every_value_names_its_source(method, data):
    for value, source in values_of(method, data).values():
        assert len(source) > 5 or value is None
        assert re.search(r"ours: .{10}|/|paper|torch|part of|seed|recipes", source), source


@pytest.mark.parametrize(("method", "data"), PAIRS)
def test_a_resolved_configuration_is_plain_json(method, data):
    config = resolve(method, data, seed=3)
    assert json.loads(json.dumps(config)) == config
    assert set(sources_of(config)) == set(flattened(config))
    assert not any(source == "set by the user" for source in sources_of(config).values())


def test_the_published_schedules():
    ldam = resolve("ldam_drw", "cifar10-lt")
    schedule = ldam["schedule"]
    assert (ldam["epochs"], ldam["batch_size"], ldam["learning_rate"]) == (200, 128, 0.1)
    assert ldam["optimizer"] == {"name": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 2e-4}
    assert [round(200 * part) for part in schedule["milestones"]] == [160, 180]
    assert (200 * schedule["warmup"], 200 * ldam["defer_until"], schedule["factor"]) == (5, 160, 0.01)
    mam = resolve("mam_drw", "cifar100-lt")
    assert (mam["epochs"], mam["mixer"]["omega"], mam["loss"]["normalization"]) == (300, 0.25, "batch")
    assert [round(300 * part) for part in (*mam["schedule"]["milestones"], mam["defer_until"])] == [150, 250, 250]
    assert resolve("mam", "cifar10-lt")["epochs"] == 200
    mammc = resolve("mammc", "cifar100-lt")
    assert (mammc["calibrator"]["gamma"], mammc["calibrator"]["epochs"], mammc["reweight"]) == (1.2, 10, None)
    assert mammc["schedule"] == {"name": "cosine", "warmup": 0.025}
    assert [resolve(name, "cifar10-lt")["loss"]["normalization"] for name in ("cb", "mam", "ldam_drw")] == [
        "batch", "batch", "weights",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "data", "profile", "ratio", "expected"),
    [
        ("mm", "cifar100-lt", "exp", 100, (19.0, 1.29, 1.528)),
        ("mm_drw", "cifar100-lt", "exp", None, (19.0, 1.29, 1.528)),
        ("mm_drw", "cifar10-lt", "exp", 100, (30.0, 1.4, 1.4)),
        ("mm_drw", "cifar10-lt", "exp", "10", (10.0, 2.7, 1.0)),
        ("mm", "cifar10-lt", "step", 100, (19.0, 1.29, 1.528)),  # no values published: the README's
        ("mm_ldam", "cifar100-lt", "exp", 100, (26.0, 1.29, 1.528)),
        ("mm_ldam_drw", "cifar100-lt", "exp", 10, (17.0, 1.9, 1.5)),
        ("mm_ldam_drw", "cifar100-lt", "step", 10, (17.0, 0.5, 1.0)),
        ("mm_ldam_drw", "cifar10-lt", "step", 100, (26.0, 1.29, 1.528)),
        ("mm_ldam_drw", "digits-lt", "exp", None, (26.0, 1.29, 1.528)),
    ],
)
def test_maximum_margin_is_set_as_its_authors_tuned_it(method, data, profile, ratio, expected):
    config = resolve(method, data, imbalance_ratio=ratio, profile=profile)
    loss = config["loss"]
    assert (loss["scale"], loss["max_margin"], loss["gamma"]) == expected
    assert loss["ldam"] == ("ldam" in method)
    assert (config["model"]["head"], config["epochs"] in (60, 200)) == ("cosine", True)
    sources = sources_of(config)
    assert all("Maximum-Margin-LDAM" in sources[f"loss.{name}"] for name in ("scale", "max_margin", "gamma"))


def test_what_is_tuned_for_one_tail_stays_there():
    def threshold(data, **tail):
        return resolve("equalization", data, **tail)["loss"]["threshold"]

    assert threshold("cifar100-lt") == 0.005
    assert threshold("cifar100-lt", imbalance_ratio=50) == 0.006
    assert threshold("cifar100-lt", imbalance_ratio=50, profile="step") == 0.005
    assert threshold("cifar10-lt", imbalance_ratio=50) == threshold("digits-lt") == 0.05
    changed = resolve("equalization", "cifar100-lt", {"threshold": 0.01}, imbalance_ratio=50)
    assert sources_of(changed)["loss.threshold"].startswith("set by the user; the recipe has 0.006")


def test_the_schedules_of_logit_adjustment_and_lade():
    adjusted = resolve("logit_adjustment", "cifar100-lt")
    schedule = adjusted["schedule"]
    assert (adjusted["epochs"], adjusted["optimizer"]["nesterov"], adjusted["loss"]["tau"]) == (1419, True, 1.0)
    assert [round(1419 * part) for part in (schedule["warmup"], *schedule["milestones"])] == [22, 691, 1059, 1290]
    lade = resolve("lade", "cifar100-lt")
    assert (lade["batch_size"], lade["learning_rate"], lade["optimizer"]["weight_decay"]) == (256, 0.2, 5e-4)
    assert [round(200 * part) for part in lade["schedule"]["milestones"]] == [120, 160]
    assert (lade["loss"]["regularizer_weight"], lade["loss"]["remine_lambda"]) == (0.1, 0.01)


@pytest.mark.parametrize("data", ["cifar10-lt", "cifar100-lt"])
def test_cifar_is_normalised_by_the_published_statistics(data):
    transform = resolve("ce", data)["transform"]
    assert (tuple(transform["mean"]), tuple(transform["std"])) == CIFAR10_STATS


def test_the_subset_follows_the_seed_on_digits_alone():
    assert resolve("ce", "digits-lt", seed=7)["subset_seed"] == 7
    assert resolve("ce", "cifar10-lt", seed=7)["subset_seed"] == 0


# --- settings by name -------------------------------------------------------------------------------------------------


def test_text_is_read_as_the_type_of_the_parameter():
    text = {
        "epochs": "1e2", "learning_rate": "0.05", "nesterov": "yes", "milestones": "0.5,0.75", "amp": "on",
        "label_smoothing": "1e-1", "loss.omega": "1", "compat": "none",
    }  # fmt: skip
    config = resolve("mm", "digits-lt", {name: value for name, value in text.items() if name != "label_smoothing"})
    assert (config["epochs"], type(config["epochs"])) == (100, int)
    assert (config["learning_rate"], config["optimizer"]["nesterov"], config["amp"]) == (0.05, True, True)
    assert config["schedule"]["milestones"] == [0.5, 0.75]
    assert (config["loss"]["omega"], type(config["loss"]["omega"]), config["loss"]["compat"]) == (1.0, float, None)
    assert resolve("ce", "digits-lt", {"label_smoothing": "1e-1"})["loss"]["label_smoothing"] == 0.1
    assert sources_of(config)["learning_rate"].startswith("set by the user; the recipe has ")
    assert sources_of(config)["loss.omega"] == "set by the user"


def test_a_component_is_changed_by_its_name_and_takes_no_option_over():
    config = resolve("ldam", "digits-lt", {"loss": "focal", "gamma": 2, "mixer": "remix", "mixer.kappa": "4"})
    assert config["loss"] == {"name": "focal", "gamma": 2.0}
    assert config["mixer"] == {"name": "remix", "kappa": 4.0}
    assert config["model"]["head"] == "cosine"
    same = resolve("ldam", "digits-lt", {"loss": "ldam"})
    assert same == resolve("ldam", "digits-lt")
    assert resolve("mam", "digits-lt", {"mixer": "none"})["mixer"] is None
    nested = resolve("ce", "digits-lt", {"loss": {"name": "focal", "gamma": 0.5}})
    assert nested == resolve("ce", "digits-lt", {"loss": "focal", "loss.gamma": "0.5"})


def test_another_transform_keeps_what_describes_the_images():
    usual = resolve("mammc", "cifar100-lt")["transform"]
    strong = resolve("mammc", "cifar100-lt", {"transform": "autoaugment", "transform.cutout": "8"})
    assert strong["transform"] == {**usual, "name": "autoaugment", "cutout": 8}
    assert sources_of(strong)["transform.mean"].startswith("kaidic/LDAM-DRW")
    digits = resolve("mc", "digits-lt", {"transform": "randaugment", "magnitude": "5"})
    assert digits["transform"] == {"name": "randaugment", "crop_padding": 1, "flip": False, "magnitude": 5}
    assert resolve("mc", "digits-lt", {"transform": "crop_flip"}) == resolve("mc", "digits-lt")


@pytest.mark.parametrize("mixer", ["mixup", "mam", "remix", "unimix"])
@pytest.mark.parametrize("method", ["ce", "ldam_drw", "mammc"])
def test_every_recipe_takes_every_mixer(method, mixer):
    assert resolve(method, "digits-lt", {"mixer": mixer})["mixer"]["name"] == mixer


def test_deferred_reweighting_can_be_added():
    config = resolve("ce", "digits-lt", {"reweight": "inverse_frequency", "reweight.gamma": "0.5"})
    assert (config["reweight"], config["defer_until"]) == ({"name": "inverse_frequency", "gamma": 0.5}, 0.8)
    assert "defer_until" not in resolve("ldam_drw", "digits-lt", {"reweight": "none"})


def test_any_optimizer_of_torch_can_be_named():
    config = resolve("ce", "digits-lt", {"optimizer": "adamw", "betas": "0.8,0.99", "weight_decay": "0.1"})
    assert config["optimizer"] == {"name": "adamw", "betas": [0.8, 0.99], "weight_decay": 0.1}


@pytest.mark.parametrize(("method", "data"), [(method, "digits-lt") for method in RECIPES])
def test_every_argument_of_every_component_is_reached(method, data):
    config = resolve(method, data)
    for slot, parameters in arguments_of(config).items():
        for name, parameter in parameters.items():
            value = config[slot].get(name, parameter.default)
            if isinstance(value, bool | int | float | str):
                assert resolve(method, data, {f"{slot}.{name}": str(value)})[slot][name] == value


def test_a_name_that_two_components_have_must_be_given_in_full():
    with pytest.raises(UsageError, match=r"--set optimizer\.momentum=VALUE or --set calibrator\.momentum=VALUE$"):
        resolve("mammc", "digits-lt", {"momentum": 0.5})
    assert resolve("mammc", "digits-lt", {"calibrator.momentum": 0.5})["calibrator"]["momentum"] == 0.5
    assert resolve("ce", "digits-lt", {"momentum": 0.5})["optimizer"]["momentum"] == 0.5
    assert (
        resolve("mammc", "digits-lt", {"epochs": 3})["calibrator"]["epochs"] == 40
    )  # the run's own settings come first
    with pytest.raises(UsageError, match=r"calibrator\.lr=VALUE or --set learning_rate=VALUE"):
        resolve("mammc", "digits-lt", {"lr": 0.05})


def test_the_command_line_lists_what_must_be_given_in_full(capsys):
    assert main(["methods", "cp_mix", "--data", "digits-lt"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "given in full" in line)
    assert "method.tau or loss.tau, loss.empty or calibrator.empty, optimizer.momentum or" in line
    assert "seed" not in line  # an argument of its own
    assert main(["methods", "ce", "--data", "digits-lt"]) == 0
    assert "given in full" not in capsys.readouterr().out


def test_short_names_stand_for_the_settings_that_everybody_types():
    config = resolve("ce", "digits-lt", {"lr": "0.05", "wd": 0})
    assert (config["learning_rate"], config["optimizer"]["weight_decay"]) == (0.05, 0)


def test_hyphens_count_as_underscores():
    assert resolve("ldam-drw", "digits-lt")["recipe"] == "ldam_drw"


def test_runs_with_other_settings_have_other_names():
    names = {
        run_name(resolve("ldam", "digits-lt", changes, **tail))
        for changes in ({}, {"scale": 20}, {"scale": 10}, {"epochs": 3}, {"mixer": "mam"}, {"milestones": "0.5,0.6"})
        for tail in ({}, {"seed": 1}, {"profile": "step"}, {"imbalance_ratio": 10})
    }
    assert len(names) == 24
    assert {"ldam-digits-lt-50-0", "ldam-digits-lt-step-50-0", "ldam-digits-lt-50-1-epochs=3"} <= names
    assert "ldam-digits-lt-50-0-schedule.milestones=0.5,0.6" in names
    assert run_name(resolve("ldam", "digits-lt", {"scale": 30})) == "ldam-digits-lt-50-0"  # the recipe's own value
    many = {"loss.scale": 1.23456789, "loss.max_margin": 0.123456, "mixer": "mam", "omega": 0.1, "alpha": 0.12345}
    long = [run_name(resolve("ldam", "digits-lt", many | {"batch_size": size, "lr": 0.01})) for size in (8, 9)]
    assert all(len(name) <= 100 for name in long)
    assert long[0] != long[1]
    odd = run_name(resolve("ce", "digits-lt", {"model": "torchvision:resnet18", "model.weights": "/a b/c.pt"}))
    assert re.fullmatch(r"ce-digits-lt-50-0-model=torchvision_resnet18-model.weights=_a_b_c.pt-[0-9a-f]{8}", odd)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "mamc"}, r"method must be one of .*, got 'mamc'; did you mean 'mammc'\?"),
        ({"data": "cifar-100-lt"}, r"data must be one of .*, got 'cifar-100-lt'; did you mean 'cifar100-lt'\?"),
        ({"imbalance_ratio": 0.01}, r"imbalance_ratio must be .* >= 1 \(largest .*\), got 0.01; did you mean 100\?"),
        ({"imbalance_ratio": "many"}, r"imbalance_ratio must be .*, got 'many'"),
        ({"imbalance_ratio": float("nan")}, r"imbalance_ratio must be .*, got nan"),
        ({"imbalance_ratio": float("inf")}, r"imbalance_ratio must be .*, got inf"),
        ({"imbalance_ratio": -5}, r"imbalance_ratio must be .*, got -5$"),
        ({"profile": "exponential"}, r"profile must be one of exp, step, pareto, got 'exponential'"),
        ({"seed": -1}, r"seed must be an integer >= 0, got -1"),
        ({"seed": 1.5}, r"seed must be an integer >= 0, got 1.5"),
        ({"seed": "one"}, r"seed must be an integer >= 0, got 'one'"),
        ({"seed": 2**64}, r"seed must be an integer < 2\*\*64, got 18446744073709551616"),
        ({"overrides": {"learning_rat": 1}}, r"setting must be .*, got 'learning_rat'; did you mean 'learning_rate'\?"),
        ({"overrides": {"omga": 1}}, r"setting must be .*, got 'omga'; did you mean 'omega'\?"),
        ({"overrides": {"xyzzy": 1}}, r"setting must be one of this run's, got 'xyzzy'; `lt-fast methods ce` lists"),
        ({"overrides": {"max_margin": 1}}, r"it is one of .*ldam, ldam_drw, mm, .*: `lt-fast methods"),
        (
            {"method": "cp_mix", "overrides": {"tau": 1}},
            r"setting must mean one option, got 'tau', which means 2; give --set method\.tau=VALUE or --set loss\.tau=",
        ),
        ({"overrides": {"loss.gama": 1}}, r"got 'loss.gama'; loss cross_entropy takes label_smoothing, weight"),
        ({"overrides": {"loss.omga": 1}}, r"got 'loss.omga'; did you mean 'omega'\?"),
        ({"overrides": {"mixer.alpha": 1}}, r"setting mixer.alpha needs a mixer, but this run has none; name one with"),
        ({"overrides": {"defer_until": 1}}, r"setting must be one of this run's, got 'defer_until'"),
        ({"overrides": {"loss": "focl"}}, r"loss must be one of .*, got 'focl'; did you mean 'focal'\?"),
        ({"overrides": {"loss": "none"}}, r"loss must be named, got none"),
        ({"overrides": {"loss": 3}}, r"loss must be a name, got 3"),
        ({"overrides": {"mixer": "remx"}}, r"mixer must be one of .*, got 'remx'; did you mean 'remix'\?"),
        ({"overrides": {"optimizer": "adamx"}}, r"optimizer must be one of .*, got 'adamx'; did you mean 'adam"),
        ({"overrides": {"model": "resnet32x"}}, r"model must be one of .*timm:NAME.*, got 'resnet32x'; did you mean"),
        ({"overrides": {"epochs": 0}}, r"epochs must be >= 1, got 0"),
        ({"overrides": {"epochs": "1.5"}}, r"epochs must be an integer, got '1.5'"),
        ({"overrides": {"epochs": "nan"}}, r"epochs must be an integer, got 'nan'"),
        ({"overrides": {"epochs": True}}, r"epochs must be an integer, got True"),
        ({"overrides": {"learning_rate": "-0.1"}}, r"learning_rate must lie in \(0, 1e\+30\], got -0.1"),
        ({"overrides": {"learning_rate": "inf"}}, r"learning_rate must be a number, got 'inf'"),
        ({"overrides": {"nesterov": "perhaps"}}, r"optimizer.nesterov must be true or false, got 'perhaps'"),
        ({"overrides": {"schedule": "cosin"}}, r"schedule must be .* got 'cosin'; did you mean 'cosine'\?"),
        ({"overrides": {"milestones": "[0.5"}}, r"schedule.milestones must be numbers .* commas, got '\[0.5'"),
        ({"overrides": {"milestones": ""}}, r"schedule.milestones must be .*, got ''; \[\] is an empty list"),
        ({"overrides": {"loss.weight": object()}}, r"loss.weight must be a value that JSON holds"),
        ({"overrides": {"loss.omega": float("nan")}}, r"loss.omega must be finite, got nan"),
    ],
)  # fmt: skip
def test_wrong_requests_name_argument_rule_value_and_next_step(arguments, message):
    with pytest.raises(UsageError, match=message):
        resolve(**{"method": "ce", "data": "digits-lt"} | arguments)


@pytest.mark.parametrize("text", ["learning_rate", "=3", " = 3", ""])
def test_an_assignment_without_name_or_value(text):
    with pytest.raises(UsageError, match="--set must be name=value, got"):
        split_assignment(text)


VALUES = st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.text() | st.floats()))
NAMES = sorted(flattened(resolve("mammc", "digits-lt")).keys() - {"mixer", "reweight", "calibrator", "defer_until"})


@given(st.sampled_from(NAMES), VALUES)
def test_any_value_is_taken_or_refused_in_words(name, value):
    try:
        config = resolve("mammc", "digits-lt", {name: value})
    except UsageError as error:
        assert str(error).partition(" ")[0].rstrip(".") in (name, "weights")  # noqa: PT017
    else:
        json.dumps(config, allow_nan=False)
        assert resolve("mammc", "digits-lt", flattened(config)) == config


@given(st.text().filter(lambda text: text.strip() and "=" not in text), st.text())
def test_an_assignment_splits_at_its_first_equals_sign(name, value):
    assert split_assignment(f"{name}={value}") == (name.strip(), value.strip())
