"""What SQLite's planner is told about our tables, and about nobody else's."""

from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.drain.sqlite_planner import forget_statistics
from tests.store.daemons import write
from tests.store.shipping import ask, run, taken


def _analyze(engine: Engine) -> None:
    run(engine, "CREATE TABLE orders (id INTEGER PRIMARY KEY, at TEXT)")
    run(engine, "CREATE INDEX orders_at ON orders (at)")
    run(engine, "INSERT INTO orders (at) VALUES ('now')")
    run(engine, "ANALYZE")


def test_only_what_is_said_of_our_tables_is_forgotten(sqlite_url: str) -> None:
    """And a second time there is nothing to do."""
    engine = open_engine(sqlite_url)
    write(engine, "a")
    _analyze(engine)
    assert ask(engine, "SELECT 1 FROM sqlite_stat1 WHERE tbl = 'shipper_outbox'")
    assert forget_statistics(engine)
    assert ask(engine, "SELECT DISTINCT tbl FROM sqlite_stat1") == [("orders",)]
    assert not forget_statistics(engine)
    engine.dispose()


def test_where_nobody_has_analyzed_nothing_is_written(sqlite_url: str) -> None:
    """Not even the table of the notes is made."""
    engine = open_engine(sqlite_url)
    assert not forget_statistics(engine)
    assert not ask(engine, "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'")
    engine.dispose()


def test_who_takes_the_outbox_begins_without_them(sqlite_url: str) -> None:
    """Before it claims anything."""
    engine = open_engine(sqlite_url)
    write(engine, "a")
    _analyze(engine)
    taken(engine)
    assert ask(engine, "SELECT DISTINCT tbl FROM sqlite_stat1") == [("orders",)]
    engine.dispose()
