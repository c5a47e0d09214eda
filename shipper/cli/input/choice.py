"""Which events a command is about: the ids that the operator names, or ALL with filters.

An event that the operator names is meant, so the command doesn't ask about it. It asks before ALL,
and before ids from a pipe, because the operator may not have read those. Ids are all or nothing: if
one of them doesn't fit, nothing is changed. Where filters match nothing, the message says what they
could match.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from shipper.cli.input.arguments import StatusName
from shipper.cli.output.context import Context
from shipper.errors import NotFound, UsageError
from shipper.store.db.selection import Selection
from shipper.store.operate.preview import SAMPLES
from shipper.store.report.dead_letters import dead_groups
from shipper.store.report.events import EventReport, find, locate
from shipper.wording.quantities import plural
from shipper.wording.safe_text import printable

if TYPE_CHECKING:
    from shipper.store.db.opening import Database

ALL = "ALL"
_STDIN = "-"
_CAUSES_MOST = 10


def is_read(idents: Sequence[str]) -> bool:
    """Return whether the operator has typed the id of every event."""
    return ALL not in idents and _STDIN not in idents


def refuse_ambiguous(idents: Sequence[str], filters: Selection) -> None:
    """Raise UsageError unless it is clear which events are meant."""
    if not idents:
        raise UsageError("no event is named", "name events by id, or use ALL")
    if ALL in idents and len(idents) > 1:
        raise UsageError("ALL can't be combined with ids", "the event with that id is event_id:ALL")
    if filters != Selection() and ALL not in idents:
        raise UsageError("filters need ALL; they can't be combined with ids")


def chosen(
    engine: "Database", idents: Sequence[str], filters: Selection, statuses: tuple[StatusName, ...]
) -> Selection:
    """Return the selected events; raises NotFound if a named event doesn't have these statuses."""
    if tuple(idents) == (ALL,):
        return filters
    read = _read(idents)
    if not read:
        raise UsageError("no event is named", "stdin contains no id")
    found = locate(engine, read)
    ids = tuple(sorted({row for row in found.values() if row is not None}))
    events = {event.id: event for event in events_of(engine, ids)}
    wrong = {
        printable(ident): "doesn't exist" if row is None else f"is {events[row].status}"
        for ident, row in found.items()
        if row is None or events[row].status not in statuses
    }
    if wrong:
        reasons = "; ".join(
            f"event {ident} {reason}" for ident, reason in [*wrong.items()][:SAMPLES]
        )
        hint = "to select all of them, write ALL in capitals" if read[0].upper() == ALL else reasons
        raise NotFound(f"not among the {_kind(statuses)}: {some(wrong)}; nothing was changed", hint)
    return Selection(ids=ids)


def some(names: Collection[object], total: int | None = None, most: int = SAMPLES) -> str:
    """Return the first of some names or ids, and an ellipsis if there are more (of `total`)."""
    more = ", ..." if (len(names) if total is None else total) > most else ""
    return ", ".join([str(name) for name in names][:most]) + more


def events_of(engine: "Database", ids: Sequence[int]) -> list[EventReport]:
    """Return the events with these ids."""
    return find(engine, Selection(ids=tuple(ids)), limit=len(ids))


def no_match(
    engine: "Database", context: Context, filters: Selection, statuses: tuple[StatusName, ...] = ()
) -> NotFound:
    """Return the error for filters that match nothing: it names them, and what there is instead."""
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
            return f"the configuration has: {', '.join(_nearest(filters.destination, names))}"
    return None


def _there_are(cause: str, causes: dict[str, int]) -> str | None:
    if not causes:
        return "there are no dead letters"
    if cause in causes:
        return None
    near = get_close_matches(cause, causes, n=1)
    listed = ", ".join(f"{printable(name)} ({count:,})" for name, count in _most(causes))
    asked = f"did you mean {near[0]}? " if near else ""
    return f"{asked}the causes are: {listed}"


def _most(causes: dict[str, int]) -> Iterable[tuple[str, int]]:
    ordered = sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    return ordered[:_CAUSES_MOST]


def unknown_destination(name: str, configured: Collection[str]) -> UsageError:
    """Return the error for a destination that the configuration doesn't have."""
    near = ", ".join(_nearest(name, configured))
    return UsageError(
        f"no destination {printable(name)} is configured", f"the configuration has: {near}"
    )


def _nearest(name: str, names: Collection[str]) -> list[str]:
    """Return the name that is most like this one, or else all of them."""
    return get_close_matches(name, names, n=1) or sorted(names)


def _read(idents: Sequence[str]) -> list[str]:
    """Return the ids with `-` replaced by the lines of stdin."""
    read: list[str] = []
    for ident in idents:
        if ident == _STDIN:
            read += (line.strip() for line in sys.stdin if line.strip())
        else:
            read.append(ident)
    return read


def _kind(statuses: tuple[StatusName, ...], count: int = 2) -> str:
    """Return what events with these statuses are called."""
    if tuple(statuses) == ("dead",):
        return plural(count, "dead letter")
    return " ".join(filter(None, [" or ".join(statuses), plural(count, "event")]))
