"""What the doctor makes of a database: who ships, what waits, who is in the way."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.clock import SystemClock
from shipper.config import AlertSettings, DestinationSettings, Secret
from shipper.doctor import database as db
from shipper.doctor.result import CheckLevel, CheckResult, guarded, of_error
from shipper.errors import StoreUnavailable
from shipper.store.db import commits
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import SqliteLibrary
from shipper.store.drain.messages import LinkRow
from shipper.store.lease.file_lock import FileLock
from shipper.store.operate.hold import hold_destination
from shipper.store.report import facts
from shipper.store.report.facts import Growth, ServerFacts
from shipper.store.report.silence import Noted, note
from shipper.store.report.status import Blocker
from shipper.store.upkeep.sqlite_file import Space
from tests.store.daemons import NOW, Daemon, write
from tests.store.shipping import run

HOUR = 3600.0


def _settings(*names: str) -> Any:
    """Return as much of the settings as these checks look at."""
    url = "http://127.0.0.1:9/e"
    named = {n: DestinationSettings(n, url, api_id=Secret("x")) for n in names or ("default",)}
    return SimpleNamespace(
        destinations=named, path=None, origins={}, alerts=AlertSettings(oldest_pending=HOUR)
    )


def _only(found: Iterator[CheckResult]) -> CheckResult:
    [finding] = list(found)
    return finding


def _by_name(found: Iterator[CheckResult]) -> dict[str, CheckResult]:
    return {finding.name: finding for finding in found}


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an outbox on SQLite."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def test_the_schema_is_told_with_the_database(engine: Engine) -> None:
    """And an old one with the command that raises it."""
    finding = _only(db.check_schema(engine))
    assert finding.level is CheckLevel.OK
    run(engine, "UPDATE shipper_alembic_version SET version_num = '0001'")
    broken = _only(guarded("schema", lambda: db.check_schema(engine)))
    assert broken.level is CheckLevel.FAULT
    assert broken.fix == "run: shipper db upgrade"


# -- who ships ------------------------------------------------------------------------------------


def test_no_daemon_is_worse_where_events_wait(engine: Engine) -> None:
    """On a new machine it is only worth a look."""
    assert _by_name(db.check_daemon(engine, _settings(), NOW))["daemon"].level is CheckLevel.WARNING
    write(engine, "a")
    finding = _by_name(db.check_daemon(engine, _settings(), NOW))["daemon"]
    assert finding.level is CheckLevel.FAULT
    assert "1 pending events wait" in finding.text


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("ready", CheckLevel.OK),
        ("ramping", CheckLevel.OK),
        ("throttled", CheckLevel.OK),
        ("offline", CheckLevel.WARNING),
        ("paused", CheckLevel.FAULT),
    ],
)
def test_the_state_of_a_link_is_told(engine: Engine, state: str, level: CheckLevel) -> None:
    """With its reason; what somebody must mend is a fault."""
    daemon = Daemon(engine)
    daemon.links(LinkRow("default", state, "because of that", NOW, None))
    write(engine, "a")
    with _running(engine):
        found = _by_name(db.check_daemon(engine, _settings(), NOW))
    assert found["daemon"].level is CheckLevel.OK
    link = found["link default"]
    assert link.level is level
    assert "because of that; 1 pending" in link.text
    recorded = _by_name(db.check_daemon(engine, _settings(), NOW))["link default"]
    assert engine.dialect.name == "postgresql" or "as last recorded" in recorded.text


def test_a_held_destination_and_dead_letters_are_told(engine: Engine) -> None:
    """With the command for each."""
    daemon = Daemon(engine)
    daemon.bury(*write(engine, "a", "b"))
    hold_destination(engine, "default", NOW)
    with _running(engine):
        found = _by_name(db.check_daemon(engine, _settings(), NOW))
    assert found["link default"].fix == "shipper release --destination default"
    assert found["dead letters"].text == "2 of default"
    assert "shipper dead list" in str(found["dead letters"].fix)


def test_a_daemon_that_cannot_write_is_no_well_one(lite: Engine) -> None:
    """As status says, which sends people here."""
    Daemon(lite)
    with _running(lite):
        since_boot = SystemClock().monotonic()
        lost = Noted(since_boot, since_boot - 40.0, "no room")
        note(lite.get_execution_options()["file"], lost)
        found = _by_name(db.check_daemon(lite, _settings(), NOW))
    assert found["daemon"].level is CheckLevel.FAULT
    assert "hasn't written to the outbox for 40 s: no room" in found["daemon"].text


def test_a_destination_that_only_rows_name_is_told(engine: Engine) -> None:
    """Nothing goes there."""
    write(engine, "a", destination="defualt")
    Daemon(engine)
    with _running(engine):
        found = _by_name(db.check_daemon(engine, _settings(), NOW))
    assert found["link defualt"].level is CheckLevel.FAULT
    assert "no [destinations.defualt]" in found["link defualt"].text


class _running:  # noqa: N801 - reads as a word
    """Hold an SQLite outbox as a daemon does; on PostgreSQL its lease is enough."""

    def __init__(self, engine: Engine) -> None:
        self._lock = None
        if engine.dialect.name == "sqlite":
            from pathlib import Path

            with engine.connect() as connection:
                rows = connection.exec_driver_sql("PRAGMA database_list").all()
            self._lock = FileLock(Path(rows[0][2]))

    def __enter__(self) -> None:
        if self._lock is not None:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


def test_the_oldest_event_is_named(engine: Engine) -> None:
    """Also before any daemon has run; after an hour it is worth a look."""
    assert _only(db.check_oldest(engine, _settings(), NOW)).text == "nothing is pending"
    [row] = write(engine, "customer-42")
    run(engine, "UPDATE shipper_outbox SET created_at = '2026-01-01T00:00:00.000Z'")
    wall = 1_767_225_600.0
    early = _only(db.check_oldest(engine, _settings(), wall + 100))
    assert early.level is CheckLevel.OK
    assert early.text == f"event {row} of key customer-42 for default has waited 100 s"
    late = _only(db.check_oldest(engine, _settings(), wall + 5 * HOUR))
    assert late.level is CheckLevel.WARNING
    assert late.text.endswith("has waited 5 hours")
    assert late.fix == f"shipper events show {row} says why"


# -- SQLite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("safe", "level"), [(True, CheckLevel.OK), (False, CheckLevel.WARNING)])
def test_the_library_is_told(
    monkeypatch: pytest.MonkeyPatch,
    safe: bool,  # noqa: FBT001
    level: CheckLevel,
) -> None:
    """With the bug that the old ones have."""
    monkeypatch.setattr(db, "sqlite_library", lambda: SqliteLibrary("sqlite3", "3.40.1", safe))
    finding = _only(db.check_sqlite_library())
    assert finding.level is level
    assert "3.40.1 (sqlite3)" in finding.text


def test_the_journal_mode_is_told(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have changed it."""
    assert _only(db.check_journal(lite)).level is CheckLevel.OK
    monkeypatch.setattr(facts, "journal_mode", lambda _: "delete")
    assert _only(db.check_journal(lite)).fix == "shipper db upgrade"


def test_a_large_wal_is_told(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has kept a transaction open for a long time."""
    assert _only(db.check_wal(lite)).level is CheckLevel.OK
    space = Space(file=1 << 20, free=0, wal=100 << 20, shrinks=True)
    monkeypatch.setattr(db, "measure", lambda _: space)
    assert _only(db.check_wal(lite)).level is CheckLevel.WARNING


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name", "level", "words"),
    [
        ({}, "server", CheckLevel.OK, "PostgreSQL 18.4; the outbox takes 8.2 kB"),
        ({"standby": True}, "server", CheckLevel.FAULT, "is a standby"),
        ({"durable": False}, "server", CheckLevel.FAULT, "fsync off"),
        ({"late_standbys": 1}, "standbys", CheckLevel.OK, "1 standby is asynchronous; a failover"),
        ({"late_standbys": 2}, "standbys", CheckLevel.OK, "2 standbys are asynchronous"),
        ({}, "pooler", CheckLevel.OK, "none"),
        ({"pooled": True}, "pooler", CheckLevel.OK, "one in session mode"),
        (
            {"pooled": True, "shares": True},
            "pooler",
            CheckLevel.WARNING,
            "and shares its processes",
        ),
        (
            {"pooled": True, "shares": None},
            "pooler",
            CheckLevel.WARNING,
            "and may share its processes",
        ),
    ],
)
def test_a_server_is_judged(
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    name: str,
    level: CheckLevel,
    words: str,
) -> None:
    """What takes our promises away is a fault."""
    sound: dict[str, Any] = {"version": "18.4", "standby": False, "durable": True}
    server = ServerFacts(**{**sound, "pooled": False, "shares": False, "bytes": 8192, **changes})
    monkeypatch.setattr(facts, "server", lambda _: server)
    finding = _by_name(db.check_server(None))[name]  # type: ignore[arg-type]
    assert finding.level is level
    assert words in finding.text


def test_whoever_holds_younger_events_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is nothing; a prepared transaction stays for ever."""
    found = [
        Blocker(4711, "till 7", 31.0),
        Blocker(None, "prepared transaction order-1", 9000.0),
        Blocker(4712, "quick", 0.1),
    ]
    monkeypatch.setattr(db, "open_transactions", lambda _: found)
    told = _by_name(db.check_transactions(None))  # type: ignore[arg-type]
    assert told["transactions"].level is told["prepared"].level is CheckLevel.WARNING
    assert "till 7 (process 4711, open for 31 s)" in told["transactions"].text
    assert "pg_terminate_backend(4711)" in str(told["transactions"].fix)
    assert "ROLLBACK PREPARED 'order-1'" in str(told["prepared"].fix)
    monkeypatch.setattr(db, "open_transactions", lambda _: found[2:])
    told = _by_name(db.check_transactions(None))  # type: ignore[arg-type]
    assert {finding.level for finding in told.values()} == {CheckLevel.OK}
    hidden = Blocker(4713, "of another role", None)
    monkeypatch.setattr(db, "open_transactions", lambda _: [hidden])
    for waits, seconds, level in (
        ([], 99.0, CheckLevel.OK),
        ([hidden], 0.5, CheckLevel.OK),
        ([hidden], 31.0, CheckLevel.WARNING),
    ):
        monkeypatch.setattr(db, "commit_blockers", lambda _, waits=waits: waits)
        monkeypatch.setattr(commits, "held_for", lambda _, seconds=seconds: seconds)
        finding = _by_name(db.check_transactions(None))["transactions"]  # type: ignore[arg-type]
        assert finding.level is level
        assert "pg_read_all_stats" in f"{finding.text} {finding.fix}"


def test_a_prepared_transaction_can_be_ended_by_what_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its name may have a quote in it; and it is ended in its own database."""
    odd = Blocker(None, "prepared transaction gid 'x'", 9000.0)
    monkeypatch.setattr(db, "open_transactions", lambda _: [odd])
    told = _by_name(db.check_transactions(None))  # type: ignore[arg-type]
    assert "COMMIT PREPARED 'gid ''x'''" in str(told["prepared"].fix)
    assert "in its database" in str(told["prepared"].fix)
    monkeypatch.setattr(db, "open_transactions", lambda _: [replace(odd, database="erp")])
    told = _by_name(db.check_transactions(None))  # type: ignore[arg-type]
    assert "in the database erp: COMMIT PREPARED" in str(told["prepared"].fix)


def test_growth_is_told_where_the_disk_is_somebody_elses() -> None:
    """A number to compare with what the server has."""
    told = _only(db.check_growth(Growth(1000, 500))).text
    assert told == "written in the last 24 h: 1000; a day like that without the API takes 500.0 kB"


# -- whatever goes wrong --------------------------------------------------------------------------


def test_a_check_that_fails_is_a_finding() -> None:
    """With what is known of it, and nothing that a bug may hold."""

    def broken() -> Iterator[CheckResult]:
        yield CheckResult(CheckLevel.OK, "first", "well")
        raise KeyError("a payload")

    first, second = guarded("second", broken)
    assert first.level is CheckLevel.OK
    assert second.level is CheckLevel.FAULT
    assert second.text == "the check itself failed: KeyError"
    unreachable = of_error("x", StoreUnavailable("gone\naway", "bring it back"))
    assert (unreachable.text, unreachable.fix) == ("gone away", "bring it back")
    assert of_error("x", PermissionError(13, "Permission denied")).text == "Permission denied"
    assert of_error("x", PermissionError(13, "no", "/a/b")).text == "/a/b: Permission denied"
