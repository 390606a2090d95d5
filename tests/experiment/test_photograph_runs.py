"""``lt-fast train`` on photographs: each mode, folds, resuming, measuring again, and what is refused."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from experiment.photographs import NET, TinyNet, write_photographs
from lt_fast.batch import BatchPlan
from lt_fast.cli import main
from lt_fast.datasets import read_image
from lt_fast.datasets.splits import read_images
from lt_fast.experiment.build import _processors, build, load_data
from lt_fast.experiment.config import resolve, run_name
from lt_fast.experiment.stored import stored_config
from lt_fast.inference import load
from lt_fast.inference.images import read_batches
from lt_fast.models import Frozen
from lt_fast.report.run_report import title_of
from lt_fast.training.run_files import read_predictions

ALONE = ["--threads", "1", "--workers", "0", "--quiet", "--no-plots"]
SHORT = [*ALONE, "--set", "transform.size=16", "--set", "data.groups=duplicates"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("soil") / "photos")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lt-fast" / "features"


@pytest.fixture
def lt_fast(capsys):
    def run(*words, status=0):
        found = main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert found == status, err
        return json.loads(out) if status == 0 else err

    return run


def rows(run):
    with (Path(run) / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def agrees(run, root):
    """Hold ``images.csv`` against the predictions: row i of split ``test`` is row i of the predictions."""
    names = json.loads((Path(run) / "protocol.json").read_text())["data"]["class_names"]
    tested = [row for row in rows(run) if row["split"] == "test"]
    labels = read_predictions(run, num_classes=len(names))["labels"].tolist()
    assert [names[label] for label in labels] == [row["class"] for row in tested]
    assert all((Path(root) / row["path"]).is_file() for row in tested)


def test_titles_name_folder_and_network(folder):
    config = resolve("ce", "photographs", mode="freeze", model=NET, data_options={"path": str(folder)})
    assert title_of(config) == "ce on photos, tiny by freeze, seed 0"
    assert run_name(config) == "ce-photos-tiny-freeze-0"
    other = resolve("ce", "photographs", mode="freeze", model=NET, data_options={"path": "x/photos", "folds": 5})
    assert run_name(other) == "ce-photos-tiny-freeze-0-folds=5"


@pytest.mark.parametrize("mode", ["freeze", "finetune", "scratch"])
def test_a_run_of_every_mode_is_measured_again_from_its_folder(lt_fast, folder, tmp_path, mode):
    run = tmp_path / "run"
    words = [folder, "--model", NET, f"--{mode}", "--epochs", 2, "--run", run, *SHORT]
    trained = lt_fast("train", *words)
    agrees(run, folder)
    assert trained["config"]["data"] == "photographs"
    assert trained["config"]["data_options"]["path"] == str(folder)
    assert trained["config"]["recipe"] == "mammc"
    again = lt_fast("eval", run, "--threads", "1")
    assert again["metrics"] == trained["metrics"]
    assert again["not_written"] is None
    assert lt_fast("train", "--resume", run, *ALONE)["metrics"] == trained["metrics"]


def test_a_run_is_decoded_as_it_says_in_every_use(lt_fast, folder, tmp_path, cache):
    runs = {decoder: tmp_path / decoder for decoder in ("pillow", "torchvision")}
    for decoder, run in runs.items():
        words = [folder, "--model", NET, "--freeze", "--epochs", 1, "--run", run, "--decoder", decoder, *SHORT]
        trained = lt_fast("train", *words)
        assert trained["config"]["data_options"]["decoder"] == decoder
        assert lt_fast("eval", run, "--threads", "1")["metrics"] == trained["metrics"]
    assert len(list(cache.iterdir())) == 2 * 6  # features of one decoder are not those of the other
    config = stored_config(runs["torchvision"])
    data = load_data(config, run=runs["torchvision"])
    assert {images.decoder for images in data} == {"torchvision"}
    source, classifier = data.test, load(runs["torchvision"])
    rows = np.arange(len(source))
    (wanted,) = source.read(BatchPlan(0, 0, rows, rows), classifier.transform, 0)
    files = [str(source.root / path) for path in source.paths]
    (prepared,) = read_batches(files, classifier.prepare, batch_size=len(files), workers=0)
    assert torch.equal(classifier.prepare.stacked([each.pixels for each in prepared]), wanted)
    opened = [read_image(file) for file in files]
    (prepared,) = read_batches(opened, classifier.prepare, batch_size=len(files), workers=0)
    assert torch.equal(classifier.prepare.stacked([each.pixels for each in prepared]), wanted)


def test_a_decoder_is_named_once_and_known(lt_fast, folder, tmp_path):
    words = ["train", folder, "--model", NET, "--freeze", "--run", tmp_path / "run", *SHORT]
    twice = lt_fast(*words, "--decoder", "pillow", "--set", "data.decoder=torchvision", status=2)
    assert "data.decoder must be set once, got torchvision and pillow" in twice
    unknown = lt_fast(*words, "--decoder", "turbo", status=2)
    assert "decoder must be one of pillow, torchvision, got 'turbo'" in unknown
    other = lt_fast("train", "digits-lt", "--method", "ce", "--decoder", "pillow", *ALONE, status=2)
    assert "--decoder is for photographs, got digits-lt; leave it out" in other
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("ranks", "wanted"), [(None, 12), ("4", 3), ("5", 2), ("64", 1), ("x", 12), ("0", 12)])
def test_the_ranks_of_a_machine_share_its_processors(monkeypatch, ranks, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12), raising=False)
    if ranks is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert _processors() == wanted


def test_a_frozen_network_learns_on_features_and_takes_images(folder, tmp_path, lt_fast, cache):
    run = tmp_path / "run"
    lt_fast("train", folder, "--method", "ldam_drw", "--model", NET, "--freeze", "--epochs", 3, "--run", run, *SHORT)
    assert len(list(cache.iterdir())) == 3 + 3  # three views of the training set; train, validation, test as they are
    config = stored_config(run)
    parts = build(config, load_data(config, run=run), first_weights=False)
    assert isinstance(parts.method.model, Frozen)
    features = torch.randn(2, 8)
    model = parts.method.model.train()
    assert torch.equal(model(features), model.head(features))
    assert not model.network.backbone.training
    assert [name for name, each in model.named_parameters() if each.requires_grad] == ["head.weight"]


def test_features_are_computed_once_for_all_methods(folder, tmp_path, lt_fast, cache):
    for method in ("ce", "balanced_softmax"):
        words = ["--method", method, "--model", NET, "--freeze", "--epochs", 1, "--run", tmp_path / method, *SHORT]
        lt_fast("train", folder, *words)
    times = sorted(path.stat().st_mtime_ns for path in cache.iterdir())
    done = (tmp_path / "ce" / "result.json").stat().st_mtime_ns
    # The network's own weights are a function of the seed, so the second run reads what the first has written.
    assert len(times) == 6
    assert times[-1] < done


def test_a_mixer_that_pastes_pixels_is_refused_for_features(folder, tmp_path, lt_fast):
    words = ["--model", NET, "--freeze", "--set", "mixer=cutmix", "--epochs", 1, "--run", tmp_path / "run", *SHORT]
    assert "mixer must blend where a network is frozen" in lt_fast("train", folder, *words, status=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["lobm", "regmixup"])
def test_methods_that_blend_train_on_features(method, folder, tmp_path, lt_fast):
    words = ["--method", method, "--model", NET, "--freeze", "--epochs", 1, "--run", tmp_path / "run", *SHORT]
    lt_fast("train", folder, *words)
    agrees(tmp_path / "run", folder)


@pytest.mark.parametrize(("method", "setting"), [("cmo", "start_at=0"), ("otmix", "transport_exponent=0")])
def test_rectangles_of_photographs_are_pasted(method, setting, folder, tmp_path, lt_fast):
    words = ["--method", method, "--model", NET, "--epochs", 1, "--set", "probability=1", "--set", setting, *SHORT]
    lt_fast("train", folder, "--run", tmp_path / "run", *words)
    agrees(tmp_path / "run", folder)


def test_the_second_stages_train_on_features(folder, tmp_path, lt_fast):
    shifted = ["--set", "calibrator.shift_epochs=1"]
    for method, setting in (("mislas", "calibrator.epochs=3"), ("disalign", "calibrator.views=2")):
        words = ["--model", NET, "--freeze", "--epochs", 1, "--run", tmp_path / method, "--set", setting, *SHORT]
        found = lt_fast("train", folder, "--method", method, *words)
        assert found["metrics"] != found["metrics_before_calibration"]
    words = ["--model", NET, "--freeze", "--run", tmp_path / "run", *shifted, *SHORT]
    refused = lt_fast("train", folder, "--method", "mislas", *words, status=2)
    assert "calibrator.shift_epochs must be 0 where the network is frozen, got 1" in refused
    assert not (tmp_path / "run").exists()


def test_cp_mix_trains_on_features(folder, tmp_path, lt_fast):
    words = ["--method", "cp_mix", "--model", NET, "--freeze", "--epochs", 3, "--run", tmp_path / "run", *SHORT]
    assert lt_fast("train", folder, *words)["method"]["confusions"]["predictions"] > 0


def test_folds_test_every_photograph_once(folder, tmp_path, lt_fast):
    run = tmp_path / "run"
    words = ["--model", NET, "--freeze", "--folds", 3, "--epochs", 1, "--run", run, *SHORT]
    result = lt_fast("train", folder, *words)
    agrees(run, folder)
    tested = [row["path"] for row in rows(run) if row["split"] == "test"]
    assert len(tested) == len(set(tested)) == 28
    assert result["metrics"]["images"] == 28
    assert len(result["folds"]) == 3
    for number in range(3):
        agrees(run / f"fold-{number}", folder)
        own = [row["path"] for row in rows(run / f"fold-{number}") if row["split"] == "test"]
        assert own == [row["path"] for row in rows(run) if row["fold"] == str(number)]
    shutil.rmtree(run / "fold-1")
    (run / "result.json").unlink()
    assert lt_fast("train", "--resume", run, *ALONE)["metrics"] == result["metrics"]
    assert "is a cross-validation of 3 runs" in lt_fast("eval", run, status=2)
    assert lt_fast("eval", run / "fold-0", "--threads", "1")["metrics"]["images"] == result["folds"][0]["images"]


def test_a_moved_folder_is_named_with_root(folder, tmp_path, lt_fast):
    place = shutil.copytree(folder, tmp_path / "photos")
    words = ["--model", NET, "--freeze", "--epochs", 1, "--run", tmp_path / "run", *SHORT]
    trained = lt_fast("train", place, *words)
    place.rename(tmp_path / "elsewhere")
    assert "name their folder now with --root" in lt_fast("eval", tmp_path / "run", status=3)
    again = lt_fast("eval", tmp_path / "run", "--root", tmp_path / "elsewhere", "--threads", "1")
    assert again["metrics"] == trained["metrics"]


def test_a_changed_photograph_is_refused_on_resume(folder, tmp_path, lt_fast):
    place = shutil.copytree(folder, tmp_path / "photos")
    words = ["--model", NET, "--freeze", "--epochs", 1, "--run", tmp_path / "run", *SHORT]
    lt_fast("train", place, *words)
    (tmp_path / "run" / "result.json").unlink()
    row = next(row for row in read_images(tmp_path / "run") if row.split == "train")
    other = next(each for each in place.rglob("*.jpg") if each.stat().st_size != (place / row.path).stat().st_size)
    shutil.copy(other, place / row.path)
    words = lt_fast("train", "--resume", tmp_path / "run", *ALONE, status=3)
    assert "--resume needs the data and rules" in words


def test_weights_of_a_file_are_the_networks(folder, tmp_path, lt_fast):
    torch.manual_seed(0)
    network = TinyNet(classes=3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    config = resolve(
        "ce",
        "photographs",
        {"model.weights": str(tmp_path / "weights.pth"), "transform.size": 16},
        mode="finetune",
        model=NET,
        data_options={"path": str(folder)},
    )
    with pytest.warns(UserWarning, match="the classifier of 3 classes is left out"):
        parts = build(config, load_data(config))
    ours, theirs = parts.method.model.state_dict(), network.state_dict()
    assert torch.equal(ours["backbone.body.0.weight"], theirs["body.0.weight"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nowhere/"], 3, "nowhere is missing; name a folder with one folder per class"),
        (["nowhere"], 2, "there is no 'nowhere' here"),
        (["{}", "--model", "timm:resnet50"], 3, "are not on this machine; get them with: python -c"),
        (["{}", "--model", "timm:resnet5o"], 2, "did you mean 'resnet50'"),
        (["{}", "--model", "resnet32", "--freeze"], 2, "has no trained weights to freeze"),
        (["{}", "--model", "experiment.photographs:unannotated"], 2, "annotated to return one"),
        (["{}", "--model", NET, "--weights", "no.pth"], 3, "no.pth cannot be read"),
        (["{}", "--model", NET, "--augment", "wild"], 2, "augment must be one of light, standard, strong"),
        (["{}", "--model", NET, "--folds", "1"], 2, "folds must be"),
        (["{}", "--model", NET, "--folds", "many"], 2, "folds must be an integer"),
        (["{}", "--model", NET, "--test", "nowhere"], 3, "nowhere is missing"),
        (["{}", "--model", NET, "--set", "data.colour=1"], 2, "option of photographs must be one of path"),
        (["{}", "--model", NET, "--set", "test_share=0.5"], 2, "setting must be one of this run's"),
        (["digits-lt", "--method", "ce", "--freeze"], 2, "--freeze is for photographs, got digits-lt"),
        (["digits-lt", "--method", "ce", "--set", "averaging=0.9"], 2, "setting must be one of this run's"),
        (["{}", "--data", "digits-lt"], 2, "DATA must be given once"),
        (["photographs"], 2, "DATA must name the photographs"),
    ],
)
def test_a_wrong_argument_leaves_no_folder_behind(folder, tmp_path, lt_fast, monkeypatch, words, status, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert said in lt_fast("train", *(word.format(folder) for word in words), *SHORT, status=status)
    assert not (tmp_path / "runs").exists()
