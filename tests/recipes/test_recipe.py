"""Recipes as data: every value has a source, specs derive from each other, one file per paper."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lt_fast.recipes
from lt_fast.datasets import long_tailed_counts
from lt_fast.errors import UsageError
from lt_fast.experiment import resolve, sources_of
from lt_fast.recipes import PROTOCOLS, RECIPES, Cited, Paper, Protocol, Recipe, Spec, cited, register
from lt_fast.recipes.recipe import flat, merge

FOLDER = Path(lt_fast.recipes.__file__).parent


def test_importing_the_recipes_needs_no_torch_and_few_files():
    code = "import sys; from lt_fast.recipes import RECIPES; list(RECIPES); "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'lt_fast.losses')))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(FOLDER.glob("*.py"))) <= 40


@pytest.mark.parametrize("method", list(RECIPES))
def test_a_recipe_says_what_it_is(method):
    recipe = RECIPES[method]
    assert recipe.name == method
    unpublished = method == "lt_fast" or method.startswith("otmix")  # at arXiv
    assert unpublished or re.fullmatch(r"\d{4}\.\d{5}", recipe.paper.arxiv)
    assert re.search(r"(eq|Section|Table|kappa)", recipe.equations)
    settings = recipe.settings
    deferred = method.endswith(("_drw", "ride", "distilled", "risda"))
    assert ("reweight" in settings) == ("defer_until" in settings) == deferred
    names = {slot: getattr(spec, "name", None) for slot, spec in settings.items()}
    assert (names.get("calibrator") == "retraining") == (
        method == "crt" or (method.startswith("cp_mix") and method != "cp_mix_ride")
    )
    assert (getattr(settings.get("model"), "options", None) == {"head": "cosine"}) == (
        names["loss"] in ("ldam", "maximum_margin")
    )


@pytest.mark.parametrize("method", list(RECIPES))
def test_every_published_value_has_a_source(method):
    recipe = RECIPES[method]
    every = [recipe.settings, *recipe.on.values(), *recipe.at.values()]
    for settings in every:
        for name, (value, source) in flat(settings, owner=method).items():
            what_makes_it = "." not in name or name == "model.head"  # names of components: the recipe itself
            assert what_makes_it or not source.startswith("part of"), (name, value)


@pytest.mark.parametrize("data", list(PROTOCOLS))
def test_every_value_of_a_protocol_has_a_source(data):
    for name, (_, source) in flat(PROTOCOLS[data].settings, owner=data).items():
        assert not source.startswith("part of"), name
        assert re.search(r"ours: .{10}|/|recipes", source), source


BASE = Recipe(
    "base",
    Paper("Doe 2026, A Loss", arxiv="2601.00001"),
    "eq. 1",
    loss=Spec("focal", gamma=cited(2.0, "Table 1"), normalization=cited("batch", "Table 1")),
    mixer=Spec("mixup", alpha=cited(1.0, "Table 1")),
    epochs=cited(10, "Table 1"),
    on={"digits-lt": {"epochs": cited(5, "ours: small"), "loss": Spec(gamma=cited(1.0, "ours: small"))}},
    at={("digits-lt", "exp", 10.0): {"loss": Spec(gamma=cited(0.5, "ours: smaller"))}},
)


def test_settings_of_a_data_set_are_over_those_of_all():
    def values(*where):
        return {name: value for name, (value, _) in flat(BASE.settings_for(*where), owner="base").items()}

    assert values("other", "exp", 50.0) == {
        "loss": "focal", "loss.gamma": 2.0, "loss.normalization": "batch", "mixer": "mixup", "mixer.alpha": 1.0,
        "epochs": 10,
    }  # fmt: skip
    assert values("digits-lt", "exp", 50.0)["loss.gamma"] == 1.0
    assert values("digits-lt", "exp", 10.0)["loss.gamma"] == 0.5
    assert values("digits-lt", "step", 10.0) | {"loss.gamma": 2.0, "epochs": 10} == values("other", "exp", 50.0)


def test_a_derived_recipe_keeps_what_it_does_not_change():
    derived = BASE.derive("derived", loss=Spec(gamma=cited(3.0, "Table 2")), mixer=None, on={"x": {"mixer": None}})
    assert (derived.title, derived.paper, derived.equations) == ("derived", BASE.paper, BASE.equations)
    assert derived.settings["loss"] == Spec(
        "focal", **(BASE.settings["loss"].options | {"gamma": Cited(3.0, "Table 2")})
    )
    assert derived.settings["mixer"] is None
    assert list(derived.on) == ["digits-lt", "x"]
    other = BASE.derive("other", loss=Spec("ldam", scale=cited(30.0, "Table 2")))
    assert other.settings["loss"].options == {"scale": (30.0, "Table 2")}  # focal's options say nothing about LDAM
    assert BASE.settings["loss"].options["gamma"].value == 2.0


def test_specs_over_specs():
    below = {"loss": Spec("a", x=1, y=2), "mixer": Spec("m")}
    assert merge(below, {"loss": Spec(x=3)})["loss"] == Spec("a", x=3, y=2)
    assert merge(below, {"loss": Spec(cited("a", "s"), x=3)})["loss"].options == {"x": 3, "y": 2}
    assert merge(below, {"loss": Spec("b", x=3)})["loss"] == Spec("b", x=3)
    assert merge(below, {"mixer": None}) == {"loss": below["loss"], "mixer": None}
    assert merge({"mixer": None}, {"mixer": Spec("m")}) == {"mixer": Spec("m")}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"los": Spec("focal")}, r"recipe 'r' must set some of method, .*, got 'los'; did you mean 'loss'\?"),
        ({"loss": "focal"}, r"recipe 'r' must set loss to a Spec or None, got 'focal'"),
        ({"epochs": 3}, r"recipe 'r' must set epochs to cited\(value, source\), got 3"),
        ({"on": {"digits-lt": {"epoch": cited(3, "x")}}}, r"got 'epoch'; did you mean 'epochs'\?"),
    ],
)
def test_settings_that_no_run_has(settings, message):
    with pytest.raises(UsageError, match=message):
        Recipe("r", Paper("P"), "eq. 1", **settings)


def test_register_takes_recipes_and_protocols():
    protocol = PROTOCOLS["digits-lt"].derive("my-data", imbalance_ratio=7.0, epochs=cited(3, "ours: short"))
    try:
        assert register(BASE) is RECIPES["base"] is BASE
        assert register(protocol) is PROTOCOLS["my-data"]
        assert (protocol.imbalance_ratio, protocol.settings["epochs"].value) == (7.0, 3)
        with pytest.raises(UsageError, match=r"recipe 'base' is registered twice: by .*test_recipe.py:\d+ and by "):
            register(Recipe("base", Paper("P"), "eq. 1"))
        with pytest.raises(UsageError, match=r"recipe 'ce' is registered twice: by .*ldam.py:\d+ and by "):
            register(BASE.derive("ce"))
        with pytest.raises(TypeError, match="entry must be a Recipe, a Protocol or a TrainingProtocol, got Spec"):
            register(Spec("ce"))
    finally:
        RECIPES.forget("base")
        PROTOCOLS.forget("my-data")
    assert isinstance(protocol, Protocol)


@pytest.mark.parametrize("name", ["mc", "mammc", "balanced_softmax"])
@pytest.mark.parametrize(("data", "epochs", "stage_2"), [("cifar100-lt", 614, 94), ("cifar10-lt", 537, 83)])
def test_the_variant_with_autoaugment_is_the_published_protocol(name, data, epochs, stage_2):
    plain, strong = (resolve(method, data) for method in (name, f"{name}_autoaugment"))
    assert strong["transform"] == plain["transform"] | {"name": "autoaugment", "cutout": 16, "fill": 128}
    assert (strong["epochs"], strong["batch_size"], strong["optimizer"]["weight_decay"]) == (epochs, 512, 5e-4)
    assert strong["schedule"] == {"name": "cosine", "warmup": 800 / 13_000, "warmup_start": 0.05}
    assert [strong[part] for part in ("loss", "mixer", "model")] == [plain[part] for part in ("loss", "mixer", "model")]
    if name == "balanced_softmax":
        assert strong["calibrator"] is None
    else:
        rates = {"epochs": stage_2, "lr": 0.05, "peak_lr": 0.1, "warmup_epochs": round(0.4 * stage_2)}
        assert strong["calibrator"] == plain["calibrator"] | rates | {"batch_size": 512, "weight_decay": 5e-4}
    sources = sources_of(strong)
    assert all(sources[each].startswith("microsoft/robustlearn: marc") for each in ("epochs", "transform", "schedule"))


def test_the_length_of_that_variant_follows_the_number_of_images():
    epochs = {ratio: resolve("mc_autoaugment", "cifar100-lt", imbalance_ratio=ratio)["epochs"] for ratio in (10, 100)}
    counts = {ratio: long_tailed_counts(500, 100, imbalance_ratio=ratio).sum() for ratio in epochs}
    assert epochs == {ratio: round(13_000 * 512 / counts[ratio]) for ratio in counts}
