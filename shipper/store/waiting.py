"""Why an event waits, and until when: one sentence, for whoever asks about one event.

The facts are gathered here and judged by a pure function, the widest obstacle first: what only a
person can remove, then what stops everything, then what stops this event alone.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from shipper.clock import iso
from shipper.state import State
from shipper.store.claims import load_ids
from shipper.store.dialect import Dialect, dialect_of
from shipper.store.lookups import EventReport
from shipper.store.reports import Blocker, blockers_of, current_shipper, unknown
from shipper.store.snapshot import shown, snapshot, written


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What is recorded of an event's destination. Times are seconds since 1970."""

    state: str
    reason: str | None
    since: float | None
    next_try_at: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class KeyHold:
    """Why an event's key is held: by an operator, or by the dead letter that `event_id` names."""

    cause: str
    event_id: str | None
    since: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that can make an event wait.

    `max_attempts` is None where the configuration doesn't know the destination; `ahead` is the
    id of the event that its key ships first; `claimed` says that the daemon has the event;
    `window` says more of a delivery window that isn't open.
    """

    max_attempts: int | None
    running: bool
    link: LinkFacts | None = None
    hold: KeyHold | None = None
    ahead: int | None = None
    claimed: bool = False
    blocker: Blocker | None = None
    window_open: bool = True
    window: str = "(schedule.windows)"


def why(
    engine: Engine,
    event: EventReport,
    *,
    max_attempts: int | None,
    now: float,
    window: str | None = None,
) -> str | None:
    """Return why an event waits, or None for one that waits for nothing.

    `max_attempts` is the destination's, None where the configuration has no such destination.
    `window` says until when no delivery window is open, None while one is.
    """
    if event.status != "pending":
        return explain(event, Facts(max_attempts, running=False), now)
    running = current_shipper(engine) is not None
    dialect = dialect_of(engine.dialect.name)
    with snapshot(engine) as tx:
        facts = Facts(
            max_attempts,
            running,
            link=_link(tx, dialect, event.id),
            hold=_hold(tx, dialect, event.id),
            ahead=_ahead(tx, dialect, event.id),
            claimed=any(event.id in load_ids(ids) for ids in tx.execute(_CLAIMS).scalars()),
            blocker=_blocker(tx, dialect, event.id),
            window_open=window is None,
            window=window or "",
        )
    return explain(event, facts, now)


def explain(event: EventReport, facts: Facts, now: float) -> str | None:
    """Return the sentence for an event and the facts about it. Pure."""
    if event.status == "dead":
        return "it is a dead letter and stays one until an operator retries or discards it"
    if event.status != "pending":
        return None
    return (
        _person_needed(event, facts)
        or _nobody_sends(facts)
        or _link_is_down(event, facts.link)
        or _own_turn(event, facts, now)
    )


def _person_needed(event: EventReport, facts: Facts) -> str | None:
    if facts.max_attempts is None:
        return f"{unknown(event.destination)}; it waits until there is one"
    if facts.link is not None and facts.link.held:
        return f"an operator holds destination {event.destination}{_since(facts.link.since)}"
    hold = facts.hold
    if hold is None:
        return None
    if hold.cause == "operator":
        return f"an operator holds its key{_since(hold.since)}"
    return (
        f"its key is held{_since(hold.since)} by dead letter {hold.event_id},"
        " until an operator retries or discards that, or releases the key"
    )


def _nobody_sends(facts: Facts) -> str | None:
    if not facts.running:
        return "no shipper is running; it goes out as soon as a shipper runs"
    if not facts.window_open:
        return f"no delivery window is open now {facts.window}"
    return None


def _link_is_down(event: EventReport, link: LinkFacts | None) -> str | None:
    if link is None or link.state in {State.READY.value, State.RAMPING.value}:
        return None
    reason = f" ({link.reason})" if link.reason else ""
    until = f"; the next probe is at {iso(link.next_try_at)}" if link.next_try_at else ""
    if link.state == State.PAUSED.value:
        until = f"; somebody has to act{until}"
    return f"destination {event.destination} is {link.state}{_since(link.since)}{reason}{until}"


def _own_turn(event: EventReport, facts: Facts, now: float) -> str:
    if facts.ahead is not None:
        return f"it waits behind event {facts.ahead} of its key"
    if event.next_attempt_at is not None and event.next_attempt_at > now:
        return (
            f"it waits for its next try at {iso(event.next_attempt_at)} (attempt"
            f" {event.attempts + 1} of {facts.max_attempts}; the last one: {event.last_error})"
        )
    if facts.claimed:
        return "it is in flight, or goes out next"
    if facts.blocker is not None:
        return (
            "it waits for an open transaction that may still commit an earlier event:"
            f" {facts.blocker}"
        )
    return "it goes out in its turn, now that a shipper is running"


def _since(moment: float | None) -> str:
    return f" since {iso(moment)}" if moment else ""


# -- facts --------------------------------------------------------------------------------------


def _link(tx: Connection, dialect: Dialect, row_id: int) -> LinkFacts | None:
    since, next_try_at = map(dialect.moment.format, ("d.since", "d.next_try_at"))
    row = _first(
        tx,
        f"SELECT d.state, d.reason, {since} AS since, {next_try_at} AS next_try_at, d.held"
        " FROM shipper_outbox AS o JOIN shipper_destination AS d ON d.name = o.destination"
        " WHERE o.id = :id",
        row_id,
    )
    if row is None:
        return None
    times = (dialect.wall(row.since), dialect.wall(row.next_try_at))
    return LinkFacts(row.state, row.reason, *times, held=bool(row.held))


def _hold(tx: Connection, dialect: Dialect, row_id: int) -> KeyHold | None:
    row = _first(
        tx,
        f"SELECT h.cause, {written(dialect, 'h.event_id')} AS event_id,"
        f" {dialect.moment.format('h.since')} AS since"
        " FROM shipper_outbox AS o JOIN shipper_hold AS h"
        " ON h.destination = o.destination AND h.ordering_key = o.ordering_key WHERE o.id = :id",
        row_id,
    )
    if row is None:
        return None
    event_id = None if row.event_id is None else shown(row.event_id)
    return KeyHold(row.cause, event_id, dialect.wall(row.since))


def _ahead(tx: Connection, dialect: Dialect, row_id: int) -> int | None:
    """Return who goes first: what may have been received, then the smallest id."""
    same_lane = "AND p.lane = o.lane" if dialect.name == "postgresql" else ""
    lane = (
        "SELECT p.id FROM shipper_outbox AS o JOIN shipper_outbox AS p"
        f" ON p.status = 'pending' AND p.destination = o.destination {same_lane}"
        " AND p.ordering_key = o.ordering_key WHERE o.id = :id AND o.maybe_received = 0 AND"
    )
    row = _first(tx, f"{lane} p.maybe_received = 1 LIMIT 1", row_id)
    row = row or _first(tx, f"{lane} p.id < o.id ORDER BY p.id LIMIT 1", row_id)
    return None if row is None else row.id


def _blocker(tx: Connection, dialect: Dialect, row_id: int) -> Blocker | None:
    found = blockers_of(tx, row_id) if dialect.holds_horizon else []
    return found[0] if found else None


def _first(tx: Connection, statement: str, row_id: int) -> Any:
    return tx.execute(text(statement), {"id": row_id}).first()


_CLAIMS = text("SELECT ids FROM shipper_claim")
