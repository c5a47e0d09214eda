"""Why an event waits, and until when: one sentence, for whoever asks about one event.

The facts are gathered here; `reasons` judges them. Which event of a key goes next, and whether it
may be seen at all, is asked as the drain asks it, with the drain's own statements (`looks`): a
second opinion would be wrong one day. What somebody changed by hand is told as far as the rows
show it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.policy.delivery import RetryPolicy
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.drain.claims import load_ids
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from shipper.store.report.events import EventReport
from shipper.store.report.reasons import Facts, KeyHold, LinkFacts, explain
from shipper.store.report.silence import plight
from shipper.store.report.status import Blocker, blockers_of, current_shipper


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
    dialect = dialect_of(engine)
    if event.status != "pending":
        with snapshot(engine) as tx:
            ended = tx.execute(_NUMBER, {"id": event.id}).scalar() is not None
        by_hand = None if ended else "its status was changed by hand (SQL)"
        return explain(event, Facts(max_attempts, running=False, by_hand=by_hand), now)
    running = current_shipper(engine) is not None
    suffers = plight(engine) if running else None
    with snapshot(engine) as tx:
        link = _link(tx, dialect, event.id)
        facts = Facts(
            max_attempts,
            running,
            plight=suffers,
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
    if row.ended or (not facts.claimed and _was_passed(engine, dialect, row)):
        return {"by_hand": "its status was set back to pending by hand (SQL)"}
    if not first and facts.blocker is None and not facts.claimed:
        return {"by_hand": "its row was changed by hand (SQL), so its key doesn't find it"}
    return {}


def _was_passed(engine: Engine, dialect: Dialect, row: Row[Any]) -> bool:
    """Return whether the drain went past an event: it has a later one's end, and nothing to do.

    What it loaded it claims at once, up to its limits; so where it has nothing of the destination,
    an event that is due was put where it doesn't look.
    """
    if row.next_attempt_at is not None or row.manual:
        return False
    with snapshot(engine) as tx:
        claimed = [one for ids in tx.execute(_CLAIMS).scalars() for one in load_ids(ids)]
        values = {"id": row.id, "destination": row.destination}
        busy = tx.execute(_busy(dialect), {**values, "ids": dialect.bind_ids(claimed)}).scalar()
        return not busy and bool(tx.execute(_LATER_ENDED, values).scalar())


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
    found = blockers_of(tx, row_id) if dialect.may_hold_back else []
    return found[0] if found else None


def _first(tx: Connection, statement: str, row_id: int) -> Any:
    return tx.execute(text(statement), {"id": row_id}).first()


def _identity(dialect: Dialect) -> TextClause:
    texts = ", ".join(f"{written(dialect, c)} AS {c}" for c in ("destination", "ordering_key"))
    return text(
        f"SELECT id, {texts}, next_attempt_at, manual, {_ENDED} AS ended"
        " FROM shipper_outbox WHERE id = :id"
    )


def _busy(dialect: Dialect) -> TextClause:
    return text(
        "SELECT count(*) FROM shipper_outbox WHERE status = 'pending'"
        f" AND destination = CAST(:destination AS text) AND id IN {dialect.ids}"
    )


# One that failed has an error, one that an operator put back is marked; the rest were accepted.
_ENDED = (
    "(delivery_number IS NOT NULL OR delivered_at IS NOT NULL OR (last_error IS NULL"
    " AND manual = 0 AND (tries > 0 OR last_status_code IS NOT NULL)))"
)
# Of a backlog no more is looked through.
_LATER_ENDED = text(
    "SELECT count(*) FROM (SELECT destination, delivery_number FROM shipper_outbox WHERE id > :id"
    " ORDER BY id LIMIT 1000) AS later"
    " WHERE delivery_number IS NOT NULL AND destination = CAST(:destination AS text)"
)


_NUMBER = text("SELECT delivery_number FROM shipper_outbox WHERE id = :id")
_CLAIMS = text("SELECT ids FROM shipper_claim")
