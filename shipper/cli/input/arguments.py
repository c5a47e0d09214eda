"""The arguments and options that several commands share, and how each is read.

It decides what a text on the command line means: a duration, a time, a number. It must never ask
the database or read the configuration.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter, Token, validators

from shipper.clock import SystemClock, parse_iso
from shipper.config.types import Seconds
from shipper.wording.quantities import UNITS
from shipper.wording.safe_text import printable

_CENTURY: Final = 100 * 366 * UNITS["d"]
_DURATION: Final = Seconds(0.0, _CENTURY)

StatusName = Literal["pending", "delivered", "dead", "discarded"]


def _seconds(_hint: object, tokens: Sequence[Token]) -> float | None:
    return _DURATION.parse(tokens[0].value, Path())


def _moment(_hint: object, tokens: Sequence[Token]) -> float:
    """Return a time in seconds since 1970: of an ISO time, or of a duration before now."""
    text = tokens[0].value
    try:
        return SystemClock().wall() - (_DURATION.parse(text, Path()) or 0.0)
    except ValueError:
        pass
    try:
        return parse_iso(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{printable(text)} is neither a duration like 2h nor a time like 2026-11-23T08:15"
        ) from None


Duration = Annotated[float | None, Parameter(converter=_seconds, n_tokens=1, metavar="D")]
"""An option like `--timeout 5m`: seconds, or None without it."""

LIMIT: Final = validators.Number(gte=1, lte=2**31 - 1)
"""How many rows a list can be limited to."""

Ident = Annotated[
    str,
    Parameter(
        name="ID",
        help="The id or the event id. Digits alone are an id; event_id:4711 is the event id 4711.",
    ),
]
Idents = Annotated[
    str,
    Parameter(
        name="ID",
        help="Ids or event ids. - reads them from stdin, one per line. ALL selects every event that"
        " matches the filters.",
    ),
]
Key = Annotated[str | None, Parameter(help="Only events with this ordering key.")]
Destination = Annotated[str | None, Parameter(help="Only events for this destination.")]
Cause = Annotated[
    str | None,
    Parameter(
        help="Only events with this cause: the word that their last error begins with, like"
        " http-422."
    ),
]
Since = Annotated[
    float | None,
    Parameter(
        converter=_moment,
        n_tokens=1,
        metavar="TIME",
        help="Only events written at this time or later: a duration before now, like 2h, or a time"
        " in UTC, like 2026-11-23T08:15.",
    ),
]
Until = Annotated[
    float | None,
    Parameter(
        converter=_moment,
        n_tokens=1,
        metavar="TIME",
        help="Only events written at this time or earlier, in the same form as --since.",
    ),
]
Yes = Annotated[
    bool,
    Parameter(
        help="Don't ask for confirmation; without a terminal, ALL needs it.", show_default=False
    ),
]
