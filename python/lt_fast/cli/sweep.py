"""``lt-fast sweep METHOD DATA --set name=a,b,c``: settings tried out side by side, chosen on validation images."""

import argparse
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import (
    add_machine_arguments,
    add_photograph_arguments,
    add_protocol_argument,
    add_recipe_argument,
    data_set_of,
    folder,
    integer,
    most_threads,
    of_data,
    recipe_file,
    require_extras,
)
from lt_fast.errors import UsageError

SUMMARY = "train a grid of settings side by side and choose the best on validation images"

_MOST_SEEDS, _MOST_WORKERS = 1000, 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast sweep``."""
    parser.add_argument("method", nargs="?", metavar="METHOD", help="which recipe: `lt-fast methods` lists them")
    parser.add_argument(
        "images", nargs="?", metavar="DATA", help="digits-lt, cifar10-lt, ..., or photographs as of train"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=A,B,C",
        help="the values of a setting to try, or one value for all runs; a list in brackets; may be repeated",
    )
    parser.add_argument("--seeds", default="1", metavar="K", help="runs of each setting, seeds 0 .. K-1 (default: 1)")
    parser.add_argument(
        "--metric", default="balanced_acc", help="of the validation images, by which to choose (default: balanced_acc)"
    )
    parser.add_argument("--epochs", help="length of stage 1 (default: the recipe's)")
    parser.add_argument("--imbalance-ratio", metavar="R", help="largest over smallest class (default: as of train)")
    parser.add_argument("--profile", default="exp", help="shape of the tail: exp, step or pareto (default: exp)")
    parser.add_argument("--root", type=folder, help="folder of the data set's files")
    parser.add_argument("--download", action="store_true", help="fetch missing files into --root")
    parser.add_argument("--out", type=folder, help="folder of the runs and tables (default: runs/sweep-<...>)")
    add_protocol_argument(parser)
    add_recipe_argument(parser)
    add_photograph_arguments(parser)
    add_machine_arguments(parser)
    parser.add_argument(
        "--workers",
        metavar="K",
        help="runs side by side (default: processors over threads on a CPU; one for each GPU on cuda)",
    )
    parser.add_argument("--step", default="eager", help="eager or, on a GPU, graph (default: eager)")
    parser.add_argument("--compile", action="store_true", help="torch.compile for the networks' steps")
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast in the forward pass")
    parser.add_argument("--no-plots", action="store_true", help="draw no picture")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the runs out, print the table and what was chosen."""
    if arguments.method is None or arguments.images is None:
        raise UsageError("a method and data are needed: lt-fast sweep mammc digits-lt --set omega=0.1,0.25,0.5")
    settings, overrides = _settings(arguments)
    if arguments.folds is not None:
        raise UsageError("--folds must be left out of a sweep, which chooses on one set of validation images")
    method, data, given = _data(arguments, overrides)
    require_extras(plots=not arguments.no_plots)
    from lt_fast.sweeps import sweep  # noqa: PLC0415  (imports torch)
    from lt_fast.sweeps.sweep import default_folder  # noqa: PLC0415
    from lt_fast.sweeps.writing import as_json, table_text, words_of  # noqa: PLC0415

    out = arguments.out or default_folder(method, data, settings, given)
    found = sweep(
        method,
        data,
        settings,
        overrides=overrides,
        seeds=integer("--seeds", arguments.seeds, most=_MOST_SEEDS),
        metric=arguments.metric,
        out=out,
        machine=_machine(arguments),
        download=arguments.download,
        plots=not arguments.no_plots,
        progress=not arguments.quiet,
        **given,
    )
    output.say(f"{table_text(found)}\n\n{words_of(found)}\n")
    output.say(f"files: {', '.join(found.files)}")
    output.result(as_json(found))
    return 0


def _settings(arguments: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return the settings with several values, and those with one, which all runs share."""
    from lt_fast.experiment.config import split_assignment  # noqa: PLC0415
    from lt_fast.sweeps.grid import split_values  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    for text in arguments.set:
        name, value = split_assignment(text)
        if name in found:
            raise UsageError(f"{name} must be set once, with all its values: --set {name}={','.join(found[name])},...")
        found[name] = split_values(value)
    shared: dict[str, Any] = {name: values[0] for name, values in found.items() if len(values) == 1}
    options: dict[str, Any] = {"epochs": arguments.epochs, "amp": True if arguments.amp else None}
    for name, value in options.items():
        if value is not None and name in found:
            raise UsageError(f"{name} must be set once, got --{name} and --set {name}={','.join(found[name])}")
        shared |= {} if value is None else {name: value}
    return {name: values for name, values in found.items() if len(values) > 1}, shared


def _data(arguments: argparse.Namespace, overrides: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return recipe, data set and further arguments of ``resolve``; what is a setting goes to ``overrides``."""
    from lt_fast.experiment.build import needs_root, takes  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    file = recipe_file(arguments)
    data = data_set_of(arguments.images, list(DATASETS))
    given = of_data(data, arguments.images, arguments, overrides)
    given |= {"imbalance_ratio": arguments.imbalance_ratio, "profile": arguments.profile, "recipe_file": file}
    given["protocol"] = arguments.protocol
    if data in DATASETS and arguments.root is not None and not takes(data, "root"):
        raise UsageError(f"--root is for data sets of files, got {data}; leave it out")
    if data in DATASETS and arguments.root is None and needs_root(data):
        raise UsageError(f"--root is needed for {data}: the folder of its files; --download fetches them there")
    return arguments.method, data, {name: value for name, value in given.items() if value is not None}


def _machine(arguments: argparse.Namespace) -> Any:
    from lt_fast.scheduling import Machine  # noqa: PLC0415

    return Machine(
        workers=None if arguments.workers is None else integer("--workers", arguments.workers, most=_MOST_WORKERS),
        threads=None if arguments.threads is None else integer("--threads", arguments.threads, most=most_threads()),
        device=arguments.device,
        root=arguments.root,
        step=arguments.step,
        compiler="inductor" if arguments.compile else None,
    )
