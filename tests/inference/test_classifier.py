"""The classifier of a run: the run's own predictions, from its folder alone."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import lt_fast as lt
from lt_fast import experiment
from lt_fast.errors import DataError, Interrupted, UsageError
from lt_fast.experiment import running
from lt_fast.experiment.for_use import INPUT, NETWORK, VALIDATION
from lt_fast.methods import Classification
from lt_fast.registry import METHODS

_OLD = {INPUT, VALIDATION}


def _own_probabilities(folder):
    saved = load_file(folder / "predictions.safetensors")
    return saved.get("calibrated_logits", saved["logits"]).double().softmax(1).numpy()


@pytest.mark.parametrize("run", ["balanced", "calibrated", "margins"])
def test_predicts_the_test_set_as_the_run_did(run, request):
    run = request.getfixturevalue(run)
    found = lt.load(run.folder).predict(run.data.test.images, batch_size=100)
    np.testing.assert_allclose(found.probabilities, _own_probabilities(run.folder), atol=1e-6)
    assert found.classes == run.data.train.classes
    assert found.names[0] == found.classes[found.labels[0]]


def test_image_files_pictures_and_arrays_are_the_same(balanced, photos):
    classifier, rows = lt.load(balanced.folder), balanced.data.test.images[::20]
    from_arrays = classifier.predict(list(rows))
    names = sorted(photos.rglob("*.png"), key=lambda path: path.name)[:12]
    from_files = classifier.predict(names, batch_size=5)
    from_pictures = classifier.predict([Image.open(name) for name in names])
    in_processes = classifier.predict(names, workers=2)
    for other in (from_files, from_pictures, in_processes):
        np.testing.assert_allclose(other.probabilities, from_arrays.probabilities, atol=1e-6)
    assert from_files.paths == tuple(map(str, names))
    assert classifier.predict(rows[0]).paths == ("image 0",)


def test_another_size_is_scaled_cropped_and_said(balanced):
    classifier, pixels = lt.load(balanced.folder), balanced.data.test.images[0, ..., 0]
    large = Image.fromarray(np.repeat(np.repeat(pixels, 4, 0), 4, 1))
    wide = Image.new("L", (52, 32))
    wide.paste(large, (10, 0))
    with pytest.warns(UserWarning, match=r"2 of 3 images had another size and were scaled and cropped to 8 x 8 pixels"):
        found = classifier.predict([large, wide, pixels])
    np.testing.assert_allclose(found.probabilities[0], found.probabilities[1], atol=0.02)
    assert found.labels.tolist() == [found.labels[2]] * 3


def test_a_damaged_file_is_a_message(balanced, photos):
    found = lt.load(balanced.folder).predict(photos)
    assert len(found) == 14
    assert set(found.errors) == {str(photos / "broken.png"), str(photos / "empty.jpg")}
    assert "cannot be read" in found.errors[str(photos / "broken.png")]
    bad = [path in found.errors for path in found.paths]
    assert (found.labels == -1).tolist() == np.isnan(found.confidence).tolist() == bad
    assert [name == "" for name in found.names] == bad
    only = lt.load(balanced.folder).predict([photos / "broken.png"])
    assert only.names == ("",)


def test_wrong_images_are_refused_by_name(balanced):
    classifier = lt.load(balanced.folder)
    for images, error, message in (
        ([3.5], TypeError, "images must be paths, PIL images or uint8 arrays, got 3.5 at position 0"),
        ([np.zeros((8, 8))], TypeError, "images must be uint8, pixels from 0 to 255, got dtype float64"),
        ([np.zeros((3, 8, 8), np.uint8)], ValueError, r"got \(3, 8, 8\) at position 0; channels come last"),
        ([], UsageError, "images must hold at least one, got none"),
        ("no/such/folder", UsageError, "no/such/folder is not there"),
    ):
        with pytest.raises(error, match=message):
            classifier.predict(images)
    with pytest.raises(ValueError, match=r"batch_size must be an integer >= 1|batch_size must be >= 1"):
        classifier.predict([np.zeros((8, 8), np.uint8)], batch_size=0)


def test_rows_rank_classes_and_hold_the_margin(balanced):
    found = lt.load(balanced.folder).predict(balanced.data.test.images[:9], threshold=0.5)
    order = np.argsort(-found.probabilities, axis=1)
    assert found.labels.tolist() == order[:, 0].tolist()
    assert found.second_labels.tolist() == order[:, 1].tolist()
    row = found.rows(top=4)[3]
    values = np.sort(found.probabilities[3])[::-1]
    assert [row["probability"], row["second_probability"], row["probability_3"], row["probability_4"]] == pytest.approx(
        values[:4]
    )
    assert row["class_3"] == found.classes[order[3, 2]]
    assert found.margin[3] == pytest.approx(values[0] - values[1])
    assert found.unsure.tolist() == (found.confidence < 0.5).tolist()
    assert found.to_frame(top=3).columns.tolist()[-3:] == ["class_3", "probability_3", "error"]


def test_the_csv_file_is_read_back(balanced, photos, tmp_path):
    found = lt.load(balanced.folder).predict(photos)
    found.to_csv(tmp_path / "out.csv")
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(tmp_path / "out.csv", dtype={"class": str}, keep_default_na=False)
    assert table["path"].tolist() == list(found.paths)
    assert table["class"].tolist() == list(found.names)
    assert [cell != "" for cell in table["error"]] == [path in found.errors for path in found.paths]


def test_needs_no_training_data(balanced, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the data set was read")

    monkeypatch.setattr(running, "load_data", refuse)
    monkeypatch.setattr("lt_fast.datasets.digits.require", refuse)
    assert len(lt.load(balanced.folder).predict(balanced.data.test.images[:2])) == 2


def test_an_older_run_is_completed_by_eval(balanced, tmp_path):
    old = shutil.copytree(balanced.folder, tmp_path / "old")
    for name in _OLD:
        (old / name).unlink()
    with pytest.raises(DataError, match=r"input.json is missing: .*`lt-fast eval .*old` writes it"):
        lt.load(old)
    assert experiment.evaluate_run(old)["not_written"] is None
    for name in _OLD:
        assert (old / name).read_bytes() == (balanced.folder / name).read_bytes()
    assert len(lt.load(old).predict(balanced.data.test.images[:2])) == 2


def test_a_run_that_has_not_finished_is_used_with_a_warning(tmp_path, monkeypatch):
    config = experiment.resolve("mammc", "digits-lt", {"epochs": 3})
    measure, calls = running.metrics.GroupRecalls.result, []

    def stop_in_the_second_epoch(*arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return measure(*arguments)

    monkeypatch.setattr(running.metrics.GroupRecalls, "result", stop_in_the_second_epoch)
    with pytest.raises(Interrupted):
        experiment.run(config, tmp_path / "a", progress=False)
    with pytest.warns(UserWarning, match="has not finished: .* after epoch 2 of 3, and not calibrated"):
        assert lt.load(tmp_path / "a").epoch == 2


def test_the_weights_of_a_second_stage_are_stored(tmp_path):
    class Doubling(Classification):
        def finish(self, data):
            with torch.no_grad():
                self.model.head.weight.mul_(2)

    METHODS.register("doubling_for_a_test", Doubling)
    try:
        config = experiment.resolve("ce", "digits-lt", {"epochs": 1, "method": "doubling_for_a_test"})
        experiment.run(config, tmp_path / "a", progress=False)
        data = experiment.build.load_data(config)
        found = lt.load(tmp_path / "a").predict(data.test.images)
        np.testing.assert_allclose(found.probabilities, _own_probabilities(tmp_path / "a"), atol=1e-6)
        (tmp_path / "a" / NETWORK).unlink()
        with pytest.raises(DataError, match=r"network.safetensors is missing.*lt-fast eval"):
            lt.load(tmp_path / "a")
        experiment.evaluate_run(tmp_path / "a")
        lt.load(tmp_path / "a")
    finally:
        METHODS.forget("doubling_for_a_test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (INPUT, b"{}", "input.json is damaged: channels is missing"),
        (INPUT, b"[1", "input.json is damaged"),
        ("protocol.json", b'{"data": {"class_names": ["a"], "class_counts": [1, 2]}}', "protocol.json is damaged"),
        ("config.json", b"{}", "config.json has no recipe"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(balanced, tmp_path, name, content, message):
    copy = shutil.copytree(balanced.folder, tmp_path / "copy")
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        lt.load(copy)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        lt.load(tmp_path)
    with pytest.raises(UsageError, match="device must be"):
        lt.load(tmp_path, device="tpu")


def test_input_is_what_the_network_takes(balanced):
    record = json.loads((balanced.folder / INPUT).read_text())
    assert (record["channels"], record["height"], record["width"]) == (1, 8, 8)
    assert len(record["mean"]) == len(record["std"]) == 1
