"""What is known of the time besides this machine's clock: the outbox's newest time, the server's.

Deletions use both, so that a clock that is wrong deletes nothing too early.
"""

from collections.abc import Iterator
from math import inf

from sqlalchemy import Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import snapshot


def newest(engine: Engine) -> float | None:
    """Return the newest time in the outbox: of the last write or the last delivery.

    In seconds since 1970; None if there are no events. The right time now is this or later. Raises
    StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        found = [dialect.wall(tx.execute(query).scalar()) for query in _newest(dialect)]
    return max((moment for moment in found if moment is not None), default=None)


def server_time(engine: Engine) -> float:
    """Return the time by the server's clock, in seconds since 1970; inf for a file, which has none.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    if dialect_of(engine).is_file:
        return inf
    with snapshot(engine) as tx:
        return float(tx.execute(_SERVER_TIME).scalar_one())


def _newest(dialect: Dialect) -> Iterator[TextClause]:
    written_at, delivered_at = map(dialect.moment.format, ("created_at", "delivered_at"))
    # Without `by_id`, SQLite 3.40 with old statistics sorts the whole table.
    yield text(f"SELECT {written_at} FROM shipper_outbox{dialect.by_id} ORDER BY id DESC LIMIT 1")
    yield text(
        f"SELECT {delivered_at} FROM shipper_outbox{dialect.along.format('delivered')}"
        " WHERE status = 'delivered' AND delivered_at IS NOT NULL"
        " ORDER BY delivered_at DESC LIMIT 1"
    )


_SERVER_TIME = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
