"""The command line's grammar; an unknown command or option is answered with the nearest known one."""

import argparse
import importlib
from collections.abc import Sequence
from typing import Any, NoReturn

from lt_fast import __version__
from lt_fast._text import nearest
from lt_fast.errors import UsageError

# Command to the module that declares its arguments and runs it; none imports torch before it runs.
COMMANDS = {
    "train": "lt_fast.cli.train",
    "eval": "lt_fast.cli.evaluate",
    "report": "lt_fast.cli.report",
    "predict": "lt_fast.cli.predict",
    "calibrate": "lt_fast.cli.calibrate",
    "compare": "lt_fast.cli.compare",
    "export": "lt_fast.cli.export",
    "methods": "lt_fast.cli.methods",
    "sweep": "lt_fast.cli.sweep",
    "reproduce": "lt_fast.cli.reproduce",
    "demo": "lt_fast.cli.demo",
    "make-lt": "lt_fast.cli.make_lt",
    "completion": "lt_fast.cli.completion",
    "doctor": "lt_fast.cli.doctor",
    "inspect": "lt_fast.cli.inspect",
}

_LONGEST_SHOWN = 60

# Their result is in files: output that is lost takes nothing from it.
FILES_ARE_THE_RESULT = frozenset({"train", "report", "calibrate", "export", "make-lt"})
# What only one process may do in a folder at a time.
ONE_PROCESS = frozenset({
    "train", "eval", "report", "predict", "calibrate", "export", "demo", "make-lt", "inspect", "reproduce", "sweep",
})  # fmt: skip


class _Once(argparse.Action):
    """Store the value of an option; of two values, the first would be lost in silence."""

    def __call__(
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        earlier = vars(namespace).setdefault("given", {})
        if option_string in earlier:
            both = f"{_short(earlier[option_string])} and {_short(values)}"
            raise UsageError(f"{option_string} must be given once, got {both}; leave one out")
        if option_string is not None:
            earlier[option_string] = values
        setattr(namespace, self.dest, values)


def _short(value: Any) -> str:
    text = "nothing" if value is True else repr(str(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("action", None, _Once)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def parse(words: Sequence[str]) -> argparse.Namespace | None:
    """Return the arguments, with ``command`` the function to call; None when help or the version was printed.

    Raises:
        UsageError: with the nearest right word.
    """
    _refuse_wrong_start(words)
    parser, _ = every_command()
    try:
        arguments, unknown = parser.parse_known_args(words)
    except SystemExit:  # argparse's way of ending after --help and --version
        return None
    if unknown:
        raise UsageError(_unknown(unknown[0], arguments.options, f"lt-fast {arguments.name}"))
    return arguments


def every_command() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the whole parser, and the parser of each command by its name."""
    parser = _Parser(
        prog="lt-fast",
        description="Long-tailed image recognition: train, calibrate and measure.",
        epilog="exit status: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 interrupted and resumable",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"lt-fast {__version__}")
    commands = parser.add_subparsers(
        required=True, metavar="{" + ",".join(COMMANDS) + "}", prog="lt-fast", parser_class=_Parser
    )
    for name, module in COMMANDS.items():
        _add(commands, name, importlib.import_module(module))
    return parser, dict(commands.choices)


def _refuse_wrong_start(words: Sequence[str]) -> None:
    zero = next((word for word in words if "\0" in word), None)
    if zero is not None:  # no name of a file and no setting has one; Python's own words do not say which
        raise UsageError(f"an argument must not hold a NUL character, got {zero!r}")
    if not words:
        raise UsageError(f"a command is needed: {', '.join(COMMANDS)}; `lt-fast demo` shows the main job")
    _check_command(words[0])


def _add(commands: Any, name: str, module: Any) -> None:
    command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY, allow_abbrev=False)
    module.add_arguments(command)
    command.add_argument("--json", action="store_true", help="print the result as JSON on stdout, words on stderr")
    options = [option for action in command._actions for option in action.option_strings if option.startswith("--")]  # noqa: SLF001
    command.set_defaults(command=module.run, name=name, options=options)


def _check_command(word: str) -> None:
    if word not in COMMANDS and not word.startswith("-"):
        raise UsageError(f"command must be one of {', '.join(COMMANDS)}, got {word!r}{nearest(word, list(COMMANDS))}")
    if word.startswith("-") and word not in ("-h", "--help", "--version"):
        raise UsageError(f"the command comes first: lt-fast {{{','.join(COMMANDS)}}}, got {word!r}")


def _unknown(word: str, options: Sequence[str], prog: str) -> str:
    if not word.startswith("-"):
        return f"{prog} does not take {word!r}; see `{prog} --help`"
    plain = word.partition("=")[0]
    if plain in options:
        return f"{prog} takes no option after --, got {plain!r}; put it before --"
    hint = nearest(plain.lstrip("-"), [option.lstrip("-") for option in options])
    hint = hint.replace("mean '", "mean '--")
    return f"{prog} has no option {plain!r}{hint or f'; see `{prog} --help`'}"
