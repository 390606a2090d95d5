"""``lt-fast train imagenet-lt --root DIR`` and its like on tiny data: runs, what follows them, and what is refused."""

import csv
import json
import shutil

import pytest
import torch

from experiment.large_scale import write_imagenet_lt, write_inaturalist_2018, write_places_lt
from experiment.photographs import NET
from experiment.test_ranks import TESTS, by_hand
from lt_fast.cli import main
from lt_fast.data import FileSource, PhotographTransform
from lt_fast.experiment import resolve
from lt_fast.experiment.build import build, load_data
from lt_fast.experiment.config import flattened, given_of, run_name
from lt_fast.inference import load
from lt_fast.models.resnet import basic_resnet
from lt_fast.recipes import RECIPES
from lt_fast.training.run_files import read_predictions

pytestmark = pytest.mark.filterwarnings("ignore:.* is published with:UserWarning")

WRITTEN = {"imagenet-lt": write_imagenet_lt, "places-lt": write_places_lt, "inaturalist-2018": write_inaturalist_2018}
SMALL = ["--threads", "1", "--workers", "0", "--quiet", "--no-plots", "--set", "transform.size=16"]
SHORT = [*SMALL, "--model", NET, "--epochs", "2", "--set", "batch_size=8", "--set", "learning_rate=0.01"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    return {name: write(folder / name) for name, write in WRITTEN.items()}


@pytest.fixture
def lt_fast(capsys):
    def run(*words, status=0):
        found = main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert found == status, err
        return json.loads(out) if status == 0 else err

    return run


@pytest.fixture(scope="module")
def trained(roots, tmp_path_factory):
    """The folder of a finished run on imagenet-lt."""
    folder = tmp_path_factory.mktemp("runs") / "mammc"
    words = ["train", "imagenet-lt", "--root", str(roots["imagenet-lt"]), "--method", "mammc", *SHORT]
    assert main([*words, "--run", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", WRITTEN)
def test_every_set_is_trained_and_measured_by_its_lists(lt_fast, roots, tmp_path, name):
    result = lt_fast("train", name, "--root", roots[name], "--method", "ce", *SHORT, "--run", tmp_path / "run")
    data = result["data"]
    assert (data["train_images"], data["test_images"], data["class_counts"]) == (21, 6, [12, 6, 3])
    assert data["construction"]["name"] == name
    with (tmp_path / "run" / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    # The curves are of the published validation list; iNaturalist 2018 has none.
    of = "test" if name == "inaturalist-2018" else "validation"
    assert f"{of}_top1" in columns
    assert data.get("validation_images") == (None if name == "inaturalist-2018" else 6)
    groups = json.loads((tmp_path / "run" / "protocol.json").read_text())["groups"]
    assert groups["few"] == "< 20"


def test_a_run_is_measured_again_with_its_folder_alone(lt_fast, trained, roots):
    result = json.loads((trained / "result.json").read_text())
    assert lt_fast("eval", trained, "--root", roots["imagenet-lt"], "--threads", 1)["metrics"] == result["metrics"]
    assert "--root is needed for imagenet-lt: the folder of its files; add --root DIR" in lt_fast(
        "eval", trained, status=2
    )


def test_a_stopped_run_continues_bit_for_bit(lt_fast, trained, roots, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "epoch-0002")
    for name in ("result.json", "predictions.safetensors"):
        (copy / name).unlink()
    lt_fast("train", "--resume", copy, "--root", roots["imagenet-lt"], *SMALL[:6])
    for name in ("predictions.safetensors", "checkpoints/epoch-0002/model.safetensors"):
        assert (copy / name).read_bytes() == (trained / name).read_bytes()


def test_two_ranks_train_together(trained, roots, tmp_path):
    words = ["train", "imagenet-lt", "--root", str(roots["imagenet-lt"]), "--method", "mammc", *SHORT, "--run", "run"]
    statuses, _, errors = by_hand(words, words, cwd=tmp_path, PYTHONPATH=str(TESTS))
    assert statuses == [0, 0], errors
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["ranks"] == 2
    assert result["data"] == json.loads((trained / "result.json").read_text())["data"]


def test_a_run_predicts_and_has_a_page(lt_fast, trained, roots, tmp_path):
    root, table = roots["imagenet-lt"], tmp_path / "out.csv"
    lt_fast("predict", trained, root / "val", "--csv", table)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = load(trained).classes
    assert names == ("n01440764", "n01443537", "n01484850")
    logits = read_predictions(trained, num_classes=3)["calibrated_logits"]
    listed = [line.split()[0] for line in (root / "ImageNet_LT_test.txt").read_text().splitlines()]
    wanted = dict(zip(listed, (names[at] for at in logits.argmax(1).tolist()), strict=True))
    assert {row["path"].partition(f"{root}/")[2]: row["class"] for row in rows} == wanted
    lt_fast("report", trained, "--root", root, "--out", tmp_path / "page.html")
    assert "mammc on imagenet-lt" in (tmp_path / "page.html").read_text()


def test_a_training_list_is_inspected(lt_fast, roots):
    found = lt_fast("inspect", roots["imagenet-lt"] / "ImageNet_LT_train.txt", "--cache", "none", "--processes", 1)
    assert (found["photographs"], found["readable"]) == (21, 21)


def test_the_decoder_is_a_setting_of_the_run(roots):
    config = resolve("ce", "places-lt", {"model.weights": None}, data_options={"decoder": "torchvision"})
    assert config["data_options"] == {"decoder": "torchvision"}
    assert run_name(config).startswith("ce-places-lt-996-0-model.weights=None-decoder=torchvision")
    data = load_data(config, root=roots["places-lt"])
    assert all(isinstance(part, FileSource) and part.decoder == "torchvision" for part in data)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("method", list(RECIPES))
def test_every_recipe_resolves_to_image_files(method, name):
    config = resolve(method, name)
    assert config["transform"]["name"] == "photograph"
    assert config["model"].get("backbone", config["model"]["name"]) in ("resnet50", "resnet152", "resnext50")
    chosen = resolve(method, name, model="resnet10")["model"]
    assert chosen.get("backbone", chosen["name"]) == "resnet10"
    assert "weights" not in chosen
    assert chosen["head"] == config["model"]["head"]


@pytest.mark.parametrize(
    ("method", "data", "model", "wanted"),
    [
        ("ldam_drw", "cifar10-lt", "resnet10", {"head": "cosine"}),
        ("ldam_drw", "imagenet-lt", "resnet50", {"head": "cosine"}),
        ("ride", "imagenet-lt", "resnet10", {"head": "cosine", "experts": 3, "expert_width": 0.75}),
        ("mammc", "imagenet-lt", "resnext50", {"head": "linear"}),
        ("ce", "places-lt", "resnet50", {"head": "linear", "weights": "pretrained"}),
    ],
)
def test_another_network_keeps_what_belongs_to_the_loss(method, data, model, wanted):
    config = resolve(method, data, model=model)
    assert config["model"] == {"name": model, **wanted}
    assert resolve(method, data, {"model": model}) == config
    assert resolve(method, data, flattened(config), **given_of(config)) == config  # as a run's folder is read


@pytest.mark.parametrize("method", list(RECIPES))
def test_every_recipe_reads_a_batch(method, roots):
    """With a tiny network, or ResNet-10 where the recipe needs a ResNet."""
    of_resnet = {"experts", "backbone"} & resolve(method, "imagenet-lt")["model"].keys()
    small = {"transform.size": 12, "batch_size": 4}
    config = resolve(method, "imagenet-lt", small, model="resnet10" if of_resnet else NET)
    parts = build(config, load_data(config, root=roots["imagenet-lt"]), workers=0)
    for loader in parts.loaders.values():
        assert isinstance(loader.transform, PhotographTransform)
        assert next(iter(loader)).x.isfinite().all()


def test_published_settings_of_large_sets():
    mammc = resolve("mammc", "imagenet-lt")
    assert (mammc["model"]["name"], mammc["epochs"], mammc["batch_size"], mammc["learning_rate"]) == (
        "resnet50", 100, 128, 0.1,
    )  # fmt: skip
    assert mammc["calibrator"]["epochs"] == 10
    crt = {name: resolve("crt", name)["calibrator"] for name in WRITTEN}
    assert [crt[name]["lr"] for name in WRITTEN] == [0.2, 0.1, 0.2]
    assert [crt[name]["epochs"] for name in WRITTEN] == [10, 10, 30]
    assert [crt[name]["weight_decay"] for name in WRITTEN] == [5e-4, 5e-4, 1e-4]
    lade = [resolve("lade", name)["loss"] for name in WRITTEN]
    assert [each["regularizer_weight"] for each in lade] == [0.05, 0.005, 0.05]
    assert [each["remine_lambda"] for each in lade] == [0.5, 0.1, 0.5]
    mislas = [resolve("mislas", name) for name in WRITTEN]
    assert [each["mixer"]["alpha"] for each in mislas] == [0.2] * 3
    assert [each["epochs"] for each in mislas] == [180, 30, 200]
    assert resolve("cp_mix", "places-lt")["calibrator"] is None
    steps = resolve("cmo", "imagenet-lt")["schedule"]
    assert (steps["warmup"], steps["milestones"]) == (0.05, [0.6, 0.8])
    assert [resolve("tau_norm", name)["calibrator"]["tau"] for name in WRITTEN] == [None, None, 1.0]


def test_weights_on_disk_are_where_a_network_begins(roots, tmp_path):
    theirs = basic_resnet((1, 1, 1, 1), 5)
    torch.save(theirs.state_dict(), tmp_path / "resnet10.pt")
    changes = {"model.weights": str(tmp_path / "resnet10.pt"), "transform.size": 16}
    config = resolve("ce", "places-lt", changes, model="resnet10")
    with pytest.warns(UserWarning, match="the classifier of 5 classes is left out"):
        model = build(config, load_data(config, root=roots["places-lt"]), workers=0).method.model
    assert torch.equal(model.backbone.conv1.weight, theirs.conv1.weight)
    assert model.head.weight.shape == (3, 512)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "--root is needed for places-lt: the folder of its files; add --root DIR"),
        (["--root", "ROOT", "--download"], 2, "--download is for cifar10-lt, cifar100-lt, got places-lt; leave it out"),
        (["--root", "."], 3, "Places_LT_train.txt is missing, a list of places-lt"),
        (["--root", "ROOT"], 3, "the pretrained weights of torchvision:resnet152 are not on this machine; get them wi"),
        (["--root", "ROOT", "--imbalance-ratio", "10"], 2, "imbalance_ratio must be left out for places-lt"),
        (
            ["--root", "ROOT", "--set", "validation=0.1"],
            2,
            "validation must be 0 for places-lt, which has",
        ),
        (["--root", "ROOT", "--folds", "3"], 2, "--folds is for photographs, got places-lt; leave it out"),
        (["--root", "ROOT", "--freeze"], 2, "--freeze is for photographs, got places-lt; leave it out"),
        (["--root", "ROOT", "--decoder", "wild"], 2, "decoder must be one of pillow, torchvision, got 'wild'"),
        (["--root", "ROOT", "--model", "resnet10", "--augment", "wild"], 2, "augment must be one of light, standard"),
        (["--root", "ROOT", "--set", "data.sort=1"], 2, "option of places-lt must be one of decoder, got 'sort'"),
        (["--root", "ROOT", "--model", "resnet10", "--weights", "pretrained"], 2, "weights must be a file or none for"),
    ],
)
def test_what_is_refused(lt_fast, roots, tmp_path, monkeypatch, words, status, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    given = [str(roots["places-lt"]) if word == "ROOT" else word for word in words]
    assert message in lt_fast("train", "places-lt", "--method", "ce", *given, status=status)
    assert not (tmp_path / "runs").exists()
