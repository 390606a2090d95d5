"""ONNX and torch.export: the run's own probabilities, from pixels, for any number of images."""

import json
import re

import numpy as np
import pytest
import torch

import lt_fast as lt
from lt_fast.cli import main
from lt_fast.errors import DataError, UsageError
from lt_fast.inference import exporting
from lt_fast.inference.exporting import export

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def _answers(file, images):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["logits", "probabilities"], {"images": images})


def test_onnx_answers_as_the_run_and_says_what_it_is(calibrated, tmp_path):
    classifier, images = lt.load(calibrated.folder), calibrated.data.test.images
    found = export(classifier, tmp_path / "deep" / "a.onnx")
    assert found.images == 74  # ten generated ones and 64 of the test set
    assert found.difference < 1e-5
    for size in (1, 3, 240):
        logits, probabilities = _answers(found.file, images[:size])
        np.testing.assert_allclose(probabilities, classifier.predict(images[:size]).probabilities, atol=1e-5)
        np.testing.assert_allclose(torch.tensor(logits).softmax(1), probabilities, atol=1e-6)
    entries = onnxruntime.InferenceSession(found.file).get_modelmeta().custom_metadata_map
    assert json.loads(entries["classes"]) == list(classifier.classes)
    assert entries["calibration"] == "inside"
    assert "8 x 8" in entries["resize"]
    assert entries["weights_sha256"] == classifier.checkpoint


def test_torch_answers_as_the_run(balanced, tmp_path):
    classifier, images = lt.load(balanced.folder), balanced.data.test.images[:5]
    export(classifier, tmp_path / "a.pt2")
    extra = {"lt_fast.json": ""}
    program = torch.export.load(tmp_path / "a.pt2", extra_files=extra).module()
    _, probabilities = program(torch.from_numpy(images))
    wanted = classifier.predict(images).probabilities
    np.testing.assert_allclose(probabilities.detach().numpy(), wanted, atol=1e-6)
    assert json.loads(extra["lt_fast.json"])["classes"] == list(classifier.classes)


def test_a_program_that_answers_differently_is_not_written(balanced, tmp_path, monkeypatch):
    made = exporting._torch

    def wrong(module, example, metadata):
        content, run = made(module, example, metadata)
        return content, lambda images: run(images) + 0.01

    monkeypatch.setattr(exporting, "_torch", wrong)
    with pytest.raises(DataError, match=r"answers differently from the run, by up to 0\.01 .* nothing was written"):
        export(lt.load(balanced.folder), tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()


def test_a_transform_that_does_not_say_its_size_is_refused(balanced, tmp_path):
    classifier = lt.load(balanced.folder)
    classifier.transform, classifier.image_shape = (lambda image: image), None
    with pytest.raises(UsageError, match="must say mean, std and size to be exported"):
        export(classifier, tmp_path / "a.pt2")


def test_the_command_says_how_to_prepare_images(balanced, tmp_path, capsys):
    words = ["export", str(balanced.folder), "--out", str(tmp_path / "a.pt2")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "input: images: (N, 8, 8, 1) uint8, grey, upright by EXIF" in out
    assert re.search(r"checked on 74 images, 64 of them the run's test images: probabilities differ by at most \d", out)
    assert main(words) == 2
    assert "is there already; name another file, or remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["export"], 2, "a run directory and a file are needed: lt-fast export runs/NAME --out classifier.onnx"),
        (["export", "RUN"], 2, "a run directory and a file are needed"),
        (["export", "RUN", "--out", "OUT/a.bin"], 2, "file must end in .onnx or .pt2 where no format is given"),
        (["export", "RUN", "--out", "OUT/a", "--format", "onxx"], 2, "format must be .*got 'onxx'"),
        (["export", "OUT", "--out", "OUT/a.onnx"], 3, "holds no run"),
    ],
)
def test_wrong_words_are_one_line(words, status, message, balanced, tmp_path, capsys):
    words = [word.replace("RUN", str(balanced.folder)).replace("OUT", str(tmp_path)) for word in words]
    assert main(words) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert list(tmp_path.iterdir()) == []
