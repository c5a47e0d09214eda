"""`shipper events discard`: give up events that are still pending, for instance after a restore."""

from shipper.cli.choice import (
    Destination,
    Idents,
    Yes,
    chosen,
    is_read,
    no_match,
    refuse_ambiguous,
)
from shipper.cli.context import Context
from shipper.cli.events import Key, Since, Until
from shipper.cli.wording import several
from shipper.store.engine import database_path
from shipper.store.giving_up import SAMPLES, Found, find_pending, give_up
from shipper.store.selection import Selection


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
    or none. No daemon may run meanwhile: exit status 75 where one does.
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
        if found.count:
            context.confirm(_question(found), yes=yes or is_read(idents))
            discarded = give_up(engine, selection, database_path(context.settings().database.url))
        else:
            discarded = 0
    if context.json:
        context.emit({"discarded": discarded})
    else:
        context.say(f"{several(discarded, 'event')} discarded")


def _question(found: Found) -> str:
    more = ", ..." if found.count > SAMPLES else ""
    samples = ", ".join(map(str, found.samples))
    return f"give up {several(found.count, 'event')} that were not delivered: {samples}{more}?"
