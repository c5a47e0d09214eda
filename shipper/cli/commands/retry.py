"""`shipper events retry`: try pending events now, without the rest of their wait.

A destination that is paused or held stays so; `shipper release` ends both.
"""

from shipper.cli.input.arguments import Cause, Destination, Idents, Key, Since, Until, Yes
from shipper.cli.input.change import EventChange
from shipper.cli.output.context import Context
from shipper.cli.output.obstacles import held_keys, obstacles
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.preview import Found, find_pending
from shipper.store.operate.send_now import send_now
from shipper.store.report.events import find
from shipper.wording.quantities import several

# Of how many events the command looks for what is in their way.
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
    """Try pending events now, without the rest of the wait after a failed try.

    Each event keeps its place in its key and its count of charged tries. A running
    daemon tries them at once. If the destination is down, probe it with:
    shipper release --destination NAME. For dead letters: shipper dead retry.
    """
    ways: list[str] = []

    def act(engine: Database, selection: Selection) -> tuple[int, int]:
        events = find(engine, selection, _LOOKED_AT)
        hurried = send_now(engine, selection)
        names = {event.destination for event in events}
        lanes = {(event.destination, event.ordering_key) for event in events}
        ways.extend(obstacles(context, engine, names, probed=False))
        ways.extend(held_keys(engine, lanes))
        return hurried, 0

    def report(_: Found, hurried: int) -> None:
        if context.json:
            context.emit({"retried": hurried, "obstacles": ways})
            return
        when = "as soon as possible" if ways else "now"
        context.say(f"{several(hurried, 'event')} to be tried {when}")
        for way in ways:
            context.note(f"not yet: {way}")

    filters = Selection(key=key, destination=destination, cause=cause, since=since, until=until)
    change = EventChange(
        ("pending",), find_pending, _question, act, report, "retried", needs_some=True
    )
    change.run(context, idents, filters, yes=yes)


def _question(found: Found) -> str:
    return f"try {several(found.count, 'event')} now?"
