"""``lt-fast methods``: every recipe with its paper and what it needs; one recipe with every value and its source."""

import argparse
from collections.abc import Mapping
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_protocol_argument, add_recipe_argument, recipe_file
from lt_fast.errors import UsageError

SUMMARY = "list the methods, or show one with every value and its source"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast methods``."""
    parser.add_argument("method", nargs="?", help="show this one in full")
    parser.add_argument("--data", help="show its values on this data set (default: every one)")
    add_protocol_argument(parser)
    add_recipe_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the list or the one recipe."""
    recipe_file(arguments)
    if arguments.method is None:
        if arguments.protocol is not None:
            raise UsageError("--protocol needs a method: lt-fast methods ce --protocol " + arguments.protocol)
        _list(output)
    else:
        _show(arguments.method, arguments.data, arguments.protocol, output)
    return 0


def _list(output: Output) -> None:
    from lt_fast.registry import DATASETS, RECIPES, TRAINING_PROTOCOLS  # noqa: PLC0415
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    listed = list(RECIPES.working().values())
    rows = [[recipe.name, _preprint(recipe), _needs(recipe.settings), recipe.title] for recipe in listed]
    output.say(text_table(["method", "paper", "needs", "title"], rows, left=4))
    protocols = list(TRAINING_PROTOCOLS.working().values())
    rows = [[protocol.name, protocol.title] for protocol in protocols]
    output.say("\n" + text_table(["--protocol", "trains any method as"], rows, left=2))
    output.say("\ndata sets: " + ", ".join(DATASETS) + "; one method in full: lt-fast methods mammc")
    output.result([_as_json(recipe) for recipe in listed])


def _show(method: str, data: str | None, protocol: str | None, output: Output) -> None:
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    recipe = experiment.recipe_of(method)
    chosen = list(DATASETS) if data is None else [data]
    modes = dict.fromkeys(chosen)
    if protocol is not None:
        modes = _fitting(experiment.training_protocol_of(protocol), chosen, asked=data is not None)
    given: dict[str, Any] = {name: {"mode": mode, "protocol": protocol} for name, mode in modes.items()}
    values = {name: experiment.values_of(recipe.name, name, **given[name]) for name in modes}
    output.say(f"{recipe.name}: {recipe.title}\n  {recipe.paper.title} ({_preprint(recipe)}; {recipe.equations})")
    output.say(f"  needs: {_needs(recipe.settings)}; costs: {recipe.cost}")
    for name, stated in values.items():
        ratio = experiment.protocol_of(name).imbalance_ratio
        by = "" if modes[name] is None else f" with --{modes[name]}"
        by += "" if protocol is None else f" by the protocol {protocol}"
        output.say(f"\n{name}{by}, imbalance ratio {ratio:g} by default")
        for setting, (value, source) in sorted(stated.items()):
            if value is not None:
                output.say(f"  {setting} = {_shown(value)}\n      {source}")
        _say_the_rest(recipe.name, name, stated, given[name], output)
    shown = {name: {key: value._asdict() for key, value in stated.items()} for name, stated in values.items()}
    output.result({**_as_json(recipe), "values": shown})


def _fitting(protocol: Any, data: list[str], *, asked: bool) -> dict[str, str | None]:
    """Return the data sets that a training protocol is stated for, photographs with their mode; all that are asked."""
    modes = {name: _mode_in(protocol, name) for name in data}
    return {name: mode for name, mode in modes.items() if asked or mode is not None or name in protocol.on}


def _mode_in(protocol: Any, data: str) -> str | None:
    found = [name.partition("-")[2] for name in protocol.on if name.startswith(f"{data}-")]
    return found[0] if found and data not in protocol.on else None


def _say_the_rest(method: str, data: str, stated: Mapping[str, Any], given: Mapping[str, Any], output: Output) -> None:
    """Name the arguments that are at their defaults, which ``--set`` reaches too."""
    from lt_fast.experiment.config import arguments_of, resolve  # noqa: PLC0415

    lines = []
    for slot, parameters in arguments_of(resolve(method, data, **given)).items():
        rest = [
            f"{name}={parameter.default}"
            for name, parameter in parameters.items()
            if f"{slot}.{name}" not in stated and parameter.default is not parameter.empty  # else the run gives it
        ]
        lines += [f"  {slot}: {', '.join(rest)}"] if rest else []
    output.say("  defaults, changed with --set COMPONENT.NAME=VALUE:\n  " + "\n  ".join(lines))


def _shown(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _preprint(recipe: Any) -> str:
    return f"arXiv:{recipe.paper.arxiv}" if recipe.paper.arxiv else "-"


def _needs(settings: Mapping[str, Any]) -> str:
    """Return the components that a recipe names itself, in words."""
    words = []
    for slot, spec in settings.items():
        name = getattr(spec, "name", None)
        name = getattr(name, "value", name)
        if isinstance(name, str):
            words.append(name if slot in ("loss", "mixer") else f"{slot} {name}")
    return ", ".join(words)


def _as_json(recipe: Any) -> dict[str, Any]:
    from lt_fast.recipes.recipe import flat  # noqa: PLC0415

    words = {name: getattr(recipe, name) for name in ("name", "title", "equations", "cost")}
    parts = {name: value for name, (value, _) in flat(recipe.settings, owner=recipe.name).items() if "." not in name}
    return {**words, "paper": recipe.paper.title, "arxiv": recipe.paper.arxiv, "parts": parts}
