"""A table for a person: in columns if there is room, else one block per row.

If the columns don't fit, the least important ones give way first, in the order that each table
declares: a time loses its year, a key its middle, or a column is left out. No word is ever broken.
A program that reads a pipe gets the whole table (see `Context.table`). Numbers are aligned to the
right, and states are coloured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from shipper.cli.output.cells import Word
from shipper.cli.output.columns import Column, Header
from shipper.wording.colours import STATES, console

_COLOURED = frozenset({"state", "status"})
_GAP = 2
_LAST_COLUMN_MIN = 24
# A longer word doesn't widen its column; a UUID is shorter.
_WORD_MOST = 40
# On a narrower terminal, columns would be too narrow to read.
_TABLE_MIN = 60


Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Grid:
    """A table while it is made to fit: the remaining columns and their values."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def width(self) -> int:
        *fixed, last = (
            [cell_len(column.name), *map(cell_len, values)]
            for column, values in zip(self.columns, self._by_column(), strict=True)
        )
        return sum(map(max, fixed)) + _GAP * len(fixed) + self._least(max(last))

    def squeezed(self, at: int) -> "_Grid":
        """Return the table without a column, or with the values of that column shortened."""
        column = self.columns[at]
        if column.short is None:
            return _Grid(_without(self.columns, at), tuple(_without(r, at) for r in self.rows))
        rows = tuple((*row[:at], column.short(row[at]), *row[at + 1 :]) for row in self.rows)
        done = replace(column, gives=None)
        return _Grid((*self.columns[:at], done, *self.columns[at + 1 :]), rows)

    def next_to_give(self) -> int | None:
        """Return the index of the column that gives way next, or None."""
        able = [
            (column.gives, at)
            for at, (column, values) in enumerate(zip(self.columns, self._by_column(), strict=True))
            if column.gives is not None
            and not (column.if_quiet and any(value not in {"", "0"} for value in values))
        ]
        return min(able)[1] if able else None

    def _by_column(self) -> list[tuple[str, ...]]:
        return list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.columns)

    def _least(self, natural: int) -> int:
        """Return the least width of the last column, which is folded between words."""
        words = (min(cell_len(word), _WORD_MOST) for row in self.rows for word in row[-1].split())
        return min(natural, max(_LAST_COLUMN_MIN, *words, 0))


def print_table(header: Header, rows: Rows, on: Console | None = None) -> None:
    """Print rows of printable texts; the last column gets the remaining width, and is folded."""
    on = on or console()
    drawn = laid_out(header, rows, on.width)
    # In blocks, a word that is wider than the terminal isn't broken here: the terminal wraps it,
    # and it can still be copied.
    on.print(drawn, soft_wrap=isinstance(drawn, Group))


def laid_out(header: Header, rows: Rows, width: int) -> RenderableType:
    """Return the drawing of rows of printable texts within a width."""
    columns = tuple(Column(one) if isinstance(one, str) else one for one in header)
    grid = _Grid(columns, tuple(map(tuple, rows)))
    fitting = _fitting(grid, width)
    if fitting is None:
        return Group(*_blocks(grid, width))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    *fixed, last = fitting.columns
    for at, column in enumerate(fixed):
        numbers = all(row[at].replace(",", "").isdigit() for row in fitting.rows)
        table.add_column(Text(column.name), no_wrap=True, justify="right" if numbers else "left")
    table.add_column(Text(last.name), overflow="fold")
    names = [column.name for column in fitting.columns]
    for row in fitting.rows:
        table.add_row(*map(_value, names, row))
    return table


def _fitting(grid: _Grid, width: int) -> _Grid | None:
    """Return the table made to fit, or None if that isn't possible."""
    if width < _TABLE_MIN:
        return None
    while grid.width() > width:
        at = grid.next_to_give()
        if at is None:
            return None
        grid = grid.squeezed(at)
    return grid


def _blocks(grid: _Grid, width: int) -> Iterator[Text]:
    names = [column.name for column in grid.columns]
    widest = max(map(cell_len, names)) + _GAP
    for row in grid.rows:
        for name, value in zip(names, row, strict=True):
            if not value:
                continue
            yield Text.assemble((f"{name:<{widest}}", "bold"), _folded(name, value, widest, width))
        yield Text()


def _folded(name: str, value: str, beside: int, width: int) -> Text:
    """Return a value folded into lines that begin in the same column."""
    room = max(width - beside, _LAST_COLUMN_MIN)
    lines = wrap(value, room, break_long_words=False, break_on_hyphens=False) or [value]
    return Text(f"\n{'':{beside}}".join(lines), _style(name, value))


def _value(name: str, value: str) -> Text:
    return Text(value, _style(name, value))


def _style(name: str, value: str) -> str:
    if isinstance(value, Word):
        return value.colour
    return STATES.get(value, "") if name in _COLOURED else ""


T = TypeVar("T")


def _without(values: tuple[T, ...], at: int) -> tuple[T, ...]:
    return (*values[:at], *values[at + 1 :])
