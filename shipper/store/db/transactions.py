"""The kinds of transaction. Everything in `store` that runs SQL does so inside one of them.

All turn a driver's failure into a ShipperError. Never keep a transaction open while waiting for
anything but the database.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shipper.errors import ShipperError
from shipper.store.db import failures, ready
from shipper.store.db.dialect import Mode
from shipper.store.db.driver import wrapped
from shipper.store.db.kept import Kept
from shipper.store.db.postgres.pipeline import Pipelines
from shipper.store.db.statement import Channel
from shipper.system.steps import Mark, Steps

Follow: TypeAlias = Callable[[Channel], None]
"""What sends statements behind a COMMIT; see `exchanging`."""


@contextmanager
def translating(engine: Engine | None = None) -> Iterator[None]:
    """Turn a failure of the database into a ShipperError, if an operator can act on it."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        translated = failures.translate(error, None if engine is None else failures.file_of(engine))
        if translated is None and engine is not None and failures.endures(engine):
            translated = failures.unknown(error)
        if translated is None:
            raise
        if engine is not None:
            translated = _with_lockers(engine, error, translated)
        raise translated from error


def _with_lockers(engine: Engine, error: Exception, found: ShipperError) -> ShipperError:
    """Return the failure with the processes that have locked our tables, as far as known."""
    dialect = failures.source_of(error)
    if dialect is None or not isinstance(error, DBAPIError) or not dialect.is_locked(error.orig):
        return found
    with suppress(ShipperError):
        with reading(engine) as tx:
            who = dialect.lockers(tx)
        if who:
            hint = "if that doesn't end soon: SELECT pg_terminate_backend(its number)"
            return type(found)(f"{found.message}: {', '.join(who)}", hint)
    return found


def _kept(engine: Engine) -> Kept:
    kept: Kept = engine.get_execution_options()["kept"]
    return kept


def interrupt(engine: Engine) -> None:
    """Make the statement that runs on this engine's connection fail, from another thread.

    The next statement runs: the caller has to stop the work in another way, too.
    """
    kept = _kept(engine)
    driver = kept.busy
    if driver is not None:
        with suppress(Exception):  # it can have ended, or be closed, by now
            kept.dialect.interrupt(driver)


def hang_up(engine: Engine) -> None:
    """End a server's connection that is in use, from another thread; nothing on SQLite.

    The thread that waits for an answer gets the error of a lost connection, whatever the server
    does.
    """
    kept = _kept(engine)
    driver = kept.busy
    if driver is not None:
        with suppress(Exception):
            kept.dialect.hang_up(driver)


def committing(engine: Engine) -> object | None:
    """Return an object for the COMMIT that runs now, another one for each COMMIT; or None.

    If PostgreSQL only waits for a standby, an interrupted COMMIT has committed all the same.
    """
    return _kept(engine).committing


def let_go(engine: Engine) -> None:
    """Close an SQLite file until its next use, for a process beside the daemon.

    While this process has the file open, the daemon can't save a WAL that another process has
    removed.
    """
    if _kept(engine).dialect.is_file:
        engine.dispose()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at its end; on SQLite it has the write lock from the start.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "write") as connection, connection.begin():
        yield connection
        _kept(engine).committing = object()


def exchanging(engine: Engine, follow: Follow) -> Steps[AbstractContextManager[Channel]]:
    """Begin a transaction of the drain, as `writing` does; it waits only after `Mark.WAIT`.

    On a server its statements are sent without waiting, and `follow` sends single statements
    together with the COMMIT. Their answers are there after the transaction, unless only they have
    failed.
    """
    kept = _kept(engine)
    pipelines = kept.dialect.pipelines(engine)
    if pipelines is not None:
        yield Mark.WAIT
        return _pipelined(engine, pipelines, follow)
    found = ready.begin(kept, partial(translating, engine))
    if found is not None:
        return _plain(found)
    yield Mark.WAIT
    return _plain(writing(engine))


@contextmanager
def _plain(transaction: AbstractContextManager[Connection]) -> Iterator[Channel]:
    with transaction as tx:
        yield Channel(tx)


@contextmanager
def _pipelined(engine: Engine, pipelines: Pipelines, follow: Follow) -> Iterator[Channel]:
    kept = _kept(engine)
    with translating(engine), _connected(engine, "glance") as tx:

        def on_commit() -> None:
            kept.committing = object()
            follow(Channel(tx, pipeline))

        try:
            with pipelines.pipelined(tx, on_commit) as pipeline:
                yield Channel(tx, pipeline)
        except tx.dialect.loaded_dbapi.Error as error:
            raise wrapped(tx, error, "statements in a pipeline") from error


def is_ready(engine: Engine) -> bool:
    """Return whether the drain's next transaction can begin at once."""
    return _kept(engine).is_ready()


def viewing(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a connection as `glancing` does; for the drain, which mostly reads what it has written.

    Only for statements that go straight to the driver.
    """
    found = ready.view(_kept(engine), partial(translating, engine))
    return glancing(engine) if found is None else found


@contextmanager
def glancing(engine: Engine) -> Iterator[Connection]:
    """Open a connection for single statements, each with its own view: the cheapest read.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "glance") as connection:
        yield connection


@contextmanager
def asking(engine: Engine) -> Iterator[Channel]:
    """Open a channel for single statements like `viewing`; on a server, they aren't waited for.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    pipelines = _kept(engine).dialect.pipelines(engine)
    if pipelines is None:
        with viewing(engine) as tx:
            yield Channel(tx)
        return
    with glancing(engine) as tx:
        try:
            with pipelines.asking(tx) as pipeline:
                yield Channel(tx, pipeline)
        except tx.dialect.loaded_dbapi.Error as error:
            raise wrapped(tx, error, "questions in a pipeline") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; it never waits for a writer.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "read") as connection:
        yield connection


@contextmanager
def _connected(engine: Engine, mode: Mode) -> Iterator[Connection]:
    kept = _kept(engine)
    connection = kept.take(engine)
    try:
        if connection.get_execution_options().get("mode") != mode:
            kept.dialect.prepare(connection, mode)
            connection.execution_options(mode=mode)
        kept.busy = connection.connection.driver_connection
        yield connection
        connection.rollback()  # a transaction that only reads has nothing to commit
    except BaseException:
        kept.busy = kept.committing = None
        kept.end(connection)
        raise
    kept.busy = kept.committing = None
    kept.give_back(connection)
