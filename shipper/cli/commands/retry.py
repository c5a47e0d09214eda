"""`shipper events retry`: try events that wait now, whatever they wait for.

A destination that is paused or held stays so: its word, and an operator's, end by `release`.
"""

from shipper.cli.commands.events import Key, Since, Until
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
from shipper.cli.output.obstacles import held_keys, obstacles
from shipper.store.db.selection import Selection
from shipper.store.operate.preview import find_pending
from shipper.store.operate.send_now import send_now
from shipper.store.report.events import find
from shipper.wording.quantities import several

# Of more events nobody is told what is in the way of each.
_LOOKED_AT = 100


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
    """Try pending events now, without the rest of the wait after a failure.

    Each keeps its place in its key and what is left of its budget. A running
    daemon does it at once. A destination that is down is probed at once by:
    shipper release --destination NAME. Dead letters: shipper dead retry.
    """
    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    refuse_ambiguous(idents, filters)
    with context.engine() as engine:
        selection = chosen(engine, idents, filters, ("pending",))
        found = find_pending(engine, selection)
        if not found.count:
            raise no_match(engine, context, filters, ("pending",))
        question = f"try {several(found.count, 'event')} now?"
        context.confirm(question, yes=yes or is_read(idents))
        events = find(engine, selection, _LOOKED_AT)
        hurried = send_now(engine, selection)
        names = {event.destination for event in events}
        ways = obstacles(context, engine, names, probed=False)
        ways += held_keys(engine, {(event.destination, event.ordering_key) for event in events})
    if context.json:
        context.emit({"retried": hurried, "obstacles": ways})
        return
    context.say(f"{several(hurried, 'event')} to be tried {'as soon as may be' if ways else 'now'}")
    for way in ways:
        context.note(f"not yet: {way}")
