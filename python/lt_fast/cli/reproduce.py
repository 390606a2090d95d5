"""``lt-fast reproduce NAME``: a published table or figure, with our numbers next to the published ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_fast._text import nearest
from lt_fast.cli.output import Output
from lt_fast.cli.train import add_machine_arguments, folder, integer, require_extras
from lt_fast.errors import DataError, UsageError

if TYPE_CHECKING:
    from lt_fast.reproduction import Answer, Plan, Target
    from lt_fast.scheduling import Machine, Outcome

SUMMARY = "run the rows of a published table side by side and print our numbers next to the published ones"

_MOST_SEEDS = 1000
_MOST_WORKERS = 4096
_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast reproduce``."""
    parser.add_argument(
        "target", nargs="?", metavar="NAME", help="which table or figure; left out, all are listed with what they need"
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="labels or recipes (default: every row)")
    parser.add_argument("--data", metavar="NAME", help="rows on this data set alone")
    parser.add_argument("--imbalance-ratio", metavar="R", help="rows of this ratio alone")
    parser.add_argument("--seeds", default="3", metavar="N", help="seeds 0 .. N-1 (default: 3)")
    parser.add_argument("--epochs", help="length of stage 1 (default: the protocol's)")
    parser.add_argument(
        "--protocol", metavar="NAME", help="training protocol, or own: the recipes' settings (default: the target's)"
    )
    parser.add_argument(
        "--validation",
        metavar="FRACTION",
        help="hold out this fraction of each class, and also show the epoch that it chooses (default: none)",
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="[DATA=]DIR",
        help="folder of the data set's files; DATA=DIR for one data set alone; may be repeated",
    )
    parser.add_argument("--download", action="store_true", help="fetch missing files into --root")
    parser.add_argument(
        "--out",
        type=folder,
        default=Path("runs/reproduce"),
        help="folder of the runs, which targets share, and of NAME with the tables (default: runs/reproduce)",
    )
    parser.add_argument("--dry-run", action="store_true", help="train nothing: show what has finished, and the plan")
    add_machine_arguments(parser, threads=None)
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
    """Carry the runs out and print the table; without a name, list the targets."""
    from lt_fast.reproduction import TARGETS, answer, target_of  # noqa: PLC0415  (imports torch)

    if arguments.target is None:
        _list(list(TARGETS.values()), output)
        return 0
    plan = _plan(target_of(arguments.target), arguments)
    require_extras(plots=not arguments.no_plots)
    outcomes = [] if arguments.dry_run else _carried_out(plan, arguments, output)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    found = answer(plan, {outcome.job.folder: _why(outcome) for outcome in failed})
    _report(found, arguments, output)
    for outcome in failed:
        output.warn(f"{outcome.job.name} failed: {_why(outcome)}")
    return _FAILED if failed else 0


def _plan(target: "Target", arguments: argparse.Namespace) -> "Plan":
    from lt_fast import reproduction  # noqa: PLC0415
    from lt_fast._numbers import read_number  # noqa: PLC0415

    overrides: dict[str, Any] = {"amp": True} if arguments.amp else {}
    overrides |= {name: getattr(arguments, name) for name in ("epochs", "validation") if getattr(arguments, name)}
    try:
        ratio = None if arguments.imbalance_ratio is None else read_number(arguments.imbalance_ratio)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"--imbalance-ratio must be a number, got {arguments.imbalance_ratio!r}") from None
    return reproduction.plan(
        target,
        arguments.out,
        seeds=integer("--seeds", arguments.seeds, most=_MOST_SEEDS),
        rows=arguments.rows,
        data=arguments.data,
        imbalance_ratio=ratio,
        protocol=arguments.protocol,
        overrides=overrides,
        roots={name: place for name, place in _roots(arguments.root).items() if name},
    )


def _roots(given: list[str]) -> dict[str, Path]:
    """Return data set to folder; "" for the folder of all."""
    from lt_fast.registry import DATASETS  # noqa: PLC0415

    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if equals and name not in DATASETS and "/" not in name and not Path(text).exists():
            raise UsageError(
                f"--root must be DIR, or DATA=DIR with a data set, one of {', '.join(DATASETS)}, got {name!r} before ="
                f"{nearest(name, DATASETS)}"
            )
        name, place = (name, place) if equals and name in DATASETS else ("", text)
        if name in found:
            raise UsageError(f"--root must be given once{f' for {name}' * bool(name)}, got {found[name]} and {place}")
        found[name] = folder(place)
    return found


def _carried_out(plan: "Plan", arguments: argparse.Namespace, output: Output) -> "list[Outcome]":
    from lt_fast.scheduling import carry_out, check_data  # noqa: PLC0415

    jobs, machine = plan.jobs(), _machine(arguments)
    if not plan.rows:  # a figure that trains by itself
        return []
    if not jobs:
        reasons = "; ".join(dict.fromkeys(each.reason for each in plan.rows if each.reason))
        raise UsageError(f"{plan.target.name} must have a row that can be run, but {reasons}")
    workers = min(len(machine.slots()), len(jobs))
    runs = f"{len(jobs)} run{'s' * (len(jobs) > 1)}"
    output.say(f"{plan.target.title}: {runs}, {workers} side by side, in {arguments.out}")
    try:
        check_data(jobs, machine, download=arguments.download)
    except DataError as error:
        raise DataError(f"{plan.target.name} needs its data: {error}") from error
    return carry_out(jobs, machine, progress=not arguments.quiet)


def _machine(arguments: argparse.Namespace) -> "Machine":
    from lt_fast.cli.train import most_threads  # noqa: PLC0415
    from lt_fast.scheduling import Machine  # noqa: PLC0415

    return Machine(
        workers=None if arguments.workers is None else integer("--workers", arguments.workers, most=_MOST_WORKERS),
        threads=None if arguments.threads is None else integer("--threads", arguments.threads, most=most_threads()),
        device=arguments.device,
        root=_roots(arguments.root).get(""),
        step=arguments.step,
        compiler="inductor" if arguments.compile else None,
        test_curves=arguments.validation is not None,
    )


def _why(outcome: "Outcome") -> str:
    return f"{outcome.reason}; its messages are in {outcome.job.log}"


def _report(found: "Answer", arguments: argparse.Namespace, output: Output) -> None:
    from lt_fast.reproduction.picture import draw  # noqa: PLC0415
    from lt_fast.reproduction.writing import as_json, table_text, write  # noqa: PLC0415

    output.say(f"\n{table_text(found)}")
    place = arguments.out / found.plan.target.name
    files = [] if arguments.dry_run else write(found, place)
    pictures = [] if arguments.dry_run or arguments.no_plots else draw(found, place)
    if files:
        output.say(f"\ntables: {', '.join(map(str, files))}")
    if pictures:
        output.say(f"picture: {pictures[0]}")
    output.result({**as_json(found), "files": [str(path) for path in (*files, *pictures)]})


def _list(targets: "list[Target]", output: Output) -> None:
    listed = [_described(target) for target in targets]
    for each in listed:
        numbers = each["numbers"]
        known = f"{numbers['published']} published numbers"
        known += f", {numbers['unverified']} of them unverified" if numbers["unverified"] else ""
        output.say(f"{each['name']}: {each['title']}; {each['paper']}")
        output.say(f"  rows: {'; '.join(each['rows']) or 'none, it trains by itself'}")
        output.say(f"  data: {', '.join(each['data']) or 'its own'}; {each['runs']} runs with 3 seeds; {known}")
        for name, words in each["protocols"].items():
            output.say(f"  --protocol {name}{' (default)' * (name == each['protocol'])}: {words}")
        for name in ("lost", "cannot be run"):
            if each[name]:
                output.say(f"  {name}: {each[name]}")
    output.say("\none of them: lt-fast reproduce mammc-table-1 --root data --download")
    output.result(listed)


def _described(target: "Target") -> dict[str, Any]:
    from lt_fast.reproduction.planning import reason_against  # noqa: PLC0415

    reasons = {row.place: reason_against(row) for row in target.rows}
    runnable = [row for row in target.rows if reasons[row.place] is None]
    trainings = [row for row in runnable if not row.refit] + list({row.tail: row for row in runnable if row.refit})
    numbers = [number for row in target.rows for number in target.published(row).values()]
    return {
        "name": target.name,
        "title": target.title,
        "paper": target.paper,
        "rows": list(dict.fromkeys(row.label for row in target.rows)),
        "data": [tail.in_words() for tail in target.tails()],
        "protocol": target.protocol,
        "protocols": dict(target.protocols),
        "runs": 3 * len(trainings),
        "numbers": {
            "published": len(numbers),
            "unverified": sum(not number.verified for number in numbers),
        },
        "lost": target.lost,
        "cannot be run": "; ".join(dict.fromkeys(reason for reason in reasons.values() if reason)),
    }
