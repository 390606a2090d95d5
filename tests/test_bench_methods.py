"""What a step of a recipe costs: measured, written, read by the package, listed; a recipe that is missing says so."""

import json
import re

import pytest
from benches import methods
from benches.harness import RESULTS, write_csv

from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.errors import DataError
from lt_fast.experiment.build import load_data
from lt_fast.recipes import RECIPES, costs


@pytest.fixture(scope="module")
def rows():
    data = load_data(experiment.resolve("ce", "digits-lt", {"validation": 0.1}))
    return methods.compared(["ce", "mammc", "regmixup", "cp_mix"], data, 1, on="digits-lt")


@pytest.fixture
def table(rows, tmp_path, monkeypatch):
    path = write_csv(tmp_path / "costs.csv", rows, about="two shapes; a machine")
    monkeypatch.setattr(costs, "FILE", path)
    monkeypatch.setattr(costs.measured_costs, "__defaults__", (path,))
    return path


def test_stages_and_images_are_those_of_the_recipes(rows):
    found = {row["recipe"]: (row["stages"], row["images a row"]) for row in rows}
    # cp_mix: plain images, then pairs and mixed images with them, then the classifier.
    pairs = experiment.resolve("cp_mix", "digits-lt")["method"]["pairs_per_batch"]
    assert found == {"ce": (1, 1), "mammc": (2, 2), "regmixup": (1, 3), "cp_mix": (3, 1 + 2 * pairs / 128 + 2)}


def test_memory_is_counted_not_timed(rows):
    memory = {row["recipe"]: row["MiB"] for row in rows}
    assert memory["regmixup"] > 1.5 * memory["ce"]  # two batches go through the network
    data = load_data(experiment.resolve("ce", "digits-lt"))
    (again,) = methods.compared(["ce"], data, 1, on="digits-lt")
    assert again["MiB"] == memory["ce"]
    assert all(row["ms a step"] > 0 for row in rows)


def test_a_pupil_is_measured_with_its_teacher():
    data = load_data(experiment.resolve("ce", "digits-lt"))
    (row,) = methods.compared(["ride_4_distilled"], data, 1, on="digits-lt")
    assert (row["stages"], row["images a row"]) == (1, 1)


def test_noise_has_the_classes_of_cifar100_lt():
    data = methods.noise()
    assert (data.train.class_counts.total, data.train.class_counts.imbalance_ratio) == (10_847, 100)
    assert data.validation.images.shape == (1000, 32, 32, 3)


def test_the_package_reads_what_the_bench_writes(rows, table):
    found = costs.measured_costs()
    assert found.about == "two shapes; a machine"
    assert list(found.of) == [row["recipe"] for row in rows]
    assert (found.of["ce"].relative_step, found.of["ce"].relative_memory) == (1, 1)
    own, base = rows[2], rows[0]
    assert found.of["regmixup"].relative_memory == own["MiB"] / base["MiB"]
    assert found.of["regmixup"].relative_step == own["ms a step"] / base["ms a step"]


def test_the_list_has_them(table, capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"^ce  +1  1\.00    1\.00  - +Cross entropy", text, re.MULTILINE)
    assert re.search(r"^regmixup  +1  .*  3 images +RegMixup", text, re.MULTILINE)
    assert re.search(r"^ldam  +1  not measured  - +LDAM", text, re.MULTILINE)
    assert "two shapes; a machine" in text
    assert all(re.search(rf"^{name} ", text, re.MULTILINE) for name in RECIPES)
    assert main(["methods", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(listed) == list(RECIPES)
    assert listed["ldam"]["measured"] is None
    assert listed["cp_mix"]["measured"] == {
        **costs.measured_costs().of["cp_mix"]._asdict(),
        "with": "two shapes; a machine",
    }
    assert (listed["mammc"]["stages"], listed["mammc"]["validation"]) == (2, 0)


def test_one_recipe_has_its_own(table, capsys):
    assert main(["methods", "regmixup", "--data", "digits-lt"]) == 0
    assert re.search(r"measured: [0-9.]+ x the step of ce, [0-9.]+ x its memory", capsys.readouterr().out)
    assert main(["methods", "ldam", "--data", "digits-lt"]) == 0
    assert "measured: not measured" in capsys.readouterr().out


def test_without_a_table_nothing_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs.measured_costs, "__defaults__", (tmp_path / "nothing.csv",))
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert text.count("not measured") == len(list(RECIPES))
    assert " ".join(text.split()).count("no measurement comes with this version") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# m\nrecipe,stages\nce,1\n", "is damaged: 'ms a step'; `python -m benches methods` writes it again"),
        (
            "# m\nrecipe,stages,ms a step,ms a batch,MiB,images a row\nce,1,0,1,1,1\n",
            "time and memory of ce must be > 0",
        ),
        ("# m\nrecipe,stages,ms a step,ms a batch,MiB,images a row\nce,1,x,1,1,1\n", "could not convert"),
    ],
)
def test_a_damaged_table_is_one_line(text, message, tmp_path):
    (tmp_path / "costs.csv").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        costs.measured_costs(tmp_path / "costs.csv")


def test_both_copies_are_the_same():
    written = RESULTS / methods.CSV
    assert written.exists() == costs.FILE.exists()
    assert not written.exists() or written.read_bytes() == costs.FILE.read_bytes()
