"""Every hint that the command line can give is followed: options, commands, arguments, names and settings exist."""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

import lt_fast
from lt_fast.cli import main
from lt_fast.cli.demo import _in_words_of_the_demo
from lt_fast.cli.parser import COMMANDS, parse
from lt_fast.cli.stopping import words_for
from lt_fast.errors import UsageError
from lt_fast.experiment import resolve
from lt_fast.recipes import RECIPES
from lt_fast.registry import DATASETS

ROOT = Path(lt_fast.__file__).parent
_SPEAKS = re.compile(r"(Error|Interrupted|Warning|warn|error|say|unwritable)$")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_COMMAND = re.compile(r"lt-fast ([a-z][a-z-]+)")
_ARGUMENT = re.compile(r"(?<!-)\b(?:pass|give|or|set|use|with) ([a-z_]+)=(?!=)")
_SETTING = re.compile(r"--set ([a-z_.]+)=")
_DOTTED = re.compile(r"\b(?:lt_fast|lt)(?:\.\w+)+")


def _text(node):
    """The words of a string or an f-string, `{}` where a value goes; None for anything else."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "{}" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{_text(left) or '{}'}{_text(right) or '{}'}"
    return None


def _spoken(tree):
    """Every text in a call that makes or says a message, in a constant, and in what a function returns as words."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if _SPEAKS.search(name):
                inside = ast.walk(node)
            case ast.Assign(value=value) | ast.Return(value=ast.expr() as value):
                inside = ast.walk(value)
            case _:
                continue
        parts = [part for part in inside if isinstance(part, ast.JoinedStr | ast.BinOp | ast.Constant)]
        pieces = {id(piece) for part in parts for piece in ast.walk(part) if piece is not part}
        whole = [part for part in parts if id(part) not in pieces]
        yield from ((part.lineno, text) for part in whole if (text := _text(part)) and " " in text)


def _messages():
    for path in sorted(ROOT.rglob("*.py")):
        if "recipes" in path.parts and "cited(" in path.read_text():
            continue  # published settings, whose sources are other programs' options
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        for line, text in sorted(set(_spoken(ast.parse(path.read_text())))):
            yield pytest.param(module, text, id=f"{path.relative_to(ROOT)}:{line}")


def _options(command):
    return set(parse([command]).options) | {"--help"}


OPTIONS = {command: _options(command) for command in COMMANDS}
EVERY_OPTION = set().union(*OPTIONS.values()) | {"--version"}
MESSAGES = list(_messages())
BUILD = Path(__file__).parents[2] / "rust/bindings"
SOURCE = "\n".join(path.read_text() for path in [*ROOT.rglob("*.py"), *BUILD.rglob("*.rs")])


def _with(pattern):
    return [message for message in MESSAGES if pattern.search(message.values[1])]


def test_the_messages_are_found():
    texts = [message.values[1] for message in MESSAGES]
    assert len(texts) > 300
    assert any("name another run directory with --run" in text for text in texts)
    assert len(_with(_OPTION)) > 15
    assert len(_with(_ARGUMENT)) > 5


@pytest.mark.parametrize(("module", "text"), _with(_OPTION))
def test_options_that_a_message_names_exist(module, text):
    assert set(_OPTION.findall(text)) <= EVERY_OPTION | {
        "--ignored",
        "--nproc-per-node",
        "--upgrade",
    }  # git's, torchrun's, pip's


@pytest.mark.parametrize(("module", "text"), _with(_COMMAND))
def test_commands_that_a_message_names_exist_and_have_their_options(module, text):
    for quoted in re.findall(r"`(lt-fast [^`]*)`|(lt-fast [a-z-]+(?: --[a-z-]+)*)", text):
        words = (quoted[0] or quoted[1]).split()[1:]
        if not words or not re.fullmatch(r"[a-z-]+", words[0]) or words[0].startswith("-"):
            continue
        if quoted[0] or words[0] in COMMANDS:
            assert set(_OPTION.findall(" ".join(words))) <= OPTIONS[words[0]]


@pytest.mark.parametrize(("module", "text"), _with(_ARGUMENT))
def test_arguments_that_a_message_names_exist_in_its_package(module, text):
    # A criterion is the caller's; the package's own are in `losses`.
    packages = {module, ".".join(module.split(".")[:2]), "lt_fast.losses"}
    packages |= {"lt_fast.datasets"} if module == "lt_fast.cli.make_lt" else set()  # whose advice it translates
    known = set().union(*map(_parameters_of, packages))
    others = {"dispatch_batches", "capturable", "fused"}  # Accelerate's and torch's
    assert set(_ARGUMENT.findall(text)) - others <= known


@functools.cache
def _parameters_of(module):
    found = importlib.import_module(module)
    names = set()
    for value in vars(found).values():
        if not callable(value):
            continue
        members = [value, *(vars(value).values() if inspect.isclass(value) else ())]
        for member in (getattr(member, "__func__", member) for member in members):
            try:
                names |= set(inspect.signature(member).parameters)
            except (TypeError, ValueError):
                continue
    return names


@pytest.mark.parametrize(("module", "text"), _with(_SETTING))
def test_settings_that_a_message_names_exist(module, text):
    for name in _SETTING.findall(text):
        assert any(_is_setting(recipe, name) for recipe in RECIPES)


def _is_setting(recipe, name):
    if name.startswith("data."):  # an option of photographs; the command line takes them out of the settings
        return name.removeprefix("data.") in inspect.signature(DATASETS["photographs"]).parameters
    try:
        resolve(recipe, "digits-lt", {name: "1"})
    except UsageError as error:
        return "setting must be one" not in str(error)
    return True


@pytest.mark.parametrize(("module", "text"), _with(_DOTTED))
def test_names_that_a_message_gives_lead_somewhere(module, text):
    for name in _DOTTED.findall(text):
        first, *rest = name.split(".")
        found = lt_fast if first in ("lt", "lt_fast") else None
        for part in rest:
            if part == "ops" or hasattr(found, part):
                found = getattr(found, part)
            else:
                found = importlib.import_module(f"{found.__name__}.{part}")


@pytest.mark.parametrize(("module", "text"), _with(re.compile(r"LT_FAST_[A-Z_]+")))
def test_environment_variables_that_a_message_names_are_read(module, text):
    for name in re.findall(r"LT_FAST_[A-Z_]+[A-Z]", text):
        assert re.search(rf'(environ\.get\(|_choice\(|env::var\()"{name}"', SOURCE)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_names_options_that_it_has(command):
    assert command == "methods" or set(_OPTION.findall(words_for(command))) <= OPTIONS[command]


WRONG = [
    ["trian"],
    ["train", "--method", "mamc", "--data", "digits-lt"],
    ["train", "--metod", "ce", "--data", "digits-lt"],
    ["train", "--method", "ce", "--data", "digit-lt"],
    ["train", "--method", "ce", "--data", "digits-lt", "--set", "learning_rte=1"],
    ["train", "--method", "ce", "--data", "digits-lt", "--imbalance-ratio", "0.01"],
    ["train", "--method", "ce", "--data", "digits-lt", "--profile", "stp"],
    ["methods", "mam-c"],
    ["methods", "ce", "--data", "digit"],
    ["demo", "--epoch", "1"],
    ["eval", "--rot", "x"],
    ["make-lt", "digits", "--outt", "x"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_is_suggested_is_accepted(words):
    suggested = re.search(r"did you mean '?([^'?]+)'?\?$", _refusal(words))
    wrong = re.search(r"(?:got|option) '?([^';]+)'?; did", _refusal(words))
    right = [word.replace(wrong[1], suggested[1]) for word in words]
    assert right != words
    assert "did you mean" not in (_refusal(right) or "")


def _refusal(words):
    """The error of everything that comes before work is done, or None."""
    from lt_fast import experiment
    from lt_fast.cli import train

    try:
        arguments = parse(words)
        if arguments.name == "train" and (arguments.method or arguments.data):
            train.config_of(arguments)
        if arguments.name == "methods":
            experiment.values_of(arguments.method or "ce", arguments.data or "digits-lt")
    except UsageError as error:
        return str(error)
    return None


def test_data_that_is_not_there_is_answered_with_what_can_be_named(capsys):
    for data, status in (("train_lt.txt", 3), ("photos\\train", 3), ("table.csv", 3), ("zoo", 2)):
        assert main(["train", "--method", "ce", "--model", "timm:resnet18", "--scratch", data]) == status
        line = capsys.readouterr().err
        assert "a folder with one folder per class, a LIST.txt" in line or "photographs: a folder with one" in line


RUN_MESSAGES = [
    message
    for message in MESSAGES
    if message.values[0].startswith(("lt_fast.training", "lt_fast.experiment"))
    and message.values[0] != "lt_fast.experiment.evaluate"  # of `lt-fast eval`
    and message.values[0] != "lt_fast.experiment.start"  # of `--start-from`, which the demo has not
    and "--start-from" not in message.values[1]
    and re.search(r"--(run|resume)\b", message.values[1])
]


@pytest.mark.parametrize(("module", "text"), RUN_MESSAGES)
def test_the_demo_says_what_a_run_says_with_its_own_options(module, text):
    said = _in_words_of_the_demo(text)
    assert set(_OPTION.findall(said)) <= OPTIONS["demo"]
    assert "lt-fast train" not in said


def test_the_demo_in_a_folder_of_other_things_names_its_own_option(tmp_path, capsys):
    (tmp_path / "ce-seed0").mkdir()
    (tmp_path / "ce-seed0" / "letter.txt").write_text("")
    assert main(["demo", "--out", str(tmp_path), "--epochs", "1", "--quiet", "--no-plots"]) == 2
    line = capsys.readouterr().err
    assert "'letter.txt' in it; give the demo another folder with --out" in line
    assert "--run" not in line
