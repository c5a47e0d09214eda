"""What the doctor finds in an SQLite file: tools' traces, a lock that is held, removed files."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.doctor.result import CheckLevel, CheckResult, guarded
from shipper.doctor.sqlite import check_lock, check_removed, check_tables
from shipper.store.db.engine import open_engine
from tests.store.processes import process
from tests.store.shipping import run


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an outbox on SQLite that isn't waited for long."""
    engine = open_engine(sqlite_url, busy_timeout=0.05)
    yield engine
    engine.dispose()


def _only(found: Iterator[CheckResult]) -> CheckResult:
    [finding] = list(found)
    return finding


def test_what_a_tool_took_away_is_told_with_the_command(lite: Engine) -> None:
    """Both what isn't there and a count of ids that is wrong."""
    assert list(check_tables(lite)) == []
    run(lite, "DROP TRIGGER shipper_outbox_refuse")
    run(lite, "UPDATE sqlite_sequence SET seq = 9223372036854775807"
        " WHERE name = 'shipper_hold'")  # fmt: skip
    run(lite, "INSERT INTO sqlite_sequence VALUES ('shipper_hold', 9223372036854775807)")
    tables, ids = check_tables(lite)
    assert tables.level is ids.level is CheckLevel.FAULT
    assert "trigger shipper_outbox_refuse" in tables.text
    assert "shipper_hold are at their end" in ids.text
    assert "db upgrade" in f"{tables.fix}"
    assert "db upgrade" in f"{ids.fix}"


OPENER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2]).fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


def test_who_holds_the_write_lock_is_a_finding(lite: Engine, file: Path) -> None:
    """With the process, so that somebody can end it; nothing is written by looking."""
    assert list(check_lock(lite)) == []
    with process(OPENER, str(file), "BEGIN IMMEDIATE") as locker:
        assert locker.said() == "ready"
        found = _only(guarded("write lock", lambda: check_lock(lite)))
        assert found.level is CheckLevel.FAULT
        assert f"process {locker.pid} (" in found.text
        assert "end its transaction" in str(found.fix)


def test_a_look_leaves_the_journal_mode_alone(lite: Engine, file: Path) -> None:
    """A doctor that changes the patient would hide what is wrong."""
    tool = sqlite3.connect(file)
    tool.execute("PRAGMA journal_mode = DELETE")
    tool.close()
    assert list(check_lock(lite)) == []
    with lite.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_who_has_a_removed_wal_open_is_named(file: Path) -> None:
    """Its commits are seen by nobody else, and gone when it ends."""
    with process(OPENER, str(file), "SELECT * FROM shipper_outbox") as opener:
        assert opener.said() == "ready"
        assert list(check_removed(file)) == []
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink()
        found = _only(check_removed(file))
        assert found.level is CheckLevel.FAULT
        assert f"process {opener.pid} (" in found.text
