"""The commands of docs/scale.md: every option exists, and every setting is one that a run takes."""

import re
import shlex
from pathlib import Path

import pytest

from lt_fast.cli.parser import parse
from lt_fast.cli.train import config_of

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def commands():
    """Yield the words of each command after ``lt-fast``, a continued line as one, without variables of the shell."""
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:\blt-fast|lt_fast\.cli) (train .*|inspect .*)", line)
            if found:
                yield [word for word in shlex.split(found[1].rstrip("'")) if not word.startswith("$")]


TRAININGS = [words for words in commands() if words[0] == "train"]


def test_the_page_has_its_commands():
    assert len(TRAININGS) == 2
    assert len(list(commands())) == 4
    without_workers = [
        [*words[: words.index("--workers")], *words[words.index("--workers") + 2 :]] for words in TRAININGS[1:]
    ]
    assert without_workers == TRAININGS[:1]


@pytest.mark.parametrize("words", TRAININGS, ids=["torchrun", "slurm"])
@pytest.mark.parametrize("data", ["imagenet-lt", "inaturalist-2018"])
def test_a_training_of_the_page_is_one_that_is_taken(words, data):
    if data == "inaturalist-2018":  # "the same command with" these
        name, _, root, _, run = shlex.split(re.search(r"^inaturalist-2018 --root .*$", PAGE, re.MULTILINE)[0])
        words = [words[0], name, words[2], root, *words[4:]]
        words[words.index("--run") + 1] = run
    config = config_of(parse(words))
    assert (config["data"], config["batch_size"], config["learning_rate"]) == (data, 1024, 0.4)
    assert config["data_options"]["decoder"] == "torchvision"
    assert config["model"]["name"] == ("resnext50" if data == "imagenet-lt" else "resnet50")
    assert config["amp"] is True


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "inspect"])
def test_an_inspection_of_the_page_is_one_that_is_taken(words):
    assert parse(words).data == words[1]
