"""Charts of the page: SVG text that takes its colours from the page's style sheet, so that it is light or dark."""

import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast._extras import require
from lt_fast.metrics import Reliability, RiskCoverage, wilson_interval

# A colour that matplotlib writes, and the variable of the style sheet that takes its place.
_VARIABLES = {
    "#010203": "ink",
    "#d0d1d2": "grid",
    "#0072b2": "blue",
    "#009e73": "green",
    "#d55e00": "red",
    "#cc79a7": "purple",
    "#808182": "muted",
}
_COLOURS = {name: colour for colour, name in _VARIABLES.items()}
INK, GRID, BLUE, GREEN, RED, PURPLE, MUTED = (
    _COLOURS[name] for name in ("ink", "grid", "blue", "green", "red", "purple", "muted")
)
_GROUPS = {"many": (BLUE, "o"), "medium": (GREEN, "s"), "few": (RED, "^")}
_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
_WORDS = {"before": "before calibration", "after": "after"}
_SIZE = (4.6, 3.1)  # inches: a text of 10 points has about 11 pixels where the chart fills a telephone's width
_MOST_BARS = 200
_MOST_POINTS = 500
_MOST_ALIKE = 2000  # classes from which on those at one place are drawn once
_SHORT = 300  # a logarithmic axis below this ratio of its ends has few powers of ten
_LOWEST = 0.7  # lower end of a logarithmic axis of counts: one image is visible


def recall_chart(
    n_train: Sequence[int], right: ArrayLike, total: ArrayLike, groups: Mapping[str, NDArray[np.bool_]]
) -> str:
    """Return the recall of each class over its number of training images, with intervals up to 200 classes.

    Args:
        n_train: training images per class.
        right: test images per class that are predicted right.
        total: test images per class; a class without any has no point.
        groups: ``many``, ``medium``, ``few`` to a mask of the classes.
    """
    hits, counts = np.asarray(right), np.asarray(total)
    recall = 100 * hits / np.maximum(counts, 1)
    ends = 100 * wilson_interval(hits, counts)
    sizes = np.maximum(np.asarray(n_train, dtype=np.float64), 1)  # an empty class needs a position on a log axis

    def draw(axes: Any) -> None:
        for name, member in groups.items():
            chosen = member & (counts > 0)
            colour, marker = _GROUPS[name]
            if chosen.any() and len(counts) <= _MOST_BARS:
                axes.vlines(sizes[chosen], *ends[chosen].T, color=colour, linewidth=1, alpha=0.6)
            if chosen.any():
                drawn = distinct(sizes[chosen], recall[chosen])
                points = axes.plot(*drawn, marker, color=colour, label=name, clip_on=False)
                points[0].set_alpha(1 if len(counts) <= _MOST_BARS else 0.5)
        axes.set(xlabel="training images of the class", ylabel="recall, percent", ylim=(0, 102), xscale="log")
        axes.set_xlim(sizes.min() / 1.3, sizes.max() * 1.3)
        _round_ticks(axes.xaxis)
        _legend(axes)

    return _svg("recall", draw, "Recall of each class over its number of training images, with 95 % intervals")


def by_count_chart(name: str, n_train: Sequence[int], stages: Mapping[str, ArrayLike], ylabel: str) -> str:
    """Return a number of each class over its training images, ``before`` and perhaps ``after`` calibration.

    Args:
        name: what the number is, in one word.
        n_train: training images per class.
        stages: stage to a number per class; NaN where no test image tells.
        ylabel: of the axis.
    """
    sizes = np.maximum(np.asarray(n_train, dtype=np.float64), 1)  # an empty class needs a position on a log axis

    def draw(axes: Any) -> None:
        for (stage, each), colour, marker in zip(stages.items(), _stage_colours(stages), "os", strict=False):
            values = np.asarray(each, dtype=np.float64)
            there = np.isfinite(values)
            label = _WORDS[stage] if len(stages) > 1 else None
            axes.plot(*distinct(sizes[there], values[there]), marker, color=colour, label=label, clip_on=False)
        axes.set(xlabel="training images of the class", ylabel=ylabel, xscale="log")
        axes.set_xlim(sizes.min() / 1.3, sizes.max() * 1.3)
        _round_ticks(axes.xaxis)
        _legend(axes)

    return _svg(name, draw, f"Mean {name} of each class over its number of training images")


def reliability_chart(stages: Mapping[str, Reliability]) -> str:
    """Return accuracy over confidence, ``before`` and perhaps ``after`` calibration, with an interval per bin."""

    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=MUTED, linestyle="--", linewidth=1, label="perfect")
        for (stage, bins), colour, marker in zip(stages.items(), _stage_colours(stages), "os", strict=False):
            filled = bins.count > 0
            count = bins.count[filled]
            accuracy = 100 * bins.accuracy[filled]
            ends = 100 * wilson_interval(np.rint(bins.accuracy[filled] * count).astype(np.int64), count)
            confidence = 100 * bins.confidence[filled]
            axes.vlines(confidence, *ends.T, color=colour, linewidth=1, alpha=0.5)
            label = _WORDS[stage] if len(stages) > 1 else "predictions"
            axes.plot(confidence, accuracy, marker=marker, color=colour, label=label, clip_on=False)
        axes.set(xlabel="confidence, percent", ylabel="accuracy, percent", xlim=(0, 102), ylim=(0, 102))
        _legend(axes)

    return _svg("reliability", draw, "Accuracy over confidence, with 95 % intervals")


def confidence_chart(stages: Mapping[str, Reliability]) -> str:
    """Return the share of the predictions in each bin of the confidence."""

    def draw(axes: Any) -> None:
        for at, ((stage, bins), colour) in enumerate(zip(stages.items(), _stage_colours(stages), strict=False)):
            width = 100 / len(bins.count)
            middles = (np.arange(len(bins.count)) + 0.5) * width
            offset = (at - (len(stages) - 1) / 2) * 0.4 * width
            label = _WORDS[stage] if len(stages) > 1 else "predictions"
            axes.bar(middles + offset, 100 * bins.count / bins.count.sum(), 0.4 * width, color=colour, label=label)
        axes.set(xlabel="confidence, percent", ylabel="percent of the test images", xlim=(0, 100))
        _legend(axes)

    return _svg("confidence", draw, "How many predictions have which confidence")


def coverage_chart(stages: Mapping[str, RiskCoverage]) -> str:
    """Return the error rate over the coverage, ``before`` and perhaps ``after`` calibration."""

    def draw(axes: Any) -> None:
        for (stage, curve), colour, style in zip(stages.items(), _stage_colours(stages), ("-", "--"), strict=False):
            chosen = np.unique(np.linspace(0, len(curve.count) - 1, _MOST_POINTS).astype(int))
            label = _WORDS[stage] if len(stages) > 1 else None
            axes.plot(100 * curve.coverage[chosen], 100 * curve.risk[chosen], style, color=colour, label=label)
        axes.set(xlabel="coverage: percent of the images decided", ylabel="errors among them, percent", xlim=(0, 101))
        axes.set_ylim(0, max(axes.get_ylim()[1], 1))
        if len(stages) > 1:
            _legend(axes)

    return _svg("coverage", draw, "Errors among the most confident predictions, for each share of the images")


def profile_chart(n_train: Sequence[int], groups: Mapping[str, NDArray[np.bool_]]) -> str:
    """Return the number of training images of each class, the largest class first."""
    counts = np.asarray(n_train)
    order = np.argsort(-counts, kind="stable")

    def draw(axes: Any) -> None:
        for name, member in groups.items():
            chosen = np.flatnonzero(member[order])
            if chosen.size:
                tops, edges = _steps(np.maximum(counts[order][chosen], _LOWEST))
                edges = edges + chosen[0] + 0.5  # in this order, a group's classes follow each other
                axes.stairs(tops, edges, baseline=_LOWEST, fill=True, color=_GROUPS[name][0], label=name)
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="classes, largest first", ylabel="training images", yscale="log")
        axes.set_ylim(_LOWEST, max(1.3 * counts.max(), 2))
        _round_ticks(axes.yaxis)
        _legend(axes)

    return _svg("profile", draw, "Training images of each class, the largest class first")


def distinct(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points, of more than 2,000 those at one place once: a picture of 100,000 has some hundred places."""
    if len(x) <= _MOST_ALIKE:
        return x, y
    places = np.unique(np.stack([x, y]), axis=1)
    return places[0], places[1]


def _steps(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tops and edges of bars of width 1; of more than 2,000, bars of one height are one."""
    if len(values) <= _MOST_ALIKE:
        return values, np.arange(len(values) + 1.0)
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[starts], np.append(starts, len(values)).astype(np.float64)


def loss_chart(epochs: Sequence[int], loss: Sequence[float], mark: float | None = None) -> str:
    """Return the training loss over the epochs; ``mark`` is where class weights start."""

    def draw(axes: Any) -> None:
        axes.plot(epochs, loss, color=PURPLE, marker="." if len(epochs) == 1 else "")
        _mark(axes, mark)
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))

    return _svg("loss", draw, "Training loss over the epochs")


def curves_chart(
    epochs: Sequence[int], accuracy: Mapping[str, Sequence[float | None]], of: str, mark: float | None = None
) -> str:
    """Return ``overall``, ``many``, ``medium`` and ``few`` recall over the epochs, measured on the images ``of``."""

    def draw(axes: Any) -> None:
        for group, values in accuracy.items():
            points = [(epoch, 100 * value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
            if points:
                colour, marker = _GROUPS.get(group, (INK, ""))
                every = max(1, len(points) // 8)
                single = marker or ("." if len(points) == 1 else "")
                axes.plot(*zip(*points, strict=True), color=colour, marker=single, markevery=every, label=group)
        _mark(axes, mark)
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="epoch", ylabel=f"recall on the {of} images, percent", ylim=(0, 102))
        _legend(axes)

    return _svg("curves", draw, f"Recall on the {of} images over the epochs")


def _stage_colours(stages: Mapping[str, Any]) -> tuple[str, ...]:
    return (MUTED, RED) if len(stages) > 1 else (RED,)


def _round_ticks(axis: Any) -> None:
    """Label a logarithmic axis at 1, 10, 100, or with 2 and 5 between them where it is short."""
    ticker = require("matplotlib.ticker", extra="train", purpose="drawing charts")
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < _SHORT * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(ticker.NullFormatter())


def _legend(axes: Any) -> None:
    """Put the legend above the axes, where no data is."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=4, borderaxespad=0.2, columnspacing=1.2, handlelength=1.6
    )


def _mark(axes: Any, epoch: float | None) -> None:
    if epoch is not None:
        axes.axvline(epoch, color=MUTED, linestyle=":", linewidth=1.2)


def _svg(name: str, draw: Callable[[Any], None], label: str) -> str:
    """Return what ``draw`` draws as an ``<svg>`` element without a size, an identifier of its own or a fixed colour."""
    matplotlib = require("matplotlib", extra="train", purpose="drawing charts")
    figures = require("matplotlib.figure", extra="train", purpose="drawing charts")
    data = BytesIO()
    # The salt tells the clip paths of one chart from those of another chart on the same page.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"lt-fast {name}"}):
        drawn = figures.Figure(figsize=_SIZE)
        draw(drawn.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawn.savefig(data, format="svg", transparent=True, metadata=nothing)
    return _for_page(data.getvalue().decode(), label)


def _for_page(text: str, label: str) -> str:
    body = text[text.index("<svg") :]
    (box,) = re.findall(r'viewBox="([^"]*)"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r"\n\s*", "\n", body).strip()
    return f'<svg viewBox="{box}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">\n{body}'
