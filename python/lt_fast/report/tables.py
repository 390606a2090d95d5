"""Tables as aligned text and as Markdown, and the numbers in them: percent, or percent with its interval."""

from collections.abc import Sequence

NOTHING = "-"
"""Shown instead of a missing number: a group without classes, an interval from one seed."""

_MINUS_WIDTH = 2


def percent(fraction: float | None, half_width: float | None = None) -> str:
    """Return ``0.8333`` as ``"83.3"``, with a half width as ``"83.3 ± 0.4"``; None as ``"-"``."""
    if fraction is None:
        return NOTHING
    interval = f" ± {100 * half_width:.1f}" if half_width is not None else ""
    return f"{100 * fraction:.1f}{interval}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return rows under a header, the first ``left`` columns flush left and the others flush right.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    widths = _widths(header, rows)
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(header, widths, left), rule, *(_line(row, widths, left) for row in rows)]
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same as a Markdown table; ``|`` in a cell is escaped.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(width, _MINUS_WIDTH) for width in _widths(escaped[0], escaped[1:])]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {_line(row, widths, 1, ' | ')} |" for row in (escaped[0], rule, *escaped[1:]))


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"rows must have one cell a column ({len(header)}), got {len(row)}: {list(row)}")
    return [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]


def _line(cells: Sequence[str], widths: Sequence[int], left: int, between: str = "  ") -> str:
    placed = [
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return between.join(placed).rstrip()
