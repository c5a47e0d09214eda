"""A table for a person: columns where they fit, one block a row where the terminal is too narrow.

Nothing is cut off: what a person sees must be what can be copied.
"""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

_GAP = 2
_LAST_COLUMN_MIN = 24


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> None:
    """Print rows of printable texts to stdout; the last column takes what is left, and folds."""
    console = console or Console(highlight=False)
    # In blocks a value is never broken, wherever the terminal ends.
    console.print(
        laid_out(header, rows, console.width), soft_wrap=not _fits(header, rows, console.width)
    )


def laid_out(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> RenderableType:
    """Return rows of printable texts as they are shown within a width."""
    if not _fits(header, rows, width):
        return Group(*_blocks(header, rows))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name in header[:-1]:
        table.add_column(Text(name), no_wrap=True)
    table.add_column(Text(header[-1]), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _fits(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    fixed = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    return fixed + min(widths[-1], _LAST_COLUMN_MIN) <= width


def _blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    widest = max(map(cell_len, header))
    for row in rows:
        for name, value in zip(header, row, strict=True):
            yield Text(f"{name:<{widest}}  ", style="bold") + Text(value)
        yield Text()
