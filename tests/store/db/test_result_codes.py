"""What SQLite's result codes mean: every one has a name, and none gives advice that loses data."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.errors import (
    AccessDenied,
    DiskFull,
    ForeignTrigger,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)
from shipper.store.db import failures
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.failures import translating_sqlite
from shipper.store.db.sqlite.opening import _sqlite_module
from shipper.store.db.sqlite.result_codes import NAMES, meaning, named
from shipper.store.db.transactions import glancing, reading, writing
from tests.store.processes import process

HEADER = Path("/usr/include/sqlite3.h")

# What each of the primary codes, and of those that differ from theirs, comes to.
JUDGED: dict[str, type[ShipperError] | None] = {
    "OK": None, "ERROR": SchemaError, "ERROR_MISSING_COLLSEQ": ForeignTrigger,
    "INTERNAL": StoreUnavailable, "PERM": AccessDenied,
    "ABORT": StoreUnavailable, "BUSY": StoreUnavailable, "LOCKED": StoreUnavailable,
    "NOMEM": StoreUnavailable, "READONLY": AccessDenied, "READONLY_DBMOVED": StoreUnavailable,
    "INTERRUPT": StoreUnavailable, "IOERR": StoreUnavailable, "CORRUPT": StoreUnavailable,
    "NOTFOUND": None, "FULL": DiskFull, "CANTOPEN": AccessDenied, "CANTOPEN_ISDIR": SchemaError,
    "CANTOPEN_NOTEMPDIR": StoreUnavailable, "PROTOCOL": StoreUnavailable, "EMPTY": None,
    "SCHEMA": StoreUnavailable, "TOOBIG": None, "CONSTRAINT": None, "MISMATCH": None,
    "MISUSE": None, "NOLFS": StoreUnavailable, "AUTH": AccessDenied, "FORMAT": None,
    "RANGE": None, "NOTADB": SchemaError, "NOTICE": None, "WARNING": None, "ROW": None,
    "DONE": None, "ERROR_RETRY": StoreUnavailable, "ERROR_SNAPSHOT": StoreUnavailable,
}  # fmt: skip

# Advice that is wrong unless the file itself was lost, or our tables are not the ones we know.
_LOSES = re.compile(r"restore|db upgrade|delete|remove|--create", re.IGNORECASE)
_MAY_UPGRADE = {"ERROR", "ERROR_RESERVESIZE", "ERROR_KEY", "ERROR_UNABLE"}


def _of_the_driver() -> dict[int, str]:
    """Return the result codes that Python's own module knows; its other constants are no codes."""
    kinds = "|".join(sorted({name.partition("_")[0] for name in NAMES.values()}))
    pattern = re.compile(rf"SQLITE_((?:{kinds})(?:_[A-Z_]+)?)")
    found = {name: pattern.fullmatch(name) for name in dir(sqlite3)}
    return {getattr(sqlite3, name): match[1] for name, match in found.items() if match}


def _of_the_header() -> dict[int, str]:
    """Return the result codes of the header, where it is installed."""
    text = HEADER.read_text("utf-8") if HEADER.exists() else ""
    pattern = r"#define SQLITE_([A-Z]+)_(\w+)\s+\(SQLITE_([A-Z]+)\s*\|\s*\((\d+)<<8\)\)"
    primaries = {name: code for code, name in NAMES.items() if code < 256}
    return {
        primaries[one] | int(place) << 8: f"{one}_{rest}"
        for one, rest, _, place in re.findall(pattern, text)
        if one in primaries and (one, rest) != ("OK", "LOAD_PERMANENTLY")
    }


@pytest.mark.parametrize("read", [_of_the_driver, _of_the_header])
def test_every_code_has_its_name(read: Any) -> None:
    """As SQLite's own list has it; a library may know fewer, never others."""
    known = read()
    other = {"AUTH": 23, "OK": 0}
    wrong = {code: name for code, name in known.items()
             if NAMES.get(code) != name and name not in other and code >= 5}  # fmt: skip
    assert wrong == {}


@pytest.mark.parametrize("code", sorted(NAMES))
def test_every_code_means_what_the_table_says(code: int) -> None:
    """And whatever is said about it, a message has the code's name and its number."""
    name = NAMES[code]
    expected = JUDGED.get(name, JUDGED[NAMES[code & 0xFF]])
    found = meaning(code, "")
    assert (None if found is None else found.kind) is expected
    assert named(code) == f"SQLITE_{name}, {code}"
    if found is not None and name not in _MAY_UPGRADE:
        advice = str(found.hint).replace("a backup lacks what came after it", "")
        assert not _LOSES.search(advice)


@pytest.mark.parametrize(
    ("code", "words", "kind", "said"),
    [
        (11, 'malformed database schema (orders) - near "STRICT": syntax error', SchemaError,
         "can't read the schema of shop.db: orders"),
        (1, "no such collation sequence: NOCASE_UTF8", ForeignTrigger, "NOCASE_UTF8"),
        (257, "no such collation sequence: NOCASE_UTF8", ForeignTrigger, "NOCASE_UTF8"),
        (1, "no such function: md5", ForeignTrigger, "only the application has: md5"),
        (1, "no such module: fts5", ForeignTrigger, "only the application has: fts5"),
        (1, "no such function: json_valid", SchemaError, "library can't read"),
        (1, "no such table: main.audit", ForeignTrigger, "trigger of the application on"),
        (1, "no such column: NEW.nothing", ForeignTrigger, "trigger of the application on"),
        (1, "error in trigger log_it: no such column: x", ForeignTrigger, "fails: log_it"),
        (1, "no such table: shipper_outbox", SchemaError, "not what this code expects"),
        (1, "no such column: lane", SchemaError, "not what this code expects"),
        (19, "NOT NULL constraint failed: audit.who", ForeignTrigger, "fails: audit"),
        (1811, "go away", ForeignTrigger, "trigger of the application on"),
        (1811, "shipper_outbox.id: is given by the database; leave it out", None, ""),
        (2067, "UNIQUE constraint failed: shipper_outbox.event_id", None, ""),
    ],
)  # fmt: skip
def test_whose_fault_it_is_is_told_apart(
    code: int, words: str, kind: type[ShipperError] | None, said: str
) -> None:
    """By SQLite's words, where one code stands for several; an upgrade is advised for ours only."""
    found = meaning(code, words)
    assert (None if found is None else found.kind) is kind
    if found is not None:
        assert said in found.message.format(file="shop.db")
        assert ("db upgrade" in str(found.hint)) is ("not what this code expects" in said)
        assert "restore" not in str(found.hint)


def test_a_strange_name_neither_steers_a_terminal_nor_breaks_a_message() -> None:
    """It is somebody's who may write in the file."""
    found = meaning(1, "no such function: {file}\x1b[31m" + "x" * 500)
    assert found is not None
    message = found.message.format(file="shop.db")
    assert message.isprintable()
    assert len(message) < 200


# -- with a real file ---------------------------------------------------------------------------


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an engine that waits for no lock."""
    engine = open_engine(sqlite_url, busy_timeout=0.05)
    yield engine
    engine.dispose()


@pytest.fixture
def file(lite: Engine) -> Path:
    """Give its file."""
    found = failures.file_of(lite)
    assert found is not None
    return found


def test_an_older_library_than_the_applications_is_told_so(lite: Engine, file: Path) -> None:
    """As nocodb 1267 and AttestationServer 139 met it: a `STRICT` table. The file is good."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql)"
        " VALUES ('table', 'orders', 'orders', 2, 'CREATE TABLE orders (id INTEGER) OF_TOMORROW')"
    )
    connection.close()
    with pytest.raises(SchemaError, match=r"library can't read .* orders") as caught, reading(lite):
        pass
    assert "newer SQLite" in str(caught.value.hint)
    assert "restore" not in str(caught.value.hint)


def test_a_trigger_of_the_applications_on_our_tables_is_named(lite: Engine) -> None:
    """It fails our write, with whatever words: the daemon waits until somebody has looked."""
    with writing(lite) as tx:
        tx.exec_driver_sql(
            "CREATE TRIGGER theirs BEFORE UPDATE ON shipper_lease BEGIN"
            " SELECT RAISE(ABORT, 'secret words'); END"
        )
    with (
        pytest.raises(SchemaError, match="trigger of the application on") as caught,
        writing(lite) as tx,
    ):
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 1")
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_file_that_reached_its_limit_is_no_full_disk(lite: Engine) -> None:
    """Freeing space would change nothing."""
    with glancing(lite) as tx:
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar()
        tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull, match="though its disk isn't full") as caught, writing(lite) as tx:
        tx.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(100000)")
    assert "SQLITE_FULL, 13" in caught.value.message


def test_who_holds_the_write_lock_is_named(lite: Engine, file: Path) -> None:
    """By number and name, as far as the system tells."""
    with process(_LOCKS, str(file)) as locker:
        pid = locker.said()
        said = rf"lock of shop.db: process {pid} \("
        with pytest.raises(StoreUnavailable, match=said) as caught, writing(lite):
            pass
    assert "SQLITE_BUSY, 5" in caught.value.message
    assert "end its transaction" in str(caught.value.hint)


_LOCKS = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_an_error_of_the_driver_itself_names_the_file(file: Path) -> None:
    """Where no engine is between."""
    connection = _sqlite_module().connect(":memory:")
    with pytest.raises(SchemaError, match=r"in shop\.db"), translating_sqlite(file):
        connection.execute("SELECT * FROM shipper_outbox")
    connection.close()
