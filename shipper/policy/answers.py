"""What a destination's `answers` say about a status: they stand over the table of `outcome`. Pure.

It must never let a status mean two things, or let an answer about credentials, a limit, an outage
or a login page settle an event: every event that waits would be lost, as delivered or as dead.
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
_CREDENTIALS_OR_LIMIT: Final = frozenset({401, 407, 429})
# 503: an outage. 511 and a redirect: also what a captive portal answers, without a web page too.
_CANT_BE: Final[Mapping[str, tuple[frozenset[int], str]]] = {
    "accepted": (
        _CREDENTIALS_OR_LIMIT | {*range(300, 400), 503, 511},
        "it never says that the event has arrived",
    ),
    "refused": (_CREDENTIALS_OR_LIMIT, "it is never the fault of one event"),
}


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
        never, why = _CANT_BE.get(name, (frozenset(), ""))
        # A status can be twice in one list: as itself and as one of its class.
        for code in sorted({code for entry in entries for code in codes(entry)}):
            if code in found:
                raise ValueError(
                    f"{code} is in {found[code]} and in {name}: take it out of one of them"
                )
            if code in never:
                raise ValueError(
                    f"{code} can't be in {name}, also not as one of a class: take it out, {why}"
                )
            found[code] = name
    return {code: KINDS[name] for code, name in found.items()}
