"""Which events a command is about: named by id, or ALL that the filters fit.

What is named is meant, so nobody is asked about it; ALL, and what comes through a pipe, was not
read by anybody yet. All that are named, or none; and filters that nothing fits are a finding, with
what there would be.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.errors import NotFound, UsageError
from shipper.store.db.selection import Selection
from shipper.store.operate.preview import SAMPLES
from shipper.store.report.dead_letters import dead_groups
from shipper.store.report.events import EventReport, find, locate
from shipper.wording.safe_text import printable

if TYPE_CHECKING:
    from shipper.store.db.opening import Database

ALL = "ALL"
_STDIN = "-"

Status = Literal["pending", "delivered", "dead", "discarded"]

Idents = Annotated[
    str,
    Parameter(
        name="ID",
        help="Ids or event ids; - reads them from stdin, one per line; ALL is all that fit.",
    ),
]
Cause = Annotated[
    str | None,
    Parameter(help="Only those that died of this: the word that their last error begins with."),
]
Destination = Annotated[str | None, Parameter(help="Only those that go there.")]
Yes = Annotated[
    bool,
    Parameter(help="Don't ask; ALL needs it where there is no terminal.", show_default=False),
]


def is_read(idents: Sequence[str]) -> bool:
    """Return whether whoever gives the command has named every event themselves."""
    return ALL not in idents and _STDIN not in idents


def refuse_ambiguous(idents: Sequence[str], filters: Selection) -> None:
    """Return only where it is clear which ones are meant; raises UsageError."""
    if not idents:
        raise UsageError("which ones? No event is named", "name them by id, or say ALL")
    if ALL in idents and len(idents) > 1:
        raise UsageError("ALL stands alone; the event with that id is event_id:ALL")
    if filters != Selection() and ALL not in idents:
        raise UsageError("filters choose among ALL, not among the ids that are named")


def chosen(
    engine: "Database", idents: Sequence[str], filters: Selection, statuses: tuple[Status, ...]
) -> Selection:
    """Return what is meant; raises NotFound if an event that is named isn't of these statuses."""
    if tuple(idents) == (ALL,):
        return filters
    read = _read(idents)
    if not read:
        raise UsageError("no event is named", "stdin has no id")
    found = locate(engine, read)
    ids = tuple(sorted({row for row in found.values() if row is not None}))
    events = {event.id: event for event in find(engine, Selection(ids=ids), limit=len(ids))}
    wrong = {
        printable(ident): "there is no such event" if row is None else f"is {events[row].status}"
        for ident, row in found.items()
        if row is None or events[row].status not in statuses
    }
    if wrong:
        reasons = "; ".join(f"{ident}: {reason}" for ident, reason in [*wrong.items()][:SAMPLES])
        hint = "all of them are ALL, in capitals" if read[0].upper() == ALL else reasons
        some = ", ".join([*wrong][:SAMPLES]) + (", ..." if len(wrong) > SAMPLES else "")
        raise NotFound(f"not among the {_kind(statuses)}: {some}; nothing was changed", hint)
    return Selection(ids=ids)


def events_of(engine: "Database", ids: Sequence[int]) -> list[EventReport]:
    """Return the events of these ids."""
    return find(engine, Selection(ids=tuple(ids)), limit=len(ids))


def no_match(
    engine: "Database", context: Context, filters: Selection, statuses: tuple[Status, ...] = ()
) -> NotFound:
    """Return what to say where nothing matches: which filters, and what there would be."""
    given = {
        "--status": filters.status, "--key": filters.key, "--cause": filters.cause,
        "--destination": filters.destination,
    }  # fmt: skip
    words = [f"{name} {printable(value)}" for name, value in given.items() if value is not None]
    words += ["--since"] * (filters.since is not None) + ["--until"] * (filters.until is not None)
    of = f" ({', '.join(words)})" if words else ""
    return NotFound(f"no {_kind(statuses, 1)} matches{of}", _hint(engine, context, filters))


def _hint(engine: "Database", context: Context, filters: Selection) -> str | None:
    if filters.cause is not None:
        causes: dict[str, int] = {}
        for group in dead_groups(engine, Selection()):
            causes[group.cause] = causes.get(group.cause, 0) + group.count
        return _there_are(filters.cause, causes)
    if filters.destination is not None:
        names = context.settings().destinations
        if filters.destination not in names:
            return f"the configuration has: {', '.join(nearest(filters.destination, names))}"
    return None


def _there_are(cause: str, causes: dict[str, int]) -> str | None:
    if not causes:
        return "there is no dead letter at all"
    if cause in causes:
        return None
    near = get_close_matches(cause, causes, n=1)
    told = ", ".join(f"{printable(name)} ({count:,})" for name, count in _most(causes))
    asked = f"did you mean {near[0]}? " if near else ""
    return f"{asked}there are: {told}"


def _most(causes: dict[str, int]) -> Iterable[tuple[str, int]]:
    ordered = sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    return ordered[:10]


def nearest(name: str, names: Collection[str]) -> list[str]:
    """Return the name that somebody may have meant, or all of them."""
    return get_close_matches(name, names, n=1) or sorted(names)


def _read(idents: Sequence[str]) -> list[str]:
    """Return the ids with `-` replaced by what stdin has, one per line."""
    read: list[str] = []
    for ident in idents:
        if ident == _STDIN:
            read += (line.strip() for line in sys.stdin if line.strip())
        else:
            read.append(ident)
    return read


def _kind(statuses: tuple[Status, ...], count: int = 2) -> str:
    """Return what events of these statuses are called."""
    s = "s" if count != 1 else ""
    if tuple(statuses) == ("dead",):
        return f"dead letter{s}"
    return " ".join(filter(None, [" or ".join(statuses), f"event{s}"]))
