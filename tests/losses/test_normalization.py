"""The same gradient on 1, 2 and 4 ranks and under accumulation: what "expected" keeps and "weights" does not."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from forked import Forked
from losses.gloo_rank import NORMALIZATIONS, WAYS, WORLD, criteria

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("gloo_rank.py")
LOSS_NAMES = sorted({name.partition("/")[0] for name, _ in criteria()})
SPLIT = [f"{ranks}x{parts}" for ranks, parts in WAYS if (ranks, parts) != (1, 1)]


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    """Every way's gradient of every loss, from four real processes."""
    folder = tmp_path_factory.mktemp("gloo")
    out = folder / "gradients.npz"
    ranks = [Forked([PROGRAM, rank, folder / "store", out]) for rank in range(WORLD)]
    try:
        words = [word for rank in ranks for word in rank.communicate()]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * WORLD, "\n".join(words)
    with np.load(out) as arrays:
        return dict(arrays)


def deviation(gradients, way, name):
    """How far a way's gradient lies from that of the whole batch in one process, relative to the latter's length."""
    whole = gradients[f"1x1/{name}"]
    return np.linalg.norm(gradients[f"{way}/{name}"] - whole) / np.linalg.norm(whole)


@pytest.mark.slow
@pytest.mark.parametrize("way", SPLIT)
@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("normalization", ["expected", "batch"])
def test_equal_gradients_however_the_batch_is_split(gradients, way, name, normalization):
    assert deviation(gradients, way, f"{name}/{normalization}") < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("way", SPLIT)
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_the_weights_of_the_batch_give_another_gradient_on_every_split(gradients, way, name):
    assert deviation(gradients, way, f"{name}/weights") > 0.05


@pytest.mark.slow
def test_every_way_and_loss_was_there(gradients):
    assert len(gradients) == len(WAYS) * len(LOSS_NAMES) * len(NORMALIZATIONS)
    assert {"maximum_margin", "ldam", "cross_entropy", "class_balanced", "seesaw"} <= set(LOSS_NAMES)


def test_the_pages_table_is_the_benchs_result():
    """docs/normalization.md shows the rows of benches/results/normalization.csv."""
    with (ROOT / "benches" / "results" / "normalization.csv").open() as file:
        rows = list(csv.reader(line for line in file if not line.startswith("#")))
    page = (ROOT / "docs" / "normalization.md").read_text()
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    assert [row for row in table if row[0].isdigit()] == rows[1:]


def test_the_pages_example_runs_and_says_what_it_says(capsys):
    page = (ROOT / "docs" / "normalization.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "docs/normalization.md", "exec"), {})
    expected, weights = (line.split()[1:] for line in capsys.readouterr().out.splitlines())
    assert float(expected[0]) == pytest.approx(float(expected[1]), rel=1e-5)
    assert float(weights[0]) != pytest.approx(float(weights[1]), rel=1e-3)
