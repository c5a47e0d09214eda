"""Which colour says what, and whether there are colours at all: decided here for every command.

Colours are the terminal's own sixteen (ISO 6429), so that they suit its background. Nothing may be
told by a colour alone. rich isn't imported here: `events show` shall not wait for it.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

GOOD: Final = "green"
WAITING: Final = "yellow"
BAD: Final = "bold red"

# How a destination, or an event, is.
STATES: Final[Mapping[str, str]] = {
    "ready": GOOD, "delivered": GOOD,
    "ramping": WAITING, "offline": WAITING, "throttled": WAITING, "held": WAITING,
    "pending": WAITING,
    "paused": BAD, "dead": BAD,
}  # fmt: skip

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream gets colours.

    NO_COLOR (no-color.org) goes before FORCE_COLOR and CLICOLOR_FORCE (bixense.com/clicolors); a
    variable that is empty counts as unset, and a force of 0 is none.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("TERM") == "dumb" or environ.get("CLICOLOR") == "0":
        return False
    return stream.isatty()


def ascii_only(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream (stdout) takes nothing but ASCII.

    By its encoding, or because the locale is C by name: Python writes UTF-8 all the same then
    (PEP 540), but somebody has said that the terminal shows none.
    """
    encoding = ((stream or sys.stdout).encoding or "").lower().replace("-", "")
    named = next(filter(None, map(environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    return encoding != "utf8" or named in {"C", "POSIX"}


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return a text with a style, as rich names them, for a stream (stdout) that gets colours."""
    if not style or not text or not coloured(stream or sys.stdout):
        return text
    codes = ";".join(_CODES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def console(stream: TextIO | None = None, width: int | None = None) -> "Console":
    """Return rich's console on a stream (stdout): as wide as it is, coloured if it gets colours."""
    from rich.console import Console  # noqa: PLC0415 - only who draws needs rich

    on = stream or sys.stdout
    # What rich would ask the environment itself it answers in its own way: with TERM=dumb a
    # terminal of any width is 80 columns to it, and NO_COLOR leaves what is bold.
    return Console(
        file=on,
        highlight=False,
        color_system="standard" if coloured(on) else None,
        width=width or terminal_size(on).columns,
    )


def terminal_size(stream: TextIO | None = None) -> os.terminal_size:
    """Return the size of a stream's terminal (stdout's); without one, or of none, it is 80 by 24.

    $COLUMNS and $LINES go before, as everywhere.
    """
    try:
        columns, lines = os.get_terminal_size((stream or sys.stdout).fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    return os.terminal_size((_given("COLUMNS") or columns or 80, _given("LINES") or lines or 24))


def _given(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0
