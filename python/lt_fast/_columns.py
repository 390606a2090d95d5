"""``Columns``: rows that come batch by batch, kept in a few tensors that grow."""

from collections.abc import Iterable

from torch import Tensor


class Columns:
    """Tensors of one number of rows, one batch below the other.

    A list of batches, joined at the end, takes twice the memory. Its small tensors also come to lie between the large
    ones of a pass, so that memory freed in the meantime fits nothing of the next batch: it grows with every batch.

    Args:
        rows: as many as are expected; of more, the tensors grow by half.
    """

    def __init__(self, rows: int = 0) -> None:
        self._room, self._columns = rows, list[Tensor]()
        self._rows = 0

    def __len__(self) -> int:
        """Return the number of rows so far."""
        return self._rows

    def add(self, batch: Iterable[Tensor]) -> None:
        """Copy a batch behind the rows that are here; dtypes, devices and widths are those of the first one."""
        parts = list(batch)
        end = self._rows + len(parts[0])
        if not self._columns:
            self._room = max(self._room, end)
            self._columns = [part.new_empty((self._room, *part.shape[1:])) for part in parts]
        if end > self._room:
            self._grow(max(end, self._room + self._room // 2))
        for column, part in zip(self._columns, parts, strict=True):
            column[self._rows : end] = part
        self._rows = end

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the columns, without a copy where there were as many rows as expected."""
        return tuple(column if len(column) == self._rows else column[: self._rows].clone() for column in self._columns)

    def _grow(self, room: int) -> None:
        for at, column in enumerate(self._columns):  # one after the other: both of a column are there at once
            grown = column.new_empty((room, *column.shape[1:]))
            grown[: self._rows] = column[: self._rows]
            self._columns[at] = grown
        self._room = room
