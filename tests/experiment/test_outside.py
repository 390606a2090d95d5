"""Recipes and components from outside the package: installed ones, and a file on the command line."""

import json
import shutil
import sys
import textwrap

import pytest

import forked
from lt_fast import registry
from lt_fast.cli import main

LOSS = '''
"""A loss of our own, with its recipe."""

from torch import nn

from lt_fast.recipes import Paper, Recipe, Spec, cited, register
from lt_fast.registry import register as register_component


@register_component("loss", "squared_margin")
class SquaredMarginLoss(nn.Module):
    """Mean of (1 - p)^power over the rows."""

    def __init__(self, counts, *, power: float = 2.0):
        super().__init__()
        if power <= 0:
            raise ValueError(f"power must be > 0, got {power}")
        self.power = power

    def forward(self, logits, target, target_b=None, lam=None):
        def of(labels):
            return (1 - logits.softmax(1).gather(1, labels[:, None]).squeeze(1)) ** self.power
        if target_b is None:
            return of(target).mean()
        return (lam * of(target) + (1 - lam) * of(target_b)).mean()


OURS = Recipe(
    "squared_margin",
    Paper("Doe 2026, A Loss of Our Own"),
    "eq. 7",
    title="Squared margin",
    loss=Spec("squared_margin", power=cited(2.0, "Doe 2026, Table 3")),
)
'''
REGISTER = "register(OURS)\n"
MIXER = '''
"""Every second image is mixed with the one before it."""

import numpy as np

from lt_fast.batch import MixPlan


class Neighbours:
    label_rule = "mixup"

    def __init__(self, share: float = 0.75):
        self.share = share

    def plan(self, batch, labels):
        at = np.arange(len(labels)) ^ 1
        at = np.where(at < len(labels), at, len(labels) - 1)
        return MixPlan(batch.index[at], batch.position[at], np.full(len(labels), self.share, np.float32))
'''
DATA = """
from lt_fast.datasets import digits_lt


def splits(imbalance_ratio: float, profile: str, seed: int):
    train = digits_lt(imbalance_ratio=imbalance_ratio, profile=profile, seed=seed)
    return train, digits_lt(seed=seed, train=False)
"""
ENTRY_POINTS = """
[lt_fast.recipes]
squared_margin = doe_losses.loss:OURS
[lt_fast.losses]
squared_margin = doe_losses.loss:SquaredMarginLoss
[lt_fast.mixers]
neighbours = doe_losses.mixer:Neighbours
[lt_fast.datasets]
doe-digits = doe_losses.data:splits
broken = doe_losses.data:missing
"""
SHORT = ["--epochs", "1", "--quiet", "--no-plots", "--threads", "1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder like site-packages with one package installed: pip would write the same metadata."""
    folder = tmp_path_factory.mktemp("site")
    package, info = folder / "doe_losses", folder / "doe_losses-0.1.dist-info"
    package.mkdir()
    info.mkdir()
    for name, text in {"__init__": "", "loss": LOSS, "mixer": MIXER, "data": DATA}.items():
        (package / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: doe-losses\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def lt_fast(capsys, monkeypatch):
    """Run the command line as in a process of its own: what one command registers, no other sees."""
    assert "ce" in registry.RECIPES  # the package's own recipes are registered when they are first asked for
    before = {kind: dict(each._registered) for kind, each in registry.REGISTRIES.items()}

    def run(*words, path=None, status=0):
        with monkeypatch.context() as patch:
            if path is not None:
                patch.syspath_prepend(path)
            found = main([*map(str, words), "--json"])
        registry._files.clear()
        for kind, each in registry.REGISTRIES.items():
            own = {name: found for name, found in each._registered.items() if found.module.startswith("lt_fast.")}
            each._registered.clear()  # a file of the package registers only once per process
            each._registered.update(before[kind] | own)
        out, err = capsys.readouterr()
        assert found == status, err
        return json.loads(out), err

    yield run
    for name in [name for name in sys.modules if name.startswith("doe_losses")]:
        del sys.modules[name]


def test_an_installed_recipe_trains_in_a_process_of_its_own(site, tmp_path):
    words = ["train", "--method", "squared_margin", "--data", "digits-lt", *SHORT, "--run", tmp_path / "run"]
    done = forked.run(["-m", "lt_fast.cli", *words], environment={"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    assert "squared_margin on digits-lt" in done.stdout


def test_an_installed_recipe_is_listed_shown_trained_measured_and_resumed(lt_fast, site, tmp_path):
    listed, words = lt_fast("methods", path=site)
    assert "squared_margin" in [recipe["name"] for recipe in listed]
    assert "doe-digits" in words
    shown, words = lt_fast("methods", "squared-margin", "--data", "digits-lt", path=site)
    assert shown["values"]["digits-lt"]["loss.power"] == {"value": 2.0, "source": "Doe 2026, Table 3"}
    assert "Doe 2026, A Loss of Our Own (eq. 7)" in words
    run = tmp_path / "run"
    train = ["train", "--method", "squared_margin", "--data", "doe-digits", "--imbalance-ratio", "20", *SHORT]
    result, _ = lt_fast(*train, "--set", "power=3", "--set", "mixer=neighbours", "--run", run, path=site)
    assert result["config"]["loss"] == {"name": "squared_margin", "power": 3.0}
    assert result["config"]["mixer"] == {"name": "neighbours"}
    measured, _ = lt_fast("eval", run, path=site)
    assert measured["metrics"] == result["metrics"]
    (run / "result.json").unlink()
    again, _ = lt_fast("train", "--resume", run, "--quiet", "--no-plots", path=site)
    assert again["metrics"] == result["metrics"]


def test_an_installed_component_serves_other_recipes_and_has_its_own_rules(lt_fast, site, tmp_path):
    train = ["train", "--method", "ldam_drw", "--data", "digits-lt", *SHORT, "--run", tmp_path / "run"]
    result, _ = lt_fast(*train, "--set", "mixer=neighbours", "--set", "share=0.9", path=site)
    assert result["config"]["mixer"] == {"name": "neighbours", "share": 0.9}
    refused, _ = lt_fast(*train, "--set", "loss=squared_margin", path=site, status=2)
    assert "loss squared_margin takes no class weights" in refused["error"]
    refused, _ = lt_fast(*train, "--set", "loss=squared_margin", "--set", "reweight=none", "--set", "power=-1",
                         path=site, status=2)  # fmt: skip
    assert "loss squared_margin: power must be > 0, got -1.0" in refused["error"]
    refused, _ = lt_fast(*train, "--set", "mixer=neighbors", path=site, status=2)
    assert "did you mean 'neighbours'?" in refused["error"]


def test_a_broken_entry_point_is_named_where_it_is_used_and_nowhere_else(lt_fast, site):
    refused, _ = lt_fast("train", "--method", "ce", "--data", "broken", path=site, status=2)
    assert "data 'broken' cannot be loaded from doe_losses.data:missing of the package doe-losses" in refused["error"]
    shown, _ = lt_fast("methods", "ce", "--data", "digits-lt", path=site)
    assert shown["name"] == "ce"


def test_without_the_package_its_run_is_refused_in_words(lt_fast, site, tmp_path):
    run = tmp_path / "run"
    lt_fast("train", "--method", "squared_margin", "--data", "digits-lt", *SHORT, "--run", run, path=site)
    refused, _ = lt_fast("eval", run, status=3)
    assert "config.json is damaged: method must be one of" in refused["error"]
    assert "got 'squared_margin'" in refused["error"]


# --- a file -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_recipe.py"
    path.write_text(LOSS + REGISTER)
    return path


def test_a_file_trains_and_its_run_needs_nothing_else(lt_fast, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed, _ = lt_fast("methods", "--recipe", file)
    assert "squared_margin" in [recipe["name"] for recipe in listed]
    train = ["train", "--recipe", "my_recipe.py", "--data", "digits-lt", *SHORT]
    result, words = lt_fast(*train, "--set", "power=3")
    run = tmp_path / "runs" / "squared_margin-digits-lt-50-0-epochs=1-loss.power=3"
    assert f"run directory: {run.relative_to(tmp_path)}" in words
    record = result["config"]["recipe_file"]
    assert record["path"] == str(file)
    assert lt_fast("eval", run)[0]["metrics"] == result["metrics"]
    (run / "result.json").unlink()
    assert lt_fast("train", "--resume", run, "--quiet", "--no-plots")[0]["metrics"] == result["metrics"]


def test_a_file_that_moved_changed_or_came_with_the_run(lt_fast, file, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved.py"
    result, _ = lt_fast("train", "--recipe", file, "--data", "digits-lt", *SHORT, "--run", run)
    file.rename(moved)
    refused, _ = lt_fast("eval", run, status=2)
    assert refused["error"] == (
        f"the run needs its recipe file {file}, which is missing; give the file with --recipe FILE.py"
    )
    assert lt_fast("eval", run, "--recipe", moved)[0]["metrics"] == result["metrics"]
    (run / "result.json").unlink()
    same = ["train", "--recipe", moved, "--data", "digits-lt", *SHORT, "--run", run, "--resume"]
    assert lt_fast(*same)[0]["metrics"] == result["metrics"]
    moved.write_text(LOSS + REGISTER + "# another\n")
    refused, _ = lt_fast("eval", run, "--recipe", moved, status=2)
    assert "--recipe must be the file that the run in" in refused["error"]
    shutil.copy(moved, file)
    refused, _ = lt_fast("train", "--resume", run, status=2)
    assert "as it was, but it has changed; restore it, or give the file with --recipe FILE.py" in refused["error"]
    config = json.loads((run / "config.json").read_text())
    (run / "code.py").write_text(LOSS + REGISTER)
    config["recipe_file"]["path"] = str(run / "code.py")
    (run / "config.json").write_text(json.dumps(config))
    refused, _ = lt_fast("eval", run, status=2)
    assert "code.py must not be in the run directory itself; copy it elsewhere" in refused["error"]


def test_a_file_with_several_recipes_or_none_needs_a_method(lt_fast, file, tmp_path):
    file.write_text(LOSS + REGISTER + 'register(OURS.derive("second"))\n')
    refused, _ = lt_fast("train", "--recipe", file, "--data", "digits-lt", status=2)
    assert refused["error"] == "--method is needed, one of squared_margin, second"
    file.write_text(LOSS)
    refused, _ = lt_fast("train", "--recipe", file, "--data", "digits-lt", status=2)
    assert "--method is needed, one of " in refused["error"]
    words = ["train", "--recipe", file, "--method", "ce", "--data", "digits-lt", *SHORT, "--run", tmp_path / "run"]
    result, _ = lt_fast(*words, "--set", "loss=squared_margin")
    assert result["config"]["loss"] == {"name": "squared_margin"}
    assert lt_fast("eval", tmp_path / "run")[0]["metrics"] == result["metrics"]


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (None, 3, "recipe file {} cannot be read (No such file or directory); name another with --recipe"),
        ("import nothing_of_the_kind", 2, "recipe file {} cannot be run: ModuleNotFoundError: No module named"),
        (LOSS + 'register(OURS.derive("ce"))', 2, "recipe 'ce' is registered twice: by "),
    ],
)
def test_a_file_that_cannot_be_used(lt_fast, text, status, message, tmp_path):
    path = tmp_path / "my_recipe.py"
    if text is not None:
        path.write_text(textwrap.dedent(text))
    refused, _ = lt_fast("train", "--recipe", path, "--data", "digits-lt", status=status)
    assert message.format(path) in refused["error"]
