"""The short way to a key and the careful way give the same key, for every payload.

The triggers of the revision before the short way say what the key is.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shipper.store.db.engine import open_engine
from shipper.store.schema.ddl import statements
from shipper.store.schema.revisions import REVISIONS
from tests.store.hostile_payloads import payload
from tests.store.outboxes import VALID, derived, event

_BEFORE = REVISIONS[: REVISIONS.index("0011") + 1]
_INSERT = "INSERT INTO shipper_outbox (payload) VALUES (CAST(? AS TEXT))"
_READ = (
    "SELECT CAST(ordering_key AS BLOB), typeof(ordering_key) FROM shipper_outbox"
    " ORDER BY id DESC LIMIT 1"
)
_REFUSED = "refused"
Write = Callable[[str | bytes], tuple[Any, ...]]


def _drivers() -> dict[str, Any]:
    found = {"sqlite3": sqlite3}
    with suppress(ImportError):
        found["pysqlite3"] = __import__("pysqlite3.dbapi2", fromlist=["connect"])
    return found


@pytest.fixture(params=sorted(_drivers()))
def driver(request: pytest.FixtureRequest) -> Any:
    """Give each SQLite that Python has."""
    return _drivers()[request.param]


def _lite(driver: Any, made_by: tuple[str, ...]) -> Any:
    connection = driver.connect(":memory:", isolation_level=None)
    for revision in made_by:
        for statement in statements(revision, "sqlite"):
            connection.execute(statement)
    return connection


@pytest.fixture
def before(driver: Any) -> Iterator[Write]:
    """Give an outbox on SQLite of the revision before."""
    yield from _writer(driver, _BEFORE)


@pytest.fixture
def after(driver: Any) -> Iterator[Write]:
    """Give an outbox on SQLite as it is now."""
    yield from _writer(driver, REVISIONS)


def _writer(driver: Any, made_by: tuple[str, ...]) -> Iterator[Write]:
    connection = _lite(driver, made_by)

    def write(payload: str | bytes) -> tuple[Any, ...]:
        try:
            connection.execute(_INSERT, (payload,))
        except driver.Error as error:
            return _REFUSED, str(error)
        return tuple(connection.execute(_READ).fetchone())

    yield write
    connection.close()


def test_both_ways_give_the_same_key_on_sqlite(before: Write, after: Write) -> None:
    """Whatever the payload is; and what is refused is refused in the same words."""
    seen = Counter[str]()
    for seed in range(4000):
        whole = payload(seed)
        expected = before(whole)
        assert after(whole) == expected, (seed, whole)
        seen[str(expected[0] if expected[0] == _REFUSED else expected[1])] += 1
    assert min(seen[kind] for kind in (_REFUSED, "text", "null")) > 300, seen


@pytest.mark.parametrize(
    "id_",
    [b"J\xf6rg", b"\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xef\xbf\xbd",
     b"\xef\xbf\xbe\xef\xbf\xbf", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a\x80\x80b",
     b"", b" u1 ", "Jörg 🚀".encode()],
)  # fmt: skip
@pytest.mark.parametrize("beside", [b"", b'"a":"\x80\x80\xff",', b'"\xc3":"context",'])
def test_both_ways_agree_on_bytes_that_are_not_utf8(
    before: Write, after: Write, id_: bytes, beside: bytes
) -> None:
    """SQLite doesn't check a text that was a BLOB."""
    whole = b'{%s"context":[{"type":"user","user":{"id":"%s"}}]}' % (beside, id_)
    assert after(whole) == before(whole)


@pytest.mark.parametrize(
    ("whole", "key"),
    [
        # json_extract reads this name as "context", in every SQLite since 3.45.
        ('{"a":{"context":1},"context\\u0000":[{"type":"user","user":{"id":"no"}}]}', None),
        ('{"context":[{"type":"user","user":{"id":"no"}}],"c\\u006fntext":0}', None),
        ('{"context":[],"contex\\u0074":[{"type":"user","user":{"id":"u1"}}]}', "u1"),
        ('{"context":[{"type":"user","user":{"id":"no","\\u0069d":"u1"}}]}', "u1"),
        ('{"context":[{"type":"user","user":{"id":["u1"]}}]}', None),
        ('{"context":[{"type":"user","user":{"id":"a\\",\\"id\\":\\"b"}}]}', 'a","id":"b'),
        ('{"context":["{\\"type\\":\\"user\\",\\"user\\":{\\"id\\":\\"no\\"}}"]}', None),
        ('{"a\\"context":[{"type":"user","user":{"id":"no"}}]}', None),
        ('{"a":{"context":[{"type":"user","user":{"id":"no"}}]}}', None),
        ('[{"context":[{"type":"user","user":{"id":"no"}}]}]', None),
        ('{"context":[{"type":"user","user":{"id":true}}]}', None),
        ('{"context":[{"type":"user","user":{"id":-0}}]}', "0"),
        ('{"context" : [ { "type" : "user", "user" : { "id" : "u1" } } ] }', "u1"),
    ],
)  # fmt: skip
def test_what_only_looks_ordinary(after: Write, whole: str, key: str | None) -> None:
    """Each of these is for the careful way, or is a key although it looks odd."""
    assert after(whole)[0] == (key.encode() if key else None)
    assert derived(whole) == key


def test_an_insert_sorts_nothing(driver: Any) -> None:
    """For each sort SQLite would allocate a page cache, and free it again."""
    connection = _lite(driver, REVISIONS)
    insert = "EXPLAIN INSERT INTO shipper_outbox (payload) VALUES ('{}')"
    codes = Counter(row[1] for row in connection.execute(insert))
    assert not [code for code in codes if "Sort" in code]
    assert codes["OpenEphemeral"] == 1  # the CHECK of the status
    connection.close()


@pytest.mark.parametrize(
    ("whole", "written"),
    [("{}", 1), ('{"type":"view","name":"\\u00e9"}', 1), (event("u1"), 2), ('{"context":[]}', 2)],
)
def test_an_event_without_a_user_is_written_once(driver: Any, whole: str, written: int) -> None:
    """Nothing is set that is empty already."""
    connection = _lite(driver, REVISIONS)
    before = connection.total_changes
    connection.execute(_INSERT, (whole,))
    assert connection.total_changes - before == written
    connection.close()


@pytest.fixture
def server(bare_postgres_url: str) -> Iterator[Engine]:
    """Give a database on PostgreSQL with two outboxes: of the revision before, and as it is now."""
    engine = open_engine(bare_postgres_url)
    for schema, made_by in (("before", _BEFORE), ("after", REVISIONS)):
        with engine.begin() as tx:
            tx.exec_driver_sql(f"CREATE SCHEMA {schema}")
            tx.exec_driver_sql(f"SET LOCAL search_path = {schema}")
            for revision in made_by:
                for statement in statements(revision, "postgresql"):
                    tx.exec_driver_sql(statement)
    yield engine
    engine.dispose()


def _post(tx: Connection, schema: str, whole: str) -> tuple[Any, ...]:
    """Write an event and return what the trigger made of it."""
    insert = text(
        f"INSERT INTO {schema}.shipper_outbox (payload, event_id) VALUES (:whole, 'a')"
        " RETURNING ordering_key, lane, slot, destination"
    )
    savepoint = tx.begin_nested()
    try:
        row = tuple(tx.execute(insert, {"whole": whole}).one())
    except DBAPIError as error:
        row = (_REFUSED, str(error.orig).replace(schema, ""))
    savepoint.rollback()
    return row


def test_both_ways_give_the_same_key_on_postgres_and_on_sqlite(server: Engine) -> None:
    """And the same lane and slot: an event that is written now goes behind those of before."""
    with server.connect() as tx:
        lite = next(writer := _writer(sqlite3, REVISIONS))
        for whole in [*VALID.values(), *map(payload, range(1200))]:
            expected = _post(tx, "before", whole)
            assert _post(tx, "after", whole) == expected, whole
            found = lite(whole)[0]
            if _REFUSED not in (found, expected[0]):
                assert (found.decode() if found else None) == expected[0], whole
        writer.close()  # type: ignore[attr-defined]
