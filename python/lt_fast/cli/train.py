"""``lt-fast train``: one run by a recipe, resumable."""

import argparse
import os
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.cli.output import Output
from lt_fast.errors import UsageError
from lt_fast.ranks import Ranks

SUMMARY = "train, calibrate and measure one method on one data set"

_THREADS_PER_PROCESSOR = 4  # with many more, a run crawls, and the system may refuse to make them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast train``."""
    # Required ones are checked by hand: argparse would complain of a missing --method before it sees an unknown option.
    parser.add_argument("--method", help="which recipe (required): `lt-fast methods` lists them")
    add_recipe_argument(parser)
    parser.add_argument("--data", help="digits-lt, cifar10-lt, cifar100-lt, or a registered data set (required)")
    parser.add_argument(
        "--imbalance-ratio", metavar="R", help="largest over smallest class, >= 1 (default: 100; digits-lt: 50)"
    )
    parser.add_argument("--profile", default="exp", help="shape of the tail: exp, step or pareto (default: exp)")
    parser.add_argument("--root", type=folder, help="folder of the data set's files; CIFAR's in torchvision's layout")
    parser.add_argument("--download", action="store_true", help="fetch missing files into --root")
    parser.add_argument(
        "--run",
        type=folder,
        help="run directory (default: runs/<method>-<data>-<ratio>-<seed>, then each changed setting)",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        type=lambda text: str(folder(text)),
        const=True,
        default=False,
        metavar="RUN",
        help="continue RUN, which has its settings, or the run that the other options name; bit-identical results",
    )
    parser.add_argument(
        "--start-from", type=folder, metavar="RUN", help="begin with the weights of another run, under a new schedule"
    )
    parser.add_argument("--seed", default="0", help="of network, draws and, on digits-lt, split (default: 0)")
    parser.add_argument("--epochs", help="length of stage 1; schedules keep their shape (default: the recipe's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting, such as loss=focal or loss.gamma=2; may be repeated",
    )
    add_machine_arguments(parser)
    parser.add_argument(
        "--step", default="eager", help="eager or, on a GPU, graph: each step as one CUDA graph (default: eager)"
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast in the forward pass")
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures at the end")


def add_recipe_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--recipe``."""
    parser.add_argument("--recipe", type=Path, metavar="FILE.py", help="a file that registers recipes and components")


def folder(text: str) -> Path:
    """Return the folder that ``text`` names; no text would be the current one.

    Raises:
        argparse.ArgumentTypeError: if it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, got ''; . is the current one")
    return Path(text)


def add_machine_arguments(parser: argparse.ArgumentParser, *, threads: str | None = None) -> None:
    """Declare ``--device``, ``--threads`` and ``--quiet``, which change no result beyond rounding."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    usual = threads or "torch's own choice"
    parser.add_argument("--threads", metavar="N", default=threads, help=f"threads of torch (default: {usual})")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Train; the result goes to ``result.json``, a table to stdout, pictures to ``plots``."""
    Ranks.from_environment()  # refuses half a launch before anything is printed
    named = isinstance(arguments.resume, str)
    config = _config_in(Path(arguments.resume), arguments) if named else config_of(arguments)
    require_extras(plots=not arguments.no_plots)
    place = Path(arguments.resume) if named else arguments.run or default_run(config)
    set_threads(arguments.threads)
    from lt_fast import experiment  # noqa: PLC0415  (imports torch)

    output.say(f"{_describe(config)}\nrun directory: {place}")
    result = experiment.run(
        config,
        place,
        resume=bool(arguments.resume),
        device=arguments.device,
        progress=not arguments.quiet,
        root=arguments.root,
        download=arguments.download,
        start_from=arguments.start_from,
        step=arguments.step,
    )
    if not result:  # a rank other than the first
        return 0
    pictures = [] if arguments.no_plots else _draw(place)
    report(result, place, pictures, output)
    return 0


def config_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the resolved configuration.

    Raises:
        UsageError: naming the argument that is missing or wrong.
    """
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.registry import DATASETS, RECIPES  # noqa: PLC0415

    file = recipe_file(arguments)
    method = arguments.method
    own = [] if file is None else file.of("recipe")
    if method is None and len(own) == 1:
        method = own[0]
    for name, value, known in (("method", method, own or list(RECIPES)), ("data", arguments.data, list(DATASETS))):
        if value is None:
            raise UsageError(f"--{name} is needed, one of {', '.join(known)}")
    _refuse_own_images(arguments.data, list(DATASETS))
    config = experiment.resolve(
        method,
        arguments.data,
        overrides_of(arguments),
        imbalance_ratio=arguments.imbalance_ratio,
        profile=arguments.profile,
        seed=arguments.seed,
        recipe_file=file,
    )
    _require_root(config, arguments)
    return config


def recipe_file(arguments: argparse.Namespace) -> Any:
    """Run the file that ``--recipe`` names, so that what it registers is known; return it, or None.

    Raises:
        UsageError: if it cannot be run.
        DataError: if it cannot be read.
    """
    from lt_fast.registry import load_file  # noqa: PLC0415

    return None if arguments.recipe is None else load_file(arguments.recipe)


def _config_in(place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration that the run in ``place`` began with, and needs nothing else.

    Raises:
        UsageError: if an option names a setting of the run once more.
        DataError: if there is no run, or its configuration is damaged.
    """
    from lt_fast.experiment.stored import START, stored_config  # noqa: PLC0415

    usual: dict[str, Any] = {
        "run": None,
        "method": None,
        "data": None,
        "imbalance_ratio": None,
        "profile": "exp",
        "seed": "0",
    }
    usual |= {"epochs": None, "set": [], "amp": False, "start_from": None}
    given = [name for name, default in usual.items() if getattr(arguments, name) != default]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise UsageError(f"{option} must be left out with --resume {place}, whose config.json has every setting")
    config = {name: value for name, value in stored_config(place, recipe_file(arguments)).items() if name != START}
    _require_root(config, arguments)
    return config


def _require_root(config: dict[str, Any], arguments: argparse.Namespace) -> None:
    from lt_fast.experiment.build import needs_root, takes_root  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    data = config["data"]
    for option in ("root", "download"):
        if getattr(arguments, option) not in (None, False) and not takes_root(data):
            having = ", ".join(name for name in DATASETS if takes_root(name))
            raise UsageError(f"--{option} is for {having}, got {data}; leave it out")
    if arguments.root is None and needs_root(data):
        raise UsageError(f"--root is needed for {data}: the folder of its files; --download fetches them there")


def _refuse_own_images(data: str, known: list[str]) -> None:
    """Say what to do with images of your own; an unknown name is left to ``resolve``, which names the nearest."""
    if data in known or (nearest(data, known) and not _is_path(data)):
        return
    raise UsageError(
        f"--data must be one of {', '.join(known)}, got {data!r}; images of your own are trained from Python: "
        "lt_fast.datasets.image_folder or lt_fast.datasets.image_list reads them for a DataLoader, "
        "lt_fast.sampling.ClassBalancedBatchSampler is its batch_sampler, lt_fast.losses has the losses; "
        "lt_fast.training.fit trains on what lt_fast.data.Loader reads, from memory or from files"
    )


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.endswith((".txt", ".csv", ".json")) or os.path.isdir(name)  # noqa: PTH112  (takes any string)


def overrides_of(arguments: argparse.Namespace) -> dict[str, str | bool]:
    """Return ``--set``, ``--epochs`` and ``--amp`` as one mapping.

    Raises:
        UsageError: if a setting is given twice.
    """
    from lt_fast.experiment.config import split_assignment  # noqa: PLC0415

    pairs: list[tuple[str, str | bool]] = [split_assignment(text) for text in arguments.set]
    pairs += [("epochs", arguments.epochs)] if arguments.epochs is not None else []
    pairs += [("amp", True)] if arguments.amp else []
    overrides = dict(pairs)
    for name in overrides:
        given = [value for other, value in pairs if other == name]
        if len(given) > 1:
            raise UsageError(f"{name} must be set once, got {' and '.join(map(str, given))}")
    return overrides


def default_run(config: dict[str, Any]) -> Path:
    """Return ``runs/<method>-<data>-<ratio>-<seed>``, then the profile if it is not exp and each changed setting."""
    from lt_fast.experiment import run_name  # noqa: PLC0415

    return Path("runs") / run_name(config)


def require_extras(*, plots: bool) -> None:
    """Look for the packages that the end of a run needs before it begins.

    Raises:
        MissingExtraError: naming the first that is missing, and the command that installs it.
    """
    needed = {"safetensors": "saving checkpoints", "sklearn": "measuring by class"}
    for module, purpose in (needed | ({"matplotlib": "drawing plots (or --no-plots)"} if plots else {})).items():
        require(module, extra="train", purpose=purpose)


def set_threads(threads: str | None) -> None:
    """Let torch use ``threads`` threads; None keeps its choice.

    Raises:
        UsageError: if it is not an integer from 1 to four times the processors there are.
    """
    if threads is None:
        return
    number = integer("--threads", threads, most=most_threads())
    import torch  # noqa: PLC0415

    torch.set_num_threads(number)


def most_threads() -> int:
    """Return the largest number that ``--threads`` takes: four for each processor that this process may use."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _THREADS_PER_PROCESSOR * max(processors, 1)


def integer(name: str, text: str, *, most: int) -> int:
    """Read an integer from 1 to ``most``.

    Raises:
        UsageError: naming the option.
    """
    from lt_fast._numbers import integer_option  # noqa: PLC0415

    return integer_option(name, text, least=1, most=most)


def report(result: dict[str, Any], folder: Path, pictures: list[Path], output: Output) -> None:
    """Print the table and where the files are."""
    from lt_fast.report.run_report import confusion_table, run_table  # noqa: PLC0415

    data = result["data"]
    output.say(
        f"\n{data['train_images']} training images, {data['test_images']} test images; percent, {result['selection']}"
    )
    output.say(run_table(result))
    if "confusions" in result["method"]:
        confusions = result["method"]["confusions"]
        errors, shown = confusions["errors"], confusions["predictions"]
        output.say(f"\nmost confused while training, of {errors} errors on {shown} images\n{confusion_table(result)}")
    output.say(f"\nresult: {folder / 'result.json'}")
    if pictures:
        output.say(f"pictures: {folder / 'plots'}")
    output.result({"run": str(folder), "pictures": [str(path) for path in pictures], **result})


def _draw(folder: Path) -> list[Path]:
    from lt_fast.report.run_report import draw_run  # noqa: PLC0415

    return draw_run(folder)


def _describe(config: dict[str, Any]) -> str:
    return (
        f"{config['recipe']} on {config['data']}: imbalance ratio {config['imbalance_ratio']:g}, "
        f"{config['profile']} profile, seed {config['seed']}, {config['epochs']} epochs"
    )
