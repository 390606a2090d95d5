"""An inspection in words: classes, what is wrong with which files, what must not be split, what to do next."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lt_fast.counts import FEW_BELOW, MANY_ABOVE
from lt_fast.inspection.advice import WIDEST, images_tested
from lt_fast.inspection.duplicates import NEAR_CORRELATION, NEAR_DISTANCE
from lt_fast.inspection.findings import Findings
from lt_fast.inspection.intervals import half_width_of_recall
from lt_fast.inspection.listing import HIDDEN
from lt_fast.report.tables import text_table

_SHOWN = 5  # names of a kind; all are in --json, --csv and --quarantine
_CLASSES_SHOWN = 12  # of each end of the table
_BAR = 24
_LABEL = 17

_RULES = {
    "copies": "copies",
    "near_duplicates": "near duplicates",
    "bursts": "bursts",
    "versions": "versions of one file",
    "consecutive": "consecutive and alike",
}


def inspection_text(findings: Findings, summary: Mapping[str, Any], *, title: str) -> str:
    """Return what an inspection found, for a terminal.

    Args:
        findings: of the inspection.
        summary: ``findings.summary()``.
        title: what was inspected.
    """
    classes, photographs = len(findings.counts), summary["photographs"]
    head = f"{title}: {photographs:,} {_word('photograph', photographs)} in {classes:,} {_word('class', classes)}"
    table = text_table(["class", "", "images", "tested", "interval"], _class_rows(findings), left=2)
    note = "tested: images in a test set of a fifth; interval: 95 %, in points to either side of a recall of 50 %"
    lines = [f"{name:<{_LABEL}}{words}" for name, words in _lines(findings, summary)]
    return "\n".join([head, "", table, note, "", *lines])


def advice_text(summary: Mapping[str, Any]) -> str:
    """Return why the next command is what it is."""
    text = f"  --{summary['mode']}: {summary['why']}"
    if not summary["testable"]:
        text += "\n  --test DIR: every class is a single photograph or group, of which none can be spared for a test"
    if summary["folds"]:
        small = len(summary["too_small"])
        text += (
            f"\n  --folds {summary['folds']}: {small} {_word('class', small)} too small to measure with one split; "
            "with folds every photograph is tested once"
        )
    return text


def _class_rows(findings: Findings) -> list[list[str]]:
    counts = findings.counts.tolist()
    order = sorted(range(len(counts)), key=lambda at: (-counts[at], at))
    rows = [_class_row(findings.listing.classes[at], counts[at], max(counts)) for at in _ends(order)]
    if len(order) > 2 * _CLASSES_SHOWN:
        left_out = len(order) - 2 * _CLASSES_SHOWN
        rows.insert(_CLASSES_SHOWN, [f"... {left_out:,} more", "", "", "", ""])
    return rows


def _ends(order: Sequence[int]) -> Sequence[int]:
    if len(order) <= 2 * _CLASSES_SHOWN:
        return order
    return [*order[:_CLASSES_SHOWN], *order[-_CLASSES_SHOWN:]]


def _class_row(name: str, count: int, largest: int) -> list[str]:
    bar = "#" * max(round(_BAR * count / max(largest, 1)), 1 if count else 0)
    if not count:
        return [name, bar, "0", "-", "-"]
    tested = images_tested(count)
    width = half_width_of_recall(tested)
    mark = " !" if width > WIDEST else ""
    return [name, bar, f"{count:,}", f"{tested:,}", (f"± {100 * width:.0f}" if tested else "-") + mark]


def _lines(findings: Findings, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a label and words for each thing that was looked at."""
    if summary["structure"]:
        yield "structure", summary["structure"]
    yield "profile", _profile(summary)
    if summary["empty_classes"]:
        yield "empty classes", f"{_names(summary['empty_classes'])}; remove the folders, or put images into them"
    yield "too small", _too_small(summary)
    yield "sizes", _sizes(summary["sizes"])
    yield "modes", _counted(summary["modes"])
    yield "formats", _counted(summary["formats"])
    yield "damaged", _problems(summary["damaged"])
    yield "passed over", _passed_over(summary["passed_over"])
    if summary["warnings"]:
        path, words = next(iter(summary["warnings"].items()))
        yield "warnings", f"{len(summary['warnings']):,}; the first: {words if path in words else f'{path}: {words}'}"
    if summary["one_colour"]:
        yield "one colour", _names(summary["one_colour"])
    yield "copies", _copies(findings, summary)
    yield "near duplicates", _near(findings, summary)
    yield "two labels", _two_labels(findings)
    yield "keep together", _groups(summary["groups"])


def _profile(summary: Mapping[str, Any]) -> str:
    ratio = summary["imbalance_ratio"]
    return (
        f"imbalance ratio {ratio:.4g}; classes: many (more than {MANY_ABOVE} images) {summary['many']:,}, medium "
        f"{summary['medium']:,}, few (less than {FEW_BELOW}) {summary['few']:,}"
    )


def _too_small(summary: Mapping[str, Any]) -> str:
    small = summary["too_small"]
    if not small:
        return f"no class: every interval is at most {100 * WIDEST:.0f} points to either side"
    return (
        f"{len(small):,} {_word('class', len(small))} with an interval of more than {100 * WIDEST:.0f} points to "
        f"either side (!): {_names(list(small))}"
    )


def _sizes(sizes: Mapping[str, Any]) -> str:
    smallest, median, largest = (f"{w} x {h}" for w, h in (sizes["smallest"], sizes["median"], sizes["largest"]))
    return f"{smallest} to {largest}, median {median}; {sizes['distinct']:,} distinct"


def _problems(damaged: Mapping[str, str]) -> str:
    if not damaged:
        return "none"
    return f"{len(damaged):,}:" + "".join(f"\n  {words}" for words in _some(list(damaged.values())))


def _passed_over(passed: Mapping[str, str]) -> str:
    counted = Counter(reason for reason in passed.values() if reason != HIDDEN)
    hidden = len(passed) - counted.total()
    if not counted:
        return f"nothing but {hidden:,} hidden {_word('name', hidden)}" if hidden else "nothing"
    lines = [
        f"\n  {times:,} {reason} (first {next(path for path, each in passed.items() if each == reason)!r})"
        for reason, times in counted.most_common()
    ]
    return f"{counted.total():,}:" + "".join(lines)


def _copies(findings: Findings, summary: Mapping[str, Any]) -> str:
    if not summary["copies"]:
        return "none"
    surplus, groups = len(findings.surplus), len(summary["copies"])
    return (
        f"{groups:,} {_word('image', groups)} in several files, {len(summary['equal_bytes']):,} of them byte for byte; "
        f"{surplus:,} {_word('file', surplus)} can go{_first(summary['copies'])}"
    )


def _near(findings: Findings, summary: Mapping[str, Any]) -> str:
    groups = summary["near_duplicates"]
    if not groups:
        return "none"
    files = sum(map(len, groups))
    across = len(findings.near_two_labels)
    labels = f", {across:,} of them in two classes" if across else ""
    return (
        f"{len(groups):,} {_word('group', len(groups))} of {files:,} photographs{labels} (hashes within "
        f"{NEAR_DISTANCE} of 64 bits, correlation from {NEAR_CORRELATION:g}){_first(groups)}"
    )


def _two_labels(findings: Findings) -> str:
    groups = findings.two_labels
    if not groups:
        return "none"
    paths = findings.listing.paths
    shown = [", ".join(f"{paths[at]} ({findings.class_of(at)})" for at in group[:4]) for group in groups]
    return f"{len(groups):,} {_word('image', len(groups))}; keep the right one of each:" + "".join(
        f"\n  {words}" for words in _some(shown)
    )


def _groups(groups: Mapping[str, Any]) -> str:
    if not groups["groups"]:
        return "no photographs belong together; a split may take each by itself"
    by = ", ".join(f"{_RULES[rule]} {count:,}" for rule, count in groups["by"].items() if count)
    return (
        f"{groups['photographs']:,} photographs in {groups['groups']:,} {_word('group', groups['groups'])} that must "
        f"not be split ({by}); the largest has {groups['largest']:,}"
    )


def _first(groups: Sequence[Sequence[str]]) -> str:
    return f"; the first: {', '.join(groups[0][:3])}{', ...' if len(groups[0]) > 3 else ''}"  # noqa: PLR2004


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'unknown'} {count:,}" for name, count in counts.items())


def _names(names: Sequence[str]) -> str:
    return ", ".join(_some(names))


def _some(words: Sequence[str]) -> list[str]:
    left = len(words) - _SHOWN
    if left <= 1:  # the line that says so would take as much room
        return list(words)
    return [*words[:_SHOWN], f"and {left:,} more (--json has all)"]


def _word(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"
