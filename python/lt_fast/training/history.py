"""What happened in each epoch, as rows, and ``metrics.csv`` to and from them."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from lt_fast._files import MOST_JSON_BYTES, read_bytes
from lt_fast.errors import DataError

Row: TypeAlias = dict[str, float | None]
OWN_COLUMNS = ("epoch", "learning_rate", "train_loss", "seconds")


class History:
    """One row per epoch: ``epoch`` (epochs done), ``learning_rate``, ``train_loss``, ``seconds``, what was measured.

    ``train_loss`` is the mean over the epoch's samples, ``learning_rate`` that of its last step, ``seconds`` its wall
    time without the evaluation.

    >>> history = History([{"epoch": 1, "train_loss": 2.5}, {"epoch": 2, "train_loss": 1.5, "top1": 0.5}])
    >>> history.columns, history.column("top1")
    (('epoch', 'train_loss', 'top1'), [None, 0.5])
    """

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = [dict(row) for row in rows]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every name that a row has, in the order of first appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> list[float | None]:
        """Return one value per epoch, None where it was not measured.

        Raises:
            KeyError: if no row has the name.
        """
        if name not in self.columns:
            raise KeyError(f"history has no column {name!r}; it has {', '.join(self.columns) or 'no rows yet'}")
        return [row.get(name) for row in self.rows]

    def to_csv(self) -> str:
        """Return the rows as CSV text with a header; floats in full, an empty cell for None.

        >>> history = History([{"epoch": 1, "train_loss": 2.5}, {"epoch": 2, "train_loss": 1.5, "top1": 0.5}])
        >>> print(history.to_csv(), end="")
        epoch,train_loss,top1
        1,2.5,
        2,1.5,0.5
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @classmethod
    def from_csv(cls, path: str | Path) -> "History":
        """Read a ``metrics.csv``.

        Raises:
            DataError: if the file is missing or holds something other than numbers.
        """
        data = read_bytes(Path(path), most=MOST_JSON_BYTES)
        try:
            names, *lines = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
            rows = [_row(names, cells) for cells in lines]
        except (ValueError, csv.Error) as error:
            raise DataError(f"{path} is damaged: {error}; resuming the run writes it again") from error
        return cls(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.columns)})"


def _row(names: Sequence[str], cells: Sequence[str]) -> Row:
    row = dict(zip(names, map(_number, cells), strict=True))
    if len(row) != len(names):
        raise ValueError(f"a column comes twice in {', '.join(names)}")
    return row


def _number(cell: str) -> float | None:
    if not cell:
        return None
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)
