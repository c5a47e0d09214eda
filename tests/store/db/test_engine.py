"""How connections are opened, what they are set to, and what their failures are called."""

import os
import queue
import select
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from shipper.errors import (
    AccessDenied,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)
from shipper.store.db.engine import open_engine
from shipper.store.db.failures import endure, translate
from shipper.store.db.sqlite import opening
from shipper.store.db.sqlite.opening import sqlite_library
from shipper.store.db.transactions import glancing, reading, translating, writing

NOON = 1_795_435_200.123


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an engine on a fresh SQLite outbox."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def post(shared_postgres_url: str) -> Iterator[Engine]:
    """Give an engine on PostgreSQL; nothing is committed."""
    engine = open_engine(shared_postgres_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 5000), ("temp_store", 2),
     ("foreign_keys", 0), ("mmap_size", 0),
     ("wal_autocheckpoint", 1000 if sqlite_library().wal_reset_safe else 0)],
)  # fmt: skip
def test_a_connection_to_sqlite_is_durable_and_patient(
    lite: Engine, pragma: str, value: object
) -> None:
    """These are per connection, so each one is set."""
    with lite.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_an_old_sqlite_never_cuts_the_wal_beside_those_who_write(
    lite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that doesn't lock them out can damage the file before 3.51.3."""
    monkeypatch.setattr(opening, "_wal_reset_safe", lambda _: False)
    with lite.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [("statement_timeout", "30s"), ("lock_timeout", "5s"), ("synchronous_commit", "on"),
     ("idle_in_transaction_session_timeout", "1min"), ("application_name", "shipper"),
     ("transaction_isolation", "read committed")],
)  # fmt: skip
def test_a_connection_to_postgres_is_durable_and_impatient(
    post: Engine, setting: str, value: str
) -> None:
    """A server that hangs must not hang us."""
    with post.connect() as connection:
        assert connection.exec_driver_sql(f"SHOW {setting}").scalar() == value


def test_a_session_keeps_its_settings_after_a_rollback(post: Engine) -> None:
    """They don't belong to the first transaction."""
    for _ in range(2):
        with post.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "30s"
            connection.rollback()


def _file(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("PRAGMA database_list").all()[0][2])


@pytest.fixture
def other(lite: Engine) -> Iterator[sqlite3.Connection]:
    """Give a second connection to the file, through the same library: its locks need that (S4)."""
    module = opening._sqlite_module()
    connection = module.connect(_file(lite), timeout=0, isolation_level=None)
    yield connection
    connection.close()


def test_a_transaction_on_sqlite_takes_the_write_lock_at_once(
    lite: Engine, other: sqlite3.Connection
) -> None:
    """Or a read before the write would fail at once when somebody wrote in between (S5, S6)."""
    with lite.begin(), pytest.raises(Exception, match="locked"):
        other.execute("BEGIN IMMEDIATE")


def test_a_transaction_that_only_reads_takes_no_lock(
    lite: Engine, other: sqlite3.Connection
) -> None:
    """And sees one state of the database from its first statement to its last."""
    with reading(lite) as connection:
        assert connection.scalar(text("SELECT count(*) FROM shipper_outbox")) == 0
        other.execute("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
        assert connection.scalar(text("SELECT count(*) FROM shipper_outbox")) == 0


def test_a_statement_is_in_the_transaction_that_it_looks_like(
    lite: Engine, other: sqlite3.Connection
) -> None:
    """SQLAlchemy's own default would leave the SELECT outside (hazard S6)."""
    with lite.connect() as connection:
        trace: list[str] = []
        connection.connection.driver_connection.set_trace_callback(trace.append)  # type: ignore[union-attr]
        with connection.begin():
            connection.execute(text("SELECT 1"))
            connection.execute(text("UPDATE shipper_lease SET token = 7"))
    trace = [statement for statement in trace if not statement.startswith("PRAGMA")]
    assert trace == ["BEGIN IMMEDIATE", "SELECT 1", "UPDATE shipper_lease SET token = 7", "COMMIT"]
    assert other.execute("SELECT token FROM shipper_lease").fetchall() == [(7,)]


def test_one_connection_is_kept_and_shared_between_threads(lite: Engine) -> None:
    """What `data_version` tells stays meaningful."""
    seen: list[object] = []

    def look() -> None:
        with glancing(lite) as tx:
            seen.append(tx.connection.driver_connection)

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen[0] is seen[1]


def test_a_third_user_of_a_server_s_engine_waits_and_is_told(shared_postgres_url: str) -> None:
    """It is not a deadlock."""
    engine = open_engine(shared_postgres_url, busy_timeout=0.05)
    with (
        glancing(engine),
        reading(engine),
        pytest.raises(StoreUnavailable, match="in use"),
        writing(engine),
    ):
        pass
    engine.dispose()


def test_one_connection_is_kept_from_one_transaction_to_the_next(engine: Engine) -> None:
    """Whatever their kinds; what one of them needs is not left behind for the next."""
    drivers = set()
    for kind in (writing, glancing, writing, reading, glancing, reading, writing):
        with kind(engine) as connection:
            connection.execute(text("SELECT token FROM shipper_lease"))
            drivers.add(connection.connection.driver_connection)
    assert len(drivers) == 1
    with pytest.raises(KeyboardInterrupt):
        _interrupted(engine)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT token FROM shipper_lease")) != 99


def _interrupted(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE shipper_lease SET token = 99"))
        raise KeyboardInterrupt


def test_a_connection_that_met_a_failure_is_not_used_again(engine: Engine) -> None:
    """Nobody knows what it is in the middle of."""
    with glancing(engine) as connection:
        before = connection.connection.driver_connection
    with pytest.raises(SchemaError), glancing(engine) as connection:
        connection.exec_driver_sql("SELECT 1 FROM nowhere")
    with glancing(engine) as connection:
        assert connection.connection.driver_connection is not before


# --- Failures -------------------------------------------------------------------------------------


def _failure(engine: Engine, statement: str) -> ShipperError | None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.exec_driver_sql(statement)
    return translate(caught.value)


def _in_one_transaction(engine: Engine, *statements: str) -> None:
    with writing(engine) as tx:
        for statement in statements:
            tx.execute(text(statement))


def test_a_missing_table_is_a_matter_of_the_schema(engine: Engine) -> None:
    """On both databases, with the command to run."""
    failure = _failure(engine, "SELECT * FROM shipper_nonsense")
    assert isinstance(failure, SchemaError)
    assert failure.hint == "run: shipper db upgrade"


def test_a_violated_constraint_is_ours_to_mend(engine: Engine) -> None:
    """It stays what it is, so that it shows as the bug it is."""
    with pytest.raises(IntegrityError), translating(), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO shipper_lease (name) VALUES ('outbox')")


def test_nothing_that_a_database_answers_ends_who_has_to_endure_it(engine: Engine) -> None:
    """A drain goes on; only what Python itself raises shows as the bug it is."""
    endure(engine)
    told = r"unknown to shipper \((23505|SQLITE)"
    with pytest.raises(StoreUnavailable, match=told) as caught, writing(engine) as tx:
        tx.exec_driver_sql("INSERT INTO shipper_lease (name) VALUES ('outbox')")
    assert "report" in str(caught.value.hint)
    with pytest.raises(ZeroDivisionError), writing(engine):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("plpgsql AS $$ BEGIN RAISE '%', NEW.payload; END $$", ": function audit (P0001)"),
        (
            "plpgsql AS $$ BEGIN RAISE '%', NEW.payload USING ERRCODE = '53400'; END $$",
            "the server has too few resources (53400)",
        ),
        (
            "plpgsql AS $$ BEGIN PERFORM CAST(NEW.payload AS text)::int; RETURN NEW; END $$",
            ": function audit (22P02)",
        ),
        (
            "plpgsql AS $$ BEGIN INSERT INTO audit_log VALUES (NULL); RETURN NEW; END $$",
            ": function audit (23502)",
        ),
        (
            "plpgsql AS $$ BEGIN INSERT INTO no_log VALUES (1); RETURN NEW; END $$",
            ': function audit: relation "no_log" does not exist (42P01)',
        ),
        (
            "plpgsql AS $$ BEGIN UPDATE shipper_outbox SET payload = '1'; RETURN NEW; END $$",
            ": function audit (23514)",
        ),
    ],
)
def test_what_an_applications_trigger_says_is_not_told(
    post: Engine, function: str, told: str
) -> None:
    """It may quote a row: its function is named, also where one of ours is what failed in it."""
    with pytest.raises(ShipperError) as caught:
        _in_one_transaction(
            post,
            "CREATE TABLE audit_log (who text NOT NULL)",
            f"CREATE FUNCTION audit() RETURNS trigger LANGUAGE {function}",
            "CREATE TRIGGER audit AFTER INSERT ON shipper_outbox FOR EACH ROW"
            " EXECUTE FUNCTION audit()",
            """INSERT INTO shipper_outbox (payload) VALUES ('"secret"')""",
        )
    assert caught.value.message.endswith(told)
    assert isinstance(caught.value, StoreUnavailable if "53" in told[-6:] else SchemaError)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_table_that_refers_to_ours_is_named(post: Engine) -> None:
    """Its foreign key keeps events from being deleted, and it is the application's."""
    with pytest.raises(SchemaError, match=r"of the application .*: table orders \(23503\)"):
        _in_one_transaction(
            post,
            "CREATE TABLE orders (event bigint REFERENCES shipper_outbox (id))",
            "INSERT INTO shipper_outbox (payload) VALUES ('{}')",
            "INSERT INTO orders SELECT id FROM shipper_outbox",
            "DELETE FROM shipper_outbox",
        )


@pytest.mark.parametrize("counter", ["delivered", "dead", "discarded"])
def test_a_counter_that_is_wrong_is_somebodys_to_mend(engine: Engine, counter: str) -> None:
    """Rows were changed by hand; there is a command for that."""
    with engine.begin() as tx:
        tx.exec_driver_sql("INSERT INTO shipper_destination (name) VALUES ('default')")
    failure = _failure(engine, f"UPDATE shipper_destination SET {counter} = {counter} - 1")
    assert isinstance(failure, SchemaError)
    assert failure.hint is not None
    assert "shipper verify --recount" in failure.hint


def test_a_locked_file_is_unavailable(lite: Engine, other: sqlite3.Connection) -> None:
    """Trying again helps."""
    impatient = open_engine(f"sqlite:///{_file(lite)}", busy_timeout=0.01)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="write lock"), translating(), impatient.begin():
        pass
    impatient.dispose()


def test_the_write_lock_is_asked_for_again_and_again(
    lite: Engine, other: sqlite3.Connection
) -> None:
    """SQLite alone would soon ask so seldom that a busy application leaves it no gap."""
    asked: queue.Queue[str] = queue.Queue()
    with glancing(lite) as connection:
        connection.connection.driver_connection.set_trace_callback(asked.put)  # type: ignore[union-attr]
    other.execute("BEGIN IMMEDIATE")
    daemon = threading.Thread(target=_write, args=[lite])
    daemon.start()
    times = 0
    while times < 20:
        times += asked.get(timeout=10) == "BEGIN IMMEDIATE"
    other.execute("COMMIT")
    daemon.join()


def _write(engine: Engine) -> None:
    with writing(engine):
        pass


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "not ours"])
def test_a_file_that_is_not_written_is_denied_only_where_it_isnt_ours(
    lite: Engine,
    monkeypatch: pytest.MonkeyPatch,
    ours: bool,  # noqa: FBT001
) -> None:
    """SQLite says the same on a full disk: that is to be waited for. Both tell of the modes."""
    monkeypatch.setattr(os, "access", lambda *_, **__: ours)
    with glancing(lite) as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable if ours else AccessDenied) as caught, writing(lite) as tx:
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 1")
    assert "2770" in str(caught.value.hint)


def test_a_full_disk_is_unavailable_with_a_hint(lite: Engine) -> None:
    """And the engine is good again once there is space."""
    with lite.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DBAPIError) as caught:
            connection.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(100000)")
    failure = translate(caught.value)
    assert isinstance(failure, StoreUnavailable)
    assert failure.hint == "free some space; nothing was lost"
    with lite.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(100000)")


def test_a_file_that_is_no_database_is_a_matter_of_the_schema(tmp_path: Path) -> None:
    """Nothing is written to it."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database at all " * 100)
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(SchemaError, match="not an SQLite database"), translating():
        engine.connect().exec_driver_sql("SELECT * FROM sqlite_master")
    with pytest.raises(SchemaError, match="not an SQLite database"), writing(engine):
        pass
    engine.dispose()
    assert path.read_bytes().startswith(b"not a database")


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """It may come back."""
    engine = open_engine(f"postgresql://user:secret@/db?host={tmp_path}")
    with pytest.raises(StoreUnavailable, match="can't be reached") as caught, translating():
        engine.connect()
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT nothing FROM shipper_outbox", SchemaError, "42703"),
        ("SELECT nothing()", SchemaError, "42883"),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)", StoreUnavailable, "57014"),
        ("SET LOCAL transaction_read_only = on; DELETE FROM shipper_hold", StoreUnavailable,
         "25006"),
    ],
)  # fmt: skip
def test_postgres_is_understood_by_its_codes(
    post: Engine, statement: str, kind: type[ShipperError], code: str
) -> None:
    """A server may speak another language than English."""
    failure = _failure(post, statement)
    assert failure is not None
    assert type(failure) is kind
    assert code in failure.message


def test_a_connection_that_was_cut_is_unavailable_and_then_new(post: Engine) -> None:
    """The next statement gets another one."""
    with pytest.raises(StoreUnavailable), translating(), post.connect() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    with post.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("kind", [writing, reading, glancing])
def test_a_connection_that_was_cut_while_nobody_asked_is_not_used(
    post: Engine, kind: Callable[[Engine], AbstractContextManager[Connection]]
) -> None:
    """By idle_session_timeout, a pooler, a firewall, an operator: nobody is told of it."""
    with glancing(post) as tx:
        served_by = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        waiting = tx.connection.driver_connection
    assert waiting is not None
    other = open_engine(post.url.render_as_string(hide_password=False))
    with glancing(other) as tx:
        tx.exec_driver_sql(f"SELECT pg_terminate_backend({served_by})")
    other.dispose()
    assert select.select([waiting.fileno()], [], [], 30)[0]
    with kind(post) as tx:
        assert tx.exec_driver_sql("SELECT pg_backend_pid()").scalar() != served_by


def test_a_connection_that_was_only_told_something_goes_on(post: Engine) -> None:
    """A notice that nobody asked for is no end."""
    with glancing(post) as tx:
        tx.exec_driver_sql("LISTEN told")
        served_by = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        waiting = tx.connection.driver_connection
    assert waiting is not None
    other = open_engine(post.url.render_as_string(hide_password=False))
    with glancing(other) as tx:
        tx.exec_driver_sql("NOTIFY told")
    other.dispose()
    assert select.select([waiting.fileno()], [], [], 30)[0]
    with glancing(post) as tx:
        assert tx.exec_driver_sql("SELECT pg_backend_pid()").scalar() == served_by


def test_an_error_of_postgres_shows_no_payload(post: Engine) -> None:
    """Errors end up in logs."""
    with post.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(
            text("INSERT INTO shipper_lease (name, owner) VALUES ('outbox', :o)"), {"o": "secret"}
        )
    assert "secret" not in str(caught.value)


# --- Libraries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "safe"),
    [("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False),
     ("3.50.7", True), ("3.51.0", False), ("3.51.2", False), ("3.51.3", True), ("3.53.4", True),
     ("4.0.0", True)],
)  # fmt: skip
def test_which_sqlite_has_the_wal_reset_bug_is_known(version: str, *, safe: bool) -> None:
    """Mended in 3.51.3, and in the branches 3.44 and 3.50 (hazard S1)."""
    numbers = opening._numbers(version)
    assert opening._wal_reset_safe(numbers) is safe


def test_a_library_without_what_we_need_is_refused(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent whose record it couldn't write."""
    assert opening._numbers("3.32.3") < opening._OLDEST_SQLITE
    monkeypatch.setattr(opening, "_OLDEST_SQLITE", (99, 0))
    with pytest.raises(SchemaError, match=r"99\.0 is needed"):
        open_engine(sqlite_url)


def test_the_newer_sqlite_is_taken() -> None:
    """Whichever of the two that may be; the engine uses the one that is reported."""
    library = sqlite_library()
    standard = opening._numbers(sqlite3.sqlite_version)
    assert opening._numbers(library.version) >= standard


def test_the_library_that_is_reported_is_the_one_at_work(lite: Engine) -> None:
    """Asked in SQL."""
    with lite.connect() as connection:
        version = connection.scalar(text("SELECT sqlite_version()"))
    assert version == sqlite_library().version


def test_opening_a_database_does_not_import_what_migrations_need(sqlite_url: str) -> None:
    """`status` must not pay for it."""
    program = (
        "import sys; from shipper.store.db import engine;"
        "from shipper.store.schema import revisions;"
        "revisions.check(engine.open_engine(sys.argv[1]));"
        "print({'alembic', 'shipper.store.schema.tables'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program, sqlite_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
