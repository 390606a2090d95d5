"""Figure 3 of CP-Mix: over how many wrong classes the errors of a class are spread, balanced against long-tailed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lt_fast.metrics import ConfusionSpread, confusion_spread
from lt_fast.report.style import BLUE, GREEN, PURPLE, VERMILION, figure
from lt_fast.reproduction.figures.method_confusion import MethodConfusion, Runs, read_confusion

_COLOURS, _MARKERS = (BLUE, VERMILION, GREEN, PURPLE), "osD^"
_MOST_SHOWN = 20  # wrong classes on the axis


def draw(runs: Mapping[str, Runs], out_dir: str | Path) -> list[Path]:
    """Draw how the errors are spread as ``spread_of_errors`` in ``out_dir``, and return the files.

    Args:
        runs: name, such as ``"balanced"`` and ``"long-tailed"``, to a run directory, or those of several seeds; at most
            four.
        out_dir: made if necessary.

    Raises:
        UsageError: if there is no run.
        DataError: if a run has not finished, or a file cannot be read or written.
        MissingExtraError: if matplotlib is not installed.
    """
    return draw_spreads({name: read_confusion(folders) for name, folders in runs.items()}, Path(out_dir))


def draw_spreads(found: Mapping[str, MethodConfusion], out_dir: Path) -> list[Path]:
    """Draw spreads of confusions that have been read; see ``draw``."""
    spreads = {name: confusion_spread(each.confusion) for name, each in found.items()}
    path = out_dir / "spread_of_errors"
    with figure(path, width=5.2, height=4.0, columns=2) as (drawn, (left, right)):
        drawn.suptitle("How the errors of a class are spread over the wrong classes", x=0.01, ha="left")
        for number, (name, spread) in enumerate(spreads.items()):
            _draw_share(left, name, spread, number)
            _draw_sizes(right, found[name], spread, number)
        left.set(
            xlabel="wrong classes, most frequent first", ylabel="share of the errors so far, percent", ylim=(0, 102)
        )
        left.locator_params(axis="x", integer=True)
        left.legend(loc="lower right")
        right.set(xlabel="training images of the class", ylabel="effective number of wrong classes", xscale="log")
        sizes = np.maximum(np.concatenate([each.n_train for each in found.values()]), 1)
        right.set_xlim(sizes.min() / 1.3, sizes.max() * 1.3)
        right.set_ylim(0, None)
        right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _draw_share(axes: Any, name: str, spread: ConfusionSpread, number: int) -> None:
    shown = min(len(spread.share), _MOST_SHOWN)
    places = np.arange(1, shown + 1)
    label = f"{name}: {np.nanmean(spread.effective):.1f} classes" if np.isfinite(spread.effective).any() else name
    axes.plot(
        places,
        100 * np.cumsum(spread.share)[:shown],
        color=_COLOURS[number % len(_COLOURS)],
        marker=_MARKERS[number % len(_MARKERS)],
        label=label,
        clip_on=False,
    )


def _draw_sizes(axes: Any, found: MethodConfusion, spread: ConfusionSpread, number: int) -> None:
    sizes = np.maximum(found.n_train, 1)
    axes.scatter(
        sizes,
        spread.effective,
        s=22,
        color=_COLOURS[number % len(_COLOURS)],
        marker=_MARKERS[number % len(_MARKERS)],
        alpha=0.75,
        linewidths=0,
        zorder=3,
    )
