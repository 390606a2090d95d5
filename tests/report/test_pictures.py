"""Pictures: drawn for ordinary and for thin data, in full or not at all, without touching matplotlib's settings."""

import numpy as np
import pytest

from lt_fast.errors import DataError, MissingExtraError
from lt_fast.metrics import margins_by_class, reliability
from lt_fast.report import pictures, style
from lt_fast.sampling.confusion_counts import ConfusionEntries

GROUPS = ("overall", "many", "medium", "few")


def _is_picture(path):
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert svg.read_text().rstrip().endswith("</svg>")
    assert not [other for other in path.parent.iterdir() if other.name.startswith(".")]


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_curves_also_of_one_epoch_and_without_a_group(tmp_path, epochs):
    accuracy = {group: [0.5] * epochs for group in GROUPS} | {"few": [None] * epochs}
    numbers = list(range(1, epochs + 1))
    path = tmp_path / "deep" / "c"
    pictures.training_curves(path, numbers, [1.0] * epochs, accuracy, title="t", mark_epoch=0.8 * epochs)
    _is_picture(path)
    text = path.with_suffix(".svg").read_text()
    assert ">many<" in text
    assert ">few<" not in text
    assert "class weights set in" in text


@pytest.mark.parametrize("stages", [["before"], ["before", "after"]])
def test_reliability_with_empty_bins(tmp_path, stages):
    probabilities = np.array([[1.0, 0.0], [0.9, 0.1], [0.6, 0.4]])
    bins = {stage: reliability(probabilities, np.array([0, 1, 0])) for stage in stages}
    pictures.reliability_diagram(tmp_path / "r", bins, dict.fromkeys(stages, 0.25), title="t")
    _is_picture(tmp_path / "r")
    text = (tmp_path / "r.svg").read_text()
    assert ("before calibration: ECE 25.0 %" in text) == (len(stages) == 2)
    assert ("model: ECE 25.0 %" in text) == (len(stages) == 1)


@pytest.mark.parametrize("counts", [[150, 40, 3], [5], [7, 7, 7], [0, 3]])
def test_recall_by_count(tmp_path, counts):
    recalls = {"before": [0.5] * len(counts), "after": [None] + [0.75] * (len(counts) - 1)}
    pictures.recall_by_count(tmp_path / "r", counts, recalls, title="t")
    _is_picture(tmp_path / "r")


@pytest.mark.parametrize("counts", [[150, 40, 3], [5], [7, 7, 7], [0, 3, 50]])
@pytest.mark.parametrize("stages", [["before"], ["before", "after"]])
def test_margins_by_count(tmp_path, counts, stages):
    logits = np.random.default_rng(0).normal(size=(20, len(counts)))
    found = margins_by_class(logits, np.arange(20) % max(len(counts) - 1, 1))  # the last class has no test image
    pictures.margins_by_count(tmp_path / "m", counts, dict.fromkeys(stages, found), title="t")
    _is_picture(tmp_path / "m")
    text = (tmp_path / "m.svg").read_text()
    assert ("before calibration" in text) == (len(stages) == 2)
    assert ("for ten times the images" in text) == (counts == [150, 40, 3])  # elsewhere one size of class is tested


@pytest.mark.parametrize("methods", [1, 3])
def test_recall_by_method_puts_the_largest_class_first(tmp_path, methods):
    recalls = {f"method {at}": [0.5, 1.0, 0.0] for at in range(methods)}
    pictures.recall_by_method(tmp_path / "r", [3, 150, 40], recalls, title="t")
    _is_picture(tmp_path / "r")
    text = (tmp_path / "r.svg").read_text()
    assert text.index(">150<") < text.index(">40<") < text.index(">3<")
    assert f">method {methods - 1}<" in text


def cells_of(matrix):
    true, predicted = np.nonzero(matrix)
    return ConfusionEntries(true, predicted, matrix[true, predicted])


@pytest.mark.parametrize("classes", [2, 10, 100, 1200])
def test_confusion_also_with_a_class_without_test_images(tmp_path, classes):
    matrix = np.eye(classes, dtype=np.int64) * 7
    matrix[0] = 0
    pictures.confusion_picture(tmp_path / "c", cells_of(matrix), [f"class {i}" for i in range(classes)], title="t")
    _is_picture(tmp_path / "c")


@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_confusion_pairs_also_without_an_error(tmp_path, classes):
    matrix = np.arange(classes * classes).reshape(classes, classes)
    for name, counts in (("some", matrix), ("none", np.diag(np.diag(matrix)))):
        pictures.confusion_pairs(tmp_path / name, cells_of(counts), [f"class {i}" for i in range(classes)], title="t")
        _is_picture(tmp_path / name)
        text = (tmp_path / f"{name}.svg").read_text()
        frequent = f"class {classes - 1} \u2192 class {classes - 2}"
        assert (frequent in text) == (name == "some" and classes > 1)


def test_the_same_picture_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        pictures.recall_by_count(tmp_path / name, [9, 3], {"before": [0.5, 0.25]}, title="t")
    for ending in (".png", ".svg"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_matplotlibs_settings_and_figures_stay_as_they_are(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    pictures.recall_by_count(tmp_path / "r", [9, 3], {"before": [0.5, 0.25]}, title="t")
    assert dict(mpl.rcParams) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"/file cannot be written \(.*\); name another run directory"):
        pictures.recall_by_count(tmp_path / "file" / "r", [9, 3], {"before": [0.5, 0.25]}, title="t")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    def missing(_module, *, extra, purpose):
        raise MissingExtraError(f"{purpose} needs matplotlib; run: pip install 'lt-fast[{extra}]'")

    monkeypatch.setattr(style, "require", missing)
    with pytest.raises(MissingExtraError, match=r"drawing plots needs matplotlib; run: pip install 'lt-fast\[train\]'"):
        pictures.recall_by_count(tmp_path / "r", [9, 3], {"before": [0.5, 0.25]}, title="t")
