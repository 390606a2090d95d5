"""Completion of the command line: each shell loads its script, and bash and fish complete with it."""

import json
import shutil
import subprocess
import sys

import pytest

from lt_fast.cli import main
from lt_fast.cli.completion import SHELLS, TARGETS
from lt_fast.registry import CALIBRATORS, DATASETS, RECIPES

BASH = """
try() {{
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _shtab_lt_fast
  printf '%s\\n' "${{COMPREPLY[*]}}"
}}
source {script}
complete -p lt-fast >&2
{tries}
"""
QUIET = {"bash": ["--norc"], "zsh": ["-f"], "tcsh": ["-f"], "fish": ["-N"]}  # reads no settings of the user's
LOADED = {
    "bash": 'eval "$(cat {})" && complete -p lt-fast',
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$(cat {})" && [ "$_comps[lt-fast]" = _shtab_lt_fast ]',
    "tcsh": "source {} && complete lt-fast",
    "fish": "source {} && complete -c lt-fast",
}


def names(registry, start):
    return {name for name in registry if name.startswith(start)}


# The words before the cursor, the last one incomplete, and what completes it.
WORDS = [
    (["tr"], {"train"}),
    (["co"], {"compare", "completion"}),
    (["train", "--met"], {"--method"}),
    (["train", "--method", "mam"], names(RECIPES, "mam")),
    (["train", "--data", "cifar"], names(DATASETS, "cifar")),
    (["train", "digits"], names(DATASETS, "digits")),
    (["train", "phot"], {"photographs", "photos"}),
    (["calibrate", "runs/one", "--method", "l"], names(CALIBRATORS, "l")),
    (["make-lt", "cifar10", "--method", ""], {"counter", "ldam"}),
    (["methods", "ldam"], names(RECIPES, "ldam")),
    (["reproduce", "mammc-t"], {"mammc-table-1", "mammc-table-2", "mammc-table-3"}),
    (["eval", "runs/o"], {"runs/one"}),
    (["eval", ""], {"runs/one", "runs", "photos"}),
    (["train", "--resume", "on"], {"runs/one"}),
    (["train", "--step", "g"], {"graph"}),
    (["completion", "z"], {"zsh"}),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/config.json").write_text("{}")
    return tmp_path


def script(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def test_bash_completes_commands_options_names_and_runs(folder, tmp_path_factory, capsys):
    file = tmp_path_factory.mktemp("script") / "lt-fast.bash"
    file.write_text(script("bash", capsys))
    tries = "\n".join("try lt-fast " + " ".join(f"'{word}'" for word in words) for words, _ in WORDS)
    bash = ["bash", "--norc", "-c", BASH.format(script=file, tries=tries)]
    done = subprocess.run(bash, cwd=folder, capture_output=True, text=True, check=True)
    assert "-F _shtab_lt_fast lt-fast" in done.stderr
    found = dict(zip([" ".join(words) for words, _ in WORDS], done.stdout.splitlines(), strict=True))
    assert {words: set(line.split()) for words, line in found.items()} == {
        " ".join(words): wanted for words, wanted in WORDS
    }


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_names_and_runs(folder, tmp_path_factory, capsys):
    file = tmp_path_factory.mktemp("script") / "lt-fast.fish"
    file.write_text(script("fish", capsys))
    lines = ("train --method mammc", "eval runs/o", "train digits")
    tries = [f"complete -C 'lt-fast {line}'; echo END" for line in lines]
    fish = ["fish", "-N", "-c", "\n".join([f"source {file}", *tries])]
    done = subprocess.run(fish, cwd=folder, capture_output=True, text=True, check=True)
    methods, runs, data = (
        {line.partition("\t")[0] for line in part.splitlines()} for part in done.stdout.split("END")[:3]
    )
    assert methods >= names(RECIPES, "mammc")
    assert "runs/one" in runs
    assert "digits-lt" in data


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_loads_its_script_which_has_every_name(shell, tmp_path, capsys):
    text = script(shell, capsys)
    assert all(name in text for name in [*RECIPES, *DATASETS, *CALIBRATORS, *TARGETS])
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / f"lt-fast.{shell}"
    file.write_text(text)
    load = LOADED[shell].format(file)
    done = subprocess.run([shell, *QUIET[shell], "-c", load], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_targets_are_those_that_can_be_reproduced():
    from lt_fast import reproduction

    assert sorted(TARGETS) == sorted(reproduction.TARGETS)
    assert len(set(TARGETS)) == len(TARGETS)


def test_the_script_is_in_the_json_too(capsys):
    text = script("bash", capsys)
    assert main(["completion", "bash", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shell"] == "bash"
    assert found["script"].rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "shell must be one of bash, zsh, tcsh, fish; lt-fast completion bash"),
        (
            ["zhs"],
            "shell must be one of bash, zsh, tcsh, fish, got 'zhs'; did you mean 'zsh'?; lt-fast completion bash",
        ),
    ],
)
def test_another_shell_is_refused(words, message, capsys):
    assert main(["completion", *words]) == 2
    assert capsys.readouterr().err == f"lt-fast: {message}\n"


def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "completion in a shell needs shtab, which is not installed; run: pip install 'lt-fast[train]'" in (
        capsys.readouterr().err
    )
