"""The page of a run: one HTML file, complete in itself, to send to a colleague."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt_fast import __version__, metrics
from lt_fast._extras import require
from lt_fast._files import NextStep, make_folder, replace_file
from lt_fast.experiment.config import DATA_OPTIONS, groups_of, method_name
from lt_fast.experiment.predictions import USUAL_GROUPS
from lt_fast.report import charts, findings
from lt_fast.report.finished_run import FinishedRun
from lt_fast.report.run_report import GROUPS, title_of
from lt_fast.report.tested_images import opener_of
from lt_fast.report.thumbnails import Thumbnails, heat_map

PAGE = "report.html"
"""Name of the file in the run directory."""

SECTIONS = {
    "answer": "Answer",
    "classes": "Classes",
    "confusion": "Confusion",
    "errors": "Errors",
    "labels": "Labels to check",
    "reliability": "Reliability",
    "margins": "Margins",
    "coverage": "Coverage",
    "data": "Data",
    "split": "Split",
    "curves": "Curves",
    "settings": "Settings",
    "environment": "Versions",
}
"""Identifier of each section of the page to its name in the table of contents, in order."""

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_UNREADABLE = 5


@dataclass(frozen=True)
class WrittenPage:
    """What ``write_page`` has written.

    Attributes:
        path: of the file.
        size: in bytes.
        pictures: how many pictures it has.
        notes: which pictures it does not have, and why; sentences.
    """

    path: Path
    size: int
    pictures: int
    notes: tuple[str, ...]


def write_page(
    run: str | Path, out: str | Path | None = None, *, root: str | Path | None = None, progress: bool = False
) -> WrittenPage:
    """Write the page of a finished run.

    Of more than 1,000 classes it has the 1,000 of the lowest recall; all are in a CSV file of its name next to it.
    The page is a function of the run's files and the test images. It loads nothing from the network, works without
    scripts, and has at most ``thumbnails.MOST_BYTES`` of pictures.

    Args:
        run: run directory.
        out: the HTML file; ``report.html`` in the run directory when left out.
        root: folder of the data set's files; where it is left out and the data set needs one, the page has no pictures.
        progress: show it on stderr.

    Raises:
        UsageError: if ``root`` is given for a data set without files.
        DataError: if the run has not finished, a file of it is missing or damaged, the images in ``root`` are not those
            of the run, or the file cannot be written.
        MissingExtraError: if matplotlib, Jinja, Pillow or safetensors is not installed.
    """
    found = FinishedRun.read(run)
    pictures, missing = opener_of(found, root)
    thumbnails = Thumbnails(pictures)
    context = _context(found)
    thumbnails.make(_with_progress(_shown_rows(context), enabled=progress and pictures is not None))
    notes = _notes(thumbnails, missing)
    path = found.folder / PAGE if out is None else Path(out)
    context |= {"table": path.with_suffix(".csv").name}
    context |= {"pictures": len(thumbnails) > 0, "picture_notes": notes, "thumbnail": thumbnails.of}
    data = _render(context).encode("utf-8", "backslashreplace")
    step = NextStep("name another file with --out", "then run the same command again")
    make_folder(path.parent, next_step=step)
    replace_file(path, data, next_step=step)
    if len(context["classes"]) < len(found.names):
        replace_file(path.with_suffix(".csv"), findings.classes_csv(found).encode(), next_step=step)
    return WrittenPage(path, len(data), len(thumbnails), tuple(notes))


def _context(run: FinishedRun) -> dict[str, Any]:
    """Return everything that the template shows, except the pictures."""
    return {
        "title": _title(run),
        "version": run.result["versions"].get("lt-fast", __version__),
        "sections": _sections(run),
        "trained": len(run.history) > 0,
        "names": run.names,
        "labels": run.labels,
        "result": run.result,
        "calibrated": len(run.answers) > 1,
        "charts": _charts(run),
        **_answer(run),
        **_confusion(run),
        **_doubts(run),
        **_data(run),
        "curves": _curves(run),
        "slopes": _margin_slopes(run),
        "coverage": findings.coverage_rows(list(_curves(run).values())[-1]),
        "settings": findings.settings(run.config, run.protocol["sources"]),
        "environment": _environment(run),
    }


def _sections(run: FinishedRun) -> list[tuple[str, str]]:
    """Return the sections that the run has something for."""
    there = {"curves": len(run.history) > 0, "margins": len(run.margins) > 0}
    return [(name, words) for name, words in SECTIONS.items() if there.get(name, True)]


def _title(run: FinishedRun) -> str:
    """Return the title: of photographs, with the name of their folder or list."""
    path = run.config.get(DATA_OPTIONS, {}).get("path")
    name = Path(str(path)).name if path else ""
    return f"{method_name(run.config)} on {name}, seed {run.config['seed']}" if name else title_of(run.config)


def _answer(run: FinishedRun) -> dict[str, Any]:
    weakest, equally = findings.weakest(run) or (None, 0)
    return {
        "overall": findings.accuracy(run),
        "balanced": findings.mean_recall(run),
        "weakest": weakest,
        "equally_weak": equally,
        "untested": findings.untested(run),
        "test_sizes": findings.test_sizes(run),
        "groups": findings.group_rows(run),
        "group_limits": run.protocol["groups"],
        "usual_groups": groups_of(run.config) == USUAL_GROUPS,
        "classes": findings.class_rows(run),
    }


def _confusion(run: FinishedRun) -> dict[str, Any]:
    as_table = len(run.names) <= findings.MATRIX_AS_TABLE
    shares = findings.confusion_shares(run)
    return {
        "matrix": _matrix(findings.confusion_table(run), shares) if as_table else None,
        "map": None if as_table else {"url": heat_map(shares), "reduced": len(shares) < len(run.names)},
        "longest_name": max(map(len, run.names)),
        "cells": findings.largest_cells(run),
        "most_in_cell": findings.MOST_IN_CELL,
    }


def _matrix(counts: Any, shares: Any) -> list[list[dict[str, Any]]]:
    return [
        [{"count": int(count), "share": float(share)} for count, share in zip(*rows, strict=True)]
        for rows in zip(counts, shares, strict=True)
    ]


def _doubts(run: FinishedRun) -> dict[str, Any]:
    label_errors, number = findings.label_errors(run)
    return {
        "errors": findings.confident_errors(run),
        "wrong": int((run.predicted != run.labels).sum()),
        "label_errors": label_errors,
        "label_errors_found": number,
        "judged_validation": len(run.judged[0]) - len(run.labels),
        "file_of": lambda row: _file_of(run, row),
    }


def _file_of(run: FinishedRun, row: int) -> str:
    if run.test_images:
        return run.judged_images[row].path
    tested = len(run.labels)
    return f"test image {row}" if row < tested else f"validation image {row - tested}"


def _data(run: FinishedRun) -> dict[str, Any]:
    counts, construction = run.counts.counts, findings.flat(run.protocol["data"]["construction"])
    return {
        "largest": int(counts.max()),
        "smallest": int(counts.min()),
        "construction": [(name.replace("_", " "), text) for name, text in construction if _is_new(name) and text],
        "data_notes": findings.data_notes(run),
        "split": findings.split_rows(run),
        "split_table": bool(run.images),
        "folds": findings.folds(run),
        "measured_on": _measured_on(run),
        "deferred": "defer_until" in run.config,
    }


def _is_new(name: str) -> bool:
    """Return whether an entry of the construction is not told elsewhere on the page, and better."""
    return name.partition(".")[0] not in ("damaged", "groups", "classes_without_test_image")


def _charts(run: FinishedRun) -> dict[str, Any]:
    counts = run.counts.counts.tolist()
    right, tested = (
        np.bincount(each, minlength=len(counts)) for each in (run.labels[run.predicted == run.labels], run.labels)
    )
    bins = {
        stage: metrics.reliability_by_confidence(found.confidence, run.right(stage))
        for stage, found in run.answers.items()
    }
    drawn = {
        "recall": charts.recall_chart(counts, right, tested, run.groups),
        "reliability": charts.reliability_chart(bins),
        "confidence": charts.confidence_chart(bins),
        "coverage": charts.coverage_chart(_curves(run)),
        "profile": charts.profile_chart(counts, run.groups),
        **(_training_charts(run) if len(run.history) else {}),
        **_margin_charts(run),
    }
    markup = require("markupsafe", extra="train", purpose="the page of a run").Markup
    return {name: markup(chart) for name, chart in drawn.items()}


def _training_charts(run: FinishedRun) -> dict[str, str]:
    epochs, config, of = range(1, len(run.history) + 1), run.config, _measured_on(run)
    mark = config["defer_until"] * config["epochs"] if "defer_until" in config else None
    accuracy = {group: [row.get(f"{of}_{key}") for row in run.history] for group, key in GROUPS.items()}
    losses = [float(row["train_loss"] or 0) for row in run.history]
    return {
        "loss": charts.loss_chart(epochs, losses, mark),
        "curves": charts.curves_chart(epochs, accuracy, of, mark),
    }


def _margin_charts(run: FinishedRun) -> dict[str, str]:
    """Return the charts of logits and margins by class, of a run that was calibrated and has all logits."""
    found, counts = run.margins, run.counts.counts.tolist()
    if not found:
        return {}
    logits, margins = ({stage: getattr(each, name) for stage, each in found.items()} for name in ("logit", "margin"))
    return {
        "logits": charts.by_count_chart("logit", counts, logits, "mean logit of the true class"),
        "margins": charts.by_count_chart("margin", counts, margins, "mean margin"),
    }


def _margin_slopes(run: FinishedRun) -> dict[str, dict[str, float | None]]:
    """Return by how much logit and margin grow with ten times the training images, by name and stage."""
    return {
        name: {stage: metrics.slope_by_count(getattr(each, name), run.counts) for stage, each in run.margins.items()}
        for name in ("logit", "margin")
    }


def _measured_on(run: FinishedRun) -> str:
    return "validation" if any(name.startswith("validation_") for name in run.history.columns) else "test"


def _curves(run: FinishedRun) -> dict[str, metrics.RiskCoverage]:
    return {
        stage: metrics.risk_by_confidence(found.confidence, run.right(stage)) for stage, found in run.answers.items()
    }


def _environment(run: FinishedRun) -> list[tuple[str, str]]:
    result = run.result
    times = {name.replace("_", " "): f"{seconds:.1f} s" for name, seconds in result["seconds"].items()}
    own = {"device": result["device"], "processes": result.get("ranks", 1), "seed": run.config["seed"]}
    return findings.flat({**times, **own, **result["versions"]})


def _shown_rows(context: Mapping[str, Any]) -> list[int]:
    """Return the images with a picture, in the order in which the budget is spent."""
    doubts = zip(context["errors"], context["label_errors"], strict=False)
    rows = [each.row for pair in doubts for each in pair]
    rows += [each.row for each in [*context["errors"], *context["label_errors"]]]
    rows += [row for cell in context["cells"] for row in cell.rows]
    return list(dict.fromkeys(rows))


def _with_progress(rows: list[int], *, enabled: bool) -> Any:
    tqdm = require("tqdm", extra="train", purpose="the progress bar").tqdm
    return tqdm(rows, unit="picture", disable=not enabled, dynamic_ncols=True)


def _notes(thumbnails: Thumbnails, missing: str | None) -> list[str]:
    notes = [] if missing is None else [f"It has no pictures: {missing}."]
    if thumbnails.left_out:
        notes.append(f"{len(thumbnails.left_out)} pictures are left out, so that the page stays small.")
    unreadable = list(thumbnails.unreadable.values())
    notes += [f"A picture is missing: {reason}." for reason in unreadable[:_MOST_UNREADABLE]]
    if len(unreadable) > _MOST_UNREADABLE:
        notes.append(f"{len(unreadable) - _MOST_UNREADABLE} more pictures are missing.")
    return notes


def _render(context: Mapping[str, Any]) -> str:
    jinja = require("jinja2", extra="train", purpose="the page of a run")
    markup = require("markupsafe", extra="train", purpose="the page of a run").Markup
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"percent": _percent, "ends": _ends, "thousands": "{:,}".format, "shortened": shortened}
    style, script = ((_TEMPLATES / name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    parts = {"style": markup(style), "script": markup(script), "script_hash": f"sha256-{digest}"}
    text: str = environment.get_template("page.html").render(**context, **parts)
    return text


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}\N{NO-BREAK SPACE}%"


def _ends(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}\N{NO-BREAK SPACE}%"


def shortened(text: Any, most: int = 80) -> str:
    r"""Return text of at most ``most`` signs, with control characters and lone surrogates as escapes.

    >>> shortened("a" * 100, 10)
    'aaaaaaaaa…'
    >>> print(shortened("two\nlines"))
    two\nlines
    """
    words = str(text)
    words = f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}" if len(words) > most else words
    return "".join(_visible(sign) for sign in words)


def _visible(sign: str) -> str:
    hidden = sign < " " or "\x7f" <= sign <= "\x9f" or "\ud800" <= sign <= "\udfff"
    return sign.encode("unicode_escape").decode() if hidden else sign
