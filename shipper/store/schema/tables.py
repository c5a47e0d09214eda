"""The tables, as SQLAlchemy Core knows them: one description for all databases.

It decides names and types. It must never create anything: the DDL of each database, with triggers
and indexes, is in `migrations/`, and a test compares the two descriptions. A column or table that
only one database has is marked with the database's name in `info["only"]`.
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from shipper.store.schema.types import PostgresJson, SqliteJson, SqliteName, UtcTime, Xid8

# Indexes that only the migrations know.
BY_HAND = frozenset({"shipper_hold_key"})

_POSTGRES = {"only": "postgresql"}
_SQLITE = {"only": "sqlite"}
_ORDERING_KEY = "ordering_key"


_BIGINT = BigInteger().with_variant(Integer(), "sqlite")
_SMALLINT = SmallInteger().with_variant(Integer(), "sqlite")
_SECONDS: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
_NAME = Text().with_variant(SqliteName(), "sqlite")
_PAYLOAD = PostgresJson().with_variant(SqliteJson(), "sqlite")

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", _BIGINT, Identity(always=True, cache=1), primary_key=True)


def _count(name: str, **more: Any) -> Column[int]:
    return Column(name, _BIGINT, nullable=False, server_default=text("0"), **more)


_PENDING = text("status = 'pending'")
_MAYBE = text("status = 'pending' AND maybe_received = 1")
_DEAD = text("status = 'dead'")
_DELIVERED = text("status = 'delivered'")
_DISCARDED = text("status = 'discarded'")


def _partial(name: str, *columns: Any, where: Any, **more: Any) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where, **more)


# `tx` comes before `id`, because defaults are evaluated in the order of the columns: a transaction
# that has taken a number from the sequence has a transaction id already, seen by every snapshot.
outbox = Table(
    "shipper_outbox",
    metadata,
    Column("tx", Xid8(), nullable=False, server_default=func.pg_current_xact_id(), info=_POSTGRES),
    _id(),
    Column("destination", _NAME, server_default="default"),
    Column(_ORDERING_KEY, _NAME),
    Column("event_id", _NAME),
    Column("created_at", UtcTime, nullable=False, server_default=func.now()),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", UtcTime),
    Column("delivered_at", UtcTime),
    Column("last_status_code", Integer),
    Column("last_error", Text),
    Column("maybe_received", _SMALLINT, nullable=False, server_default=text("0")),
    Column("manual", _SMALLINT, nullable=False, server_default=text("0")),
    Column("delivery_number", _BIGINT),
    Column("lane", BigInteger, info=_POSTGRES),
    Column("slot", SmallInteger, nullable=False, info=_POSTGRES),
    Column("payload", _PAYLOAD, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("reroutes", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("event_id", name="shipper_outbox_event_id_key"),
    _partial("shipper_outbox_pending", "destination", "id", where=_PENDING),
    _partial("shipper_outbox_maybe", "destination", "id", where=_MAYBE),
    _partial("shipper_outbox_dead", "destination", "id", where=_DEAD),
    _partial("shipper_outbox_delivered", "delivered_at", where=_DELIVERED),
    _partial("shipper_outbox_discarded", "destination", "id", where=_DISCARDED),
    sqlite_autoincrement=True,
)
_SENT_FIRST = outbox.c.maybe_received.desc()
_partial(
    "shipper_outbox_lane", outbox.c.lane, _SENT_FIRST, outbox.c.id, where=_PENDING, info=_POSTGRES
)
_partial(
    "shipper_outbox_key", outbox.c.destination, outbox.c.ordering_key, _SENT_FIRST, outbox.c.id,
    where=_PENDING, info=_SQLITE,
)  # fmt: skip

attempt = Table(
    "shipper_attempt", metadata,
    _id(),
    Column("outbox_id", _BIGINT, nullable=False),
    Column("event_id", _NAME, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
    Column("response_excerpt", Text),
    Column("manual", _SMALLINT, nullable=False, server_default=text("0")),
    Index("shipper_attempt_outbox", "outbox_id", "id"),
    sqlite_autoincrement=True,
)  # fmt: skip

claim = Table(
    "shipper_claim", metadata,
    Column("number", _BIGINT, primary_key=True, autoincrement=False),
    Column("ids", Text, nullable=False),
    Column("token", BigInteger, primary_key=True, server_default=text("0"), info=_POSTGRES),
)  # fmt: skip

destination = Table(
    "shipper_destination", metadata,
    Column("name", _NAME, primary_key=True),
    Column("state", Text, nullable=False, server_default="ready"),
    Column("reason", Text),
    Column("since", UtcTime, nullable=False, server_default=func.now()),
    Column("next_try_at", UtcTime),
    Column("held", _SMALLINT, nullable=False, server_default=text("0")),
    _count("delivered"),
    _count("dead"),
    _count("discarded"),
    _count("purged"),
    Column("updated_at", UtcTime, nullable=False, server_default=func.now()),
    _count("releases"),
    _count("failures"),
    Column("last_error", Text),
    Column("failing_since", UtcTime),
    _count("recalls"),
)  # fmt: skip

hold = Table(
    "shipper_hold", metadata,
    _id(),
    Column("destination", _NAME, nullable=False),
    Column(_ORDERING_KEY, _NAME, nullable=False),
    Column("cause", Text, nullable=False),
    Column("event_id", _NAME),
    Column("since", UtcTime, nullable=False, server_default=func.now()),
    sqlite_autoincrement=True,
)  # fmt: skip
# On PostgreSQL the index is on the key's hash, which Alembic can't compare on SQLite: see BY_HAND.
Index("shipper_hold_exact", hold.c.destination, hold.c.ordering_key, unique=True, info=_SQLITE)

touched = Table(
    "shipper_touched", metadata,
    Column("generation", _BIGINT, primary_key=True, autoincrement=False),
    Column("destination", _NAME, primary_key=True),
    Column("outbox_id", _BIGINT, primary_key=True, autoincrement=False),
    Column(_ORDERING_KEY, _NAME),
)  # fmt: skip

lease = Table(
    "shipper_lease", metadata,
    Column("name", Text, primary_key=True),
    _count("token"),
    Column("owner", Text),
    Column("acquired_at", UtcTime),
    Column("expires_at", UtcTime),
    *(_count(name, info=_SQLITE) for name in ("turn", "claim", "delivery")),
    _count("generation"),
    _count("settled", info=_SQLITE),
    Column("broken", Text),
    Column("audited_at", UtcTime),
    Column("ttl", _SECONDS),
    _count("epoch", info=_POSTGRES),
)  # fmt: skip

# On SQLite the row of the lease is that of the only daemon.
daemon = Table(
    "shipper_daemon", metadata,
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("owner", Text),
    Column("ttl", Double, nullable=False),
    Column("since", UtcTime, nullable=False, server_default=func.now()),
    Column("expires_at", UtcTime, nullable=False),
    Column("settings", Text),
    info=_POSTGRES,
)  # fmt: skip

# As it was when others ended it; it is forgotten once a daemon of its name is back.
gone = Table(
    "shipper_gone", metadata,
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("owner", Text),
    Column("ttl", Double, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    info=_POSTGRES,
)  # fmt: skip

shard = Table(
    "shipper_shard", metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("token", BigInteger),
    info=_POSTGRES,
)  # fmt: skip

# On SQLite the row of the destination says how its only daemon sees it.
link = Table(
    "shipper_link", metadata,
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("since", UtcTime, nullable=False),
    Column("next_try_at", UtcTime),
    Column("updated_at", UtcTime, nullable=False),
    _count("failures"),
    Column("last_error", Text),
    Column("failing_since", UtcTime),
    info=_POSTGRES,
)  # fmt: skip

# On SQLite a turn is a number in the row of the lease instead. `delivery` is the last number that
# the daemon has given up to this turn; it only tells people, as numbers come from a sequence.
turn = Table(
    "shipper_turn", metadata,
    Column("turn", _BIGINT, primary_key=True, autoincrement=False),
    Column("token", _BIGINT, primary_key=True, autoincrement=False),
    *(_count(name) for name in ("claim", "delivery", "settled")),
    Column("at", UtcTime, nullable=False, server_default=func.now()),
    info=_POSTGRES,
)  # fmt: skip

# What turns have counted, until the daemon adds it to the counters of the destinations.
count = Table(
    "shipper_count", metadata,
    Column("token", _BIGINT, primary_key=True, autoincrement=False),
    Column("turn", _BIGINT, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    *(Column(name, _BIGINT, nullable=False) for name in ("delivered", "dead")),
    info=_POSTGRES,
)  # fmt: skip

minute = Table(
    "shipper_minute", metadata,
    Column("minute", UtcTime, primary_key=True),
    Column("destination", _NAME, primary_key=True),
    _count("delivered"),
    _count("retried"),
    _count("dead"),
    Column("latency_sum", _SECONDS, nullable=False, server_default=text("0")),
    Column("latency_max", _SECONDS, nullable=False, server_default=text("0")),
)  # fmt: skip

# The BEFORE INSERT trigger notes here which row has the event_id, for the AFTER INSERT trigger.
insert_guard = Table(
    "shipper_insert_guard", metadata,
    Column("one", Integer, primary_key=True),
    Column("existing_id", Integer),
    info=_SQLITE,
)  # fmt: skip


def compared(item: SchemaItem, name: str | None, dialect: str) -> bool:
    """Return whether Alembic compares a table, column or index: only ours, for this dialect.

    Everything else belongs to the application.
    """
    table = item if isinstance(item, Table) else getattr(item, "table", None)
    ours = metadata.tables.get(table.name) if isinstance(table, Table) else None
    if ours is None or name in BY_HAND:
        return False
    return all(thing.info.get("only", dialect) == dialect for thing in (item, ours))
