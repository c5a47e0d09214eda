"""`shipper dead`: look at dead letters, and decide what becomes of them."""

from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.choice import (
    Cause,
    Destination,
    Idents,
    Yes,
    chosen,
    is_read,
    no_match,
    refuse_ambiguous,
)
from shipper.cli.context import Context, printable
from shipper.cli.events import Key, Since, Until, show
from shipper.clock import SystemClock, iso
from shipper.store import operate
from shipper.store.dead_letters import SAMPLES, DeadGroup, dead_groups
from shipper.store.opening import Database
from shipper.store.selection import Selection


def list_dead(
    *,
    key: Key = None,
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    context: Context,
) -> None:
    """List dead letters, grouped by what they died of, the most first.

    Exit status 1 when none matches the filters.
    """
    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    with context.engine() as engine:
        groups = dead_groups(engine, filters)
        if not groups and filters != Selection():
            raise no_match(engine, context, filters, ("dead",))
    if context.json:
        for group in groups:
            context.emit(_fields(group))
    elif groups:
        header = ("cause", "count", "destination", "first written", "last written", "ids")
        context.table(header, [_row(group) for group in groups])
    if not groups:
        context.note("there are no dead letters")


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
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    context: Context,
) -> None:
    """Try dead letters again, each with a full budget and in its old place.

    If their key has moved on, they arrive out of order. All that are named, or none.
    """
    selection = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    _move(idents, selection, yes, context, ("retry", "retried", operate.retry))


def discard(
    *idents: Idents,
    key: Key = None,
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    context: Context,
) -> None:
    """Give dead letters up for good: they are never sent. All that are named, or none."""
    selection = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
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
        selection = chosen(engine, idents, filters, ("dead",))
        groups = dead_groups(engine, selection)
        count = sum(group.count for group in groups)
        if not count and filters != Selection():
            if context.json:
                context.emit({done: 0})
            raise no_match(engine, context, filters, ("dead",))
        if count:
            context.confirm(_question(verb, count, groups), yes=yes or is_read(idents))
        moved = function(engine, selection, SystemClock().wall()) if count else 0
    if context.json:
        context.emit({done: moved})
    else:
        context.say(f"{_letters(moved)} {done}")


def _question(verb: str, count: int, groups: Sequence[DeadGroup]) -> str:
    samples = [f"{row} ({printable(group.cause)})" for group in groups for row in group.ids]
    more = ", ..." if count > SAMPLES else ""
    return f"{verb} {_letters(count)}: {', '.join(samples[:SAMPLES])}{more}?"


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def _fields(group: DeadGroup) -> dict[str, object]:
    return {
        "destination": group.destination,
        "cause": group.cause,
        "count": group.count,
        "first_written": iso(group.first_written),
        "last_written": iso(group.last_written),
        "ids": list(group.ids),
    }


def _row(group: DeadGroup) -> tuple[object, ...]:
    ids = ", ".join(map(str, group.ids)) + (", ..." if group.count > SAMPLES else "")
    times = (iso(group.first_written), iso(group.last_written))
    return (group.cause, group.count, group.destination, *times, ids)
