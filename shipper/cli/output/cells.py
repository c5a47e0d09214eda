"""The cells of a table: how a value reads for a person, and for a program.

It decides that a person gets commas between thousands, and a program the plain value. Every text is
printable here; it must never decide where a table goes.
"""

from shipper.wording.quantities import count
from shipper.wording.safe_text import printable


class Word(str):
    """A printable word in a table with its own colour on a terminal; "" for no colour."""

    __slots__ = ("colour",)
    colour: str

    @classmethod
    def of(cls, text: str, colour: str) -> "Word":
        """Return the word."""
        word = cls(printable(text))
        word.colour = colour
        return word


def cell(value: object) -> str:
    """Return a value as a program gets it in a table."""
    if isinstance(value, Word):
        return value
    return "" if value is None else printable(str(value))


def shown(value: object) -> str:
    """Return a value as a person gets it in a table: an int with commas between its thousands."""
    return count(value) if type(value) is int else cell(value)
