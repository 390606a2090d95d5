"""``lt-fast report RUN``: one HTML page of a finished run, to send to a colleague."""

import argparse
from pathlib import Path

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_recipe_argument, folder, recipe_file
from lt_fast.errors import UsageError

SUMMARY = "write one HTML page of a run: recall, confusions with pictures, doubtful labels, calibration, every setting"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast report``."""
    parser.add_argument("run", nargs="?", type=folder, help="run directory")
    parser.add_argument("--out", type=_file, metavar="FILE", help="where to write it (default: RUN/report.html)")
    parser.add_argument("--root", type=folder, help="folder of the data set's files, for the pictures")
    add_recipe_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write the page and say where it is."""
    if arguments.run is None:
        raise UsageError("a run directory is needed: lt-fast report runs/NAME")
    recipe_file(arguments)
    from lt_fast.report.page import write_page  # noqa: PLC0415

    page = write_page(arguments.run, arguments.out, root=arguments.root, progress=not arguments.quiet)
    for note in page.notes:
        output.warn(note)
    output.say(f"report: {page.path} ({page.size / 1e6:.1f} MB, {page.pictures} pictures); open it in a browser")
    output.result(
        {
            "run": str(arguments.run),
            "report": str(page.path),
            "bytes": page.size,
            "pictures": page.pictures,
            "notes": list(page.notes),
        }
    )
    return 0


def _file(text: str) -> Path:
    if not text or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"must name a file, got {text!r}; for example report.html")
    return Path(text)
