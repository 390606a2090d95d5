"""``lt-fast calibrate FILE``: stage 2 on a network that was trained elsewhere, and the run that comes of it."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import lt_fast as lt
from experiment.photographs import NET as TINY
from experiment.photographs import ColourNet, colour_weights, write_photographs
from lt_fast.cli import main
from lt_fast.comparison import compare
from lt_fast.datasets.splits import read_images
from lt_fast.experiment import features
from lt_fast.experiment import run as carry_out
from lt_fast.experiment.calibrating import network_config
from lt_fast.report.page import write_page

COLOUR_NET = "experiment.photographs:ColourNet"
NAMES = ("clay", "loam", "peat", "sand")
ALONE = ["--threads", "1", "--workers", "0", "--quiet", "--set", "data.groups=duplicates"]
SIZED = [
    *ALONE, "--set", "transform.size=16", "--set", "transform.mean=0.45,0.45,0.45", "--set",
    "transform.std=0.225,0.225,0.225",
]  # fmt: skip


@pytest.fixture(scope="module")
def soil(tmp_path_factory):
    """Photographs, and three files of weights: of a network that is right, of one that errs, of a network of timm."""
    folder = tmp_path_factory.mktemp("soil")
    write_photographs(folder / "photos")
    torch.save(colour_weights(NAMES), folder / "right.pth")
    save_file(colour_weights(NAMES[::-1]), folder / "turned.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=4).eval()
    torch.save(
        {"epoch": 9, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, folder / "t.pth"
    )
    save_file(network.state_dict(), folder / "t.safetensors")
    return folder, network


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _said(words, capsys, status=0):
    assert main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def _calibrate(soil, out, capsys, *words, file="right.pth", model=COLOUR_NET, method="mc", settings=SIZED, status=0):
    folder = soil[0]
    given = [folder / file, "--method", method, "--model", model, "--data", folder / "photos", "--out", out]
    return _said(["calibrate", *given, *words, *settings], capsys, status)


@pytest.fixture(scope="module")
def calibrated(soil, tmp_path_factory):
    """A network that is right, with margin calibration, by the Python interface."""
    place = tmp_path_factory.mktemp("runs") / "right"
    folder = soil[0]
    settings = {"transform.size": 16, "transform.mean": [0.45] * 3, "transform.std": [0.225] * 3}
    options = {"path": str(folder / "photos"), "groups": "duplicates"}
    config = network_config(
        folder / "right.pth", "mc", model=COLOUR_NET, data="photographs", overrides=settings, data_options=options
    )
    carry_out(config, place, progress=False, workers=0)
    return place


def test_the_network_alone_is_the_one_that_was_given(soil, calibrated):
    saved = load_file(calibrated / "predictions.safetensors")
    tested = [soil[0] / "photos" / row.path for row in read_images(calibrated) if row.split == "test"]
    classifier = lt.load(calibrated)
    network = ColourNet()
    network.load_state_dict(colour_weights(NAMES))
    pixels = torch.stack([classifier.prepare(lt.datasets.read_image(str(path))).pixels for path in tested])
    with torch.no_grad():
        torch.testing.assert_close(saved["logits"], network(pixels), rtol=1e-4, atol=1e-4)
    found = classifier.predict(tested)
    wanted = saved["calibrated_logits"].double().softmax(1).numpy()
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    assert found.names == tuple(path.parent.name for path in tested)
    assert repr(classifier) == "TrainedClassifier(network + margin on photographs, 4 classes, epoch 0 of 0)"


@pytest.mark.parametrize("file", ["t.pth", "t.safetensors"])
def test_a_checkpoint_of_timm_in_both_kinds_of_file(soil, file, tmp_path, capsys):
    settings = [*ALONE, "--set", "transform.size=32"]
    _, err = _calibrate(soil, tmp_path / "run", capsys, file=file, model="timm:test_resnet", method="crt",
                        settings=settings)  # fmt: skip
    assert [line for line in err.splitlines() if "no better than chance" not in line] == []
    with (tmp_path / "run" / "protocol.json").open() as opened:
        protocol = json.load(opened)
    assert (protocol["selection"], protocol["data"]["train_images"]) == ("as given", 18)
    weights = load_file(tmp_path / "run" / "checkpoints" / "epoch-0000" / "model.safetensors")
    assert torch.equal(weights["head.weight"], soil[1].state_dict()["fc.weight"])
    assert len(lt.load(tmp_path / "run").predict(soil[0] / "photos" / "sand")) == 3


def test_the_words_say_what_was_done(soil, tmp_path, capsys):
    out, err = _calibrate(soil, tmp_path / "run", capsys, method="temperature")
    assert f"right.pth: {COLOUR_NET} with its own head; run directory: {tmp_path / 'run'}" in out
    assert "the test images are a part of --data: if the network was trained on them, these numbers are too good" in out
    assert "temperature is fitted on a part of --data: if the network was trained on it, it is surer there" in out
    assert "18 training images, 6 test images; percent, as given" in out
    assert re.search(r"^network \+ temperature +overall", out, re.MULTILINE)
    assert f"in use: lt-fast predict {tmp_path / 'run'} IMAGES" in out
    assert re.fullmatch(r"lt-fast: warning: temperature is at its bound, .* predicted right; fit on more .*\n", err)
    _, err = _calibrate(soil, tmp_path / "run", capsys, status=2)
    assert re.search(r"run is there already; name a new folder with --out, or remove it", err)


def test_a_test_set_of_its_own(soil, tmp_path, capsys):
    write_photographs(tmp_path / "test", dict.fromkeys(NAMES, 2), seed=7)
    words = ["--test", tmp_path / "test", "--json"]
    out, err = _calibrate(soil, tmp_path / "run", capsys, *words, method="logit_adjustment")
    assert "--data" not in err
    _, err = _calibrate(soil, tmp_path / "tau", capsys, *words, "--set", "tau=1", method="tau_norm")
    assert "--data" not in err  # nothing is fitted
    result = json.loads(out)
    assert (result["data"]["test_images"], result["metrics_before_calibration"]["top1"]) == (8, 1.0)


def test_classes_in_another_order_are_found_out(soil, tmp_path, capsys):
    _, err = _calibrate(soil, tmp_path / "run", capsys, file="turned.safetensors")
    assert re.search(
        r"the network alone is no better than chance \(0\.0 % mean recall of 4 classes\): its outputs must be in the "
        r"order of the data's classes, clay, loam, peat, sand; a LIST.txt of paths and numbers",
        err,
    )


def test_every_command_takes_the_run(soil, calibrated, tmp_path, capsys):
    _, err = _said(["calibrate", calibrated, "--method", "tau_norm", "--out", tmp_path / "c", "--threads", "1"], capsys)
    assert err == ""
    found = compare([calibrated, tmp_path / "c"], resamples=20)
    assert found.methods == ("network + margin", "network + tau_norm")
    out, _ = _said(["eval", calibrated, "--threads", "1", "--json"], capsys)
    result = json.loads((calibrated / "result.json").read_text())
    assert json.loads(out)["metrics"] == result["metrics"]
    out, _ = _said(["train", "--resume", calibrated, "--threads", "1", "--quiet"], capsys)
    assert sorted(path.stem for path in (calibrated / "plots").glob("*.png")) == [
        "confusion",
        "margins",
        "recall",
        "reliability",
    ]
    out, _ = _said(["export", calibrated, "--out", tmp_path / "a.pt2"], capsys)
    assert "calibration inside" in out


def test_the_page_has_no_curves_and_says_where_the_network_is_from(calibrated, tmp_path):
    text = write_page(calibrated, tmp_path / "page.html").path.read_text()
    assert "network + margin on photos, seed 0" in text
    assert "The network was trained elsewhere and is measured as it was given." in text
    assert 'id="curves"' not in text
    assert "#curves" not in text


def test_its_probabilities_stand_for_what_the_calibrator_says(soil, calibrated, tmp_path, capsys):
    assert "margin calibration weights the classes" in lt.load(calibrated).scored_prior.reason
    _calibrate(soil, tmp_path / "run", capsys, method="temperature")
    unknown = lt.load(tmp_path / "run").scored_prior
    assert (unknown.prior, unknown.reason) == (None, "the network was trained elsewhere, and nothing says how")


def test_a_registered_data_set(tmp_path, capsys):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()
    torch.save(network.state_dict(), tmp_path / "digits.pth")
    words = [tmp_path / "digits.pth", "--method", "crt", "--model", "timm:test_resnet", "--data", "digits-lt"]
    settings = ["--set", "model.in_chans=1", "--set", "epochs=2", "--threads", "1", "--quiet"]
    out, _ = _said(["calibrate", *words, *settings, "--out", tmp_path / "run"], capsys)
    assert "417 training images, 240 test images; percent, as given" in out
    saved = load_file(tmp_path / "run" / "predictions.safetensors")
    classifier, images = lt.load(tmp_path / "run"), lt.datasets.digits_lt(train=False).images
    with torch.no_grad():
        logits = network(classifier.prepare.stacked(list(images)))
    torch.testing.assert_close(saved["logits"], logits, rtol=1e-4, atol=1e-4)
    found = classifier.predict(images).probabilities
    np.testing.assert_allclose(found, saved["calibrated_logits"].double().softmax(1).numpy(), atol=1e-5)


def test_a_file_of_a_runs_network_is_calibrated_as_the_run_is(soil, tmp_path, capsys):
    photos = soil[0] / "photos"
    words = [
        photos,
        "--method",
        "ce",
        "--freeze",
        "--epochs",
        "2",
        "--model",
        TINY,
        "--run",
        tmp_path / "run",
        "--no-plots",
    ]
    settings = [*ALONE, "--set", "transform.size=16"]
    _said(["train", *words, *settings], capsys)
    weights = load_file(max((tmp_path / "run" / "checkpoints").iterdir()) / "model.safetensors")
    own = {
        name.replace("network.backbone.", "").replace("head.", "classifier."): each for name, each in weights.items()
    }
    torch.save(own, tmp_path / "own.pth")
    for method in ("mc", "crt", "tau_norm"):
        of_run, of_file = tmp_path / f"{method}-run", tmp_path / method
        _said(["calibrate", tmp_path / "run", "--method", method, "--out", of_run, "--threads", "1"], capsys)
        words = [tmp_path / "own.pth", "--model", "experiment.photographs:of_four_classes", "--data", photos]
        _said(["calibrate", *words, "--method", method, "--out", of_file, *settings], capsys)
        one, other = (load_file(folder / "predictions.safetensors") for folder in (of_run, of_file))
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-5)


def test_after_an_interruption_the_same_command_continues(soil, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features.Views, "_computed", interrupted)
        _, err = _calibrate(soil, tmp_path / "run", capsys, status=4)
    assert err == "lt-fast: interrupted; run the same command again\n"
    _, err = _calibrate(soil, tmp_path / "run", capsys, method="crt", status=2)
    assert "is there already; name a new folder with --out, or remove it" in err
    out, _ = _calibrate(soil, tmp_path / "run", capsys)
    assert "after calibration" in out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere.pth"], 2, "nowhere.pth is not there; name a run directory, or a file with the weights of a network"),
        (["RIGHT"], 2, "--model is needed with the weights file .*: timm:NAME, torchvision:NAME or package.module:fac"),
        (["RIGHT", "--model", "NET"], 2, "--data is needed with the weights file .*: a folder of photographs"),
        (["RIGHT", "--model", "NET", "--data", "PHOTOS"], 2, "--method is needed, one of"),
        (["PHOTOS", "--method", "mc", "--data", "PHOTOS"], 2, "--data is for a weights file, got the run .*leave it o"),
        (["PHOTOS", "--method", "mc", "--imbalance-ratio", "9"], 2, "--imbalance-ratio is for a weights file"),
        (["ALL", "--method", "mcc"], 2, "--method must be one of .*got 'mcc'; did you mean 'mc'"),
        (["ALL", "--method", "temperature", "--set", "epochs=3"], 2, "epochs must be left out: nothing is trained"),
        (["ALL", "--method", "mc", "--set", "gama=3"], 2, "got 'gama'; did you mean 'gamma'"),
        (["ALL", "--method", "mc", "--seed", "x"], 2, "seed must be"),
        (["ALL", "--method", "temperature", "--set", "validation=0"], 2, "fitted on validation images, and the run ha"),
        (["RIGHT", "--model", "resnet32", "--data", "PHOTOS", "--method", "mc"], 2, "model must be timm:NAME, torchvi"),
        (["RIGHT", "--model", "NET", "--data", "no/such", "--method", "mc"], 3, "no/such is missing"),
        (["RIGHT", "--model", "timm:test_resnet", "--data", "PHOTOS", "--method", "mc"], 3,
         "weights must be a state dict of ResNet, got one that differs in"),
        (["SEVEN", "--model", "NET", "--data", "PHOTOS", "--method", "mc"], 3,
         r"the classifier in .*seven.pth has 7 outputs, and 4 are needed, .* new head: `lt-fast train DATA --weights"),
        (["SEVEN", "--model", "TINY", "--data", "PHOTOS", "--method", "mc"], 3, "must be a state dict of TinyN"),
        (["OBJECT", "--model", "NET", "--data", "PHOTOS", "--method", "mc"], 3,
         r"hold more than tensors, which is not read: .*torch.save\(model.state_dict\(\), FILE\)"),
        (["NUMBERS", "--model", "NET", "--data", "PHOTOS", "--method", "mc"], 3,
         "must hold the state dict of a network, names to tensors"),
        (["NAN", "--model", "NET", "--data", "PHOTOS", "--method", "mc"], 3,
         "weights must be finite, got NaN or infinity in 'classifier.bias'"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(words, status, message, soil, tmp_path, capsys):
    folder = soil[0]
    given = {"RIGHT": [folder / "right.pth"], "NET": [COLOUR_NET], "PHOTOS": [folder / "photos"],
             "TINY": [TINY]}  # fmt: skip
    given["ALL"] = [*given["RIGHT"], "--model", COLOUR_NET, "--data", folder / "photos"]
    weights = colour_weights(NAMES)
    files = {
        "SEVEN": {name: tensor.repeat(2, *[1] * (tensor.ndim - 1))[:7] for name, tensor in weights.items()},
        "OBJECT": ColourNet(),
        "NUMBERS": {"accuracy": 0.5},
        "NAN": {**weights, "classifier.bias": torch.full((4,), torch.nan)},
    }
    for name in {*files} & {*words}:
        torch.save(files[name], tmp_path / f"{name.lower()}.pth")
        given[name] = [tmp_path / f"{name.lower()}.pth"]
    parts = [part for word in words for part in given.get(word, [word])]
    sized = SIZED if len(words) > 5 or words[0] == "ALL" else []
    out, err = _said(["calibrate", *parts, *sized, "--out", tmp_path / "run"], capsys, status)
    assert out == "" or status == 3 or "run directory" in out
    assert err.count("\n") == 1, err
    assert re.search(message, err), err
    assert not (tmp_path / "run").exists()
