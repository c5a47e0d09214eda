"""What each colour means, and whether a stream gets colours: decided here for every command.

The colours are the terminal's own sixteen (ISO 6429), so that they suit its background. A colour
must never be the only sign of something. rich is imported only for drawing: `events show` is faster
without it.
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

# The states of a destination and the statuses of an event.
STATES: Final[Mapping[str, str]] = {
    "ready": GOOD, "delivered": GOOD,
    "ramping": WAITING, "offline": WAITING, "throttled": WAITING, "held": WAITING,
    "pending": WAITING,
    "paused": BAD, "dead": BAD,
}  # fmt: skip

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream gets colours.

    NO_COLOR (no-color.org) wins over FORCE_COLOR and CLICOLOR_FORCE (bixense.com/clicolors). An
    empty variable counts as unset; a value of 0 forces nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("TERM") == "dumb" or environ.get("CLICOLOR") == "0":
        return False
    return stream.isatty()


def ascii_only(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream (stdout) gets only ASCII.

    So does a stream whose encoding isn't UTF-8. So does one in the locale C or POSIX: Python would
    write UTF-8 there (PEP 540), but the locale says that the terminal can't show it.
    """
    encoding = ((stream or sys.stdout).encoding or "").lower().replace("-", "")
    named = next(filter(None, map(environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    return encoding != "utf8" or named in {"C", "POSIX"}


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return a text in a style (named as rich does), if the stream (stdout) gets colours."""
    if not style or not text or not coloured(stream or sys.stdout):
        return text
    codes = ";".join(_CODES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def console(stream: TextIO | None = None, width: int | None = None) -> "Console":
    """Return rich's console for a stream (stdout), with its width and the colours that it gets."""
    from rich.console import Console  # noqa: PLC0415 - only drawing needs rich

    on = stream or sys.stdout
    # Width and colours are passed, because rich reads the environment in another way: with
    # TERM=dumb it takes every terminal for 80 columns wide, and with NO_COLOR it still writes bold.
    return Console(
        file=on,
        highlight=False,
        color_system="standard" if coloured(on) else None,
        width=width or terminal_size(on).columns,
    )


def terminal_size(stream: TextIO | None = None) -> os.terminal_size:
    """Return the size of a stream's terminal (stdout's): 80 by 24 if it is unknown.

    $COLUMNS and $LINES win, as in other programs.
    """
    try:
        columns, lines = os.get_terminal_size((stream or sys.stdout).fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    return os.terminal_size(
        (_from_environment("COLUMNS") or columns or 80, _from_environment("LINES") or lines or 24)
    )


def _from_environment(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0
