"""``lt-fast calibrate RUN|FILE --method NAME``: another second stage for a run, or one for a network of your own."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_fast.cli.evaluate import add_logits_argument
from lt_fast.cli.output import Output
from lt_fast.cli.train import (
    add_machine_arguments,
    add_recipe_argument,
    data_set_of,
    folder,
    integer_from_0,
    of_data,
    recipe_file,
    report,
    require_extras,
    set_threads,
)
from lt_fast.errors import UsageError
from lt_fast.registry import CALIBRATORS

SUMMARY = "fit a calibrator to the network of a finished run or of a weights file, measured before and after"

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")

# What only a network in a weights file has, with its value where it is left out.
_OF_NETWORK: dict[str, Any] = {
    "model": None, "data": None, "test": None, "imbalance_ratio": None, "profile": "exp", "seed": "0", "workers": None,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast calibrate``."""
    parser.add_argument(
        "run", nargs="?", metavar="RUN|FILE", type=folder, help="run directory, or weights of any network: "
        "FILE.safetensors, or FILE.pth read without running code",
    )  # fmt: skip
    parser.add_argument(
        "--method",
        help=f"{', '.join(sorted(CALIBRATORS))}; mc is margin, crt retraining, mislas label_aware_smoothing",
    )
    parser.add_argument(
        "--out",
        type=folder,
        metavar="DIR",
        help="a new folder (default: RUN/calibrations/METHOD, of a FILE runs/METHOD-DATA-FILE)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the method, such as tau=0.5; "
        "of a FILE also a setting of the run, such as validation=0.2",
    )  # fmt: skip
    parser.add_argument("--root", type=folder, help="folder of the data set's files")
    add_logits_argument(parser)
    _add_network_arguments(parser)
    add_recipe_argument(parser)
    add_machine_arguments(parser)


def _add_network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="of a FILE: timm:NAME, torchvision:NAME or package.module:factory")
    parser.add_argument(
        "--data", help="of a FILE: photographs (a folder, LIST.txt, TABLE.csv, FILE.json, hf:NAME) or a data set's name"
    )
    parser.add_argument(
        "--test",
        metavar="DIR|LIST",
        help="of a FILE: test photographs that it was not trained on (default: a fifth of --data)",
    )
    parser.add_argument("--imbalance-ratio", metavar="R", help="of a FILE: as of `lt-fast train`")
    parser.add_argument("--profile", default="exp", help="of a FILE: as of `lt-fast train`")
    parser.add_argument("--seed", default="0", help="of a FILE: of the method's draws (default: 0)")
    parser.add_argument("--workers", metavar="N", help="of a FILE: processes that decode photographs")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Fit, measure and print."""
    if arguments.run is None:
        raise UsageError("a run directory or a weights file is needed: lt-fast calibrate runs/NAME --method mc")
    place: Path = arguments.run
    of_network = place.is_file() or (place.suffix in _WEIGHTS and not place.is_dir())
    _refuse_unfit(arguments, of_network=of_network)
    set_threads(arguments.threads)
    if arguments.method is None:
        raise UsageError(f"--method is needed, one of {', '.join(CALIBRATORS)}")
    return (_network if of_network else _run)(arguments, output)


def _refuse_unfit(arguments: argparse.Namespace, *, of_network: bool) -> None:
    place = arguments.run
    if not of_network:
        given = next((name for name, usual in _OF_NETWORK.items() if getattr(arguments, name) != usual), None)
        if given is not None:
            raise UsageError(f"--{given.replace('_', '-')} is for a weights file, got the run {place}; leave it out")
        return
    if not place.is_file():
        raise UsageError(f"{place} is not there; name a run directory, or a file with the weights of a network")
    examples = {"model": "timm:NAME, torchvision:NAME or package.module:factory", "data": "a folder of photographs"}
    for name, example in examples.items():
        if getattr(arguments, name) is None:
            raise UsageError(f"--{name} is needed with the weights file {place}: {example}")


def _run(arguments: argparse.Namespace, output: Output) -> int:
    from lt_fast.experiment.calibrating import calibrate_run  # noqa: PLC0415

    found = calibrate_run(
        arguments.run,
        arguments.method,
        arguments.out,
        options={name.removeprefix("calibrator."): text for name, text in _settings(arguments.set).items()},
        device=arguments.device,
        root=arguments.root,
        recipe_file=recipe_file(arguments),
        logits=arguments.logits,
    )
    _print(found, arguments.run, output)
    output.result(found)
    return 0


def _network(arguments: argparse.Namespace, output: Output) -> int:
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.experiment.calibrating import chance_in  # noqa: PLC0415

    config = _config(arguments)
    require_extras(plots=False)
    place = arguments.out or _usual_folder(config, arguments)
    stopped = _is_stopped(place, config)
    if not stopped and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"{place} is there already; name a new folder with --out, or remove it")
    output.say(f"{arguments.run}: {config['model']['name']} with its own head; run directory: {place}")
    workers = None if arguments.workers is None else integer_from_0("--workers", arguments.workers)
    how = {"device": arguments.device, "root": arguments.root, "progress": not arguments.quiet}
    how |= {"most_logits": sys.maxsize} if arguments.logits else {}
    result = experiment.run(config, place, resume=stopped, workers=workers, **how)
    words = chance_in(result)
    if words is not None:
        output.warn(words)
    for caution in _cautions(result, has_test=arguments.test is not None):
        output.say(caution)
    report(result, place, [], output)
    output.say(f"in use: lt-fast predict {place} IMAGES")
    return 0


def _cautions(result: Mapping[str, Any], *, has_test: bool) -> list[str]:
    """Return what only the user can judge: whether the network has seen what it is measured on."""
    from lt_fast.counts import ClassCounts  # noqa: PLC0415
    from lt_fast.experiment.build import make_calibrator  # noqa: PLC0415

    config, found = result["config"], []
    if "mode" not in config:
        return []
    calibrator = make_calibrator(config, ClassCounts(result["data"]["class_counts"]))
    if getattr(calibrator, "fitted_on", "training") == "validation":
        found.append(
            f"{config['calibrator']['name']} is fitted on a part of --data: if the network was trained on it, it is "
            "surer there than of new photographs; --data names others"
        )
    if not has_test:
        found.append(
            "the test images are a part of --data: if the network was trained on them, these numbers are too good; "
            "--test names others"
        )
    return found


def _is_stopped(place: Path, config: Mapping[str, Any]) -> bool:
    """Whether ``place`` holds the beginning of this run, which the same command then continues."""
    from lt_fast.training.run_directory import differences, read_config  # noqa: PLC0415

    if not (place / "config.json").exists() or (place / "result.json").exists():
        return False
    return not differences(read_config(place), config)


def _config(arguments: argparse.Namespace) -> dict[str, Any]:
    from lt_fast.experiment.calibrating import network_config  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    file = recipe_file(arguments)
    data = data_set_of(arguments.data, list(DATASETS))
    overrides: dict[str, Any] = _settings(arguments.set)
    # What `lt-fast train` would be given for these photographs.
    of_training = dict.fromkeys(("model", "mode", "weights", "folds", "augment", "decoder"))
    words = {**vars(arguments), **of_training}
    of_photographs = of_data(data, arguments.data, argparse.Namespace(**words), overrides)
    return network_config(
        arguments.run,
        arguments.method,
        model=arguments.model,
        data=data,
        overrides=overrides,
        data_options=of_photographs.get("data_options"),
        imbalance_ratio=arguments.imbalance_ratio,
        profile=arguments.profile,
        seed=arguments.seed,
        recipe_file=file,
    )


def _usual_folder(config: Mapping[str, Any], arguments: argparse.Namespace) -> Path:
    data = Path(arguments.data.removeprefix("hf:").partition("#")[0]).stem or config["data"]
    return Path("runs") / f"{config['calibrator']['name']}-{data}-{arguments.run.stem}"


def _settings(given: list[str]) -> dict[str, Any]:
    from lt_fast.experiment.config import split_assignment  # noqa: PLC0415

    pairs = [split_assignment(text) for text in given]
    settings = dict(pairs)
    if len(settings) < len(pairs):
        name = next(name for name in settings if [other for other, _ in pairs].count(name) > 1)
        raise UsageError(f"{name} must be set once, got {' and '.join(text for other, text in pairs if other == name)}")
    return settings


def _print(found: dict[str, Any], run_folder: Path, output: Output) -> None:
    from lt_fast.report.metrics_table import header, metrics_row  # noqa: PLC0415
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    settings = dict(found["calibrator"])
    name = settings.pop("name")
    chosen = ", ".join(f"{key}={value}" for key, value in settings.items())
    words = {"nothing": "nothing is fitted"}.get(found["fitted_on"], f"fitted on the {found['fitted_on']} images")
    output.say(f"{name}{f' ({chosen})' if chosen else ''}, {words}; test set, percent\n")
    stages = {"network alone": found["metrics_before_calibration"], name: found["metrics"]}
    output.say(text_table(header(""), [metrics_row(stage, metrics) for stage, metrics in stages.items()]))
    output.say(f"\ncalibrator: {found['folder']}")
    output.say(f"in use: lt-fast predict {run_folder} IMAGES --calibration {found['folder']}")
