"""A table for a person: columns where they fit, one block a row where the terminal is too narrow.

Nothing is cut off: what a person sees must be what can be copied. Numbers stand under each other,
and a word that says how something is has its colour.
"""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from shipper.cli.context import Word

# How a destination, or an event, is.
COLOURS = {
    "ready": "green", "delivered": "green", "ramping": "yellow", "offline": "yellow",
    "throttled": "yellow", "held": "yellow", "pending": "yellow", "paused": "bold red",
    "dead": "bold red",
}  # fmt: skip
_COLOURED = frozenset({"state", "status"})
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
    for name, column in zip(header[:-1], zip(*rows, strict=True), strict=False):
        numbers = all(value.isdigit() for value in column)
        table.add_column(Text(name), no_wrap=True, justify="right" if numbers else "left")
    table.add_column(Text(header[-1]), overflow="fold")
    for row in rows:
        table.add_row(*map(_value, header, row))
    return table


def _fits(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    fixed = sum(widths[:-1]) + _GAP * (len(widths) - 1)
    return fixed + min(widths[-1], _LAST_COLUMN_MIN) <= width


def _blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    widest = max(map(cell_len, header))
    for row in rows:
        for name, value in zip(header, row, strict=True):
            if not value:
                continue
            yield Text.assemble((f"{name:<{widest}}  ", "bold"), _value(name, value))
        yield Text()


def _value(name: str, value: str) -> Text:
    if isinstance(value, Word):
        return Text(value, value.colour)
    return Text(value, COLOURS.get(value, "") if name in _COLOURED else "")
