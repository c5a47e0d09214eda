"""The write contract where SQLite needs more: OR REPLACE, BLOBs, other libraries, the shell."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from shipper.store.schema.tables import outbox
from tests import needs
from tests.store.outboxes import (
    INVALID,
    UUID,
    VALID,
    DriverWriter,
    SqlWriter,
    count,
    derived,
    event,
    insert,
    last,
)

REPLACE = "INSERT OR REPLACE INTO shipper_outbox (payload, event_id) VALUES (:payload, :id)"


@pytest.mark.parametrize("verb", ["REPLACE", "INSERT OR REPLACE"])
def test_replace_neither_loses_nor_resends_an_event(lite: SqlWriter, verb: str) -> None:
    """It is refused while the event_id is there, whatever became of that event."""
    first = insert(lite, '{"first":1}', event_id="order-4711")
    statement = f"{verb} INTO shipper_outbox (payload, event_id) VALUES ('{{}}', 'order-4711')"
    with pytest.raises(IntegrityError, match=r"ON CONFLICT \(event_id\) DO NOTHING"):
        lite(statement)
    assert last(lite) == first
    assert count(lite) == 1


def test_replace_by_a_new_event_id_is_an_insert(lite: SqlWriter) -> None:
    """Also right after a write that was ignored, and after the event was pruned."""
    insert(lite, "{}", event_id="a")
    ignored = "INSERT OR IGNORE INTO shipper_outbox (payload, event_id) VALUES ('{}', 'a')"
    lite(ignored)
    lite(REPLACE, payload="{}", id="b")
    lite(ignored)
    lite("DELETE FROM shipper_outbox WHERE event_id = 'a'")
    lite(REPLACE, payload="{}", id="a")
    assert lite("SELECT event_id FROM shipper_outbox ORDER BY id") == [("b",), ("a",)]


def test_replace_of_an_event_of_the_same_statement_is_refused(lite: SqlWriter) -> None:
    """Both rows are the application's word; neither may win."""
    with pytest.raises(IntegrityError, match="event_id is there already"):
        lite("REPLACE INTO shipper_outbox (payload, event_id) VALUES ('{}', 'a'), ('1', 'a')")
    with pytest.raises(IntegrityError, match=r"outbox.id"):
        lite("REPLACE INTO shipper_outbox (id, payload) VALUES (7, '{}'), (7, '1')")
    assert count(lite) == 0


def test_replace_by_id_is_refused(lite: SqlWriter) -> None:
    """An id is the database's to give."""
    first = insert(lite, "{}")
    with pytest.raises(IntegrityError, match=r"shipper_outbox.id"):
        lite(f"REPLACE INTO shipper_outbox (id, payload) VALUES ({first['id']}, '1')")
    assert last(lite) == first


LARGEST = 9223372036854775807


@pytest.mark.parametrize("column", ["id", "rowid", "oid", "_rowid_"])
@pytest.mark.parametrize("value", [str(LARGEST), "7", "1", "0", "-5", "7.0", "'7'"])
@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR IGNORE", "REPLACE"])
def test_no_id_but_the_databases_own(lite: SqlWriter, column: str, value: str, verb: str) -> None:
    """The largest one would leave none: every later INSERT fails as a full disk (sugar 710)."""
    with pytest.raises(IntegrityError, match=r"shipper_outbox.id: is given by the database"):
        lite(f"{verb} INTO shipper_outbox ({column}, payload) VALUES ({value}, '{{}}')")
    assert count(lite) == 0
    insert(lite, "{}")


@pytest.mark.parametrize(
    "tail",
    ["ON CONFLICT (id) DO NOTHING", "ON CONFLICT (id) DO UPDATE SET attempts = 7",
     "ON CONFLICT DO NOTHING"],
)  # fmt: skip
def test_no_id_by_a_conflict_either(lite: SqlWriter, tail: str) -> None:
    """What the conflict would do is never come to."""
    first = insert(lite, "{}")
    with pytest.raises(IntegrityError, match=r"shipper_outbox.id"):
        lite(f"INSERT INTO shipper_outbox (id, payload) VALUES ({first['id']}, '1') {tail}")
    assert last(lite) == first


@pytest.mark.parametrize("value", ["-1", "'x'", "''", "7.5"])
def test_what_can_be_no_id_is_refused_as_well(lite: SqlWriter, value: str) -> None:
    """By SQLite itself, in its own words."""
    with pytest.raises(DBAPIError):
        lite(f"INSERT INTO shipper_outbox (id, payload) VALUES ({value}, '{{}}')")
    assert count(lite) == 0


def test_an_id_of_null_counts_as_left_out(lite: SqlWriter) -> None:
    """Mappers of objects bind it; several rows at once, too."""
    lite("INSERT INTO shipper_outbox (id, payload) VALUES (NULL, '{}'), (NULL, '1')")
    lite("INSERT INTO shipper_outbox (id, payload) SELECT NULL, '2'")
    assert lite("SELECT id FROM shipper_outbox ORDER BY id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("column", ["id", "rowid", "oid", "_rowid_"])
@pytest.mark.parametrize("verb", ["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"])
def test_no_event_gets_another_id(lite: SqlWriter, column: str, verb: str) -> None:
    """By none of the names that SQLite has for it."""
    first = insert(lite, "{}")
    with pytest.raises(IntegrityError, match="an event is never changed"):
        lite(f"{verb} shipper_outbox SET {column} = {LARGEST}")
    assert last(lite) == first


def test_a_dump_is_loaded_with_its_ids(sqlite_url: str, tmp_path: Path) -> None:
    """The shell writes rows before triggers; what is written afterwards goes on counting."""
    shell = needs.program("sqlite3")

    def run(file: Path, *lines: str) -> str:
        done = subprocess.run(
            [shell, str(file)], input=";\n".join([*lines, ""]), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    write = "INSERT INTO shipper_outbox (payload) VALUES ('{}')"
    old, new = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "new.db"
    run(old, write, write, "DELETE FROM shipper_outbox WHERE id = 2")
    dump = subprocess.run([shell, str(old), ".dump"], check=True, capture_output=True, text=True)
    assert run(new, dump.stdout.rstrip().rstrip(";")) == ""
    assert run(new, write, "SELECT id FROM shipper_outbox ORDER BY id") == "1\n3\n"
    assert "is given by the database" in run(
        new, "INSERT INTO shipper_outbox (id, payload) VALUES (9, '{}')"
    )


def test_or_ignore_skips_only_what_is_there_already(lite: SqlWriter) -> None:
    """As ON CONFLICT DO NOTHING does."""
    statement = "INSERT OR IGNORE INTO shipper_outbox (payload, event_id) VALUES (:payload, 'a')"
    lite(statement, payload='{"first":1}')
    lite(statement, payload='{"second":1}')
    assert lite("SELECT payload FROM shipper_outbox") == [('{"first":1}',)]


def test_an_update_cannot_replace_an_event(lite: SqlWriter) -> None:
    """UPDATE OR REPLACE is an UPDATE, too."""
    insert(lite, "{}", event_id="a")
    insert(lite, "{}", event_id="b")
    with pytest.raises(IntegrityError, match="never changed"):
        lite("UPDATE OR REPLACE shipper_outbox SET event_id = 'a' WHERE event_id = 'b'")
    assert count(lite) == 2


def test_an_untidy_outer_policy_does_not_disturb_the_triggers(lite: SqlWriter) -> None:
    """Defaults and keys are set under each of them."""
    for policy in ("ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"):
        lite(f"INSERT OR {policy} INTO shipper_outbox (payload, destination, event_id)"
             " VALUES (:payload, '', NULL)", payload=event(policy))  # fmt: skip
        row = last(lite)
        assert (row["ordering_key"], row["destination"]) == (policy, "default")
        assert re.fullmatch(UUID, row["event_id"])


def test_writes_of_the_applications_own_triggers_are_good(lite: SqlWriter) -> None:
    """An outbox row may be written by a trigger on a business table."""
    lite("CREATE TABLE orders (id INTEGER PRIMARY KEY, user TEXT)")
    lite("CREATE TRIGGER orders_out AFTER INSERT ON orders BEGIN INSERT INTO shipper_outbox"
         " (payload) VALUES (json_object('context', json_array(json_object('type', 'user', 'user',"
         " json_object('id', NEW.user))))); END")  # fmt: skip
    lite("INSERT INTO orders (user) VALUES ('a'), ('b')")
    assert lite("SELECT ordering_key FROM shipper_outbox ORDER BY id") == [("a",), ("b",)]


def test_a_key_that_is_no_utf8_is_given_up_or_can_be_read(lite: SqlWriter) -> None:
    """Such a row doesn't keep the rows around it from being read."""
    for raw in (b"J\xf6rg", b"\x80", b"\xe2\x82"):
        payload = b'{"context":[{"type":"user","user":{"id":"%s"}}]}' % raw
        lite(
            "INSERT INTO shipper_outbox (payload) VALUES (CAST(:payload AS TEXT))", payload=payload
        )
    rows = lite.connection.execute(outbox.select().with_only_columns(outbox.c.ordering_key)).all()
    assert rows[0] == (None,)
    assert all("\ufffd" in key for (key,) in rows[1:])


def test_a_strict_schema_is_no_obstacle(lite: SqlWriter) -> None:
    """Nothing in our triggers needs a schema that is trusted (PRAGMA trusted_schema = OFF)."""
    lite("PRAGMA trusted_schema = OFF")
    assert insert(lite, event("u1"))["ordering_key"] == "u1"


def _drivers() -> dict[str, Callable[[str], Any]]:
    found: dict[str, Callable[[str], Any]] = {}
    for name in ("sqlite3", "pysqlite3"):
        try:
            module = __import__(f"{name}.dbapi2", fromlist=["connect"])
        except ImportError:
            continue
        found[name] = module.connect
    return found


@pytest.mark.parametrize("driver", sorted(_drivers()))
def test_the_triggers_work_in_every_sqlite_that_python_has(sqlite_url: str, driver: str) -> None:
    """Keys, refusals and the guard, in the application's library as in ours."""
    connection = _drivers()[driver](sqlite_url.removeprefix("sqlite:///"))
    write = DriverWriter(connection)
    for payload in VALID.values():
        assert insert(write, payload)["ordering_key"] == derived(payload)
    for payload in INVALID.values():
        with pytest.raises(connection.IntegrityError, match="not valid JSON"):
            insert(write, payload)
    insert(write, "{}", event_id="a", destination="", ordering_key="")
    with pytest.raises(connection.IntegrityError, match="DO NOTHING"):
        write(REPLACE, payload="{}", id="a")
    connection.close()


def test_the_triggers_work_in_the_shell(sqlite_url: str) -> None:
    """People type into it."""

    def shell(statement: str) -> subprocess.CompletedProcess[str]:
        command = [needs.program("sqlite3"), sqlite_url.removeprefix("sqlite:///"), statement]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = shell(
        f"INSERT INTO shipper_outbox (payload) VALUES ('{event('u1')}');"
        "SELECT ordering_key, destination, status FROM shipper_outbox"
    )
    assert done.stdout == "u1|default|pending\n"
    assert "not valid JSON" in shell("INSERT INTO shipper_outbox (payload) VALUES ('{')").stderr
    assert "BLOB" in shell("INSERT OR IGNORE INTO shipper_outbox (payload) VALUES (x'7b7d')").stderr
