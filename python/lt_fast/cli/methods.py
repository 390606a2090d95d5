"""``lt-fast methods``: every recipe with its paper and what it needs; one recipe with every value and its source."""

import argparse
import textwrap
from collections.abc import Mapping
from inspect import signature
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_protocol_argument, add_recipe_argument, recipe_file
from lt_fast.errors import UsageError

_WIDTH = 100  # of a line
_PROTOCOL = 23  # of the column of protocols
_DATA = 9  # of the column "data"; a longer entry moves what follows
_TWO_DIGITS = 10
_NOT_MEASURED = "not measured"  # as wide as the two columns that it stands in

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
    from lt_fast.recipes.costs import measured_costs  # noqa: PLC0415
    from lt_fast.registry import DATASETS, RECIPES, TRAINING_PROTOCOLS  # noqa: PLC0415

    listed, costs = list(RECIPES.working().values()), measured_costs()
    output.say(_table(listed, costs))
    output.say(f"\n{_wrapped(_about(costs))}")
    output.say("\nany method as one paper or code trains all of its own: lt-fast train --protocol NAME")
    output.say("\n".join(_protocol_line(each) for each in TRAINING_PROTOCOLS.working().values()))
    output.say("\ndata sets: " + ", ".join(DATASETS))
    output.say("one method in full: lt-fast methods mammc")
    output.result([_as_json(recipe, costs) for recipe in listed])


def _table(listed: list[Any], costs: Any) -> str:
    """Return the recipes under their papers, in lines of at most 100 characters."""
    longest = max(len(recipe.name) for recipe in listed)
    header = f"{'method':<{longest}}  stages  step  memory  {'data':<{_DATA}}  what it is"
    papers: dict[Any, list[Any]] = {}
    for recipe in listed:
        papers.setdefault(recipe.paper, []).append(recipe)
    lines = [header]
    for paper, recipes in papers.items():
        preprint = f" (arXiv:{paper.arxiv})" if paper.arxiv else ""
        lines += ["", _wrapped(f"{paper.title}{preprint}")]
        lines += [_line(recipe, costs.of.get(recipe.name), longest) for recipe in recipes]
    return "\n".join(lines)


def _line(recipe: Any, cost: Any, longest: int) -> str:
    measured = _NOT_MEASURED if cost is None else f"{_times(cost.relative_step):>4}  {_times(cost.relative_memory):>6}"
    start = f"{recipe.name:<{longest}}  {_stages(recipe, cost):>6}  {measured}  {_data(recipe, cost):<{_DATA}}  "
    return textwrap.fill(recipe.title, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _protocol_line(protocol: Any) -> str:
    start = f"{protocol.name:<{_PROTOCOL}}  "
    return textwrap.fill(protocol.title, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < _TWO_DIGITS else f"{ratio:.1f}"


def _stages(recipe: Any, cost: Any) -> int:
    """Return the stages of the training: measured, or as far as the recipe itself tells."""
    found: int = 1 + (recipe.settings.get("calibrator") is not None) if cost is None else cost.stages
    return found


def _data(recipe: Any, cost: Any) -> str:
    """Return what a recipe needs of the data in addition to labelled training images, one for each row of a batch."""
    words = [f"{cost.images_per_row:g} images"] if cost is not None and cost.images_per_row > 1 else []
    return ", ".join(words + ["validation"] * (_held_out(recipe) > 0)) or "-"


def _held_out(recipe: Any) -> float:
    stated = recipe.settings.get("validation")
    return 0.0 if stated is None else float(stated.value)


def _about(costs: Any) -> str:
    words = (
        "stages: of the training, with a second stage on frozen features; data: images read per row of a batch where "
        "they are several, and validation where training images are held out for the method; step, memory: a "
        "training step's time and peak memory, 1 for ce"
    )
    return f"{words}; measured with {costs.about}" if costs.of else f"{words}; no measurement comes with this version"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def _show(method: str, data: str | None, protocol: str | None, output: Output) -> None:
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.recipes.costs import measured_costs  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    recipe = experiment.recipe_of(method)
    chosen = list(DATASETS) if data is None else [data]
    modes = dict.fromkeys(chosen)
    if protocol is not None:
        modes = _fitting(experiment.training_protocol_of(protocol), chosen, asked=data is not None)
    given: dict[str, Any] = {name: {"mode": mode, "protocol": protocol} for name, mode in modes.items()}
    values = {name: experiment.values_of(recipe.name, name, **given[name]) for name in modes}
    output.say(f"{recipe.name}: {recipe.title}\n  {recipe.paper.title}{_where(recipe)}")
    costs = measured_costs()
    output.say(f"  needs: {_needs(recipe.settings)}; costs: {recipe.cost}")
    output.say(f"  {_in_words(recipe.name, costs)}")
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
    output.result({**_as_json(recipe, costs), "values": shown})


def _fitting(protocol: Any, data: list[str], *, asked: bool) -> dict[str, str | None]:
    """Return the data sets that a training protocol is stated for, photographs with their mode; all that are asked."""
    modes = {name: _mode_in(protocol, name) for name in data}
    return {name: mode for name, mode in modes.items() if asked or mode is not None or name in protocol.on}


def _mode_in(protocol: Any, data: str) -> str | None:
    found = [name.partition("-")[2] for name in protocol.on if name.startswith(f"{data}-")]
    return found[0] if found and data not in protocol.on else None


def _say_the_rest(method: str, data: str, stated: Mapping[str, Any], given: Mapping[str, Any], output: Output) -> None:
    """Name the arguments that are at their defaults, which ``--set`` reaches too."""
    from lt_fast.experiment.config import arguments_of, resolve, run_settings, shared_names  # noqa: PLC0415

    usual = ", ".join(
        f"{name}={signature(run_settings).parameters[name].default}"
        for name in ("many_above", "few_below")
        if name not in stated
    )
    lines = [f"  run: {usual}"] if usual else []
    config = resolve(method, data, **given)
    for slot, parameters in arguments_of(config).items():
        rest = [
            f"{name}={parameter.default}"
            for name, parameter in parameters.items()
            if f"{slot}.{name}" not in stated and parameter.default is not parameter.empty  # else the run gives it
        ]
        lines += [f"  {slot}: {', '.join(rest)}"] if rest else []
    output.say("  defaults, changed with --set NAME=VALUE or COMPONENT.NAME=VALUE:\n  " + "\n  ".join(lines))
    shared = [" or ".join(meanings) for meanings in shared_names(config).values()]
    if shared:
        output.say(f"  given in full, because the short name means several: {', '.join(shared)}")


def _shown(value: Any) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _where(recipe: Any) -> str:
    """Return the preprint and the equations in brackets; nothing where the recipe names neither."""
    preprint = f"arXiv:{recipe.paper.arxiv}" if recipe.paper.arxiv else ""
    known = "; ".join(filter(None, (preprint, recipe.equations)))
    return f" ({known})" if known else ""


def _needs(settings: Mapping[str, Any]) -> str:
    """Return the components that a recipe names itself, in words."""
    words = []
    for slot, spec in settings.items():
        name = getattr(spec, "name", None)
        name = getattr(name, "value", name)
        if isinstance(name, str):
            words.append(name if slot in ("loss", "mixer") else f"{slot} {name}")
    return ", ".join(words)


def _in_words(name: str, costs: Any) -> str:
    cost = costs.of.get(name)
    if cost is None:
        return "measured: not measured"
    relative = f"{_times(cost.relative_step)} x the step of ce, {_times(cost.relative_memory)} x its memory"
    return f"measured: {relative} ({cost.step_ms:g} ms, {cost.memory_mib:g} MiB) with {costs.about}"


def _as_json(recipe: Any, costs: Any) -> dict[str, Any]:
    from lt_fast.recipes.recipe import flat  # noqa: PLC0415

    cost = costs.of.get(recipe.name)
    words = {name: getattr(recipe, name) for name in ("name", "title", "equations", "cost")}
    parts = {name: value for name, (value, _) in flat(recipe.settings, owner=recipe.name).items() if "." not in name}
    words |= {"paper": recipe.paper.title, "arxiv": recipe.paper.arxiv, "parts": parts}
    needs = {"stages": _stages(recipe, cost), "validation": _held_out(recipe)}
    return {**words, **needs, "measured": None if cost is None else {**cost._asdict(), "with": costs.about}}
