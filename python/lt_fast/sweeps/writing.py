"""A sweep as text, CSV and JSON."""

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

from lt_fast._files import make_folder, replace_file
from lt_fast.report.tables import NOTHING, text_table
from lt_fast.sweeps.choosing import LOWER_IS_BETTER, METRICS, UNBOUNDED, Candidate, Sweep
from lt_fast.sweeps.grid import as_text, in_words
from lt_fast.sweeps.picture import draw

CSV, JSON, PICTURE = "sweep.csv", "sweep.json", "sweep.png"
_MOST_NAMED = 3


def write(sweep: Sweep, folder: Path, *, plots: bool = True) -> list[str]:
    """Write ``sweep.csv``, ``sweep.json`` and, where there is something to draw, the picture; return the files.

    Raises:
        DataError: if the folder cannot be written.
        MissingExtraError: if matplotlib is not installed.
    """
    make_folder(folder)
    rows = sweep.rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    replace_file(folder / CSV, text.getvalue().encode())
    pictures = draw(sweep, folder / PICTURE) if plots else []
    files = [str(folder / CSV), str(folder / JSON), *map(str, pictures)]
    content = json.dumps(as_json(sweep._replace(files=files)), indent=1, allow_nan=False)
    replace_file(folder / JSON, f"{content}\n".encode())
    return files


def as_json(sweep: Sweep) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "method": sweep.method,
        "data": sweep.data,
        "settings": {name: list(values) for name, values in sweep.settings.items()},
        "metric": sweep.metric,
        "validation_images": sweep.validation_images,
        "candidates": [_candidate(each) for each in sweep.candidates],
        "chosen": _candidate(sweep.best),
        "as_good": [dict(each.settings) for each in sweep.as_good()],
        "command": list(sweep.command),
        "files": list(sweep.files),
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    trials = [{**trial._asdict(), "settings": dict(trial.settings)} for trial in candidate.trials]
    return {**candidate._asdict(), "settings": dict(candidate.settings), "trials": trials}


def table_text(sweep: Sweep) -> str:
    """Return a row per candidate: settings, runs, the metric with its interval, and the usual others."""
    others = [name for name in ("balanced_acc", "top1", "few_recall", "nll") if name != sweep.metric]
    names = list(sweep.settings)
    header = [*names, "runs", sweep.metric, "95 % interval", *others, ""]
    rows = [
        [
            *(as_text(each.settings[name]) for name in names),
            str(len(each.trials)),
            "failed" if each.value is None else shown(sweep.metric, each.value),
            NOTHING if each.low is None else f"{shown(sweep.metric, each.low)} to {shown(sweep.metric, each.high)}",
            *(shown(name, mean_of(each, name)) for name in others),
            "chosen" if each is sweep.best else "",
        ]
        for each in sweep.candidates
    ]
    return text_table(header, rows, left=len(names))


def words_of(sweep: Sweep) -> str:
    """Return what was chosen, by what, how sure that is, what it reaches on the test images, and the command."""
    better = "smallest" if sweep.metric in LOWER_IS_BETTER else "largest"
    by = f"the {better} {sweep.metric} ({METRICS[sweep.metric]}) on {sweep.validation_images:,} validation images"
    test = ", ".join(f"{name} {_test(sweep, name)}" for name in ("top1", "balanced_acc"))
    lines = [
        f"chosen: {in_words(sweep.best.settings)}, by {by}",
        *_as_good(sweep),
        f"on the test images, by which nothing was chosen: {test}",
        "train it, with validation images for the recipe:" if sweep.held_out else "train it:",
        f"  {shlex.join(sweep.command)}",
    ]
    return "\n".join(lines)


def _as_good(sweep: Sweep) -> list[str]:
    others = sweep.as_good()
    if not others:
        return []
    named = "; ".join(in_words(each.settings) for each in others[:_MOST_NAMED])
    more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return [f"not distinguishable from it: {named}{more}; more --seeds or validation images may tell them apart"]


def _test(sweep: Sweep, name: str) -> str:
    values = [trial.test[name] for trial in sweep.best.trials if trial.test is not None]
    there = [value for value in values if value is not None]
    return shown(name, sum(there) / len(there) if there else None)


def mean_of(candidate: Candidate, name: str) -> float | None:
    """Return the mean of a metric over a candidate's runs; None where one has none."""
    values = [None if trial.validation is None else trial.validation[name] for trial in candidate.trials]
    there = [value for value in values if value is not None]
    return sum(there) / len(values) if len(there) == len(values) else None


def shown(name: str, value: float | None) -> str:
    """Return a metric in percent, but for those that are no fractions."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if name in UNBOUNDED else f"{100 * value:.1f}"
