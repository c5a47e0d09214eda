"""What is told about destinations, about who ships, and about who holds the order back."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.event import listens_for

from shipper.errors import SchemaError
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.drain.messages import LinkRow
from shipper.store.drain.queue import Queue
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from shipper.store.operate import dead_letters, hold
from shipper.store.report.daemons import current_daemon, running_daemons
from shipper.store.report.events import EventReport, get
from shipper.store.report.status import (
    DestinationReport,
    commit_blockers,
    destination_report,
)
from shipper.store.report.why import why
from tests.store.daemons import NOW, VIEW, Daemon, tamper, write


def _report(engine: Engine, name: str = "default", now: float = NOW) -> DestinationReport:
    [report] = [r for r in destination_report(engine, ["default"], now) if r.name == name]
    return report


def _event(engine: Engine, row: int) -> EventReport:
    detail = get(engine, str(row))
    assert detail is not None
    return detail.event


def _why(engine: Engine, row: int, *, now: float = NOW) -> str:
    sentence = why(engine, _event(engine, row), max_attempts=20, now=now)
    assert sentence is not None
    return sentence


# -- destinations -------------------------------------------------------------------------------


def test_a_configured_destination_is_listed_before_anything_ran(engine: Engine) -> None:
    """It is ready, and there is nothing to tell."""
    assert destination_report(engine, ["default"], NOW) == [
        DestinationReport("default", "ready", None, None, None, 0, 0, 0, 0, 0, 0, None)
    ]


def test_every_counter_is_what_the_daemon_and_the_operator_did(engine: Engine) -> None:
    """Pending comes from the rows, everything else was counted when it happened."""
    first, second, third, fourth, _fifth = write(engine, "a", "b", "c", "d", "e")
    daemon = Daemon(engine)
    daemon.deliver(first)
    daemon.bury(second, third, fourth)
    dead_letters.discard(engine, Selection(ids=(second,)), NOW)
    hold.hold_key(engine, "default", "e", NOW)
    report = _report(engine)
    assert (report.pending, report.delivered, report.dead) == (1, 1, 2)
    assert (report.discarded, report.purged, report.held_keys) == (1, 0, 1)


def test_the_oldest_pending_event_is_the_one_of_the_lowest_id(engine: Engine) -> None:
    """Its age is told in seconds, and never as less than none."""
    first, _second = write(engine, "a", "b")
    written = _event(engine, first).created_at
    age = _report(engine, now=written + 90).oldest_pending_seconds
    assert age == pytest.approx(90, abs=0.01)
    assert _report(engine, now=written - 90).oldest_pending_seconds == 0.0


def test_a_link_is_told_as_it_was_recorded(engine: Engine) -> None:
    """State, reason, since when, next try."""
    Daemon(engine).links(LinkRow("default", "offline", "dns: no address", NOW - 60, NOW + 30))
    report = _report(engine)
    assert (report.state, report.reason) == ("offline", "dns: no address")
    assert (report.since, report.next_try_at) == (NOW - 60, NOW + 30)


def test_an_operators_hold_goes_over_every_state_of_the_link(engine: Engine) -> None:
    """While it is held nothing is tried, whatever the link's own state."""
    Daemon(engine).links(LinkRow("default", "offline", "dns: no address", NOW - 60, NOW + 30))
    hold.hold_destination(engine, "default", NOW)
    report = _report(engine)
    assert (report.state, report.reason, report.next_try_at) == (
        "held",
        "held by an operator",
        None,
    )
    assert report.since == NOW


def test_a_destination_that_only_rows_name_is_paused(engine: Engine) -> None:
    """Its events wait for a line in the configuration, and status says so."""
    write(engine, "a", destination="elsewhere")
    report = _report(engine, "elsewhere")
    assert report.state == "paused"
    assert report.reason == "the configuration has no [destinations.elsewhere]"
    assert report.pending == 1


def test_a_destination_that_nobody_names_any_more_is_not_listed(engine: Engine) -> None:
    """Without an event nobody has to act."""
    Daemon(engine, "default", "former")
    assert [r.name for r in destination_report(engine, ["default"], NOW)] == ["default"]


def test_the_report_scans_no_history(sqlite_url: str) -> None:
    """Whatever it asks about events is answered by the index of the pending ones."""
    engine = open_engine(sqlite_url)
    write(engine, "a", "b")
    asked: list[tuple[str, object]] = []

    @listens_for(engine, "before_cursor_execute")
    def _listen(_: object, __: object, statement: str, values: object, *___: object) -> None:
        asked.append((statement, values))

    destination_report(engine, ["default"], NOW)
    of_events = [(statement, values) for statement, values in asked if "outbox" in statement]
    assert len(of_events) >= 3
    with engine.connect() as tx:
        for statement, values in of_events:
            plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()  # type: ignore[arg-type]
            assert ["INDEX shipper_outbox_pending" in step.detail for step in plan] == [True]
    engine.dispose()


# -- who ships ----------------------------------------------------------------------------------


def test_nobody_ships_a_fresh_outbox(engine: Engine) -> None:
    """No lease, no lock: no shipper."""
    assert current_daemon(engine) is None


def test_the_holder_of_the_lock_ships_an_sqlite_outbox(sqlite_url: str, tmp_path: Path) -> None:
    """The kernel knows whether it lives; the lease only says who it is."""
    engine = open_engine(sqlite_url)
    lock = FileLock(tmp_path / "shop.db")
    Daemon(engine)
    assert current_daemon(engine) is None
    lock.acquire()
    assert str(current_daemon(engine)).startswith("process ")
    lock.release()
    assert current_daemon(engine) is None
    engine.dispose()


def test_a_daemon_has_the_name_that_its_configuration_gives_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Also where there is only one: on a machine with several outboxes, each has its name."""
    engine, lock, here = open_engine(sqlite_url), FileLock(tmp_path / "shop.db"), Owner.here()
    lock.acquire()
    Queue(engine, lease_ttl=60.0).acquire(here, name="till-7")
    assert [(one.name, one.host) for one in running_daemons(engine)] == [("till-7", here.host)]
    assert current_daemon(engine) == f"till-7 ({here})"
    lock.release()
    engine.dispose()


def test_the_holder_of_the_lease_ships_a_postgres_outbox(postgres_url: str) -> None:
    """Until it gives it back, or it expires."""
    engine = open_engine(postgres_url)
    daemon = Daemon(engine)
    assert str(current_daemon(engine)).startswith("process ")
    tamper(engine, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 s'")
    assert current_daemon(engine) is None
    daemon.queue.renew()
    assert current_daemon(engine) is not None
    daemon.queue.release()
    assert current_daemon(engine) is None
    engine.dispose()


def test_a_lease_whose_row_is_gone_is_told_with_what_to_do(engine: Engine) -> None:
    """By whoever asks who ships."""
    tamper(engine, "DELETE FROM shipper_lease")
    for question in (current_daemon, running_daemons):
        with pytest.raises(SchemaError, match="the table shipper_lease was emptied") as raised:
            question(engine)
        assert raised.value.hint == "run: shipper db upgrade"


# -- commit order -------------------------------------------------------------------------------


def test_an_open_transaction_that_has_written_is_named(postgres_url: str) -> None:
    """What is committed after it began waits for it, and status tells whom to ask."""
    engine, other = open_engine(postgres_url), create_engine(postgres_url)
    assert commit_blockers(engine) == []
    with other.connect() as tx:
        tx.execute(text("SET application_name = 'nightly import'"))
        tx.execute(text("SELECT pg_current_xact_id()"))
        pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
        assert commit_blockers(engine) == []
        [row] = write(engine, "a")
        [blocker] = commit_blockers(engine)
        assert (blocker.pid, blocker.application) == (pid, "nightly import")
        assert blocker.seconds is not None
    assert commit_blockers(engine) == []
    other.dispose()
    Daemon(engine)
    assert _why(engine, row) == "it is sent in its turn: a daemon is running"
    engine.dispose()


def test_who_took_a_smaller_id_is_named_though_its_number_is_greater(postgres_url: str) -> None:
    """Two overlapping transactions: the first to begin is the second to take an id."""
    engine = open_engine(postgres_url)
    first, second = create_engine(postgres_url), create_engine(postgres_url)
    insert = text("INSERT INTO shipper_outbox (payload) VALUES (CAST(:payload AS json))")
    with first.connect() as one, second.connect() as two:
        one.execute(text("SELECT pg_current_xact_id()"))
        two.execute(insert, {"payload": VIEW})
        pid = two.execute(text("SELECT pg_backend_pid()")).scalar_one()
        one.execute(insert, {"payload": VIEW})
        one.commit()
        assert [blocker.pid for blocker in commit_blockers(engine)] == [pid]
        Daemon(engine)
        assert "it waits for an open transaction" in _why(engine, 2)
        assert f"process {pid}" in _why(engine, 2)
    for each in (engine, first, second):
        each.dispose()


def test_an_event_that_was_shipped_waits_for_nobody(postgres_url: str) -> None:
    """An open transaction is named only where something waits for it."""
    engine, other = open_engine(postgres_url), create_engine(postgres_url)
    with other.connect() as tx:
        tx.execute(text("SELECT pg_current_xact_id()"))
        [row] = write(engine, "a")
        Daemon(engine).deliver(row)
        assert commit_blockers(engine) == []
    other.dispose()
    engine.dispose()


@pytest.mark.parametrize("settled", [0, 1_000_000])
def test_a_row_that_was_restored_waits_for_nobody(postgres_url: str, settled: int) -> None:
    """Its transaction's number is of another server, where there may have been many more."""
    engine, other = open_engine(postgres_url), create_engine(postgres_url)
    [row] = write(engine, "a")
    tamper(engine, "UPDATE shipper_outbox SET tx = '9000000000'")
    tamper(engine, f"UPDATE shipper_turn SET settled = {settled}")
    with other.connect() as tx:
        tx.execute(text("SELECT pg_current_xact_id()"))
        assert commit_blockers(engine) == []
        Daemon(engine)
        assert "open transaction" not in _why(engine, row)
    other.dispose()
    engine.dispose()


def test_an_event_whose_order_is_settled_waits_for_nobody(postgres_url: str) -> None:
    """Also beside a transaction that is older than it."""
    engine, other = open_engine(postgres_url), create_engine(postgres_url)
    with other.connect() as tx:
        tx.execute(text("SELECT pg_current_xact_id()"))
        [row] = write(engine, "a")
        assert commit_blockers(engine)
        tamper(engine, f"UPDATE shipper_turn SET settled = {row}")
        assert commit_blockers(engine) == []
    other.dispose()
    engine.dispose()


def test_what_is_pending_is_counted_for_as_long_as_it_takes(postgres_url: str) -> None:
    """For a person who asks; 100 million events take longer than any statement of the daemon's."""
    engine = open_engine(postgres_url)
    bounds: list[str] = []

    @listens_for(engine, "before_cursor_execute")
    def _(connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if "SELECT count(*) FROM shipper_outbox" in statement:
            raw = connection.connection.driver_connection
            bounds.append(raw.execute("SHOW statement_timeout").fetchone()[0])

    destination_report(engine, ["default"], NOW, patient=True)
    assert bounds == ["0"]
    destination_report(engine, ["default"], NOW)
    assert bounds == ["0", "30s"]
    engine.dispose()


def test_sqlite_has_one_writer_so_nobody_blocks(sqlite_url: str) -> None:
    """Its ids are the order of commits."""
    engine = open_engine(sqlite_url)
    write(engine, "a")
    assert commit_blockers(engine) == []
    engine.dispose()
