"""CONTRIBUTING.md's lists for components are followed: in a copy of the package, and in a file outside it."""

import json
import os
import re
import shutil
import textwrap
from pathlib import Path

import pytest

import forked
import lt_fast

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(
    r"`python/(lt_fast/[a-z_/]+\.py)`((?:(?!`python/lt_fast).)*?)```python\n(.*?)\n *```", TEXT, re.DOTALL
)
FILES = {path: textwrap.dedent(code) for path, _, code in _BLOCKS}
COMMANDS = """
import sys
from lt_fast.cli import main
short = ["--data", "digits-lt", "--epochs", "1", "--quiet", "--no-plots", "--threads", "1", "--set", "max_margin=0.3"]
more = sys.argv[1:]
status = main(["methods", "inverse_margin", "--data", "digits-lt", *more])
status = status or main(["train", "--method", "inverse_margin", *short, "--set", "mixer=remix", "--run", "run", *more])
sys.exit(status or main(["eval", "run"]))
"""


def run(folder, *more):
    done = forked.run(["-c", COMMANDS, *more], environment={"PYTHONPATH": str(folder)}, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "loss.max_margin = 0.5\n      Doe 2026, Table 2" in done.stdout
    assert "inverse_margin on digits-lt" in done.stdout
    return done


def test_the_list_has_two_files():
    assert list(FILES) == ["lt_fast/losses/inverse_margin.py", "lt_fast/recipes/inverse_margin.py"]


@pytest.mark.slow
def test_two_files_in_the_package(tmp_path):
    shutil.copytree(Path(lt_fast.__file__).parent, tmp_path / "lt_fast", copy_function=os.symlink)
    for path, code in FILES.items():
        with (tmp_path / path).open("x") as file:  # a new one: the others are links to the package itself
            file.write(code)
    run(tmp_path)


@pytest.mark.slow
def test_one_file_outside_the_package(tmp_path):
    recipe = tmp_path / "inverse_margin.py"
    recipe.write_text("\n\n".join(FILES.values()))
    run(tmp_path, "--recipe", recipe)


# --- a mixer, a method and a data set ---------------------------------------------------------------------------------

OTHERS = TEXT.split("## Adding a mixer, a method or a data set")[1].split("\n## ")[0]
COMPONENTS = [textwrap.dedent(code) for code in re.findall(r"```python\n(.*?)\n *```", OTHERS, re.DOTALL)]
COMMAND = re.search(r"^    lt-fast (train .*)$", OTHERS, re.MULTILINE)[1].split()
AT_ONCE = ["--epochs", "1", "--quiet", "--no-plots", "--threads", "1"]


@pytest.mark.slow
def test_a_mixer_a_method_and_a_data_set_in_one_file(tmp_path):
    def lt_fast(*words):
        done = forked.run(["-m", "lt_fast.cli", *words, "--json"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert len(COMPONENTS) == 3
    (tmp_path / "FILE.py").write_text("\n\n".join(COMPONENTS))
    result = lt_fast(*COMMAND, *AT_ONCE, "--set", "lam=0.9", "--set", "penalty=0.2", "--run", "run")
    assert result["config"]["mixer"] == {"name": "neighbours", "lam": 0.9}
    assert result["config"]["method"] == {"name": "confidence_penalty", "penalty": 0.2}
    assert result["config"]["data"] == "rare-digits"
    assert "entropy" in (tmp_path / "run" / "metrics.csv").read_text()
    assert lt_fast("eval", "run")["metrics"] == result["metrics"]
    (state,) = (tmp_path / "run" / "checkpoints").glob("*/state.json")
    batches = json.loads(state.read_text())["values"]["batches"]
    assert batches["train"]["plans"]["mixer"] == "Neighbours(lam=0.9)"
