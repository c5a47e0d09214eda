"""`shipper dead`: look at dead letters, and decide what becomes of them."""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.context import Context, printable
from shipper.cli.events import Key, Since, Status, Until, show
from shipper.clock import SystemClock, iso
from shipper.errors import NotFound, UsageError
from shipper.store import operate
from shipper.store.lookups import find, locate
from shipper.store.opening import Database
from shipper.store.operate import SAMPLES, DeadGroup, dead_groups
from shipper.store.saying import last_words
from shipper.store.selection import Selection

ALL = "ALL"
_STDIN = "-"


Idents = Annotated[
    str,
    Parameter(
        name="ID",
        help="Ids or event ids; - reads them from stdin, one a line; ALL is all that fit.",
    ),
]
Cause = Annotated[
    str | None,
    Parameter(help="Only those that died of this: the word that their last error begins with."),
]
Yes = Annotated[
    bool,
    Parameter(help="Don't ask; needed where there is no terminal to ask on.", show_default=False),
]


def list_dead(
    *,
    key: Key = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    context: Context,
) -> None:
    """List dead letters, grouped by what they died of, the most first.

    With each cause stands what was said last of the first of them.
    """
    with context.engine() as engine:
        groups = dead_groups(engine, Selection(key=key, cause=cause, since=since, until=until))
        said = last_words(engine, [group.samples[0] for group in groups])
    if context.json:
        for group in groups:
            context.emit(_fields(group))
    elif groups:
        header = ("cause", "letters", "destination", "first written", "last written", "ids", "said")
        context.table(header, [(*_row(group), said[group.samples[0]]) for group in groups])
    if not groups:
        context.note("there are no such dead letters")


def show_dead(
    ident: Annotated[str, Parameter(name="ID", help="Its id or its event id.")],
    /,
    *,
    context: Context,
) -> None:
    """Show a dead letter with its tries."""
    show(ident, context, only="dead")


def retry(
    *idents: Idents,
    key: Key = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    context: Context,
) -> None:
    """Try dead letters again, each with a full budget and in its old place.

    Of a key that went on in the meantime they arrive late. All that are named, or none.
    """
    selection = Selection(key=key, cause=cause, since=since, until=until)
    _move(idents, selection, yes, context, ("retry", "retried", operate.retry))


def discard(
    *idents: Idents,
    key: Key = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    context: Context,
) -> None:
    """Give dead letters up for good: they are never sent. All that are named, or none."""
    selection = Selection(key=key, cause=cause, since=since, until=until)
    _move(idents, selection, yes, context, ("discard", "discarded", operate.discard))


Move = tuple[str, str, Callable[[Database, Selection, float], int]]


def _move(
    idents: Sequence[str],
    filters: Selection,
    yes: bool,  # noqa: FBT001 - what the person said
    context: Context,
    move: Move,
) -> None:
    verb, done, function = move
    refuse_ambiguous(idents, filters)
    with context.engine() as engine:
        selection = (
            filters if tuple(idents) == (ALL,) else named(engine, read_idents(idents), "dead")
        )
        groups = dead_groups(engine, selection)
        count = sum(group.count for group in groups)
        if count:
            context.confirm(_question(verb, count, groups), yes=yes)
        moved = function(engine, selection, SystemClock().wall()) if count else 0
    if context.json:
        context.emit({done: moved})
    else:
        context.say(f"{_letters(moved)} {done}")


def refuse_ambiguous(idents: Sequence[str], filters: Selection) -> None:
    """Return only where it is clear which ones are meant; raises UsageError."""
    if not idents:
        raise UsageError("which ones?", "name them by id, or say ALL")
    if ALL in idents and len(idents) > 1:
        raise UsageError("ALL stands alone; the event with that id is event_id:ALL")
    if filters != Selection() and ALL not in idents:
        raise UsageError("filters choose among ALL, not among the ids that are named")


def read_idents(idents: Sequence[str]) -> list[str]:
    """Return the ids with `-` replaced by what stdin has, one a line."""
    read: list[str] = []
    for ident in idents:
        if ident == _STDIN:
            read += (line.strip() for line in sys.stdin if line.strip())
        else:
            read.append(ident)
    return read


def named(engine: Database, idents: Sequence[str], status: Status) -> Selection:
    """Return the events that were named; raises NotFound if one isn't of that status."""
    found = locate(engine, idents)
    ids = tuple(sorted({row for row in found.values() if row is not None}))
    events = find(engine, Selection(ids=ids, status=status), limit=len(ids))
    fit = {event.id for event in events}
    wrong = [printable(ident) for ident, row in found.items() if row not in fit]
    if wrong:
        hint = "all of them are ALL, in capitals" if wrong[0].upper() == ALL else None
        some = ", ".join(wrong[:SAMPLES]) + (" ..." if len(wrong) > SAMPLES else "")
        among = "dead letters" if status == "dead" else f"{status} events"
        raise NotFound(f"not among the {among}: {some}; nothing was changed", hint)
    return Selection(ids=ids)


def _question(verb: str, count: int, groups: Sequence[DeadGroup]) -> str:
    samples = [f"{row} ({printable(group.cause)})" for group in groups for row in group.samples]
    more = ", ..." if count > SAMPLES else ""
    return f"{verb} {_letters(count)}: {', '.join(samples[:SAMPLES])}{more}?"


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _fields(group: DeadGroup) -> dict[str, object]:
    return {
        "destination": group.destination,
        "cause": group.cause,
        "count": group.count,
        "first_seen": iso(group.first_seen),
        "last_seen": iso(group.last_seen),
        "samples": list(group.samples),
    }


def _row(group: DeadGroup) -> tuple[object, ...]:
    ids = ", ".join(map(str, group.samples)) + (", ..." if group.count > SAMPLES else "")
    times = (iso(group.first_seen), iso(group.last_seen))
    return (group.cause, group.count, group.destination, *times, ids)
