"""Recipes as data: every value has a source, is valid, and overrides are typed; unknown names meet the nearest."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast import recipes
from lt_fast.errors import UsageError
from lt_fast.recipes import settings

PAIRS = [(method, data) for method in recipes.RECIPES for data in recipes.PROTOCOLS]


@pytest.mark.parametrize(("method", "data"), PAIRS)
def test_every_value_is_a_known_setting_and_names_its_source(method, data):
    for name, (value, source) in recipes.values_of(method, data).items():
        if value != "seed":
            assert settings.checked(name, value) is not None
        assert len(source) > 5
        assert re.search(r"ours: .{10}|/|paper|torch|part of|seed", source), source


@pytest.mark.parametrize(("method", "data"), PAIRS)
def test_a_resolved_configuration_is_flat_plain_json(method, data):
    config = recipes.resolve(method, data, seed=3)
    assert json.loads(json.dumps(config)) == config
    assert not any(isinstance(value, dict) for value in config.values())
    assert set(recipes.sources_of(config)) <= set(config)


@pytest.mark.parametrize("method", list(recipes.RECIPES))
def test_a_recipe_says_what_it_is(method):
    recipe = recipes.recipe_of(method)
    assert recipe.name == method
    assert re.fullmatch(r"\d{4}\.\d{5}", recipe.arxiv)
    assert re.search(r"(eq|Section|Table|kappa)", recipe.equations)
    assert recipe.deferred == ("defer_until" in recipe.values) == method.endswith("_drw")
    assert (recipe.calibrator is not None) == ("calibration_epochs" in recipe.values)
    assert (recipe.calibrator == "margin") == ("calibration_gamma" in recipe.values)
    assert (recipe.mixer == "cp_mix") == ("stage_2_from" in recipe.values) == (recipe.calibrator == "retraining")
    assert (recipe.mixer is not None) == ("alpha" in recipe.values)
    assert (recipe.mixer == "mam") == ("omega" in recipe.values)
    has_margins = recipe.loss in ("ldam", "maximum_margin")
    assert has_margins == (recipe.head == "cosine") == ("max_margin" in recipe.values)
    assert (recipe.loss == "maximum_margin") == ("ldam_offset" in recipe.values)


def test_the_published_schedules():
    ldam = recipes.resolve("ldam_drw", "cifar10-lt")
    assert (ldam["epochs"], ldam["batch_size"], ldam["learning_rate"], ldam["weight_decay"]) == (200, 128, 0.1, 2e-4)
    assert [round(200 * part) for part in ldam["milestones"]] == [160, 180]
    assert (200 * ldam["warmup"], 200 * ldam["defer_until"], ldam["learning_rate_decay"]) == (5, 160, 0.01)
    mam = recipes.resolve("mam_drw", "cifar100-lt")
    assert (mam["epochs"], mam["omega"], mam["normalization"]) == (300, 0.25, "batch")
    assert [round(300 * part) for part in (*mam["milestones"], mam["defer_until"])] == [150, 250, 250]
    assert recipes.resolve("mam", "cifar10-lt")["epochs"] == 200
    mammc = recipes.resolve("mammc", "cifar100-lt")
    assert (mammc["calibration_gamma"], mammc["calibration_epochs"], mammc["deferred"]) == (1.2, 10, False)
    assert [recipes.resolve(name, "cifar10-lt")["normalization"] for name in ("cb", "mam", "ldam_drw")] == [
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
    config = recipes.resolve(method, data, imbalance_ratio=ratio, profile=profile)
    assert (config["scale"], config["max_margin"], config["margin_gamma"]) == expected
    assert config["ldam_offset"] == ("ldam" in method)
    assert (config["head"], config["epochs"] in (60, 200)) == ("cosine", True)
    sources = recipes.sources_of(config)
    assert all("Maximum-Margin-LDAM" in sources[name] for name in ("scale", "max_margin", "margin_gamma"))


def test_what_is_tuned_for_one_tail_stays_there():
    def rare_below(data, **tail):
        return recipes.resolve("equalization", data, **tail)["rare_below"]

    assert rare_below("cifar100-lt") == 0.005
    assert rare_below("cifar100-lt", imbalance_ratio=50) == 0.006
    assert rare_below("cifar100-lt", imbalance_ratio=50, profile="step") == 0.005
    assert rare_below("cifar10-lt", imbalance_ratio=50) == rare_below("digits-lt") == 0.05
    changed = recipes.resolve("equalization", "cifar100-lt", {"rare_below": 0.01}, imbalance_ratio=50)
    assert recipes.sources_of(changed)["rare_below"].startswith("set by the user; the recipe has 0.006")


def test_the_schedules_of_logit_adjustment_and_lade():
    adjusted = recipes.resolve("logit_adjustment", "cifar100-lt")
    assert (adjusted["epochs"], adjusted["nesterov"], adjusted["prior_tau"]) == (1419, True, 1.0)
    assert [round(1419 * part) for part in (adjusted["warmup"], *adjusted["milestones"])] == [22, 691, 1059, 1290]
    lade = recipes.resolve("lade", "cifar100-lt")
    assert (lade["batch_size"], lade["learning_rate"], lade["weight_decay"]) == (256, 0.2, 5e-4)
    assert [round(200 * part) for part in lade["milestones"]] == [120, 160]
    assert (lade["regularizer_weight"], lade["remine_lambda"]) == (0.1, 0.01)


def test_the_subset_follows_the_seed_on_digits_alone():
    assert recipes.resolve("ce", "digits-lt", seed=7)["subset_seed"] == 7
    assert recipes.resolve("ce", "cifar10-lt", seed=7)["subset_seed"] == 0


def test_overrides_are_read_as_the_type_of_the_setting():
    text = {"epochs": "1e2", "learning_rate": "0.05", "nesterov": "yes", "milestones": "0.5,0.75", "schedule": "cosine"}
    config = recipes.resolve("ce", "digits-lt", text)
    assert config["epochs"] == 100
    assert type(config["epochs"]) is int
    assert (config["learning_rate"], config["nesterov"], config["milestones"]) == (0.05, True, [0.5, 0.75])
    source = recipes.sources_of(config)["learning_rate"]
    assert source.startswith("set by the user; the recipe has ")


def test_hyphens_count_as_underscores():
    assert recipes.resolve("ldam-drw", "digits-lt")["method"] == "ldam_drw"


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
        ({"seed": -1}, r"seed must be a whole number in \[0, 2\^64\), got -1"),
        ({"seed": 1.5}, r"seed must be a whole number in \[0, 2\^64\), got 1.5"),
        ({"seed": "one"}, r"seed must be a whole number in \[0, 2\^64\), got 'one'"),
        ({"seed": 2**64}, r"seed must be a whole number in"),
        ({"overrides": {"learning_rat": 1}}, r"setting must be .*, got 'learning_rat'; did you mean 'learning_rate'\?"),
        ({"overrides": {"omega": 1}}, r"ce has no setting 'omega'.* \(used by mam, mam_drw, mammc\); `lt-fast methods"),
        ({"overrides": {"epochs": 0}}, r"epochs must be a whole number > 0, got 0"),
        ({"overrides": {"epochs": "1.5"}}, r"epochs must be a whole number > 0, got '1.5'"),
        ({"overrides": {"epochs": "nan"}}, r"epochs must be a whole number > 0, got 'nan'"),
        ({"overrides": {"epochs": True}}, r"epochs must be a whole number > 0, got True"),
        ({"overrides": {"learning_rate": "-0.1"}}, r"learning_rate must be a number > 0, got '-0.1'"),
        ({"overrides": {"learning_rate": "inf"}}, r"learning_rate must be a number > 0, got 'inf'"),
        ({"overrides": {"momentum": 1}}, r"momentum must be a number in \[0, 1\), got 1"),
        ({"overrides": {"nesterov": "perhaps"}}, r"nesterov must be true or false, got 'perhaps'"),
        ({"overrides": {"schedule": "cosin"}}, r"schedule must be .* got 'cosin'; did you mean 'cosine'\?"),
        ({"overrides": {"schedule": 3}}, r"schedule must be one of multistep, cosine, got 3"),
        ({"overrides": {"milestones": "0.9,0.8"}}, r"milestones must be rising fractions in \(0, 1\), got '0.9,0.8'"),
        ({"overrides": {"milestones": "160,180"}}, r"milestones must be rising fractions in \(0, 1\), got '160,180'"),
        ({"overrides": {"milestones": "[0.5"}}, r"milestones must be rising fractions in \(0, 1\), got '\[0.5'"),
    ],
)  # fmt: skip
def test_wrong_requests_name_argument_rule_value_and_next_step(arguments, message):
    with pytest.raises(UsageError, match=message):
        recipes.resolve(**{"method": "ce", "data": "digits-lt"} | arguments)


@pytest.mark.parametrize("text", ["learning_rate", "=3", " = 3", ""])
def test_an_assignment_without_name_or_value(text):
    with pytest.raises(UsageError, match="--set must be name=value, got"):
        settings.split_assignment(text)


VALUES = st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.text() | st.floats()))


@given(st.sampled_from(sorted(settings.SETTINGS)), VALUES)
def test_any_value_is_taken_or_refused_in_words(name, value):
    try:
        checked = settings.checked(name, value)
    except UsageError as error:
        refused = str(error)
    else:
        refused = None
        assert settings.checked(name, checked) == checked
        json.dumps(checked, allow_nan=False)
    assert refused is None or refused.startswith(f"{name} must be ")


@given(st.text().filter(lambda text: text.strip() and "=" not in text), st.text())
def test_an_assignment_splits_at_its_first_equals_sign(name, value):
    assert settings.split_assignment(f"{name}={value}") == (name.strip(), value.strip())


def test_short_names_stand_for_the_settings_that_everybody_types():
    config = recipes.resolve("ce", "digits-lt", {"lr": "0.05", "wd": 0})
    assert (config["learning_rate"], config["weight_decay"]) == (0.05, 0)
    assert "lr" not in config
