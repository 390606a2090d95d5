"""Figures that are drawn from the predictions of runs, or by themselves, as targets."""

from lt_fast.reproduction.figures import FIGURES, Figure
from lt_fast.reproduction.target import Target, rows_of


def _target(figure: Figure) -> Target:
    rows = rows_of(*figure.tables)
    return Target(figure.name, figure.title, figure.paper, rows, lost=figure.lost, draw=figure.draw)


TARGETS = tuple(map(_target, FIGURES.values()))
