"""What is found when the power comes back: is the outbox whole, and does it hold what it must?"""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError

from shipper.errors import ShipperError
from shipper.sandbox.ledger import AMBIGUOUS, GONE, Visit
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import reading
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.report.verify import verify
from tests.campaigns.crashes import MAX_IN_FLIGHT
from tests.campaigns.figures import Figures

_SPOILT = AMBIGUOUS - {GONE}
_ROWS = text("SELECT event_id, status, maybe_received FROM shipper_outbox")


def inspect(
    url: str,
    figures: Figures,
    *,
    told: set[str],
    received: Mapping[str, Visit],
    durable: bool,
    since: int = 0,
) -> Iterator[str]:
    """Yield what is wrong with an SQLite outbox after a power cut, and take it like a daemon.

    `told` are the events that an application was told are committed, which must be there if it
    commits with full durability (`durable`); `received` is by which visit each was received last. What
    came with an earlier visit than `since` was in flight at another cut before this one.
    """
    engine = open_engine(url)
    try:
        with reading(engine) as tx:
            check = tx.execute(text("PRAGMA integrity_check")).scalar_one()
        if check != "ok":
            yield f"integrity_check: {check}"
        yield from (found.message for found in verify(engine) if found.fault)
        # What the next daemon does first.
        Queue(engine, lease_ttl=60.0).acquire(Owner.here())
        with reading(engine) as tx:
            rows = {row.event_id: row for row in tx.execute(_ROWS)}
    except (ShipperError, SQLAlchemyError) as error:
        yield f"it can't be opened: {error}"
        return
    finally:
        engine.dispose()
    if durable:
        yield from (f"{name} was told to be committed" for name in sorted(told - rows.keys()))
    else:
        figures.measure("commits lost per cut", len(told - rows.keys()))
    yield from _judge(rows, received, figures, since)


def _judge(
    rows: Mapping[str, Row[Any]], received: Mapping[str, Visit], figures: Figures, since: int
) -> Iterator[str]:
    yield from (f"{name} is a phantom" for name in sorted(received.keys() - rows.keys()))
    again = 0
    for name, row in rows.items():
        if row.status == "delivered" and name not in received:
            yield f"{name} is delivered and was never received"
        if row.status == "pending" and name in received:
            visit = received[name]
            again += visit.seq > since and visit.status not in _SPOILT
            if not row.maybe_received:
                yield f"{name} was received, and the next daemon doesn't know"
    figures.measure("repeats per cut", again)
    if again > MAX_IN_FLIGHT:
        yield f"{again} events will be repeated"
