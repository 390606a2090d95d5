"""An answer as text, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_fast._files import make_folder, replace_file
from lt_fast.report.tables import NOTHING, text_table
from lt_fast.reproduction.answers import LOST, Answer, Entry
from lt_fast.reproduction.target import OWN, Tail

_UNVERIFIED = "unverified"
_SHOWN_OF_HASHES = 8


def table_text(found: Answer) -> str:
    """Return the comparison, how each row was trained, and what the runs on each data set share."""
    parts = [_heading(found), *([_comparison(found)] if found.entries else []), *_remarks(found)]
    if found.trainings:
        parts += [_trainings(found), *(f"{tail.in_words()}: {line}" for tail, line in found.protocols.items())]
    return "\n\n".join(parts)


def table_csv(found: Answer) -> str:
    """Return one line per row, data set and metric."""
    text = io.StringIO()
    lines = list(_flat_entries(found))
    writer = csv.DictWriter(text, list(lines[0]) if lines else Entry._fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in line.items()} for line in lines)
    return text.getvalue()


def as_json(found: Answer) -> dict[str, Any]:
    """Return the answer as JSON values."""
    target, plan = found.plan.target, found.plan
    return {
        "target": target.name,
        "title": target.title,
        "paper": target.paper,
        "protocol": plan.protocol,
        "seeds": plan.seeds,
        "lost": target.lost,
        "notes": list(target.notes),
        "entries": list(_flat_entries(found)),
        "trainings": [_with_tail(each._asdict()) for each in found.trainings],
        "protocols": {tail.in_words(): line for tail, line in found.protocols.items()},
        "runs": {each.row.label + ", " + each.row.tail.in_words(): [str(job.folder) for job in each.jobs]
                 for each in plan.rows},
    }  # fmt: skip


def write(found: Answer, folder: Path) -> list[Path]:
    """Write ``table.csv``, ``table.json`` and ``table.txt`` into ``folder`` and return the files.

    Raises:
        DataError: if the folder cannot be written.
    """
    make_folder(folder)
    values = json.dumps(as_json(found), indent=1, allow_nan=False)
    files = {"table.csv": table_csv(found), "table.json": f"{values}\n", "table.txt": f"{table_text(found)}\n"}
    for name, text in files.items():
        replace_file(folder / name, text.encode())
    return [folder / name for name in files]


def _heading(found: Answer) -> str:
    target, plan = found.plan.target, found.plan
    protocol = "every recipe as its authors ran it" if plan.protocol == OWN else f"training protocol {plan.protocol}"
    seeds = f"{plan.seeds} seed{'s' * (plan.seeds > 1)}"
    return f"{target.title}\n{target.paper}\npercent, {protocol}, {seeds}, mean ± half the 95 % interval over the seeds"


def _comparison(found: Answer) -> str:
    entries = found.entries
    several = len(found.plan.target.metrics) > 1
    chosen = any(entry.chosen is not None for entry in entries)
    header = ["row", "data", *["metric"] * several, "published", "measured", "difference", "published is"]
    header += ["chosen epoch", "there"] if chosen else []
    rows, last = [], ("", "")
    for entry in entries:
        names = (entry.row, entry.tail.in_words())
        cells = list(names if names != last else ("", ""))
        last = names
        cells += [*[entry.metric] * several, _published(entry), _measured(entry)]
        cells += [NOTHING if entry.difference is None else f"{entry.difference:+.1f}", entry.verdict or NOTHING]
        rows.append(cells + (_chosen(entry) if chosen else []))
    return text_table(header, rows, left=3 if several else 2)


def _published(entry: Entry) -> str:
    if entry.published is None:
        return entry.printed or NOTHING
    return f"{entry.published:g}" if entry.verified else f"{entry.published:g} ({_UNVERIFIED})"


def _measured(entry: Entry) -> str:
    if entry.measured is None:
        return NOTHING
    return f"{entry.measured:.1f}" + ("" if entry.half_width is None else f" ± {entry.half_width:.1f}")


def _chosen(entry: Entry) -> list[str]:
    if entry.chosen is None or entry.chosen_epoch is None:
        return [NOTHING, NOTHING]
    return [f"{entry.chosen_epoch:g}", f"{entry.chosen:.1f}"]


def _remarks(found: Answer) -> Iterator[str]:
    target = found.plan.target
    yield from target.notes
    if target.lost:
        yield f"{LOST}: {target.lost}"
    if any(entry.published is not None and not entry.verified for entry in found.entries):
        yield f"{_UNVERIFIED}: recalled from the paper and not read again"
    if any(entry.chosen is not None for entry in found.entries):
        yield (
            "chosen epoch: the best one on the validation images, and the accuracy on the test images after it; a row "
            "with a second stage has none, which is fitted to the last epoch"
        )
    for reason, rows in found.reasons().items():
        yield f"not run: {_listed(rows)}: {reason}"


def _trainings(found: Answer) -> str:
    header = ["trained", "data", "recipe", "protocol", "augmentation", "second stage"]
    header += ["epochs", "steps", "batch", "seconds", "hash"]
    rows = [
        [each.row, each.tail.in_words(), each.recipe, each.protocol, each.augmentation, each.second_stage or NOTHING,
         str(each.epochs), f"{each.steps:,}", str(each.batch_size), f"{each.seconds:,.1f}",
         each.recipe_sha256[:_SHOWN_OF_HASHES]]
        for each in found.trainings
    ]  # fmt: skip
    notes = [f"{each.row}: {each.note}" for each in found.trainings if each.note]
    return "\n\n".join([text_table(header, rows, left=6), *dict.fromkeys(notes)])


def _flat_entries(found: Answer) -> Iterator[dict[str, Any]]:
    hashes = {(each.row, each.tail): each.recipe_sha256 for each in found.trainings}
    for entry in found.entries:
        line = _with_tail(entry._asdict())
        yield {**line, "recipe_sha256": hashes.get((entry.row, entry.tail), "")}


def _with_tail(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line with data set, profile and ratio in place of the tail."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Tail):
            flat |= {"data": value.data, "profile": value.profile, "imbalance_ratio": value.imbalance_ratio}
        else:
            flat[name] = value
    return flat


def _listed(rows: Sequence[str]) -> str:
    most = 4
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + more
