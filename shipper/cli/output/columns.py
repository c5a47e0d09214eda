"""The columns of a table, and how each gives way if there is too little room.

A command declares them whether or not it draws a table: a program that reads a pipe gets the names
alone. So this module must never import what draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shipper.wording.colours import ascii_only


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and how it gives way: as the `gives`-th, shortened by `short`, or left out.

    A column without `gives` always stays. With `if_quiet` it is left out only if every value is
    empty or 0.
    """

    name: str
    gives: int | None = None
    short: Callable[[str], str] | None = None
    if_quiet: bool = False

    def __str__(self) -> str:
        """Return the column's name."""
        return self.name


def without_year(moment: str) -> str:
    """Return an ISO time to the second, without its year: `11-27 04:05:06`."""
    return moment[5:19].replace("T", " ")


def middle(characters: int) -> Callable[[str], str]:
    """Return a function that shortens a text to so many characters, with an ellipsis inside."""
    mark = ".." if ascii_only() else "…"
    head = (characters - len(mark) + 1) // 2
    tail = characters - len(mark) - head

    def cut(text: str) -> str:
        return text if len(text) <= characters else f"{text[:head]}{mark}{text[-tail:]}"

    return cut


Header = Sequence[str | Column]
