"""Why an event waits, and until when: one sentence, for whoever asks about one event.

The facts are gathered here and judged by a pure function, the widest obstacle first: what only a
person can remove, then what stops everything, then what stops this event alone. Which event of a
key goes next, and whether it may be seen at all, is asked as the drain asks it, with the drain's
own statements (`looks`): a second opinion would be wrong one day. What somebody changed by hand
is told as far as the row shows it.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.advice import said
from shipper.clock import iso
from shipper.delivery import RetryPolicy
from shipper.state import State
from shipper.store.claims import load_ids
from shipper.store.dialect import Dialect, dialect_of
from shipper.store.looks import Looks
from shipper.store.lookups import EventReport
from shipper.store.reports import Blocker, blockers_of, current_shipper, unknown
from shipper.store.snapshot import shown, snapshot, written
from shipper.store.work import Look


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
    """Why an event's key is held: by an operator, or by the dead letter that `event_id` names.

    `is_void` says that what held it is no dead letter any more, and nobody let the key go.
    """

    cause: str
    event_id: str | None
    since: float | None
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that can make an event wait.

    `max_attempts` is None where the configuration doesn't know the destination; `ahead` is the
    id of the event that its key ships first; `claimed` says that the daemon has the event;
    `window` says more of a delivery window that isn't open;
    `by_hand` what somebody has done to its row, for which the drain has no other way than to read
    the outbox from its beginning; `due_in` is in seconds, None where `next_attempt_at` says it.
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
    by_hand: str | None = None
    due_in: float | None = None
    advice: str | None = None
    """What to do about a link that is down, or a destination that isn't there."""


def why(
    engine: Engine,
    event: EventReport,
    *,
    max_attempts: int | None,
    now: float,
    window: str | None = None,
    policy: RetryPolicy | None = None,
    advise: Callable[[str | None], str | None] = lambda _: None,
) -> str | None:
    """Return why an event waits, or None for one that waits for nothing.

    `max_attempts` is the destination's, None where the configuration has no such destination;
    `window` says until when no delivery window is open, None while one is; `advise` is given why
    a link is down, and returns what to do.
    """
    dialect = dialect_of(engine.dialect.name)
    if event.status != "pending":
        with snapshot(engine) as tx:
            ended = tx.execute(_NUMBER, {"id": event.id}).scalar() is not None
        by_hand = None if ended else "its status was changed by hand (SQL)"
        return explain(event, Facts(max_attempts, running=False, by_hand=by_hand), now)
    running = current_shipper(engine) is not None
    with snapshot(engine) as tx:
        link = _link(tx, dialect, event.id)
        facts = Facts(
            max_attempts,
            running,
            link=link,
            hold=_hold(tx, dialect, event.id),
            claimed=any(event.id in load_ids(ids) for ids in tx.execute(_CLAIMS).scalars()),
            blocker=_blocker(tx, dialect, event.id),
            window_open=window is None,
            window=window or "",
            due_in=None if policy is None else policy.due_in(event.next_attempt_at, now),
            advice=advise(None if link is None else link.reason),
        )
        row = tx.execute(_identity(dialect), {"id": event.id}).first()
    if row is not None and max_attempts is not None:
        facts = replace(facts, **_next_of_lane(engine, dialect, row, facts))
    return explain(event, facts, now)


def _next_of_lane(engine: Engine, dialect: Dialect, row: Row[Any], facts: Facts) -> dict[str, Any]:
    """Ask for the event's lane as the drain does; return who goes first, and what keeps it away."""
    lane = row.id if row.ordering_key is None else dialect.text(row.ordering_key)
    looks = Looks(engine)
    looks.pulse()
    first = looks.look(Look("lane", dialect.text(row.destination), 1, lane=lane))
    if first and first[0].id != row.id:
        return {"ahead": first[0].id}
    if row.ended:
        return {"by_hand": "its status was set back to pending by hand (SQL)"}
    if not first and facts.blocker is None and not facts.claimed:
        return {"by_hand": "its row was changed by hand (SQL), so its key doesn't find it"}
    return {}


def explain(event: EventReport, facts: Facts, now: float) -> str | None:
    """Return the sentence for an event and the facts about it. Pure."""
    if event.status != "pending":
        return _ended(event, facts.by_hand)
    return (
        _person_needed(event, facts)
        or _nobody_sends(facts)
        or _link_is_down(event, facts.link, facts.advice)
        or _own_turn(event, facts, now)
    )


def _ended(event: EventReport, by_hand: str | None) -> str | None:
    match event.status:
        case "dead":
            return "it is a dead letter and stays one until an operator retries or discards it"
        case "delivered":
            return None if by_hand is None else f"{by_hand}: shipper has not delivered it"
        case "discarded":
            return None
    return (
        f"its status is {event.status!r}, which shipper doesn't know: somebody wrote it by hand"
        " (SQL), and nothing takes it; set it to 'pending' and it goes out"
    )


def _person_needed(event: EventReport, facts: Facts) -> str | None:
    if facts.max_attempts is None:
        todo = f": {facts.advice}" if facts.advice else ""
        return f"{unknown(event.destination)}; it waits until there is one{todo}"
    if facts.link is not None and facts.link.held:
        return f"an operator holds destination {event.destination}{_since(facts.link.since)}"
    hold = facts.hold
    if hold is None:
        return None
    if hold.cause == "operator":
        return f"an operator holds its key{_since(hold.since)}"
    if hold.is_void:
        return (
            f"its key is held{_since(hold.since)} by event {hold.event_id}, which is no dead letter"
            " any more: its status was changed by hand (SQL); let the key go on with: shipper"
            f" release --key {shlex.quote(event.ordering_key or '')}"
        )
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


def _link_is_down(
    event: EventReport, link: LinkFacts | None, advice: str | None = None
) -> str | None:
    if link is None or link.state in {State.READY.value, State.RAMPING.value}:
        return None
    reason = f" ({_reason(link.reason)})" if link.reason else ""
    until = f"; the next probe is at {iso(link.next_try_at)}" if link.next_try_at else ""
    if link.state == State.PAUSED.value:
        until = f"; somebody has to act{f': {advice}' if advice else ''}{until}"
    elif advice:
        until += f"; {advice}"
    return f"destination {event.destination} is {link.state}{_since(link.since)}{reason}{until}"


def _reason(reason: str) -> str:
    return said(reason) if reason.startswith("http-") else reason


def _own_turn(event: EventReport, facts: Facts, now: float) -> str:
    if facts.ahead is not None:
        return f"it waits behind event {facts.ahead} of its key"
    if event.next_attempt_at is not None and _waits(event.next_attempt_at, facts, now):
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
    if facts.by_hand is not None:
        return (
            f"{facts.by_hand}; a running shipper finds it when it reads the outbox anew, within"
            f" 5 minutes, or at once after: shipper release --destination {event.destination}"
        )
    return "it goes out in its turn, now that a shipper is running"


def _waits(until: float, facts: Facts, now: float) -> bool:
    return until > now if facts.due_in is None else facts.due_in > 0


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
        ", (SELECT count(*) FROM shipper_outbox AS d WHERE d.event_id = h.event_id"
        " AND d.status = 'dead') AS letters"
        " FROM shipper_outbox AS o JOIN shipper_hold AS h"
        " ON h.destination = o.destination AND h.ordering_key = o.ordering_key WHERE o.id = :id",
        row_id,
    )
    if row is None:
        return None
    event_id = None if row.event_id is None else shown(row.event_id)
    is_void = row.cause != "operator" and not row.letters
    return KeyHold(row.cause, event_id, dialect.wall(row.since), is_void=is_void)


def _blocker(tx: Connection, dialect: Dialect, row_id: int) -> Blocker | None:
    found = blockers_of(tx, row_id) if dialect.holds_horizon else []
    return found[0] if found else None


def _first(tx: Connection, statement: str, row_id: int) -> Any:
    return tx.execute(text(statement), {"id": row_id}).first()


def _identity(dialect: Dialect) -> TextClause:
    texts = ", ".join(f"{written(dialect, c)} AS {c}" for c in ("destination", "ordering_key"))
    return text(
        f"SELECT id, {texts}, delivery_number IS NOT NULL OR delivered_at IS NOT NULL AS ended"
        " FROM shipper_outbox WHERE id = :id"
    )


_NUMBER = text("SELECT delivery_number FROM shipper_outbox WHERE id = :id")
_CLAIMS = text("SELECT ids FROM shipper_claim")
