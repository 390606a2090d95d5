"""From a folder of photographs to a classifier in use: four commands of an installed wheel, and the page in Chromium.

The wheel is the one that LT_FAST_WHEEL names, else the one in dist/ where it is of this working tree, else one that is
put together of the built libraries. Nothing of the clone is on the path of what runs here.
"""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.inspection.conftest import picture
from tests.packaging.wheels import assembled_wheel, existing_wheel, installed_in, outside, site_of, sources, sources_in

from browser import GET_IT, Browser, find_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # seven processes, each of which imports torch

NETWORK = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 16, 1))  # colours, not shapes
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        return self.classifier(self.body(x).mean(dim=(2, 3)))


def tiny() -> nn.Module:
    return Tiny()
"""
SOILS = {"clay": ((220, 40, 30), 40), "moss": ((30, 200, 40), 25), "slate": ((40, 60, 220), 9)}
SETTINGS = ["--model", "soilnet:tiny", "--epochs", "300", "--set", "transform.size=32", "--set", "feature_views=1"]
SETTINGS += ["--threads", "1", "--workers", "0"]


def write_soils(folder, first, share=1.0, mistakes=0):
    """Write photographs whose colour tells the class, each with a pattern of its own; the first of clay may be moss."""
    for name, (colour, count) in SOILS.items():
        (folder / name).mkdir(parents=True)
        for number in range(max(int(share * count), 2)):
            own, mistaken = picture(first), name == "clay" and number < mistakes
            shown = SOILS["moss"][0] if mistaken else colour
            Image.blend(own, Image.new("RGB", own.size, shown), 0.5).save(folder / name / f"p{number:03d}x.jpg")
            first += 1


class Place:
    """An empty folder but for the photographs, and the commands of the wheel in it."""

    def __init__(self, folder, python):
        self.folder, self.python = folder, python
        self.environment = outside(OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(folder / "cache"))

    def start(self, *words, **streams):
        program = [self.python.with_name("lt-fast"), *map(str, words)]
        return subprocess.Popen(program, cwd=self.folder, env=self.environment, text=True, **streams)

    def run(self, *words):
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
        assert "warning" not in err, err
        return out

    def interrupt(self, *words, after):
        """Run until ``after`` is on stderr, then do what Ctrl-C does; return the status and the last line."""
        log = self.folder / "log"
        with log.open("w") as stderr:
            process = self.start(*words, stdout=subprocess.DEVNULL, stderr=stderr)
            while after not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
            return process.wait(timeout=600), log.read_text().splitlines()[-1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = existing_wheel()
    if found is None or ("LT_FAST_WHEEL" not in os.environ and sources_in(found) != sources()):
        found = assembled_wheel(tmp_path_factory.mktemp("wheel"))
    python = installed_in(tmp_path_factory.mktemp("installed"), found)
    (site_of(python) / "soilnet.py").write_text(NETWORK)
    place = Place(tmp_path_factory.mktemp("soil"), python)
    write_soils(place.folder / "photos", 0, mistakes=4)
    write_soils(place.folder / "new", 1000, share=0.1)
    return place


@pytest.fixture(scope="module")
def said(place):
    """What the four commands say."""
    inspected = place.run("inspect", "photos")
    (command,) = re.findall(r"^next: lt-fast (.+) --folds 5$", inspected, re.MULTILINE)
    trained = place.run(*shlex.split(command), *SETTINGS, "--run", "runs/soil", "--quiet")
    (command,) = re.findall(r"`lt-fast (report .+)` makes one page of it", trained)
    return {
        "inspect": inspected,
        "train": trained,
        "report": place.run(*shlex.split(command)),
        "predict": place.run("predict", "runs/soil", "new", "--csv", "out.csv", "--quiet"),
    }


def test_what_runs_is_the_wheels(place):
    code = "import lt_fast, lt_fast._rust as rust; print(lt_fast.__file__, rust.__file__)"
    done = subprocess.run(
        [place.python, "-c", code], cwd=place.folder, env=place.environment, capture_output=True, text=True, check=True
    )
    files = done.stdout.split()
    assert len(files) == 2
    assert all(Path(file).is_relative_to(site_of(place.python)) for file in files)


def test_four_commands_give_a_classifier_in_use(place, said):
    assert "photos: 74 photographs in 3 classes" in said["inspect"]
    result = json.loads((place.folder / "runs/soil/result.json").read_text())
    assert result["metrics"]["images"] == 15
    assert result["metrics"]["top1"] > 0.8
    with (place.folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    right = [row["class"] == Path(row["path"]).parent.name for row in rows]
    assert sum(right) >= 6
    assert sorted(path.name for path in place.folder.iterdir()) == ["cache", "new", "out.csv", "photos", "runs"]


def test_the_same_again_interrupted_once(place, said):
    words = ["train", "photos", "--freeze", *SETTINGS, "--run", "runs/again"]
    status, line = place.interrupt(*words, after="\nepoch 3/300 ")
    assert status == 4
    assert re.match(r"lt-fast: stopped by SIGINT after .*--resume", line), line
    place.run("train", "--resume", "runs/again", "--threads", "1", "--quiet", "--no-plots")
    one, other = (place.folder / "runs" / name / "predictions.safetensors" for name in ("soil", "again"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.skipif(find_browser() is None, reason=GET_IT)
def test_the_page_is_whole_in_a_browser(place, said):
    browser = Browser(find_browser())
    try:
        browser.open(place.folder / "runs/soil/report.html")
        assert (browser.requests, browser.messages) == ([], [])
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1280
        loaded = browser.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth > 0)")
        text = browser.evaluate("document.body.innerText")
    finally:
        browser.close()
    assert loaded
    assert all(loaded)
    assert re.search(r"names the right class for [\d.]+\s% of 15 test images", text)
    assert all(name in text for name in SOILS)
