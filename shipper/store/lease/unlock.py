"""Ending daemons whose leases are stuck, after an operator has confirmed that they have ended.

It decides which daemons can be ended: none that certainly runs on this machine, and if some haven't
prolonged their leases in time, only these. It refuses to end one that has changed its row since the
question to the operator. What a daemon may have sent is marked as it is ended. One that other
daemons have ended, and that isn't back, is only forgotten.
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
from shipper.store.lease.lease import SILENT, Owner
from shipper.store.lease.membership_statements import HOLD


@dataclass(frozen=True, slots=True)
class Stuck:
    """A lease that its holder didn't release; `seen` are values that a running holder changes.

    `last_seen_seconds` is by the server's clock. `frozen` are the server processes of transactions
    in which the holder stopped: these keep the row of the lease locked.
    """

    token: int
    holder: str
    last_seen_seconds: float | None
    seen: tuple[Any, ...]
    frozen: tuple[int, ...] = ()


def find(engine: Engine, path: Path | None, *, only_silent: bool = False) -> list[Stuck]:
    """Return the leases that can be ended; `path` is the SQLite file.

    With `only_silent`, a lease that was prolonged in time is none of them. Otherwise the only one
    is, because the operator can only mean that.

    Raises OutboxHeld if all daemons certainly run: on this machine, or the holder of a file's lock.
    """
    if path is not None:
        if FileLock(path).is_held():
            raise OutboxHeld(
                "a process holds the lock of this file, and lives", "stop it: the lock ends with it"
            )
        return []  # a dead process's row in the file doesn't stop a new daemon
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        rows = tx.execute(_leases(dialect)).all()
    owners = {row.token: Owner.read(row.owner) for row in rows}
    living = {token: one for token, one in owners.items() if one is not None and _lives(one)}
    rest = [row for row in rows if row.token not in living]
    if living and not rest:
        owner = next(iter(living.values()))
        raise OutboxHeld(f"{owner} holds this outbox, and lives", f"stop it: kill {owner.pid}")
    silent = [row for row in rest if row.last_seen >= SILENT * row.ttl]
    if len(rows) > 1 and not silent:
        # Of several, most live: an operator can't mean all of them.
        raise OutboxHeld(
            f"{len(rows)} daemons share this outbox, and all have prolonged their leases lately",
            "the others end one that died once its lease is over; see: shipper status",
        )
    found = []
    with glancing(engine) as tx:
        for row in silent or ([] if only_silent else rest):
            frozen = tx.execute(pick(dialect, postgresql=_FROZEN), {"token": row.token}).scalars()
            holder = str(owners[row.token] or "another daemon")
            found.append(Stuck(row.token, holder, row.last_seen, _seen(row), tuple(frozen)))
    return found


def forget(engine: Engine, token: int) -> None:
    """Forget a daemon that others have ended. Raises as `end`, except OutboxHeld."""
    with writing(engine) as tx:
        dialect_of(engine).lock_lease(tx)
        tx.execute(_FORGET, {"token": token})


def end(engine: Engine, stuck: Stuck) -> None:
    """End a daemon; raises OutboxHeld if its row has changed since it was found.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with glancing(engine) as tx:
        for pid in stuck.frozen:
            tx.execute(pick(dialect, postgresql=_TERMINATE), {"pid": pid})
    with writing(engine) as tx:
        dialect.lock_lease(tx)
        tx.execute(HOLD, {"token": stuck.token})  # nothing of it is being written, or will be
        leases = tx.execute(_leases(dialect))
        now = next((row for row in leases if row.token == stuck.token), None)
        if now is None:
            return  # another daemon has taken over meanwhile
        if _seen(now) != stuck.seen:
            raise OutboxHeld(
                f"{stuck.holder} has written meanwhile: it lives", "stop it, or leave it alone"
            )
        membership.end(tx, dialect, stuck.token)


def _lives(owner: Owner) -> bool:
    return owner.is_local() and not owner.is_dead()


def _seen(row: object) -> tuple[Any, ...]:
    return tuple(getattr(row, name, None) for name in ("owner", "expires_at", "turn"))


def _leases(dialect: Dialect) -> TextClause:
    return text(
        "SELECT token, owner, ttl, expires_at, (SELECT max(turn) FROM shipper_turn AS t"
        f" WHERE t.token = d.token) AS turn, {dialect.fence.unseen} AS last_seen"
        " FROM shipper_daemon AS d ORDER BY token"
    )


# Sessions of our own role that have locked this daemon's row, or the lease: we can end them. A lock
# of a row is the number of its transaction.
_FROZEN = text(
    "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND state LIKE 'idle in transaction%' AND usename = current_user AND backend_xid IN"
    " (SELECT xmax FROM shipper_daemon WHERE token = :token"
    " UNION ALL SELECT xmax FROM shipper_lease WHERE name = 'outbox') ORDER BY pid"
)
_FORGET = text("DELETE FROM shipper_gone WHERE token = :token")
_TERMINATE = text("SELECT pg_terminate_backend(:pid)")
