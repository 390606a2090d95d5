"""``lt-fast export RUN --out FILE``: a run's classifier as ONNX or torch.export."""

import argparse
from pathlib import Path

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_recipe_argument, folder, recipe_file
from lt_fast.errors import UsageError

SUMMARY = "write a run's classifier as ONNX or torch.export, checked against the run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast export``."""
    parser.add_argument("run", nargs="?", type=folder, help="run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file (required)")
    parser.add_argument("--format", metavar="FORMAT", help="onnx or torch (default: by the ending, .onnx or .pt2)")
    parser.add_argument("--calibration", type=folder, metavar="DIR", help="a calibrator of `lt-fast calibrate`")
    parser.add_argument(
        "--root", type=folder, help="where the run's photographs are now, some of which it is checked on"
    )
    add_recipe_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Export, check and print."""
    if arguments.run is None or arguments.out is None:
        raise UsageError("a run directory and a file are needed: lt-fast export runs/NAME --out classifier.onnx")
    from lt_fast.inference.exporting import checked_format, export  # noqa: PLC0415  (imports torch)

    chosen = checked_format(arguments.out, arguments.format)
    from lt_fast.inference import load  # noqa: PLC0415

    classifier = load(arguments.run, calibration=arguments.calibration, recipe_file=recipe_file(arguments))
    found = export(classifier, arguments.out, format=chosen, root=arguments.root)
    data = found.metadata
    output.say(f"input: {data['input']}\nresize before: {data['resize']}")
    output.say(f"output: {data['output']}; normalisation inside, calibration {data['calibration']}")
    own = f"{found.test_images} of them the run's test images" if found.test_images else "all generated"
    output.say(f"checked on {found.images} images, {own}: probabilities differ by at most {found.difference:.1e}")
    if found.without_test_images is not None:
        output.say(f"no test image of the run was read: {found.without_test_images}")
    output.say(f"\nexported: {found.file}")
    output.result({"run": str(arguments.run), **found._asdict()})
    return 0
