"""Why an event waits, and until when: one sentence, for `events show`.

It gathers the facts; `reasons` judges them. It asks which event of a key goes next, and whether the
drain can see it, with the drain's own statements (`look`): a second implementation would differ one
day. What was changed by hand (SQL) is reported as far as the rows show it. Reads only.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.policy.delivery import RetryPolicy
from shipper.store.db.dialect import Dialect, dialect_of, pick
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from shipper.store.lease.claim_rows import claimed_ids
from shipper.store.report.daemon_rows import JoinedDaemon, joined
from shipper.store.report.daemons import current_daemon
from shipper.store.report.events import EventReport
from shipper.store.report.reasons import KeyHold, LinkFacts, WaitFacts, explain
from shipper.store.report.silence import find_silence
from shipper.store.report.status import Blocker, blockers_of
from shipper.wording.quantities import lasting


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
    """Return why an event waits, or None if it doesn't.

    `max_attempts` is the destination's, None if the configuration has no such destination. `window`
    says when the next delivery window opens, None while one is open. `advise` gets the reason why a
    link is down, and returns what to do.
    """
    dialect = dialect_of(engine)
    if event.status != "pending":
        with snapshot(engine) as tx:
            ended = tx.execute(_NUMBER, {"id": event.id}).scalar() is not None
        by_hand = None if ended else "its status was changed by hand (SQL)"
        return explain(event, WaitFacts(max_attempts, running=False, by_hand=by_hand), now)
    running = current_daemon(engine) is not None
    suffers = find_silence(engine) if running else None
    with snapshot(engine) as tx:
        ships, shard = (None, None) if dialect.is_file else _of_its_shard(tx, event.id)
        link = _link(tx, dialect, event.id, ships)
        facts = WaitFacts(
            max_attempts,
            running,
            silence=suffers,
            shard=shard if running else None,
            link=link,
            hold=_hold(tx, dialect, event.id),
            claimed=event.id in claimed_ids(tx),
            blocker=_blocker(tx, dialect, event.id),
            window_open=window is None,
            window=window or "",
            due_in=None
            if policy is None
            else policy.due_in(event.next_attempt_at, event.attempts, now),
            advice=advise(None if link is None else link.reason),
        )
        row = tx.execute(_identity(dialect), {"id": event.id}).first()
    if row is not None and max_attempts is not None:
        facts = replace(facts, **_next_of_lane(engine, dialect, row, facts))
    return explain(event, facts, now)


def _next_of_lane(
    engine: Engine, dialect: Dialect, row: Row[Any], facts: WaitFacts
) -> dict[str, Any]:
    """Ask for the event's lane as the drain does; return the facts that follow from the answer."""
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
    """Return whether the drain has passed an event: a later one has ended, and none is claimed.

    The drain claims what it has read at once, up to its limits. So if it has claimed nothing of the
    destination, then an event that is due was put where the drain doesn't look any more.
    """
    if row.next_attempt_at is not None or row.manual:
        return False
    with snapshot(engine) as tx:
        values = {"id": row.id, "destination": row.destination}
        claimed = {"ids": dialect.bind_ids(claimed_ids(tx))}
        busy = tx.execute(_busy(dialect), values | claimed).scalar()
        return not busy and bool(tx.execute(_LATER_ENDED, values).scalar())


# -- facts --------------------------------------------------------------------------------------


def _of_its_shard(tx: Connection, row_id: int) -> tuple[JoinedDaemon | None, str | None]:
    """Return the daemon that sends an event, and why it doesn't; see `WaitFacts.shard`."""
    token = tx.execute(pick(dialect_of(tx), postgresql=_ITS_DAEMON), {"id": row_id}).scalar()
    daemon = next((each for each in joined(tx) if each.token == token), None)
    if daemon is None:
        return None, "no daemon has its part of the outbox; one takes it within moments"
    if not daemon.is_missing:
        return daemon, None
    takes_over = f"another one takes over within {lasting(daemon.ttl)}"
    return daemon, f"its daemon, {daemon}, {daemon.predicate}; {takes_over}"


def _link(
    tx: Connection, dialect: Dialect, row_id: int, ships: JoinedDaemon | None
) -> LinkFacts | None:
    """Return how the event's daemon sees the destination, else what `status` shows."""
    since, next_try_at = map(dialect.moment.format, ("d.since", "d.next_try_at"))
    columns = f"d.state, d.reason, {since} AS since, {next_try_at} AS next_try_at"
    row = _first(
        tx,
        f"SELECT {columns}, d.held FROM shipper_outbox AS o JOIN (SELECT * FROM {dialect.counters})"
        " AS d ON d.name = o.destination WHERE o.id = :id",
        row_id,
    )
    if row is None:
        return None
    if ships is not None and not row.held:
        values = {"id": row_id, "token": ships.token}
        of_it = tx.execute(text(_ITS_LINK.format(columns=columns)), values).first()
        row = row if of_it is None else of_it
    times = (dialect.wall(row.since), dialect.wall(row.next_try_at))
    return LinkFacts(row.state, row.reason, *times, held=bool(row.held))


def _hold(tx: Connection, dialect: Dialect, row_id: int) -> KeyHold | None:
    row = _first(
        tx,
        f"SELECT h.cause, {written(dialect, 'h.event_id')} AS event_id,"
        f" {dialect.moment.format('h.since')} AS since"
        ", (SELECT count(*) FROM shipper_outbox AS d WHERE d.event_id = h.event_id"
        " AND d.status = 'dead') AS dead_letters"
        " FROM shipper_outbox AS o JOIN shipper_hold AS h"
        " ON h.destination = o.destination AND h.ordering_key = o.ordering_key WHERE o.id = :id",
        row_id,
    )
    if row is None:
        return None
    event_id = None if row.event_id is None else shown(row.event_id)
    is_void = row.cause != "operator" and not row.dead_letters
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


# A failed event has an error, one that an operator retried is marked; the others were accepted.
_ENDED = (
    "(delivery_number IS NOT NULL OR delivered_at IS NOT NULL OR (last_error IS NULL"
    " AND manual = 0 AND (tries > 0 OR last_status_code IS NOT NULL)))"
)
# Of a long backlog only the next thousand rows are read.
_LATER_ENDED = text(
    "SELECT count(*) FROM (SELECT destination, delivery_number FROM shipper_outbox WHERE id > :id"
    " ORDER BY id LIMIT 1000) AS later"
    " WHERE delivery_number IS NOT NULL AND destination = CAST(:destination AS text)"
)


_ITS_DAEMON = text(
    "SELECT s.token FROM shipper_outbox AS o JOIN shipper_shard AS s ON s.shard = o.slot & 63"
    " WHERE o.id = :id"
)
_ITS_LINK = (
    "SELECT {columns}, 0 AS held FROM shipper_outbox AS o"
    " JOIN shipper_link AS d ON d.name = o.destination AND d.token = :token WHERE o.id = :id"
)
_NUMBER = text("SELECT delivery_number FROM shipper_outbox WHERE id = :id")
