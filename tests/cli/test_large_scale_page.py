"""docs/methods/large-scale.md: its commands run on tiny data of the same layout, and so does its code."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from experiment.large_scale import write_imagenet_lt, write_inaturalist_2018, write_places_lt
from experiment.photographs import NET
from lt_fast.cli import main
from lt_fast.cli.parser import parse
from lt_fast.cli.train import config_of

PAGE = (Path(__file__).parents[2] / "docs" / "methods" / "large-scale.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.removeprefix("lt-fast "))
    for line in re.search(r"^## Commands\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1].splitlines()
]
TRAININGS = [words for words in COMMANDS if words[0] == "train"]
WRITTEN = {"imagenet": write_imagenet_lt, "places365": write_places_lt, "inat": write_inaturalist_2018}
ALONE = ["--threads", "1", "--workers", "0", "--quiet", "--no-plots", "--epochs", "1", "--set", "transform.size=16"]

pytestmark = pytest.mark.filterwarnings("ignore:.* is published with:UserWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with everything that the page says lies in ``/data``, and photographs to predict."""
    folder = tmp_path_factory.mktemp("data")
    for name, write in WRITTEN.items():
        write(folder / name)
    shutil.copytree(folder / "imagenet" / "val", folder / "photos")
    return folder


@pytest.mark.parametrize("words", TRAININGS, ids=lambda words: f"{words[1]}-{words[5]}")
def test_a_training_is_one_that_is_taken(words):
    config = config_of(parse(words))
    assert config["data"] == words[1]
    assert config["amp"] is True


def test_the_commands_run(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(TRAININGS) == 5
    for words in COMMANDS:
        given = [word.replace("/data/", f"{data}/").replace("photos/", f"{data}/photos") for word in words]
        if words[0] == "train":
            given = [word for word in given if word not in ("--device", "cuda", "--amp")]
            given = given[: given.index("--model")] if "--model" in given else given
            given += [*ALONE, "--model", NET, "--set", "batch_size=8"]
            given += ["--run", "runs/mammc-imagenet-lt-256-0"] if "mammc" in words else []
        given += ["--cache", "none", "--processes", "1"] if words[0] == "inspect" else []
        assert main(given) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "mammc-imagenet-lt-256-0" / "report.html").exists()


def test_the_code_runs(data, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(data)
    names = {}
    small = block.replace("workers=1", "workers=0").replace('augment="imagenet"', 'augment="imagenet", size=32')
    exec(compile(small, "docs/methods/large-scale.md", "exec"), names)
    assert names["model"].head.weight.grad.abs().sum() > 0
    assert names["batch"].x.shape == (21, 3, 32, 32)
