"""Ending a lease that is stuck, after an operator has confirmed that its holder has ended.

It refuses if the holder certainly runs: on this machine, or because it has changed its lease since
the question to the operator. The next daemon that takes the outbox marks the events that the holder
may have sent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, TextClause, text

from shipper.errors import OutboxHeld
from shipper.store.db.dialect import Dialect, dialect_of, pick
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import glancing, writing
from shipper.store.lease import membership
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner


@dataclass(frozen=True, slots=True)
class Stuck:
    """A lease that its holder didn't release; `seen` are values that a running holder changes.

    `last_seen_seconds` is by the server's clock. `frozen` are the server processes of transactions
    in which the holder stopped: these keep the row of the lease locked.
    """

    holder: str
    last_seen_seconds: float | None
    seen: tuple[Any, ...]
    frozen: tuple[int, ...] = ()


def find(engine: Engine, path: Path | None) -> Stuck | None:
    """Return the lease that can be ended, or None; `path` is the SQLite file.

    Raises OutboxHeld if its holder runs on this machine.
    """
    if path is not None:
        if FileLock(path).is_held():
            raise OutboxHeld(
                "a process holds the lock of this file, and lives", "stop it: the lock ends with it"
            )
        return None  # a dead process's row in the file doesn't stop a new daemon
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        row = tx.execute(_lease(dialect)).first()
    if row is None:
        return None
    owner = Owner.read(row.owner)
    if owner is not None and owner.is_local() and not owner.is_dead():
        raise OutboxHeld(f"{owner} holds this outbox, and lives", f"stop it: kill {owner.pid}")
    with glancing(engine) as tx:
        frozen = tuple(tx.execute(pick(dialect, postgresql=_FROZEN)).scalars())
    return Stuck(str(owner or "another daemon"), row.last_seen, _seen(row), frozen)


def end(engine: Engine, stuck: Stuck) -> None:
    """End a lease; raises OutboxHeld if it has changed since it was found.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with glancing(engine) as tx:
        for pid in stuck.frozen:
            tx.execute(pick(dialect, postgresql=_TERMINATE), {"pid": pid})
    with writing(engine) as tx:
        dialect.lock_lease(tx)
        if _seen(tx.execute(_lease(dialect)).first()) != stuck.seen:
            raise OutboxHeld(
                f"{stuck.holder} has written meanwhile: it lives", "stop it, or leave it alone"
            )
        membership.end(tx, dialect, stuck.seen[0])


def _seen(row: object) -> tuple[Any, ...]:
    return tuple(getattr(row, name, None) for name in ("token", "owner", "expires_at", "turn"))


def _lease(dialect: Dialect) -> TextClause:
    return text(
        "SELECT token, owner, expires_at, (SELECT max(turn) FROM shipper_turn AS t"
        f" WHERE t.token = d.token) AS turn, {dialect.fence.unseen} AS last_seen"
        " FROM shipper_daemon AS d ORDER BY expires_at LIMIT 1"
    )


# Sessions of our own role: we are allowed to end them.
_FROZEN = text(
    "SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE relation = CAST('shipper_daemon' AS regclass) AND granted AND pid <> pg_backend_pid()"
    " AND state LIKE 'idle in transaction%' AND usename = current_user ORDER BY pid"
)
_TERMINATE = text("SELECT pg_terminate_backend(:pid)")
