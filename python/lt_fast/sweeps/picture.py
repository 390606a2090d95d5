"""A sweep as a picture: a curve over one setting, a heat map over two."""

from pathlib import Path
from typing import Any

import numpy as np

from lt_fast.report.style import BLACK, BLUE, VERMILION, figure
from lt_fast.sweeps.choosing import METRICS, UNBOUNDED, Candidate, Sweep
from lt_fast.sweeps.grid import as_numbers, as_text

_LOGARITHMIC = 20  # ratio of the largest over the smallest value from which on an axis is logarithmic
_MOST_NAMED = 12  # values that an axis names
_MOST_DRAWN = 2  # settings


def draw(sweep: Sweep, path: Path) -> list[Path]:
    """Draw the sweep as ``path`` with the endings ``.png`` and ``.svg``, and return the files.

    One setting gives a curve of the means with the runs as points and the intervals; two give a heat map; of three and
    more nothing is drawn. The chosen one is marked.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        DataError: if the folder cannot be written.
    """
    if len(sweep.settings) > _MOST_DRAWN:
        return []
    with figure(path, width=6.0, height=4.0) as (drawn, axes):
        drawn.suptitle(
            f"{sweep.method} on {sweep.data}, {sweep.validation_images:,} validation images", x=0.01, ha="left"
        )
        (_curve if len(sweep.settings) == 1 else _map)(drawn, axes, sweep)
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _curve(_: Any, axes: Any, sweep: Sweep) -> None:
    ((name, values),) = sweep.settings.items()
    numbers = as_numbers(values)
    x = np.arange(len(values), dtype=np.float64) if numbers is None else np.array(numbers)
    factor = _factor(sweep)
    there = [at for at, each in enumerate(sweep.candidates) if each.value is not None]
    order = sorted(there, key=lambda at: x[at])
    means = [factor * (sweep.candidates[at].value or 0.0) for at in order]
    if numbers is None:
        axes.plot(x[order], means, "o", color=BLUE, label="mean")
    else:
        axes.plot(x[order], means, "o-", color=BLUE, label="mean")
    for at in order:
        _one(axes, x[at], sweep.candidates[at], sweep, factor)
    best = sweep.candidates.index(sweep.best)
    axes.plot(x[best], factor * (sweep.best.value or 0.0), "D", color=VERMILION, markersize=8, label="chosen")
    if numbers is not None and min(numbers) > 0 and max(numbers) >= _LOGARITHMIC * min(numbers):
        axes.set_xscale("log")
    if len(values) <= _MOST_NAMED:
        axes.set_xticks(x, [as_text(value) for value in values])
        axes.minorticks_off()
    failed = [x[at] for at in range(len(values)) if at not in there]
    for at in failed:
        axes.axvline(at, color=VERMILION, linestyle=":", linewidth=1, label="a run failed" if at == failed[0] else None)
    axes.set(xlabel=name, ylabel=_label(sweep))
    axes.legend()


def _one(axes: Any, x: float, candidate: Candidate, sweep: Sweep, factor: float) -> None:
    values = [trial.validation[sweep.metric] for trial in candidate.trials if trial.validation is not None]
    runs = [factor * value for value in values if value is not None]
    if len(runs) > 1:
        axes.plot([x] * len(runs), runs, ".", color=BLACK, markersize=4, zorder=3)
    if candidate.low is not None and candidate.high is not None:
        axes.plot([x, x], [factor * candidate.low, factor * candidate.high], color=BLUE, linewidth=1, alpha=0.5)


def _map(drawn: Any, axes: Any, sweep: Sweep) -> None:
    (row_name, rows), (column_name, columns) = sweep.settings.items()
    factor = _factor(sweep)
    values = [np.nan if each.value is None else factor * each.value for each in sweep.candidates]
    grid = np.array(values).reshape(len(rows), len(columns))
    axes.grid(visible=False)
    image = axes.imshow(grid, cmap="cividis", aspect="auto", interpolation="nearest")
    drawn.colorbar(image, ax=axes, label=_label(sweep))
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for (row, column), value in np.ndenumerate(grid):
        words = "failed" if np.isnan(value) else f"{value:.3f}" if factor == 1 else f"{value:.1f}"
        axes.text(column, row, words, ha="center", va="center", color="white" if value <= middle else "black")
    row, column = divmod(sweep.candidates.index(sweep.best), len(columns))
    outline = {"color": VERMILION, "linewidth": 2.5}
    axes.plot(column + 0.48 * np.array([-1, 1, 1, -1, -1]), row + 0.48 * np.array([-1, -1, 1, 1, -1]), **outline)
    axes.set_xticks(range(len(columns)), [as_text(value) for value in columns])
    axes.set_yticks(range(len(rows)), [as_text(value) for value in rows])
    axes.set(xlabel=column_name, ylabel=f"{row_name}; outlined: chosen")


def _factor(sweep: Sweep) -> float:
    return 1 if sweep.metric in UNBOUNDED else 100


def _label(sweep: Sweep) -> str:
    return METRICS[sweep.metric] if sweep.metric in UNBOUNDED else f"{METRICS[sweep.metric]}, percent"
