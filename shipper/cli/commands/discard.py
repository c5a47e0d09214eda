"""`shipper events discard`: end pending events for good, for instance after a restore."""

from functools import partial

from shipper.cli.input.arguments import Destination, Idents, Key, Since, Until, Yes
from shipper.cli.input.change import EventChange, beside_a_daemon
from shipper.cli.input.choice import some
from shipper.cli.output.context import Context
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.preview import Found, find_pending
from shipper.wording.quantities import several


def discard(
    *idents: Idents,
    key: Key = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    context: Context,
) -> None:
    """Discard pending events: they are never sent.

    Use it for events that a restored copy or a wrong import would send. Either all
    named events are discarded, or none.

    A daemon can run meanwhile: the command waits for events in flight, for as long as a try can
    take. Events that are still in flight then are not discarded, and the exit
    status is 75.
    """

    def act(engine: Database, selection: Selection) -> tuple[int, int]:
        return beside_a_daemon(engine, context, discard_pending(engine, selection))

    filters = Selection(key=key, destination=destination, since=since, until=until)
    change = EventChange(
        ("pending",), find_pending, _question, act, partial(_report, context), "discarded"
    )
    change.run(context, idents, filters, yes=yes)


def _question(found: Found) -> str:
    samples = some(found.samples, found.count)
    return f"discard {several(found.count, 'event')} that were not delivered: {samples}?"


def _report(context: Context, _: Found, discarded: int) -> None:
    if context.json:
        context.emit({"discarded": discarded})
    else:
        context.say(f"{several(discarded, 'event')} discarded")
