"""`shipper dead`: list dead letters, show one, retry or discard them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shipper.cli.commands.events import show
from shipper.cli.input.arguments import Cause, Destination, Ident, Idents, Key, Since, Until, Yes
from shipper.cli.input.change import EventChange
from shipper.cli.input.choice import no_match, some
from shipper.cli.output.columns import Column, Header, without_year
from shipper.cli.output.context import Context
from shipper.clock import SystemClock, iso
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate import dead_letters
from shipper.store.report.dead_letters import DeadGroup, dead_groups
from shipper.store.report.events import last_answers
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable


def list_dead(
    *,
    key: Key = None,
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    context: Context,
) -> None:
    """List dead letters, grouped by destination and cause, the largest group first.

    Exit status 1 if filters are given and no dead letter matches them.
    """
    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    with context.engine() as engine:
        groups = dead_groups(engine, filters)
        if not groups and filters != Selection():
            raise no_match(engine, context, filters, ("dead",))
        messages = last_answers(engine, [group.ids[-1] for group in groups])
    if context.json:
        for group in groups:
            context.emit(_fields(group, messages))
    elif groups:
        context.table(_header(), [_row(group, messages) for group in groups])
    if not groups:
        context.note("there are no dead letters")


def show_dead(
    ident: Ident,
    /,
    *,
    context: Context,
) -> None:
    """Show a dead letter with its payload and its tries."""
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
    """Make dead letters pending again, each in its old place and with no charged tries.

    If later events of their key were delivered meanwhile, they arrive out of order.
    Either all named dead letters are retried, or none.
    """
    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    _change(context, "retry", "retried", dead_letters.retry).run(context, idents, filters, yes=yes)


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
    """Discard dead letters: they are never sent.

    Either all named dead letters are discarded, or none.
    """
    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    _change(context, "discard", "discarded", dead_letters.discard).run(
        context, idents, filters, yes=yes
    )


@dataclass(frozen=True, slots=True)
class _Selected:
    """The selected dead letters, grouped by destination and cause."""

    groups: Sequence[DeadGroup]

    @property
    def count(self) -> int:
        """Return how many dead letters there are."""
        return sum(group.count for group in self.groups)

    def __str__(self) -> str:
        """Return the smallest ids, each with its cause."""
        ids = [f"{row} ({printable(group.cause)})" for group in self.groups for row in group.ids]
        return some(ids, self.count)


def _change(
    context: Context, verb: str, done: str, change: Callable[[Database, Selection, float], int]
) -> EventChange[_Selected]:
    """Return the command `verb` for dead letters; no daemon ever has one in flight."""

    def report(_: _Selected, changed: int) -> None:
        if context.json:
            context.emit({done: changed})
        else:
            context.say(f"{several(changed, 'dead letter')} {done}")

    return EventChange(
        ("dead",),
        lambda engine, selection: _Selected(dead_groups(engine, selection)),
        lambda found: f"{verb} {several(found.count, 'dead letter')}: {found}?",
        lambda engine, selection: (change(engine, selection, SystemClock().wall()), 0),
        report,
        done,
    )


def _header() -> Header:
    return (
        "cause",
        "count",
        Column("destination", gives=4),
        Column("first written", gives=1),
        Column("last written", gives=2, short=without_year),
        Column("ids", gives=3),
        "message",
    )


def _fields(group: DeadGroup, messages: Mapping[int, str]) -> dict[str, object]:
    return {
        "destination": group.destination,
        "cause": group.cause,
        "count": group.count,
        "first_written": iso(group.first_written),
        "last_written": iso(group.last_written),
        "ids": list(group.ids),
        "message": _message(group, messages),
    }


def _message(group: DeadGroup, messages: Mapping[int, str]) -> str | None:
    message = messages.get(group.ids[-1])
    return None if message is None else message.removeprefix(f"{group.cause}: ")


def _row(group: DeadGroup, messages: Mapping[int, str]) -> tuple[object, ...]:
    times = (iso(group.first_written), iso(group.last_written))
    return (
        group.cause,
        group.count,
        group.destination,
        *times,
        some(group.ids, group.count),
        _message(group, messages),
    )
