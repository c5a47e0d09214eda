"""An outbox as other tools treat it: raw statements, without shipper's own functions."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing, writing


@contextmanager
def outbox(url: str) -> Iterator[Engine]:
    """Open an outbox and write an event."""
    engine = open_engine(url)
    run(engine, "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', 'a')")
    yield engine
    engine.dispose()


def run(engine: Engine, *statements: str) -> None:
    """Do what a tool does."""
    with writing(engine) as tx:
        for statement in statements:
            tx.exec_driver_sql(statement)


def rows(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    """Return what a query finds."""
    with glancing(engine) as tx:
        return [tuple(row) for row in tx.exec_driver_sql(statement)]
