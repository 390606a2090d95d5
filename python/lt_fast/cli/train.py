"""``lt-fast train``: one run by a recipe, resumable."""

import argparse
import os
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast._text import counted, nearest
from lt_fast.cli.output import Output
from lt_fast.errors import UsageError
from lt_fast.ranks import Ranks

SUMMARY = "train, calibrate and measure one method on one data set, or on photographs of your own"

PHOTOGRAPHS, USUAL_METHOD = "photographs", "mammc"

# What only photographs have, with its value where it is left out.
_OF_PHOTOGRAPHS: dict[str, Any] = {"weights": None, "test": None, "folds": None, "augment": None, "decoder": None}

_MOST_FOLDS = 100
_MOST_NAMED = 12  # names that one line lists
_MOST_MIB = 1 << 30
_THREADS_PER_PROCESSOR = 4  # with many more, a run crawls, and the system may refuse to make them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast train``."""
    # Required ones are checked by hand: argparse would complain of a missing --method before it sees an unknown option.
    parser.add_argument(
        "images",
        nargs="?",
        metavar="DATA",
        help="photographs: a folder with one folder per class, LIST.txt, TABLE.csv, FILE.json or hf:NAME, a data "
        "set of the datasets library on disk; or the name of a built-in data set",
    )
    parser.add_argument(
        "--method", help="which recipe (required; for photographs: mammc): `lt-fast methods` lists them"
    )
    add_recipe_argument(parser)
    parser.add_argument(
        "--data",
        help="the same as DATA: digits-lt, cifar10-lt, cifar100-lt, imagenet-lt, places-lt, inaturalist-2018, or "
        "photographs (required)",
    )
    add_photograph_arguments(parser)
    parser.add_argument(
        "--imbalance-ratio",
        metavar="R",
        help="largest over smallest class, >= 1 (default: 100; digits-lt: 50; lists and photographs: as they are)",
    )
    parser.add_argument("--profile", default="exp", help="shape of the tail: exp, step or pareto (default: exp)")
    parser.add_argument(
        "--root",
        type=folder,
        help="folder of the data set's files: CIFAR's in torchvision's layout, images and lists of imagenet-lt and its "
        "like, the start of a list's paths, or where the photographs of --resume are now",
    )
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
    add_protocol_argument(parser)
    lengths = parser.add_mutually_exclusive_group()
    lengths.add_argument("--epochs", help="length of stage 1; schedules keep their shape (default: the recipe's)")
    lengths.add_argument("--steps", metavar="N", help="length in steps of one batch: as many epochs as come nearest")
    lengths.add_argument(
        "--images", dest="images_seen", metavar="N", help="length in images: as many epochs as come nearest"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting, such as loss=focal or loss.gamma=2; may be repeated",
    )
    add_machine_arguments(parser)
    parser.add_argument(
        "--workers",
        metavar="N",
        help="processes per rank that decode photographs (default: the processors, shared by the ranks)",
    )
    parser.add_argument(
        "--step", default="eager", help="eager or, on a GPU, graph: each step as one CUDA graph (default: eager)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile for the network's steps; on a CPU it needs g++"
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast in the forward pass")
    parser.add_argument(
        "--trace",
        action="store_true",
        help="tell where the time went, and write a trace of four steps to RUN/trace.json.gz",
    )
    parser.add_argument(
        "--most-logits",
        metavar="MIB",
        default="256",
        help="store the score of every class for each test image up to this size, else those of the five best classes "
        "(default: 256)",
    )
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures at the end")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME",
        help="also log to tensorboard (RUN/tensorboard) or wandb; may be repeated",
    )


def add_photograph_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what only photographs have."""
    parser.add_argument(
        "--model",
        help="resnet10, resnet32, resnet50, resnet152, resnext50, timm:NAME, torchvision:NAME, package.module:factory "
        "or another registered network (default: the data set's)",
    )
    parser.add_argument(
        "--weights", help="FILE.safetensors or FILE.pth of the network, or none (default: the library's, if on disk)"
    )
    modes = parser.add_mutually_exclusive_group()
    for mode, words in (
        ("finetune", "train all layers, the first ones slowly (default for photographs)"),
        ("freeze", "train the head alone, on features that are computed once"),
        ("scratch", "train all layers from new weights"),
    ):
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=words)
    parser.add_argument(
        "--test", metavar="DIR|LIST", help="test photographs (default: a fifth of every class, groups kept whole)"
    )
    parser.add_argument("--folds", metavar="K", help="train K times, so that every photograph is tested once")
    parser.add_argument(
        "--augment",
        help="of photographs and lists: light, standard, strong, autoaugment, randaugment, simclr, inception, "
        "imagenet, none or package.module:function (default: standard; the data set's own); of images in memory: "
        "crop_flip, autoaugment, randaugment, trivialaugment or simclr (default: the recipe's)",
    )
    parser.add_argument(
        "--decoder",
        help="of photographs: pillow, or torchvision, which is faster and rounds otherwise (default: pillow)",
    )


def add_recipe_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--recipe``."""
    parser.add_argument("--recipe", type=Path, metavar="FILE.py", help="a file that registers recipes and components")


def add_protocol_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--protocol``."""
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="train as one paper or code trains all of its methods, such as marc: batches, length, schedule, "
        "optimizer, augmentation; `lt-fast methods` lists them (default: each recipe as its own authors)",
    )


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
    output.say(f"{_describe(config)}\nrun directory: {place}")
    times = _times(config, place, arguments)
    result = _carried_out(config, place, arguments, times)
    if not result:  # a rank other than the first
        return 0
    if times is not None:
        output.say(f"\n{times.table()}")
    pictures = [] if arguments.no_plots else _draw(place)
    report(result, place, pictures, output)
    return 0


def _times(config: dict[str, Any], place: Path, arguments: argparse.Namespace) -> Any:
    """Return what measures the parts of the training under ``--trace``, or None; rank 0 writes the trace."""
    if not arguments.trace:
        return None
    from lt_fast.experiment.folds import has_folds  # noqa: PLC0415
    from lt_fast.training import TRACE, Measured  # noqa: PLC0415

    if has_folds(config):
        raise UsageError(
            "--trace must be left out with --folds, which trains several networks; trace a run without --folds"
        )
    return Measured(place / TRACE if Ranks.from_environment().is_main else None)


def _carried_out(config: dict[str, Any], place: Path, arguments: argparse.Namespace, times: Any) -> dict[str, Any]:
    from lt_fast import experiment  # noqa: PLC0415  (imports torch)
    from lt_fast._numbers import integer_option  # noqa: PLC0415
    from lt_fast.experiment.folds import has_folds  # noqa: PLC0415

    shared: dict[str, Any] = {
        "resume": bool(arguments.resume),
        "device": arguments.device,
        "progress": not arguments.quiet,
        "root": arguments.root,
        "step": arguments.step,
        "workers": None if arguments.workers is None else integer_from_0("--workers", arguments.workers),
    }
    shared |= {"log": arguments.log, "compiler": "inductor" if arguments.compile else None}
    shared["most_logits"] = integer_option("--most-logits", arguments.most_logits, least=0, most=_MOST_MIB) << 20
    if has_folds(config):
        if arguments.start_from is not None:
            raise UsageError("--start-from must be left out with --folds: every fold begins with first weights")
        return experiment.run_folds(config, place, **shared)
    measured = {} if times is None else {"times": times}
    return experiment.run(
        config, place, **shared, **measured, download=arguments.download, start_from=arguments.start_from
    )


def config_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the resolved configuration.

    Raises:
        UsageError: naming the argument that is missing or wrong.
    """
    from lt_fast import experiment  # noqa: PLC0415
    from lt_fast.registry import DATASETS, RECIPES  # noqa: PLC0415

    file = recipe_file(arguments)
    method, place = arguments.method, _data_named(arguments)
    data = data_set_of(place, list(DATASETS))
    own = [] if file is None else file.of("recipe")
    if method is None and len(own) == 1:
        method = own[0]
    if method is None and data == PHOTOGRAPHS:
        method = USUAL_METHOD
    for name, value, known in (("method", method, own or list(RECIPES)), ("data", data, list(DATASETS))):
        if value is None:
            some = [*known][:_MOST_NAMED]
            more = "; `lt-fast methods` lists all" if len(some) < len(known) else ""
            raise UsageError(f"--{name} is needed, one of {', '.join(some)}{', ...' if more else ''}{more}")
    overrides = overrides_of(arguments)
    of_photographs = of_data(data, place, arguments, overrides)
    config = experiment.resolve(
        method,
        data,
        overrides,
        imbalance_ratio=arguments.imbalance_ratio,
        profile=arguments.profile,
        seed=arguments.seed,
        recipe_file=file,
        protocol=arguments.protocol,
        **of_photographs,
    )
    _require_root(config, arguments)
    return config


def _data_named(arguments: argparse.Namespace) -> str | None:
    if arguments.images is not None and arguments.data is not None:
        raise UsageError(f"DATA must be given once, got {arguments.images!r} and --data {arguments.data!r}")
    named: str | None = arguments.data if arguments.images is None else arguments.images
    return named


def data_set_of(place: str | None, known: list[str]) -> Any:
    """Return the name of the data set that ``place`` means: one that is registered, or photographs on disk."""
    if place is None or (place in known and place != PHOTOGRAPHS):
        return place
    if place == PHOTOGRAPHS and not os.path.exists(place):  # noqa: PTH110  (takes any string)
        raise UsageError("DATA must name the photographs: a folder, LIST.txt, TABLE.csv or FILE.json; got photographs")
    if _is_path(place) or os.path.exists(place):  # noqa: PTH110
        return PHOTOGRAPHS
    others = [name for name in known if name != PHOTOGRAPHS]
    if nearest(place, others):
        return place  # `resolve` names the nearest
    raise UsageError(
        f"data must be one of {', '.join(others)}, or photographs: a folder with one folder per class, LIST.txt, "
        f"TABLE.csv or FILE.json; there is no {place!r} here"
    )


def of_data(data: Any, place: str | None, arguments: argparse.Namespace, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return what ``resolve`` takes for this kind of data; options that are settings of the run go to ``overrides``.

    Raises:
        UsageError: if an option is for photographs, and the data set is another one; or a setting is given twice.
    """
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    if data == PHOTOGRAPHS:
        return _photographs(place, arguments, overrides)
    if data not in DATASETS:
        return {}  # `resolve` names the nearest
    of_files = _is_of_files(data)
    _refuse_photograph_options(data, arguments, of_files=of_files)
    if of_files:
        return {"model": arguments.model, "data_options": _options_of_files(arguments, overrides)}
    if arguments.augment is not None:
        _set_once(overrides, "transform", _transform_of_images(arguments.augment))
    return {} if arguments.model is None else {"model": arguments.model}


def _is_of_files(data: str) -> bool:
    """Whether a built-in set consists of image files, which are decoded while a network trains."""
    from lt_fast.experiment.config import protocol_of  # noqa: PLC0415
    from lt_fast.recipes.recipe import plain  # noqa: PLC0415

    transform = protocol_of(data).settings["transform"]
    return bool(plain(getattr(transform, "name", None)) == "photograph")


def _options_of_files(arguments: argparse.Namespace, overrides: dict[str, Any]) -> dict[str, Any]:
    """Move the options of image files to ``overrides``, and return those of the data set itself."""
    settings = {
        "transform.augment": arguments.augment,
        "model.weights": _weights(arguments.weights),
        "data.decoder": arguments.decoder,
    }
    for name, value in settings.items():
        if value is not None:
            _set_once(overrides, name, value)
    own = [name for name in overrides if name.startswith("data.")]
    return {name.partition(".")[2]: overrides.pop(name) for name in own}


def _transform_of_images(name: str) -> str:
    """Return the transform of images in memory that ``--augment`` names."""
    from lt_fast.registry import TRANSFORMS  # noqa: PLC0415

    known = [each for each in TRANSFORMS if each != "photograph"]
    if name not in known:
        raise UsageError(f"augment must be one of {', '.join(known)} here, got {name!r}{nearest(name, known)}")
    return name


def _set_once(overrides: dict[str, Any], name: str, value: Any) -> None:
    if name in overrides:
        raise UsageError(f"{name} must be set once, got {overrides[name]} and {value}")
    overrides[name] = value


def _photographs(place: str | None, arguments: argparse.Namespace, overrides: dict[str, Any]) -> dict[str, Any]:
    from lt_fast._numbers import integer_option  # noqa: PLC0415

    options: dict[str, Any] = {"path": _absolute(str(place)), **_options_of_files(arguments, overrides)}
    if arguments.root is not None:
        if os.path.isdir(str(place)):  # noqa: PTH112
            raise UsageError(f"--root must be left out for a folder of photographs, got {arguments.root} with {place}")
        options["root"] = _absolute(str(arguments.root))
    if arguments.test is not None:
        options["test"] = _absolute(arguments.test)
    if arguments.folds is not None:
        options["folds"] = integer_option("--folds", arguments.folds, least=2, most=_MOST_FOLDS)
    return {"mode": arguments.mode, "model": arguments.model, "data_options": options}


def _weights(given: str | None) -> str | None:
    return given if given is None or given.lower() in ("none", "pretrained") else _absolute(given)


def _absolute(path: str) -> str:
    if path.startswith("hf:"):
        name, mark, split = path.removeprefix("hf:").partition("#")
        return f"hf:{os.path.abspath(name) if os.path.isdir(name) else name}{mark}{split}"  # noqa: PTH100, PTH112
    if not path:
        raise UsageError("DATA, --test and --weights must name a file or a folder, got ''; . is the current folder")
    return os.path.abspath(path)  # noqa: PTH100  (keeps links as the user has them)


def _refuse_photograph_options(data: Any, arguments: argparse.Namespace, *, of_files: bool) -> None:
    shared = ("augment", "weights", "decoder") if of_files else ("augment",)
    own = {**_OF_PHOTOGRAPHS, **{name: getattr(arguments, name) for name in shared}}
    given = [name for name, usual in own.items() if getattr(arguments, name) != usual]
    given += [arguments.mode] if arguments.mode is not None else []
    if given:
        raise UsageError(f"--{given[0]} is for photographs, got {data}; leave it out")


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
    usual |= {"epochs": None, "set": [], "amp": False, "start_from": None, "images": None, "model": None, "mode": None}
    usual |= {"protocol": None, "steps": None, "images_seen": None}
    usual |= _OF_PHOTOGRAPHS
    given = [name for name, default in usual.items() if getattr(arguments, name) != default]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        others = {"images": "DATA", "mode": f"--{arguments.mode}", "images_seen": "--images"}
        option = others.get(given[0], option)
        raise UsageError(f"{option} must be left out with --resume {place}, whose config.json has every setting")
    config = {name: value for name, value in stored_config(place, recipe_file(arguments)).items() if name != START}
    _require_root(config, arguments)
    return config


def _require_root(config: dict[str, Any], arguments: argparse.Namespace) -> None:
    from lt_fast.experiment.build import how_to_give_root, needs_root, takes  # noqa: PLC0415
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    data = config["data"]
    for option in ("root", "download"):
        if getattr(arguments, option) not in (None, False) and not takes(data, option):
            having = ", ".join(name for name in DATASETS if takes(name, option))
            raise UsageError(f"--{option} is for {having}, got {data}; leave it out")
    if arguments.root is None and needs_root(data):
        raise UsageError(how_to_give_root(data))


def _is_path(name: str) -> bool:
    return (
        name.startswith("hf:")
        or "/" in name
        or "\\" in name
        or name.endswith((".txt", ".csv", ".tsv", ".json"))
        or os.path.isdir(name)  # noqa: PTH112  (takes any string)
    )


def overrides_of(arguments: argparse.Namespace) -> dict[str, str | bool]:
    """Return ``--set``, ``--epochs``, ``--steps``, ``--images`` and ``--amp`` as one mapping.

    Raises:
        UsageError: if a setting is given twice.
    """
    from lt_fast.experiment.config import split_assignment  # noqa: PLC0415

    pairs: list[tuple[str, str | bool]] = [split_assignment(text) for text in arguments.set]
    lengths = {"epochs": arguments.epochs, "steps": arguments.steps, "images": arguments.images_seen}
    pairs += [(name, value) for name, value in lengths.items() if value is not None]
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


def integer_from_0(name: str, text: str) -> int:
    """Read an integer from 0 to ``most_threads()``.

    Raises:
        UsageError: naming the option.
    """
    from lt_fast._numbers import integer_option  # noqa: PLC0415

    return integer_option(name, text, least=0, most=most_threads())


def report(result: dict[str, Any], folder: Path, pictures: list[Path], output: Output) -> None:
    """Print the table and where the files are."""
    from lt_fast.report.run_report import confusion_table, run_table  # noqa: PLC0415
    from lt_fast.training.run_files import holds_logits  # noqa: PLC0415

    data = result["data"]
    output.say(
        f"\n{data['train_images']} training images, {data['test_images']} test images; percent, {result['selection']}"
    )
    output.say(run_table(result))
    if "confusions" in result["method"]:
        confusions = result["method"]["confusions"]
        errors, shown = confusions["errors"], confusions["predictions"]
        output.say(f"\nmost confused while training, of {errors} errors on {shown} images\n{confusion_table(result)}")
    output.say(f"\nresult: {folder / 'result.json'}; `lt-fast report {folder}` makes one page of it")
    if pictures:
        output.say(f"pictures: {folder / 'plots'}")
    if holds_logits(folder) is False:
        output.say(f"predictions: the best classes of each image; `lt-fast eval {folder} --logits` stores every score")
    output.result({"run": str(folder), "pictures": [str(path) for path in pictures], **result})


def _draw(folder: Path) -> list[Path]:
    from lt_fast.report.run_report import draw_run  # noqa: PLC0415

    return draw_run(folder)


def _describe(config: dict[str, Any]) -> str:
    recipe = config["recipe"] + (f" by the protocol {config['protocol']}" if "protocol" in config else "")
    if "mode" in config:
        options, network = config["data_options"], config["model"]["name"]
        folds = f", {options['folds']} folds" if options["folds"] else ""
        how = {"freeze": "frozen", "finetune": "fine-tuned", "scratch": "from new weights"}[config["mode"]]
        return (
            f"{recipe} on {options['path']}: {network} {how}{folds}, seed {config['seed']}, "
            f"{counted(config['epochs'], 'epoch')}"
        )
    return (
        f"{recipe} on {config['data']}: imbalance ratio {config['imbalance_ratio']:g}, "
        f"{config['profile']} profile, seed {config['seed']}, {counted(config['epochs'], 'epoch')}"
    )
