"""Plots of a run: training curves, reliability, recall by class size, confusion matrix, pairs confused in training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE
from lt_fast.metrics import ClassMargins, slope_by_count
from lt_fast.report.charts import distinct
from lt_fast.report.confusion_map import reduced_shares
from lt_fast.report.style import BLACK, BLUE, COLOURS, GREEN, MARKERS, SKY, VERMILION, figure
from lt_fast.sampling.confusion_counts import ConfusionEntries

_CELLS_WITH_NUMBERS = 12
_NAMED_CLASSES = 30
_PAIRS_AS_BARS = 12
_MOST_ARROWS = 1000  # of more classes they would cover the points


def training_curves(
    path: Path,
    epochs: Sequence[int],
    loss: Sequence[float],
    accuracy: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    mark_epoch: float | None = None,
    limits: tuple[int, int] = (MANY_ABOVE, FEW_BELOW),
) -> None:
    """Plot the loss, and next to it the accuracy (fractions) of each group, over the epochs.

    Args:
        path: without its ending; ``.png`` and ``.svg`` are written.
        epochs: counted from 1.
        loss: mean training loss of each epoch.
        accuracy: ``overall``, ``many``, ``medium``, ``few`` to one value per epoch; None where a group has no class.
        title: of the whole picture.
        mark_epoch: where class weights start, plotted as a dotted line.
        limits: many is above the first, few below the second.
    """
    with figure(path, width=5.0, columns=2) as (drawn, (left, right)):
        drawn.suptitle(title, x=0.01, ha="left")
        left.plot(epochs, loss, color=COLOURS["loss"], marker=_marker(epochs, "."))
        left.set(title="Training loss", xlabel="epoch", ylim=(0, None))
        for axes in (left, right):
            axes.locator_params(axis="x", integer=True)  # there is no epoch 2.5
        for group, values in accuracy.items():
            points = [(epoch, 100 * value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
            if points:
                x, y = zip(*points, strict=True)
                every = max(1, len(x) // 10)
                right.plot(x, y, color=COLOURS[group], marker=MARKERS[group], markevery=every, label=group)
        words = f"epoch; many: more than {limits[0]} training images, few: less than {limits[1]}"
        right.set(title="Test recall by group of classes", xlabel=words, ylabel="percent", ylim=(0, 102))
        if mark_epoch is not None:
            left.axvline(mark_epoch, color=BLACK, linestyle=":", linewidth=1, label="class weights set in")
            right.axvline(mark_epoch, color=BLACK, linestyle=":", linewidth=1)
            left.legend()
        right.legend(loc="lower right")


def reliability_diagram(path: Path, stages: Mapping[str, Any], errors: Mapping[str, float], *, title: str) -> None:
    """Plot accuracy against confidence, and the number of predictions in each bin.

    Args:
        path: without its ending.
        stages: ``before`` and perhaps ``after`` to an object with ``confidence``, ``accuracy`` and ``count`` a bin.
        errors: the same keys to the expected calibration error, a fraction.
        title: of the picture.
    """
    with figure(path, width=5.0, columns=2) as (drawn, (left, right)):
        drawn.suptitle(title, x=0.01, ha="left")
        left.plot([0, 100], [0, 100], color=BLACK, linestyle="--", linewidth=1, label="perfectly calibrated")
        for at, (stage, bins) in enumerate(stages.items()):
            count = np.asarray(bins.count, dtype=np.float64)
            filled = count > 0
            confidence = 100 * np.asarray(bins.confidence, dtype=np.float64)[filled]
            accuracy = 100 * np.asarray(bins.accuracy, dtype=np.float64)[filled]
            label = f"{_STAGE[stage] if len(stages) > 1 else 'model'}: ECE {100 * errors[stage]:.1f} %"
            # A bin of few predictions is uncertain: its point is small, and the line between points is faint.
            share = 100 * count / count.sum()
            left.plot(confidence, accuracy, color=COLOURS[stage], alpha=0.45)
            size = 15 + 3 * share[filled]
            left.scatter(
                confidence,
                accuracy,
                s=size,
                color=COLOURS[stage],
                marker="os"[at % 2],
                label=label,
                zorder=3,
                clip_on=False,
            )
            width = 1 / len(count)
            middles = 100 * (np.arange(len(count)) + 0.5) * width
            right.bar(middles + (at - (len(stages) - 1) / 2) * 40 * width, share, 40 * width, color=COLOURS[stage])
        left.set(
            title="Reliability", xlabel="confidence, percent", ylabel="accuracy, percent", xlim=(0, 102), ylim=(0, 102)
        )
        # Few predictions have a low confidence, so that corner of the bars is free.
        right.legend(*left.get_legend_handles_labels(), loc="upper left", markerscale=0.6)
        right.set(
            title="Predictions in each bin",
            xlabel="confidence, percent",
            ylabel="percent of the test set",
            xlim=(0, 100),
        )


def recall_by_count(
    path: Path, n_train: Sequence[int], recalls: Mapping[str, Sequence[float | None]], *, title: str,
    limits: tuple[int, int] = (MANY_ABOVE, FEW_BELOW),
) -> None:  # fmt: skip
    """Plot each class as a point: its recall over its number of training images.

    Args:
        path: without its ending.
        n_train: training images per class.
        recalls: ``before`` and perhaps ``after`` to one recall a class; None where the class has no test image.
        title: of the picture.
        limits: many is above the first, few below the second.
    """
    counts = np.maximum(np.asarray(n_train, dtype=np.float64), 1)  # an empty class needs a position on a log axis, too
    with figure(path) as (drawn, axes):
        drawn.suptitle(title, x=0.01, ha="left")
        for stage, marker in zip(recalls, "os", strict=False):
            values = np.array([np.nan if recall is None else 100 * recall for recall in recalls[stage]])
            label = _STAGE[stage] if len(recalls) > 1 else None
            there = ~np.isnan(values) if len(values) > _MOST_ARROWS else slice(None)
            axes.scatter(
                *distinct(counts[there], values[there]),
                color=COLOURS[stage],
                marker=marker,
                label=label,
                zorder=3,
                clip_on=False,
            )
        if len(recalls) > 1:
            if len(counts) <= _MOST_ARROWS:
                _arrows(axes, counts, *(recalls[stage] for stage in recalls))
            axes.legend(loc="lower right")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlabel="training images of the class", ylabel="recall of the class, percent", ylim=(0, 102))
        low, high = counts.min() / 1.3, counts.max() * 1.3
        axes.set_xlim(low, high)
        for limit in limits:
            if low < limit < high:
                axes.axvline(limit, color="#888888", linestyle=":", linewidth=1)
        _name_groups(axes, low, high, limits)


def margins_by_count(path: Path, n_train: Sequence[int], stages: Mapping[str, ClassMargins], *, title: str) -> None:
    """Plot the mean logit and the mean margin of each class over its training images, and how both grow with them.

    Args:
        path: without its ending.
        n_train: training images per class.
        stages: ``before`` and perhaps ``after`` to the means of ``metrics.margins_by_class``.
        title: of the picture.
    """
    with figure(path, width=5.0, columns=2) as (drawn, (left, right)):
        drawn.suptitle(title, x=0.01, ha="left")
        for axes, name, words in (
            (left, "logit", "Logit of the true class"),
            (right, "margin", "Margin: true less largest other logit"),
        ):
            axes.set_xscale("log")
            axes.set_xlim(max(min(n_train), 1) / 1.3, max(*n_train, 1) * 1.3)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set(title=words, xlabel="training images of the class", ylabel="mean over its test images")
            for (stage, found), marker in zip(stages.items(), "os", strict=False):
                label = f"{_STAGE[stage]}: " if len(stages) > 1 else ""
                _draw_by_count(axes, n_train, getattr(found, name), label, COLOURS[stage], marker)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="best", fontsize=8)
        right.axhline(0, color=BLACK, linewidth=1, zorder=1)


def _draw_by_count(
    axes: Any, n_train: Sequence[int], values: NDArray[np.float64], label: str, colour: str, marker: str
) -> None:
    """Draw a point per class, and the least-squares line whose slope the legend tells."""
    counts, slope = np.maximum(np.asarray(n_train, dtype=np.float64), 1), slope_by_count(values, n_train)
    there = np.isfinite(values)
    if not there.any():
        return
    label = label.rstrip(": ") if slope is None else f"{label}{slope:+.2f} for ten times the images"
    axes.scatter(
        *distinct(counts[there], values[there]), color=colour, marker=marker, s=22, label=label or None, zorder=3
    )
    if slope is not None:
        lined = there & (np.asarray(n_train) > 0)
        x = np.log10(counts[lined])
        ends = np.array([x.min(), x.max()])
        axes.plot(10**ends, values[lined].mean() + slope * (ends - x.mean()), color=colour, linewidth=1.4, zorder=2)


def recall_by_method(path: Path, n_train: Sequence[int], recalls: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Plot the recall of every class for several methods, the class with most training images first.

    Args:
        path: without its ending.
        n_train: training images per class.
        recalls: name of the method to one recall a class; at most four methods.
        title: of the picture.
    """
    order = np.argsort(-np.asarray(n_train), kind="stable")
    with figure(path, width=7.0) as (drawn, axes):
        drawn.suptitle(title, x=0.01, ha="left")
        for (name, values), colour, marker in zip(
            recalls.items(), (BLACK, SKY, VERMILION, GREEN), "osD^", strict=False
        ):
            percent = 100 * np.asarray(values, dtype=np.float64)[order]
            axes.plot(range(len(order)), percent, color=colour, marker=marker, markersize=6, label=name, clip_on=False)
        axes.set_xticks(range(len(order)), [str(n_train[at]) for at in order])
        axes.set(xlabel="training images of the class", ylabel="recall of the class, percent", ylim=(0, 102))
        axes.legend(loc="lower left")


def confusion_picture(path: Path, cells: ConfusionEntries, names: Sequence[str], *, title: str) -> None:
    """Plot the confusion matrix, rows normalised to percent of the true class, classes in the order of the data set.

    Of more than 500 classes, a point stands for the largest of several cells.

    Args:
        path: without its ending.
        cells: pairs of classes with their counts.
        names: of the classes; written out up to 30 of them.
        title: of the picture.
    """
    share = _shares(cells, len(names))
    with figure(path, width=6.0, height=5.4) as (drawn, axes):
        drawn.suptitle(title, x=0.01, ha="left")
        image = _draw_shares(axes, share, len(names), most=100)
        drawn.colorbar(image, ax=axes, label="percent of the true class", shrink=0.85)
        axes.set(xlabel="predicted class", ylabel="true class")
        _name_classes(axes, names)
        if len(names) <= _CELLS_WITH_NUMBERS:
            for (row, column), value in np.ndenumerate(share):
                if value >= 0.5:  # noqa: PLR2004  (rounds to 0 below)
                    colour = "black" if value > 50 else "white"  # noqa: PLR2004
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)


def confusion_pairs(path: Path, cells: ConfusionEntries, names: Sequence[str], *, title: str) -> None:
    """Plot which classes were confused in training: each class's errors by class, and the most frequent pairs.

    Args:
        path: without its ending.
        cells: pairs of classes with their counts over the whole training; those on the diagonal are left out.
        names: of the classes; written out up to 30 of them.
        title: of the picture.
    """
    wrong = cells.target != cells.predicted
    errors = ConfusionEntries(*(column[wrong] for column in cells))
    share = _shares(errors, len(names))
    with figure(path, width=6.0, height=5.0, columns=2) as (drawn, (left, right)):
        drawn.suptitle(title, x=0.01, ha="left")
        image = _draw_shares(left, share, len(names), most=max(share.max(), 1))
        drawn.colorbar(image, ax=left, label="percent of the class's errors while training", shrink=0.85)
        left.set(title="Predictions of wrong images", xlabel="predicted class", ylabel="true class")
        _name_classes(left, names)
        _draw_bars(right, errors, names)


def _shares(cells: ConfusionEntries, num_classes: int) -> NDArray[np.float64]:
    """Return the cells as percent of their true class, as a matrix of at most 500 entries a side."""
    total = np.maximum(np.bincount(cells.target, weights=cells.counts, minlength=num_classes), 1)
    return reduced_shares(cells.target, cells.predicted, 100 * cells.counts / total[cells.target], num_classes)


def _draw_shares(axes: Any, share: NDArray[np.float64], num_classes: int, *, most: float) -> Any:
    """Draw a matrix of shares; its axes count classes, however many a point stands for."""
    reduced = len(share) < num_classes
    place: dict[str, Any] = {"extent": (-0.5, num_classes - 0.5, num_classes - 0.5, -0.5)} if reduced else {}
    axes.grid(visible=False)
    return axes.imshow(share, cmap="cividis", vmin=0, vmax=most, interpolation="nearest", **place)


def _draw_bars(axes: Any, errors: ConfusionEntries, names: Sequence[str]) -> None:
    cells = [at for at in np.argsort(-errors.counts, kind="stable")[:_PAIRS_AS_BARS] if errors.counts[at] > 0]
    words = [f"{names[errors.target[at]]} \u2192 {names[errors.predicted[at]]}" for at in cells]
    axes.barh(range(len(cells)), errors.counts[cells], color=BLUE, height=0.7)
    axes.set_yticks(range(len(cells)), words)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(title="Most frequent pairs", xlabel="times in training (class \u2192 predicted class)")


def _name_classes(axes: Any, names: Sequence[str]) -> None:
    if len(names) <= _NAMED_CLASSES:
        leaning: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(names)), names, **(leaning if max(map(len, names)) > 2 else {}))  # noqa: PLR2004
        axes.set_yticks(range(len(names)), names)


_STAGE = {"before": "before calibration", "after": "after calibration"}


def _marker(points: Sequence[Any], marker: str) -> str:
    return marker if len(points) == 1 else ""


def _arrows(
    axes: Any, counts: NDArray[np.float64], before: Sequence[float | None], after: Sequence[float | None]
) -> None:
    for count, old, new in zip(counts, before, after, strict=True):
        if old is not None and new is not None and old != new:
            axes.plot([count, count], [100 * old, 100 * new], color="#BBBBBB", linewidth=0.9, zorder=1)


def _name_groups(axes: Any, low: float, high: float, limits: tuple[int, int]) -> None:
    many, few = limits
    for name, start, stop in (("few", low, few), ("medium", few, many), ("many", many, high)):
        left, right = max(start, low), min(stop, high)
        if left < right:
            middle = float(np.sqrt(left * right))
            axes.text(
                middle, 1.0, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=COLOURS[name]
            )
