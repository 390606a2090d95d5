"""Figure 2 of CP-Mix, a to e: the toy example, its training points and what four ways of training make of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast._extras import require
from lt_fast.report.style import BLUE, GREEN, VERMILION, figure
from lt_fast.reproduction.figures.method_confusion import Runs
from lt_fast.reproduction.figures.toy_problem import (
    KINDS,
    NAMES,
    Settings,
    best_possible,
    logits_of,
    points,
    train,
)

_COLOURS, _MARKERS = (BLUE, VERMILION, GREEN), "o^s"
_FIELD = ((-5.2, 5.2), (-3.4, 3.4))
_FINE = 260  # points of the grid along x
_BOUNDARY, _BEST = "#222222", "#777777"


def draw(
    runs: Mapping[str, Runs], out_dir: str | Path, settings: Settings = Settings(),  # noqa: ARG001, B008
) -> list[Path]:  # fmt: skip
    """Train the toy example in four ways and draw it as ``toy_example`` in ``out_dir``; return the files.

    Takes about half a minute on one core.

    Args:
        runs: not used: the example trains its own networks.
        out_dir: made if necessary.
        settings: of the example.

    Raises:
        DataError: if the folder cannot be written.
        MissingExtraError: if matplotlib is not installed.
    """
    path = Path(out_dir) / "toy_example"
    x, labels = points(settings.counts, settings.seed)
    with figure(path, width=4.0, height=3.15, columns=3, rows=2) as (drawn, axes):
        drawn.get_layout_engine().set(h_pad=0.12)
        data, *panels = axes.flat
        _draw_field(data, best_possible(_grid().astype(np.float64)))
        _draw_points(data, x, labels, alpha=0.75)
        data.set_title("a. Training points, best possible boundary")
        _tell(data, _recall_of_the_best(settings))
        for letter, panel, (kind, words) in zip("bcde", panels, KINDS.items(), strict=False):
            trained = train(kind, settings)
            _draw_field(panel, logits_of(trained.model, _grid()))
            _draw_best(panel)
            _draw_points(panel, x, labels, alpha=0.35)
            panel.set_title(f"{letter}. {words}")
            _tell(panel, trained.recall)
        _legend(panels[-1], settings)
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _grid() -> NDArray[np.float32]:
    (left, right), (low, high) = _FIELD
    columns, rows = np.linspace(left, right, _FINE), np.linspace(low, high, _FINE * 2 // 3)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float32)


def _draw_field(axes: Any, scores: NDArray[Any]) -> None:
    """Draw the predicted class of every point of the plane, and where it changes."""
    predicted = scores.argmax(1).reshape(-1, _FINE)
    x, y = (np.linspace(*ends, number) for ends, number in zip(_FIELD, reversed(predicted.shape), strict=True))
    axes.contourf(x, y, predicted, levels=[-0.5, 0.5, 1.5, 2.5], colors=_COLOURS, alpha=0.16)
    for number in np.unique(predicted):
        axes.contour(x, y, _ahead(scores, number), levels=[0.0], colors=_BOUNDARY, linewidths=1.1)
    axes.grid(visible=False)
    axes.set(xlim=_FIELD[0], ylim=_FIELD[1], xticks=[], yticks=[], aspect="equal")
    for side in axes.spines.values():
        side.set_visible(False)


def _recall_of_the_best(settings: Settings) -> NDArray[np.float64]:
    x, labels = points((settings.test_points,) * 3, settings.seed + 1)
    right = best_possible(x.astype(np.float64)).argmax(1) == labels
    return np.array([right[labels == number].mean() for number in range(3)])


def _draw_best(axes: Any) -> None:
    ahead = _ahead(best_possible(_grid().astype(np.float64)), 1)
    x, y = (np.linspace(*ends, number) for ends, number in zip(_FIELD, reversed(ahead.shape), strict=True))
    axes.contour(x, y, ahead, levels=[0.0], colors=_BEST, linewidths=0.9, linestyles="--")


def _ahead(scores: NDArray[Any], number: int) -> NDArray[Any]:
    """Return how far the score of one class is above the largest of the others, on the grid."""
    ahead: NDArray[Any] = scores[:, number] - np.delete(scores, number, axis=1).max(1)
    return ahead.reshape(-1, _FINE)


def _draw_points(axes: Any, x: NDArray[np.float32], labels: NDArray[np.int64], *, alpha: float) -> None:
    for number in (0, 2, 1):  # the rare class on top
        rare = number == 1
        axes.scatter(
            *x[labels == number].T,
            s=26 if rare else 5,
            marker=_MARKERS[number],
            color=_COLOURS[number],
            alpha=1 if rare else alpha,
            edgecolors="white" if rare else "none",
            linewidths=0.5 if rare else 0,
            zorder=4 if rare else 3,
            rasterized=not rare,  # over a thousand points make an SVG file large
        )


def _tell(axes: Any, recall: NDArray[np.float64]) -> None:
    words = "   ".join(f"{name} {100 * value:.0f}" for name, value in zip(NAMES, recall, strict=True))
    axes.set_xlabel(f"recall  {words}    mean {100 * recall.mean():.0f} %", loc="left", fontsize=9)


def _legend(axes: Any, settings: Settings) -> None:
    axes.set_axis_off()
    lines = require("matplotlib.lines", extra="train", purpose="drawing plots")
    handles = [
        lines.Line2D([], [], marker=marker, color=colour, linestyle="", markersize=7, label=f"{name}: {count:,} points")
        for name, count, marker, colour in zip(NAMES, settings.counts, _MARKERS, _COLOURS, strict=True)
    ]
    handles += [
        lines.Line2D([], [], color=_BOUNDARY, linewidth=1.2, label="where the prediction changes"),
        lines.Line2D([], [], color=_BEST, linewidth=1, linestyle="--", label="best possible boundary of B"),
    ]
    axes.legend(handles=handles, loc="center", fontsize=10)
