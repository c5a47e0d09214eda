"""What a destination's `answers` say about a status: they stand over the table of `outcome`. Pure.

It must never let a status mean two things, or let an answer about credentials or a limit refuse an
event: every event that waits would be lost as a dead letter.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from shipper.policy.outcome import Answers, Kind

FIRST: Final = 200
LAST: Final = 599

KINDS: Final[Mapping[str, Kind]] = {
    "accepted": Kind.ACCEPTED,
    "refused": Kind.REFUSED,
    "throttled": Kind.THROTTLED,
    "paused": Kind.MISCONFIGURED,
    "retried": Kind.TRANSIENT,
}
"""The names of the lists in the configuration."""

_CLASS: Final = re.compile(r"[2-5]xx")
_NEVER_THE_EVENTS: Final = frozenset({401, 407, 429})


def codes(entry: object) -> range:
    """Return the codes of an entry: a number from 200 to 599, or a class like "5xx".

    Raises ValueError for anything else.
    """
    if isinstance(entry, str) and _CLASS.fullmatch(entry):
        first = 100 * int(entry[0])
        return range(first, first + 100)
    if isinstance(entry, int) and not isinstance(entry, bool) and FIRST <= entry <= LAST:
        return range(entry, entry + 1)
    raise ValueError(entry)


def answers_of(lists: Mapping[str, Iterable[object]]) -> Answers:
    """Return what each status means, from the lists of the configuration by their names.

    Raises ValueError for a status in two lists, and for one that can't mean what its list says.
    """
    found: dict[int, str] = {}
    for name, entries in lists.items():
        # A status can be twice in one list: as itself and as one of its class.
        for code in sorted({code for entry in entries for code in codes(entry)}):
            if code in found:
                raise ValueError(
                    f"{code} is in {found[code]} and in {name}: take it out of one of them"
                )
            if name == "refused" and code in _NEVER_THE_EVENTS:
                raise ValueError(
                    f"{code} can't be in refused, also not as one of a class: it is never the"
                    " fault of one event"
                )
            found[code] = name
    return {code: KINDS[name] for code, name in found.items()}
