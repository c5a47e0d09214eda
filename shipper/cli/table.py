"""A table for a person: columns where they fit, one block a row where the terminal is too narrow.

Nothing is cut off: what a person sees must be what can be copied.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2
_LAST_COLUMN_MIN = 24


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> None:
    """Print rows of printable texts to stdout; the last column takes what is left, and folds."""
    console = console or Console(highlight=False)
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    fixed = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    if fixed + min(widths[-1], _LAST_COLUMN_MIN) > console.width:
        _print_blocks(console, header, rows)
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in header[:-1]:
        table.add_column(Text(name), no_wrap=True)
    table.add_column(Text(header[-1]), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_blocks(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widest = max(map(cell_len, header))
    for row in rows:
        for name, value in zip(header, row, strict=True):
            label = Text(f"{name:<{widest}}  ", style="bold")
            console.print(label + Text(value), soft_wrap=True)
        console.print()
