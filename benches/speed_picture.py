"""The picture of README: an index of class-balanced batches, and a mixed loss with its gradient, beside other code.

Drawn by ``python -m benches summary`` from the CSV files of ``sampling`` and ``mixed_margin_loss``, which measure.
Bars are on a linear axis, so that a bar of twice the length is twice the time.
"""

from pathlib import Path
from typing import NamedTuple

from benches.harness import DOCS, read_csv
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NAME = "speed.png"
COUNTS, SHAPE = "imagenet-lt", "256x1000"
SAMPLERS = {
    "lt-fast replace": "lt-fast",
    "NumPy two-level": "NumPy, two draws",
    "WeightedRandomSampler + BatchSampler": "WeightedRandomSampler",
    "torchsampler": "torchsampler",
    "ClassAwareSampler": "ClassAwareSampler",
}
LOSSES = {
    "fused": "lt-fast",
    "cross_entropy": "one plain F.cross_entropy",
    "gather compiled": "torch.compile, the best",
    "gather": "eager, the best by hand",
    "eager": "eager, as usually written",
}


class Bars(NamedTuple):
    """One panel: what is measured, in which unit, and the time of each code, ours first."""

    title: str
    unit: str
    times: dict[str, float]


def bars() -> tuple[Bars, Bars]:
    """Return both panels, as measured."""
    _, draws = read_csv("sampling.csv")
    ours = [
        row
        for row in draws
        if (row["counts"], row["draw"], row["output"]) == (COUNTS, "class-balanced", "list batches")
    ]
    per_index = {row["sampler"]: float(row["ns per index"]) for row in ours}
    _, losses = read_csv("mixed_margin_loss.csv")
    us = {row["code"]: float(row["us"]) for row in losses if (row["shape"], row["threads"]) == (SHAPE, "1")}
    return (
        Bars("Class-balanced batches of ImageNet-LT, lists of 128", "ns per index", _named(SAMPLERS, per_index)),
        Bars("Mixed LDAM loss with its gradient, 256 x 1000, one CPU thread", "us", _named(LOSSES, us)),
    )


def words() -> str:
    """Return what the picture shows in one sentence, for those who cannot see it."""
    return "; ".join(
        f"{panel.title}, {panel.unit}: " + ", ".join(f"{name} {_shown(time)}" for name, time in panel.times.items())
        for panel in bars()
    )


def draw(target: Path = DOCS / NAME) -> None:
    """Draw both panels side by side."""
    figure = Figure(figsize=(12, 2.6))
    for axes, panel in zip(figure.subplots(1, 2), bars(), strict=True):
        _draw(axes, panel)
    figure.subplots_adjust(left=0.15, right=0.995, top=0.88, bottom=0.03, wspace=0.48)
    figure.savefig(target, dpi=110)


def _draw(axes: Axes, panel: Bars) -> None:
    mine = next(iter(panel.times.values()))
    colours = ["tab:blue", *["0.7"] * (len(panel.times) - 1)]
    drawn = axes.barh(list(panel.times), list(panel.times.values()), color=colours)
    unit = panel.unit.partition(" ")[0]
    labels = [
        f"{_shown(time)} {unit}" + f"  ({_shown(time / mine)} x)" * (time != mine) for time in panel.times.values()
    ]
    axes.bar_label(drawn, labels, padding=4, fontsize=9)
    axes.set_title(f"{panel.title}: {panel.unit}", fontsize=10, loc="left", x=-0.4)
    axes.set_xlim(0, 1.5 * max(panel.times.values()))
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=9)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _named(names: dict[str, str], times: dict[str, float]) -> dict[str, float]:
    """Return the times in the order of ``names``, without rivals that were not measured."""
    return {shown: times[name] for name, shown in names.items() if name in times}


def _shown(time: float) -> str:
    return f"{time:,.1f}" if time < 100 else f"{time:,.0f}"
