"""`shipper dead`: look at dead letters, and decide what becomes of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from shipper.cli.commands.events import Key, Since, Until, show
from shipper.cli.input.choice import (
    Cause,
    Destination,
    Idents,
    Yes,
    chosen,
    is_read,
    no_match,
    refuse_ambiguous,
)
from shipper.cli.output.context import Context
from shipper.clock import SystemClock, iso
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate import dead_letters
from shipper.store.operate.preview import SAMPLES
from shipper.store.report.dead_letters import DeadGroup, dead_groups
from shipper.store.report.events import last_answers
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable

if TYPE_CHECKING:
    from shipper.cli.output.table import Header


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
        said = last_answers(engine, [group.ids[-1] for group in groups])
    if context.json:
        for group in groups:
            context.emit(_fields(group, said))
    elif groups:
        context.table(_header(), [_row(group, said) for group in groups])
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
    _move(idents, selection, yes, context, ("retry", "retried", dead_letters.retry))


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
    _move(idents, selection, yes, context, ("discard", "discarded", dead_letters.discard))


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
        context.say(f"{several(moved, 'dead letter')} {done}")


def _question(verb: str, count: int, groups: Sequence[DeadGroup]) -> str:
    samples = [f"{row} ({printable(group.cause)})" for group in groups for row in group.ids]
    more = ", ..." if count > SAMPLES else ""
    return f"{verb} {several(count, 'dead letter')}: {', '.join(samples[:SAMPLES])}{more}?"


def _header() -> "Header":
    from shipper.cli.output.table import Column, without_year  # noqa: PLC0415 - rich takes a while

    return (
        "cause",
        "count",
        Column("destination", gives=4),
        Column("first written", gives=1),
        Column("last written", gives=2, short=without_year),
        Column("ids", gives=3),
        "message",
    )


def _fields(group: DeadGroup, said: Mapping[int, str]) -> dict[str, object]:
    return {
        "destination": group.destination,
        "cause": group.cause,
        "count": group.count,
        "first_written": iso(group.first_written),
        "last_written": iso(group.last_written),
        "ids": list(group.ids),
        "message": _message(group, said),
    }


def _message(group: DeadGroup, said: Mapping[int, str]) -> str | None:
    message = said.get(group.ids[-1])
    return None if message is None else message.removeprefix(f"{group.cause}: ")


def _row(group: DeadGroup, said: Mapping[int, str]) -> tuple[object, ...]:
    ids = ", ".join(map(str, group.ids)) + (", ..." if group.count > SAMPLES else "")
    times = (iso(group.first_written), iso(group.last_written))
    return (group.cause, group.count, group.destination, *times, ids, _message(group, said))
