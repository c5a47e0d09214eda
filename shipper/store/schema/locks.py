"""Changing the tables themselves while an application writes into them.

On a server, that takes locks for which every INSERT waits. The server grants such a lock only when
each transaction that has used the table has ended, even if it only read; and while one session
waits for the lock, all later sessions wait behind it. So this module waits for a moment only, then
releases all locks and tries again. It must never wait for longer than that moment.

A file needs no such locks, because it has one writer at a time.
"""

from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shipper.clock import SystemClock
from shipper.errors import StoreUnavailable
from shipper.store.db.dialect import Dialect, dialect_of, pick
from shipper.store.db.transactions import writing

T = TypeVar("T")

PATIENCE: Final = 60.0
"""For how many seconds a change of the tables tries again and again to get the locks."""
_REST: Final = 0.2
# Each write of shipper begins with the lease. Applications write into the outbox, so it comes last.
_TABLES: Final = ("lease", "destination", "claim", "hold", "minute", "attempt", "outbox")
_ASK_FOR_A_MOMENT: Final = text("SET LOCAL lock_timeout = '25ms'")

_pause = Event()


def briefly(
    engine: Engine,
    work: Callable[[Connection], T],
    *,
    tables: tuple[str, ...] = _TABLES,
    patience: float = PATIENCE,
    rest: Callable[[float], object] = _pause.wait,
) -> T:
    """Do `work` in one transaction that has locked these tables; return what `work` returns.

    Raises StoreUnavailable if other transactions use the tables for `patience` seconds.
    """
    dialect, clock = dialect_of(engine), SystemClock()
    until = clock.monotonic() + patience
    while True:
        try:
            with writing(engine) as tx:
                if not dialect.is_file:
                    _lock(tx, dialect, tables)
                return work(tx)
        except StoreUnavailable as error:
            if not _met_another(dialect, error):
                raise
            if clock.monotonic() >= until:
                raise StoreUnavailable(
                    f"other transactions have had the outbox's tables in use for {patience:g} s",
                    "end the long transactions (pg_stat_activity shows them), then do this again",
                ) from error
        rest(_REST)


def _lock(tx: Connection, dialect: Dialect, tables: tuple[str, ...]) -> None:
    tx.execute(pick(dialect, postgresql=_ASK_FOR_A_MOMENT))
    for name in tables:
        if tx.execute(text("SELECT to_regclass(:name)"), {"name": f"shipper_{name}"}).scalar():
            tx.exec_driver_sql(f"LOCK TABLE shipper_{name} IN ACCESS EXCLUSIVE MODE")


def _met_another(dialect: Dialect, error: StoreUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and dialect.is_met(cause.orig)
