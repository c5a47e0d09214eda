"""The write contract: what an application may write, and that valid JSON is never refused.

Promise 6 in the guarantees; the columns are those of the chapter on writing events.
"""

import re
import threading

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from shipper.store.db.engine import open_engine
from shipper.store.schema.tables import outbox
from tests.store.outboxes import (
    INVALID,
    UUID,
    VALID,
    SqlWriter,
    count,
    derived,
    event,
    insert,
    last,
)


def test_a_payload_is_all_that_an_application_has_to_write(write: SqlWriter) -> None:
    """Everything else has a value."""
    row = insert(write, event("u1"))
    assert row["id"] > 0
    assert row["destination"] == "default"
    assert row["ordering_key"] == "u1"
    assert row["status"] == "pending"
    assert row["attempts"] == 0
    assert row["created_at"] is not None


@pytest.mark.parametrize("name", VALID)
def test_valid_json_is_never_refused(write: SqlWriter, name: str) -> None:
    """Not one is, its bytes stay as they are, and the key is the one that Python reads."""
    payload = VALID[name]
    row = insert(write, payload)
    assert row["ordering_key"] == derived(payload)
    stored = write.connection.execute(outbox.select().with_only_columns(outbox.c.payload)).scalar()
    assert stored == payload.encode()


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"])
def test_text_that_is_not_json_is_refused_aloud(write: SqlWriter, verb: str, name: str) -> None:
    """By the database itself, and OR IGNORE makes no silence of it."""
    if write.dialect == "postgresql" and verb != "INSERT":
        return
    with pytest.raises(DBAPIError, match=r"JSON|json|stack depth"):
        write(f"{verb} INTO shipper_outbox (payload) VALUES (:payload)", payload=INVALID[name])
    assert count(write) == 0


@pytest.mark.parametrize("payload", [None, '{"a":"\0"}', "{}\0", "{}\0garbage"])
def test_null_and_a_raw_nul_are_refused(write: SqlWriter, payload: str | None) -> None:
    """There is no event without a payload, and no JSON with a NUL in it."""
    with pytest.raises(DBAPIError, match=r"payload|NUL"):
        insert(write, payload)


@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"])
@pytest.mark.parametrize("column", ["payload", "event_id", "ordering_key", "destination"])
def test_a_blob_is_refused_in_every_column_on_sqlite(
    lite: SqlWriter, verb: str, column: str
) -> None:
    """With the name of the column."""
    columns = {"payload": "{}", column: b"{}"}
    values = ", ".join(f":{name}" for name in columns)
    statement = f"{verb} INTO shipper_outbox ({', '.join(columns)}) VALUES ({values})"
    with pytest.raises(IntegrityError, match=rf"shipper_outbox\.{column}"):
        lite(statement, **columns)


@pytest.mark.parametrize("empty", [None, ""])
def test_null_and_an_empty_text_count_as_left_out(write: SqlWriter, empty: str | None) -> None:
    """An ORM binds them."""
    row = insert(write, event("u1"), destination=empty, ordering_key=empty, event_id=empty)
    assert row["destination"] == "default"
    assert row["ordering_key"] == "u1"
    assert re.fullmatch(UUID, row["event_id"])


def test_event_ids_of_the_database_are_random_uuids(write: SqlWriter) -> None:
    """Version 4, and no two alike."""
    ids = {insert(write, "{}")["event_id"] for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(UUID, event_id) for event_id in ids)


def test_what_the_application_gives_is_kept(write: SqlWriter) -> None:
    """A supplied value wins over a derived one."""
    row = insert(write, event("u1"), destination="other", ordering_key="k", event_id="order-4711")
    assert (row["destination"], row["ordering_key"], row["event_id"]) == (
        "other",
        "k",
        "order-4711",
    )


@pytest.mark.parametrize("column", ["destination", "ordering_key", "event_id"])
def test_255_characters_fit_and_256_do_not(write: SqlWriter, column: str) -> None:
    """Characters, not bytes; and the message names the column."""
    value = "\U0001f680" * 255
    assert insert(write, "{}", **{column: value})[column] == value
    with pytest.raises(DBAPIError, match=f"shipper_outbox.{column}.*255"):
        insert(write, "{}", **{column: value + "x"})


@pytest.mark.parametrize("code", [1, 9, 10, 13, 31, 127, 128, 159])
@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"])
def test_a_control_character_in_an_event_id_is_refused(
    write: SqlWriter, verb: str, code: int
) -> None:
    """It is sent as a header."""
    if write.dialect == "postgresql" and verb != "INSERT":
        return
    statement = f"{verb} INTO shipper_outbox (payload, event_id) VALUES ('{{}}', :id)"
    with pytest.raises(DBAPIError, match=r"shipper_outbox.event_id.*control character"):
        write(statement, id=f"order{chr(code)}4711")


@pytest.mark.parametrize(
    "event_id", [" ", "~", "\xa0", "ä", "%", "'", "a\u2028b", "\U0001f680", "-]^["]
)
def test_any_other_character_is_good_in_an_event_id(write: SqlWriter, event_id: str) -> None:
    """Spaces and all."""
    assert insert(write, "{}", event_id=event_id)["event_id"] == event_id


@pytest.mark.parametrize("column", ["destination", "ordering_key", "event_id"])
def test_a_nul_is_refused_in_every_column(write: SqlWriter, column: str) -> None:
    """PostgreSQL can't hold one, and SQLite would stop counting at it."""
    with pytest.raises(DBAPIError, match=r"shipper_outbox|NUL"):
        insert(write, "{}", **{column: "a\0" + "b" * 300})


def test_writing_the_same_event_id_twice_is_an_error(write: SqlWriter) -> None:
    """A plain INSERT says so."""
    insert(write, "{}", event_id="order-4711")
    with pytest.raises(IntegrityError, match=r"event_id"):
        insert(write, '{"again":1}', event_id="order-4711")
    assert count(write) == 1


@pytest.mark.parametrize("target", ["(event_id)", ""])
def test_a_repeated_write_is_a_no_op(write: SqlWriter, target: str) -> None:
    """ON CONFLICT DO NOTHING keeps the first event, and returns a row only for a new one."""
    statement = (
        "INSERT INTO shipper_outbox (payload, event_id) VALUES (:payload, 'order-4711')"
        f" ON CONFLICT {target} DO NOTHING RETURNING event_id"
    )
    assert write(statement, payload='{"first":1}') == [("order-4711",)]
    assert write(statement, payload='{"second":1}') == []
    assert write("SELECT count(*) FROM shipper_outbox WHERE event_id = 'order-4711'") == [(1,)]


def test_returning_gives_the_event_id_that_the_database_made(write: SqlWriter) -> None:
    """The application learns it without a second statement."""
    statement = "INSERT INTO shipper_outbox (payload) VALUES ('{}') RETURNING event_id"
    assert write(statement) == [(last(write)["event_id"],)]


def test_ids_are_never_used_again(write: SqlWriter) -> None:
    """Neither after a delete nor when all are gone (hazard S7)."""
    insert(write, "{}")
    seen = insert(write, "{}")["id"]
    for condition in (f"id = {seen}", "1 = 1"):
        write(f"DELETE FROM shipper_outbox WHERE {condition}")
        row = insert(write, "{}")
        assert row["id"] > seen
        seen = row["id"]


def test_an_application_cannot_choose_an_id(write: SqlWriter) -> None:
    """Not one that is there, and not one that was."""
    insert(write, "{}")
    gone = insert(write, "{}")["id"]
    write(f"DELETE FROM shipper_outbox WHERE id = {gone}")
    for number in (1, gone, 0, -1):
        with pytest.raises(DBAPIError, match=r"id"):
            write(f"INSERT INTO shipper_outbox (id, payload) VALUES ({number}, '{{}}')")
    assert insert(write, "{}")["id"] > gone


@pytest.mark.parametrize(
    "change",
    ["payload = '{\"a\":2}'", "destination = 'x'", "ordering_key = 'x'", "event_id = 'x'",
     "ordering_key = NULL", "event_id = ''", "destination = NULL"],
)  # fmt: skip
def test_an_event_is_never_changed(write: SqlWriter, change: str) -> None:
    """Whoever tries is told."""
    insert(write, event("u1"))
    with pytest.raises(DBAPIError, match="never changed"):
        write(f"UPDATE shipper_outbox SET {change}")


def test_an_upsert_cannot_change_an_event(write: SqlWriter) -> None:
    """DO UPDATE is an UPDATE; one that changes nothing is let through."""
    insert(write, "{}", event_id="e")
    upsert = (
        "INSERT INTO shipper_outbox (payload, event_id) VALUES (:payload, 'e')"
        " ON CONFLICT (event_id) DO UPDATE SET payload = excluded.payload"
    )
    write(upsert, payload="{}")
    with pytest.raises(DBAPIError, match="never changed"):
        write(upsert, payload='{"other":1}')


def test_several_rows_in_one_statement_keep_their_order(write: SqlWriter) -> None:
    """Ids ascend as the rows are written, and each has its own event_id and key."""
    rows = ", ".join(f"('{event(f'u{n}')}')" for n in range(50))
    write(f"INSERT INTO shipper_outbox (payload) VALUES {rows}")
    keys = write("SELECT ordering_key, event_id FROM shipper_outbox ORDER BY id")
    assert [key for key, _ in keys] == [f"u{n}" for n in range(50)]
    assert len({event_id for _, event_id in keys}) == 50


def test_a_malformed_row_takes_its_whole_statement_with_it(write: SqlWriter) -> None:
    """Nothing is half written."""
    with pytest.raises(DBAPIError):
        write("INSERT INTO shipper_outbox (payload) VALUES ('{}'), ('{'), ('{}')")
    assert count(write) == 0


def test_an_event_is_gone_with_its_transaction(engine: Engine) -> None:
    """And what comes later has a greater id all the same, or the same where nobody saw it."""
    with engine.connect() as connection:
        insert(SqlWriter(connection), event("u1"))
        connection.rollback()
    with engine.connect() as connection:
        assert count(SqlWriter(connection)) == 0


def test_a_delivered_event_has_its_time_and_number(write: SqlWriter) -> None:
    """The database itself holds on to that invariant."""
    insert(write, "{}")
    with pytest.raises(IntegrityError, match="shipper_outbox_delivered"):
        write("UPDATE shipper_outbox SET status = 'delivered'")
    write("UPDATE shipper_outbox SET status = 'delivered', delivery_number = 1,"
          " delivered_at = created_at")  # fmt: skip


def test_a_key_is_held_once(write: SqlWriter) -> None:
    """However long it is."""
    statement = "INSERT INTO shipper_hold (destination, ordering_key, cause) VALUES ('d', :k, :c)"
    key = "".join(map(chr, range(2000, 11000)))
    write(statement, k=key, c="operator")
    write(statement, k=key + "x", c="operator")
    with pytest.raises(IntegrityError):
        write(statement, k=key, c="dead_letter")


def test_concurrent_writers_get_distinct_ascending_ids(database_url: str) -> None:
    """Each writer sees its own ids ascend, and all of them are there in the end."""
    written: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        engine = open_engine(database_url, busy_timeout=60)
        for number in range(25):
            with engine.begin() as connection:
                insert_one = "INSERT INTO shipper_outbox (payload) VALUES (:p) RETURNING event_id"
                mine += [row[0] for row in SqlWriter(connection)(insert_one, p=event(number))]
        engine.dispose()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in written]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine = open_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT event_id, id FROM shipper_outbox"))
        ids = {row.event_id: row.id for row in rows}
    engine.dispose()
    assert len(set(ids.values())) == 100
    assert all([ids[e] for e in mine] == sorted(ids[e] for e in mine) for mine in written)
