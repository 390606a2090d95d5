"""``lt-fast completion``: the script with which a shell completes commands, options, names, runs and files.

The script is made by ``shtab`` from the parsers of the commands, so an option is declared in one place. What it does
not find there is added here: which names an option takes, and which folders are runs.
"""

import argparse
from typing import TYPE_CHECKING, Any

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.cli.output import Output
from lt_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

SUMMARY = "print the script with which bash, zsh, tcsh or fish completes commands, options, names and run directories"

SHELLS = ("bash", "zsh", "tcsh", "fish")

_LOAD = {
    "bash": 'eval "$(lt-fast completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(lt-fast completion zsh)" in ~/.zshrc, after compinit',
    "tcsh": "lt-fast completion tcsh > ~/.lt-fast.tcsh, then source ~/.lt-fast.tcsh in ~/.tcshrc",
    "fish": "lt-fast completion fish > ~/.config/fish/completions/lt-fast.fish",
}
_HERE = "; ".join(f"{shell}: {words}" for shell, words in _LOAD.items())

TARGETS = (
    "balms",
    *(f"cp-mix-figure-{number}" for number in range(2, 7)),
    *(f"cp-mix-table-{number}" for number in (1, 2, 3, 4, 7, 8, 9)),
    "decouple",
    "ldam-table-2",
    "mammc-figure-1",
    "mammc-omega",
    *(f"mammc-table-{number}" for number in (1, 2, 3)),
    "marc",
    "mm",
    "mm-class-errors",
    "mm-settings",
)
"""The names in ``lt_fast.reproduction.TARGETS``, repeated here because that imports torch, and a shell makes the script
whenever it starts."""

# Folders with a configuration are runs; other folders may contain some.
_BASH_RUNS = """\
_lt_fast_runs() {
  local config
  for config in "$1"*/config.json runs/"$1"*/config.json; do
    [ -e "$config" ] && echo "${config%/config.json}"
  done
  compgen -d -- "$1"
}"""
_ZSH_RUNS = """\
_lt_fast_runs() {
  local -a runs
  runs=(${~PREFIX}*/config.json(N:h) runs/${~PREFIX}*/config.json(N:h))
  compadd -a runs
  _files -/
}"""
_FISH_RUNS = """\
function __lt_fast_runs
  set -l word (commandline -ct)
  for config in $word*/config.json runs/$word*/config.json
    string replace -r '/config.json$' '' -- $config
  end
  __fish_complete_directories
end"""

_FISH_PATHS = "__fish_complete_path (commandline -ct)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast completion``."""
    parser.add_argument("shell", nargs="?", help=f"bash, zsh, tcsh or fish. To load it: {_HERE}")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the script to stdout."""
    from lt_fast.cli.parser import every_command  # noqa: PLC0415  (it imports this module)

    shell = arguments.shell
    if shell not in SHELLS:
        got = "" if shell is None else f", got {shell!r}{nearest(shell, SHELLS)}"
        raise UsageError(f"shell must be one of {', '.join(SHELLS)}{got}; lt-fast completion bash")
    shtab = require("shtab", extra="train", purpose="completion in a shell")
    parser, commands = every_command()
    data = _data(shtab)
    for name, command in commands.items():
        for action in command._actions:  # noqa: SLF001  (argparse lists them nowhere else)
            _annotate(name, action, shtab, data)
    script = shtab.complete(parser, shell, preamble={"zsh": f"{_ZSH_RUNS}\n{data['zsh preamble']}"})
    output.say(script.rstrip("\n"))
    output.result({"shell": shell, "script": script})
    return 0


def _annotate(command: str, action: Any, shtab: Any, data: dict[str, Any]) -> None:
    """Say what completes the value of ``action``; where nothing does, argparse's own choices remain."""
    name = action.option_strings[-1] if action.option_strings else action.dest
    words = _words(command, name)
    if words:
        action.choices = words
    elif name in ("run", "runs", "--run", "--resume", "--start-from"):
        action.complete = _runs()
    elif name == "images" or (command, name) == ("inspect", "data"):
        action.complete = data
    elif name in ("--root", "--calibration", "--quarantine") or action.metavar == "DIR":
        action.complete = shtab.DIRECTORY
    elif action.nargs != 0 and _names_a_file(name, action):
        action.complete = shtab.FILE


def _names_a_file(name: str, action: Any) -> bool:
    return name in ("--out", "--test", "--weights", "source") or str(action.metavar).startswith("FILE")


def _words(command: str, name: str) -> list[str]:
    """Return the names that an option or argument of a command takes, without importing what they name."""
    from lt_fast import registry  # noqa: PLC0415

    names: dict[str, Iterable[str]] = {
        "--method": {"calibrate": registry.CALIBRATORS, "make-lt": ("ldam", "counter")}.get(command, registry.RECIPES),
        "method": registry.RECIPES,
        "--data": registry.DATASETS,
        "--protocol": registry.TRAINING_PROTOCOLS,
        "--model": registry.MODELS,
        "--profile": ("exp", "step", "pareto"),
        "--device": ("cpu", "cuda"),
        "--step": ("eager", "graph"),
        "--decoder": ("pillow", "torchvision"),
        "--log": ("tensorboard", "wandb"),
        "shell": SHELLS,
        "target": TARGETS,
    }
    return sorted(names.get(name, ()))


def _runs() -> dict[str, Any]:
    return {
        "bash": "_lt_fast_runs",
        "zsh": "_lt_fast_runs",
        "tcsh": "d",
        "fish": "(__lt_fast_runs)",
        "preamble": {"bash": _BASH_RUNS, "fish": _FISH_RUNS},
    }


def _data(shtab: Any) -> dict[str, Any]:
    """Return what completes DATA: the names of data sets, and any file or folder."""
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    names = " ".join(sorted(DATASETS))
    return {
        "bash": "_lt_fast_data",
        "zsh": "_lt_fast_data",
        "zsh preamble": f"_lt_fast_data() {{\n  compadd {names}\n  _files\n}}",
        "tcsh": shtab.FILE["tcsh"],
        "fish": "(__lt_fast_data)",
        "preamble": {
            "bash": f'_lt_fast_data() {{\n  compgen -W "{names}" -- "$1"\n  compgen -f -- "$1"\n}}',
            "fish": f"function __lt_fast_data\n  string split ' ' '{names}'\n  {_FISH_PATHS}\nend",
        },
    }
