"""`shipper events discard`: give up events that are still pending, for instance after a restore."""

from shipper.cli.commands.events import Key, Since, Until
from shipper.cli.input.choice import (
    Destination,
    Idents,
    Yes,
    chosen,
    is_read,
    no_match,
    refuse_ambiguous,
)
from shipper.cli.input.recalled import carry_out, unfinished
from shipper.cli.output.context import Context
from shipper.store.db.selection import Selection
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.preview import SAMPLES, Found, find_pending
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
    """Give pending events up for good: they are never sent.

    For what a restored copy, or a wrong import, would send. All that are named,
    or none. A daemon may run. What it has in flight is waited for, as long as a
    try may take; exit status 75 where it isn't over by then, and that is not given up.
    """
    filters = Selection(key=key, destination=destination, since=since, until=until)
    refuse_ambiguous(idents, filters)
    with context.engine() as engine:
        selection = chosen(engine, idents, filters, ("pending",))
        found = find_pending(engine, selection)
        if not found.count and filters != Selection():
            if context.json:
                context.emit({"discarded": 0})
            raise no_match(engine, context, filters, ("pending",))
        discarded = left = 0
        if found.count:
            context.confirm(_question(found), yes=yes or is_read(idents))
            discarded, left = carry_out(engine, context, discard_pending(engine, selection))
    if context.json:
        context.emit({"discarded": discarded})
    else:
        context.say(f"{several(discarded, 'event')} discarded")
    if left:
        raise unfinished(left, "given up")


def _question(found: Found) -> str:
    more = ", ..." if found.count > SAMPLES else ""
    samples = ", ".join(map(str, found.samples))
    return f"give up {several(found.count, 'event')} that were not delivered: {samples}{more}?"
