"""Published figures: their runs, the numbers read from run directories, and every picture."""

import json

import numpy as np
import pytest
import torch

from lt_fast import experiment
from lt_fast.errors import DataError, UsageError
from lt_fast.metrics import confusion_matrix
from lt_fast.reproduction.figures import FIGURES, read_confusion
from lt_fast.reproduction.figures.errors_by_class import draw_errors
from lt_fast.reproduction.figures.heat_maps import group_names
from lt_fast.reproduction.figures.method_confusion import MethodConfusion
from lt_fast.reproduction.figures.toy_example import draw as draw_toy
from lt_fast.reproduction.figures.toy_problem import KINDS, Settings, best_possible, points, train

SHORT = {"epochs": 1, "batch_size": 64}
METHODS = {"ERM": "ce", "Mixup": "mixup", "BS": "balanced_softmax", "CP-Mix": "cp_mix"}
QUICK = Settings(counts=(60, 8, 40), test_points=50, epochs=3, batch_size=32, width=8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of each method on Digits-LT, and one on balanced digits."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, method in METHODS.items():
        config = experiment.resolve(method, "digits-lt", SHORT, seed=5)
        experiment.run(config, folder / method, progress=False)
        made[name] = folder / method
    for name, given in {"ERM, balanced": {"imbalance_ratio": 1}, "ERM, another seed": {}}.items():
        seed = 6 if name == "ERM, another seed" else 5
        experiment.run(experiment.resolve("ce", "digits-lt", SHORT, seed=seed, **given), folder / name, progress=False)
        made[name] = folder / name
    return made


def check_pictures(files, folder, names):
    assert files == [folder / f"{name}.{ending}" for name in names for ending in ("png", "svg")]
    for file in files:
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n") if file.suffix == ".png" else content.endswith(b"</svg>\n")


@pytest.mark.parametrize("name", FIGURES)
def test_every_run_of_a_figure_is_one(name):
    shown = FIGURES[name]
    for table in shown.tables:
        for row in table.rows:
            config = experiment.resolve(
                row.recipe, table.data, row.overrides, imbalance_ratio=table.imbalance_ratio, profile=table.profile
            )
            assert config["data"] == table.data
    assert len(set(shown.labels())) == len(shown.labels())
    assert shown.title
    assert shown.paper
    assert shown.lost


def test_the_predictions_of_a_run_are_its_confusion(runs):
    found = read_confusion(runs["CP-Mix"])
    result = json.loads((runs["CP-Mix"] / "result.json").read_text())
    assert found.confusion.sum() == 240
    assert np.trace(found.confusion) / 240 == pytest.approx(result["metrics"]["top1"])
    assert (found.n_train.tolist(), found.seeds) == (result["data"]["class_counts"], 1)
    recalls = [each["recall"] for each in result["metrics"]["per_class"]]
    np.testing.assert_allclose(1 - found.error, recalls)


def test_seeds_are_summed(runs):
    both = read_confusion([runs["ERM"], runs["ERM, another seed"]])
    one, other = read_confusion(runs["ERM"]), read_confusion(runs["ERM, another seed"])
    np.testing.assert_array_equal(both.confusion, one.confusion + other.confusion)
    assert both.seeds == 2


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cp-mix-figure-3", ["confusion_of_groups", "spread_of_errors"]),
        ("cp-mix-figure-5", ["cp_mix_against_bs"]),
    ],
)
def test_a_figure_is_drawn_from_its_runs(runs, tmp_path, name, files):
    wanted = FIGURES[name]
    found = wanted.draw({label: runs[label] for label in wanted.labels()}, tmp_path / "figures")
    check_pictures(found, tmp_path / "figures", files)


def test_errors_by_class_are_drawn_with_their_numbers(runs, tmp_path):
    given = {"CB-RW": [runs["ERM"], runs["ERM, another seed"]], "MM-DRW": runs["CP-Mix"]}
    found = FIGURES["mm-class-errors"].draw(given, tmp_path)
    check_pictures(found, tmp_path, ["errors_by_class"])
    text = found[1].read_text()
    for name, folders in given.items():
        assert f"{name}: {100 * read_confusion(folders).error.mean():.1f} % mean error" in text
    first = np.argsort(-read_confusion(runs["ERM"]).n_train, kind="stable")[0]
    assert f">{read_confusion(runs['ERM']).names[first]}<" in text


def of_many(seed):
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(30), 10)
    confusion = confusion_matrix(draw.normal(size=(300, 30)) + 2 * np.eye(30)[labels], labels)
    return MethodConfusion(confusion, 300 - 9 * np.arange(30), tuple(map(str, range(30))), "made up", 1)


def test_many_classes_are_drawn_in_groups(tmp_path):
    found = draw_errors({"A": of_many(0), "B": of_many(1)}, tmp_path)
    text = found[1].read_text()
    assert "Error of the classes by size" in text
    assert group_names(of_many(0).n_train, 10)[:2] == ["300\N{EN DASH}282", "273\N{EN DASH}255"]


def test_a_class_without_test_images_or_errors_is_drawn(tmp_path):
    from lt_fast.reproduction.figures.against_baseline import draw_comparison
    from lt_fast.reproduction.figures.confusion_of_groups import draw_confusions
    from lt_fast.reproduction.figures.spread_of_errors import draw_spreads

    confusion = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 5]])
    given = MethodConfusion(confusion, np.array([9, 4, 2]), ("a", "b", "c"), "made up", 1)
    for draw in (draw_confusions, draw_spreads, draw_comparison, draw_errors):
        for file in draw({"A": given, "B": given}, tmp_path):
            assert file.stat().st_size > 1000


def test_what_cannot_be_drawn_is_refused(runs, tmp_path):
    figure = FIGURES["cp-mix-figure-4"]
    with pytest.raises(UsageError, match="runs must name a baseline and a method, got ERM"):
        figure.draw({"ERM": runs["ERM"]}, tmp_path)
    with pytest.raises(UsageError, match="runs must have the same classes of the same sizes, and CP-Mix has others"):
        figure.draw({"ERM": runs["ERM, balanced"], "CP-Mix": runs["CP-Mix"]}, tmp_path)
    with pytest.raises(UsageError, match="runs must name two methods, got none"):
        FIGURES["mm-class-errors"].draw({}, tmp_path)
    with pytest.raises(UsageError, match="runs must name at least one run directory, got none"):
        read_confusion([])
    with pytest.raises(UsageError, match="runs of one method must have the same class sizes"):
        read_confusion([runs["ERM"], runs["ERM, balanced"]])
    with pytest.raises(DataError):
        read_confusion(tmp_path)
    assert not list(tmp_path.iterdir())


# --- the toy example --------------------------------------------------------------------------------------------------


def test_the_toy_example_is_drawn(tmp_path):
    before = torch.random.get_rng_state()
    files = draw_toy({}, tmp_path, QUICK)
    check_pictures(files, tmp_path, ["toy_example"])
    text = files[1].read_text()
    assert [f"{letter}. " in text for letter in "abcde"] == [True] * 5
    assert all(words in text for words in KINDS.values())
    assert "B: 8 points" in text
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_toy_training_is_a_function_of_its_settings():
    first, second = train("cp_mix", QUICK), train("cp_mix", QUICK)
    assert np.array_equal(first.confusion, second.confusion)
    assert first.confusion.sum() == 150
    np.testing.assert_allclose(first.recall, np.diag(first.confusion) / 50)
    with pytest.raises(ValueError, match="kind must be one of erm, mixup, pairs, cp_mix, got 'remix'"):
        train("remix", QUICK)


def test_mixing_confused_pairs_finds_the_rare_class_and_mixup_loses_it():
    """What the example is for, with fewer steps than the picture has."""
    settings = Settings(counts=(300, 10, 150), test_points=500, epochs=40, batch_size=46)
    recall = {kind: train(kind, settings).recall for kind in KINDS}
    assert recall["mixup"][1] < recall["erm"][1] < recall["pairs"][1] < recall["cp_mix"][1]
    assert recall["cp_mix"].mean() > recall["erm"].mean() + 0.05


def test_the_best_possible_classifier_is_that_of_the_densities():
    x, labels = points((4000, 4000, 4000), 3)
    predicted = best_possible(x.astype(np.float64)).argmax(1)
    assert (predicted == labels).mean() > 0.94
    middle = best_possible(np.array([[-2.4, 0.0], [0.0, 0.0], [2.4, 0.0]])).argmax(1)
    assert middle.tolist() == [0, 1, 2]
