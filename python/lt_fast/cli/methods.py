"""``lt-fast methods``: every recipe with its paper and what it needs; one recipe with every value and its source."""

import argparse
from typing import Any

from lt_fast.cli.output import Output

SUMMARY = "list the methods, or show one with every value and where it was taken from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast methods``."""
    parser.add_argument("method", nargs="?", help="show this one in full")
    parser.add_argument("--data", help="show its values on this data set (default: every one)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the list or the one recipe."""
    if arguments.method is None:
        _list(output)
    else:
        _show(arguments.method, arguments.data, output)
    return 0


def _list(output: Output) -> None:
    from lt_fast import recipes  # noqa: PLC0415
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    listed = [recipes.recipe_of(name) for name in recipes.RECIPES]
    rows = [[recipe.name, f"arXiv:{recipe.arxiv}", _needs(recipe), recipe.title] for recipe in listed]
    output.say(text_table(["method", "paper", "needs", "title"], rows, left=4))
    output.say("\ndata sets: " + ", ".join(recipes.PROTOCOLS) + "; one method in full: lt-fast methods mammc")
    output.result([_as_json(recipe) for recipe in listed])


def _show(method: str, data: str | None, output: Output) -> None:
    from lt_fast import recipes  # noqa: PLC0415

    recipe = recipes.recipe_of(method)
    chosen = list(recipes.PROTOCOLS) if data is None else [data]
    values = {name: recipes.values_of(method, name) for name in chosen}
    output.say(f"{recipe.name}: {recipe.title}\n  {recipe.paper} (arXiv:{recipe.arxiv}; {recipe.equations})")
    output.say(f"  needs: {_needs(recipe)}; costs: {recipe.cost}")
    for name, stated in values.items():
        output.say(f"\n{name}, imbalance ratio {recipes.IMBALANCE_RATIO[name]:g} unless told")
        for setting, (value, source) in sorted(stated.items()):
            output.say(f"  {setting} = {_shown(value)}\n      {source}")
    shown = {name: {key: value._asdict() for key, value in stated.items()} for name, stated in values.items()}
    output.result({**_as_json(recipe), "values": shown})


def _shown(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _needs(recipe: Any) -> str:
    parts = [recipe.loss, recipe.mixer, f"{recipe.head} head" if recipe.head != "linear" else None]
    parts += ["DRW" if recipe.deferred else None, f"{recipe.calibrator} calibration" if recipe.calibrator else None]
    return ", ".join(part for part in parts if part)


def _as_json(recipe: Any) -> dict[str, Any]:
    words = {name: getattr(recipe, name) for name in ("name", "title", "paper", "arxiv", "equations", "cost")}
    return {**words, "parts": recipe.parts}
