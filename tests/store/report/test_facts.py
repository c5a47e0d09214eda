"""What `doctor` asks a database: found by indexes, and right."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from shipper.store.db.dialect import POSTGRES
from shipper.store.db.engine import open_engine
from shipper.store.lease.lease import Owner
from shipper.store.report import facts, minutes
from shipper.store.report.facts import (
    Growth,
    growth,
    journal_mode,
    oldest_pending,
    server,
    shipper_pid,
)
from shipper.store.report.first_pending import first_pending
from shipper.store.report.status import open_transactions
from tests.store.daemons import Daemon, tamper, write
from tests.store.poolers import Mode, pooling
from tests.store.shipping import run, taken

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
DAY = 86400.0


def _written(engine: Engine, row: int, moment: str) -> None:
    run(engine, f"UPDATE shipper_outbox SET created_at = '{moment}' WHERE id = {row}")


def test_growth_counts_a_day(engine: Engine) -> None:
    """From when it was written, whatever became of it."""
    days = ["2025-12-29", "2025-12-30", "2025-12-31", "2026-01-01", "2026-01-01"]
    ids = write(engine, *"abcde", payload='{"x":"' + "y" * 92 + '"}')
    for row, day in zip(ids, days, strict=True):
        _written(engine, row, f"{day}T11:00:00.000Z")
    found = growth(engine, NOON)
    assert found == Growth(2, 500)
    assert found.bytes_a_day == 1000
    assert growth(engine, NOON + DAY).events == 0
    assert growth(engine, NOON - 365 * DAY).events == 5


def test_growth_reads_no_more_of_a_longer_history(sqlite_url: str) -> None:
    """Asked for both at once, SQLite finds the smallest and the largest id by reading all rows."""
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        plan = [row[-1] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {facts._ENDS}"))]
    assert sum("SEARCH" in step for step in plan) == 2
    assert not [step for step in plan if step.startswith("SCAN shipper_outbox")]
    engine.dispose()


def test_growth_of_an_empty_outbox_is_none(engine: Engine) -> None:
    """Also where everything has been deleted."""
    assert growth(engine, NOON) == Growth(0, 0)
    assert growth(engine, NOON).bytes_a_day == 0


@pytest.mark.parametrize("gone", [(1,), (1, 2, 3), (3,), (2, 4)])
def test_growth_steps_over_what_was_deleted(engine: Engine, gone: tuple[int, ...]) -> None:
    """Ids have gaps."""
    for row in write(engine, *"abcdef"):
        _written(engine, row, "2025-12-01T00:00:00Z" if row < 5 else "2026-01-01T11:00:00Z")
    for row in gone:
        tamper(engine, f"DELETE FROM shipper_outbox WHERE id = {row}")
    assert growth(engine, NOON).events == 2


def test_growth_counts_rows_and_not_the_ids_that_were_never_one(engine: Engine) -> None:
    """A hundred thousand of ON CONFLICT DO NOTHING took an id each, before and after."""
    for at, row in enumerate(write(engine, *"abcdef")):
        _skip(engine, 100_000 * (at + 1))
        _written(engine, row, f"2026-01-01T{at:02}:00:00Z")
    assert growth(engine, NOON) == Growth(6, growth(engine, NOON).bytes_each)
    assert growth(engine, NOON).bytes_each > 400  # of the last rows, however far apart they are


def _skip(engine: Engine, to: int) -> None:
    if engine.dialect.name == "sqlite":
        run(engine, f"UPDATE sqlite_sequence SET seq = {to} WHERE name = 'shipper_outbox'")
    else:
        run(engine, f"SELECT setval('shipper_outbox_id_seq', {to})")


def test_growth_of_many_rows_is_counted_in_even_parts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dense ones and sparse ones, and no more read than a part of them."""
    write(engine, *["k"] * 300)
    _skip(engine, 700)
    write(engine, *["k"] * 300)
    monkeypatch.setattr(facts, "_COUNTED", 10)
    run(engine, "UPDATE shipper_outbox SET created_at = '2026-01-01T11:00:00.000Z'")
    assert 500 < growth(engine, NOON).events < 700


def test_growth_remembers_what_was_deleted_within_the_day(engine: Engine) -> None:
    """Where delivered events stay for an hour, a day is more than what is there."""
    for row in (ids := write(engine, *"abc")):
        _written(engine, row, "2026-01-01T11:30:00Z")
    Daemon(engine).deliver(ids[0])
    moment = "2026-01-01T11:40:00.000Z"
    run(engine, f"UPDATE shipper_outbox SET delivered_at = '{moment}' WHERE id = {ids[0]}")
    minutes.add(engine, [minutes.Minute(NOON - 3600, "default", 41, 0, 0, 0.0, 0.0)], NOON)
    assert growth(engine, NOON).events == 3 + 40


def test_the_oldest_is_the_smallest_id_of_all_destinations(engine: Engine) -> None:
    """With its key, and since when it waits."""
    ids = [*write(engine, "a"), *write(engine, None, destination="other"), *write(engine, "b")]
    names = ["default", "other", "unheard-of"]
    Daemon(engine).deliver(ids[0])
    _written(engine, ids[1], "2026-01-01T11:00:00.000Z")
    found = oldest_pending(engine, names, NOON)
    assert found is not None
    assert (found.id, found.destination, found.ordering_key) == (ids[1], "other", None)
    assert found.seconds == 3600.0
    of_default = oldest_pending(engine, ["default"], NOON)
    assert of_default is not None
    assert (of_default.id, of_default.ordering_key) == (ids[2], "b")
    Daemon(engine).deliver(ids[1], ids[2])
    assert oldest_pending(engine, names, NOON) is None


def test_the_process_that_ships_is_found_on_this_machine(engine: Engine) -> None:
    """Elsewhere, and dead, it has no number that means anything here."""
    assert shipper_pid(engine) is None
    queue = taken(engine)
    assert shipper_pid(engine) == os.getpid()
    here = Owner.here()
    for owner in (
        Owner("h", "another boot", here.namespace, 1, "then"),
        Owner("h", here.boot, here.namespace, here.pid, "before us"),
    ):
        table = "shipper_daemon" if engine.dialect.name == "postgresql" else "shipper_lease"
        run(engine, f"UPDATE {table} SET owner = :owner", owner=owner.write())
        assert shipper_pid(engine) is None
    queue.release()
    assert shipper_pid(engine) is None


def test_the_journal_mode_is_told(sqlite_url: str) -> None:
    """WAL, in a file that was migrated."""
    engine = open_engine(sqlite_url)
    assert journal_mode(engine) == "wal"
    engine.dispose()


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


def test_a_server_is_told(post: Engine) -> None:
    """The one of these tests doesn't care for its disk."""
    found = server(post)
    assert found.version[0].isdigit()
    assert not found.standby
    assert not found.pooled
    assert found.bytes > 8192


@pytest.mark.parametrize(
    ("mode", "size", "shares"),
    [
        ("session", 2, False),
        ("session", 1, None),
        ("transaction", 1, True),
        ("transaction", 3, True),
    ],
)
def test_a_pooler_is_judged_by_what_is_seen(
    postgres_url: str,
    mode: Mode,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    shares: bool | None,
) -> None:
    """In session mode it does what the server does; where it lets us wait, nobody knows."""
    monkeypatch.setattr(facts, "_SERVED_WITHIN", 1)
    with pooling(postgres_url, mode, size) as url:
        engine = open_engine(url)
        found = server(engine)
        engine.dispose()
    assert found.pooled
    assert found.shares is shares


def test_open_transactions_are_named(post: Engine, postgres_url: str, sqlite_url: str) -> None:
    """Those that have written, whether or not an event waits for them."""
    other = open_engine(postgres_url)
    with other.connect() as connection:
        connection.exec_driver_sql("SET application_name = 'till 7'")
        connection.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
        assert "till 7" in [one.application for one in open_transactions(post)]
    other.dispose()
    assert "till 7" not in [one.application for one in open_transactions(post)]
    lite = open_engine(sqlite_url)
    assert open_transactions(lite) == []
    lite.dispose()


@pytest.mark.parametrize("most", ["1", "5"])
def test_the_first_pending_event_is_found_without_the_history_before_it(
    postgres_url: str, most: str
) -> None:
    """Only the index of pending events has the order that is asked for: without it, it sorts.

    So it isn't left to the server's guess, as it was for the order of ids alone.
    """
    engine = open_engine(postgres_url)
    ids = write(engine, *"abcdefgh")
    ask, values = text(first_pending(POSTGRES, "id", most)), {"name": "default"}
    with engine.connect() as connection:
        assert connection.execute(ask, {"name": "a"}).all() == []
        assert list(connection.execute(ask, values).scalars()) == ids[: int(most)]
        explain = text(f"EXPLAIN {ask.text}")
        for setting in ("enable_seqscan", "enable_sort", "enable_incremental_sort"):
            connection.execute(text(f"SET LOCAL {setting} = off"))
        at_first = "\n".join(connection.execute(explain, values).scalars())
        connection.execute(text("DROP INDEX shipper_outbox_pending"))
        without = "\n".join(connection.execute(explain, values).scalars())
        connection.rollback()
    engine.dispose()
    assert "shipper_outbox_pending" in at_first
    assert "Sort Key: shipper_outbox.destination" in without
