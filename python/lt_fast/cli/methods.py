"""``lt-fast methods``: every recipe with its paper and what it needs; one recipe with every value and its source."""

import argparse
from collections.abc import Mapping
from inspect import signature
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_recipe_argument, recipe_file

SUMMARY = "list the methods, or show one with every value and its source"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast methods``."""
    parser.add_argument("method", nargs="?", help="show this one in full")
    parser.add_argument("--data", help="show its values on this data set (default: every one)")
    add_recipe_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the list or the one recipe."""
    recipe_file(arguments)
    if arguments.method is None:
        _list(output)
    else:
        _show(arguments.method, arguments.data, output)
    return 0


def _list(output: Output) -> None:
    from lt_fast.registry import DATASETS, RECIPES  # noqa: PLC0415
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    listed = list(RECIPES.working().values())
    rows = [[recipe.name, _preprint(recipe), _needs(recipe.settings), recipe.title] for recipe in listed]
    output.say(text_table(["method", "paper", "needs", "title"], rows, left=4))
    output.say("\ndata sets: " + ", ".join(DATASETS) + "; one method in full: lt-fast methods mammc")
    output.result([_as_json(recipe) for recipe in listed])


def _show(method: str, data: str | None, output: Output) -> None:
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    recipe = experiment.recipe_of(method)
    chosen = list(DATASETS) if data is None else [data]
    values = {name: experiment.values_of(recipe.name, name) for name in chosen}
    output.say(f"{recipe.name}: {recipe.title}\n  {recipe.paper.title} ({_preprint(recipe)}; {recipe.equations})")
    output.say(f"  needs: {_needs(recipe.settings)}; costs: {recipe.cost}")
    for name, stated in values.items():
        ratio = experiment.protocol_of(name).imbalance_ratio
        output.say(f"\n{name}, imbalance ratio {ratio:g} by default")
        for setting, (value, source) in sorted(stated.items()):
            if value is not None:
                output.say(f"  {setting} = {_shown(value)}\n      {source}")
        _say_the_rest(recipe.name, name, stated, output)
    shown = {name: {key: value._asdict() for key, value in stated.items()} for name, stated in values.items()}
    output.result({**_as_json(recipe), "values": shown})


def _say_the_rest(method: str, data: str, stated: Mapping[str, Any], output: Output) -> None:
    """Name the arguments that are at their defaults, which ``--set`` reaches too."""
    from lt_fast.experiment.config import arguments_of, resolve, run_settings  # noqa: PLC0415

    usual = ", ".join(
        f"{name}={signature(run_settings).parameters[name].default}"
        for name in ("many_above", "few_below")
        if name not in stated
    )
    lines = [f"  run: {usual}"] if usual else []
    for slot, parameters in arguments_of(resolve(method, data)).items():
        rest = [
            f"{name}={parameter.default}"
            for name, parameter in parameters.items()
            if f"{slot}.{name}" not in stated and parameter.default is not parameter.empty  # else the run gives it
        ]
        lines += [f"  {slot}: {', '.join(rest)}"] if rest else []
    output.say("  defaults, changed with --set NAME=VALUE or COMPONENT.NAME=VALUE:\n  " + "\n  ".join(lines))


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
