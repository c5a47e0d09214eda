"""`shipper events reroute`: send events to another destination than the one they were written for.

It must never write a destination into an event that the configuration doesn't have.
"""

from typing import Annotated, Literal

from cyclopts import Parameter

from shipper.cli.input.arguments import Cause, Destination, Idents, Key, Since, Until, Yes
from shipper.cli.input.change import EventChange, beside_a_daemon
from shipper.cli.input.choice import events_of, some, unknown_destination
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.errors import NotFound
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.reroute import Movable, movable, reroute
from shipper.wording.quantities import several
from shipper.wording.safe_text import printable

Movables = Literal["pending", "dead"]


def send_elsewhere(  # noqa: PLR0913 - one for each option
    *idents: Idents,
    to: Annotated[str, Parameter(metavar="NAME", help="The new destination.")],
    status: Annotated[
        Movables | None, Parameter(help="Only events with this status. Default: both.")
    ] = None,
    key: Key = None,
    destination: Destination = None,
    cause: Cause = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, Parameter(help="Print how many events would be sent elsewhere; change nothing.")
    ] = False,
    yes: Yes = False,
    context: Context,
) -> None:
    """Send pending events and dead letters to another destination.

    Use it for events of a destination that isn't configured, or no longer in use.
    Each event starts anew at the new destination, with no charged tries; its history
    keeps where it came from. The events of a key keep their order. If the new destination has
    already received later events of that key, these arrive after them.

    A daemon can run meanwhile: the command waits for events in flight, for as long
    as a try can take. Events that are still in flight then stay where they are, and
    the exit status is 75.
    """
    filters = Selection(
        status=status, key=key, destination=destination, cause=cause, since=since, until=until
    )
    configured = context.settings().destinations
    if to not in configured:
        raise unknown_destination(to, configured)

    def find(engine: Database, selection: Selection) -> Movable:
        _refuse_there_already(engine, selection, to)
        return movable(engine, selection, to)

    def act(engine: Database, selection: Selection) -> tuple[int, int]:
        steps = reroute(engine, selection, to, SystemClock().wall())
        return beside_a_daemon(engine, context, steps)

    change = EventChange(
        ("pending", "dead"),
        find,
        lambda found: _question(found, to),
        act,
        lambda found, moved: _report(context, found, to, moved=moved, dry_run=dry_run),
        "rerouted",
        needs_some=True,
        dry_run=dry_run,
    )
    change.run(context, idents, filters, yes=yes)


def _refuse_there_already(engine: Database, selection: Selection, to: str) -> None:
    if selection.ids is None:
        return
    there = [event.id for event in events_of(engine, selection.ids) if event.destination == to]
    if there:
        raise NotFound(
            f"already events of destination {to}: {some(there)}; nothing was changed",
            "to try a dead letter there again: shipper dead retry ID",
        )


def _places(found: Movable) -> str:
    return ", ".join(f"{count:,} of {printable(name)}" for name, count in found.places)


def _question(found: Movable, to: str) -> str:
    samples = some(found.samples, found.count)
    dead = f"; {several(found.dead, 'dead letter')} among them" if found.dead else ""
    twice = f"; {found.received:,} may have been received already" if found.received else ""
    events = several(found.count, "event")
    return f"send {events} ({_places(found)}) to {to}: {samples}{dead}{twice}?"


def _report(context: Context, found: Movable, to: str, *, moved: int, dry_run: bool) -> None:
    if context.json:
        context.emit(
            {
                "rerouted": moved,
                "to": to,
                "dry_run": dry_run,
                "found": found.count,
                "from": dict(found.places),
                "dead": found.dead,
                "maybe_received": found.received,
            }
        )
    elif dry_run:
        context.tell(f"{several(found.count, 'event')} would go to {to}: {_places(found)}")
    else:
        context.say(f"{several(moved, 'event')} rerouted to {to}")
    if found.received:
        context.note(
            f"{several(found.received, 'event')} may have been received by the old destination too"
        )
