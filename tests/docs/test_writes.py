"""Each writer in the documents, run as it stands there, in its own language, on a real outbox."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.docs.documents import TEXT, blocks, tagged
from tests.docs.runtimes import libpq_url, node, pdo_dsn, php, psql, python, sqlite_shell

# What a careless writer would get wrong: other alphabets, escapes, a number with a fraction.
SHOPPER = "Jörg/🚀"
EVENT = {
    "type": "interact",
    "interact": {
        "type": "product",
        "action": "addToCart",
        "product": {"sku": 'a "quoted" \\ coat', "grossPrice": 149.95},
    },
    "context": [{"type": "user", "user": {"id": SHOPPER}}],
}
SHELL_SHOPPER = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
COLUMNS = "event_id, destination, ordering_key, status, attempts, delivered_at, last_error"


class Row(NamedTuple):
    """What became of a write."""

    payload: str
    event_id: str
    destination: str
    ordering_key: str | None
    status: str
    attempts: int
    delivered_at: object
    last_error: str | None


def written(url: str) -> list[Row]:
    """Return every event of an outbox, in their order."""
    engine = create_engine(url)
    query = text(f"SELECT CAST(payload AS TEXT), {COLUMNS} FROM shipper_outbox ORDER BY id")
    with engine.connect() as connection:
        rows = [Row(*row) for row in connection.execute(query)]
    engine.dispose()
    return rows


def path_of(url: str) -> Path:
    """Return the file of a SQLite URL."""
    return Path(make_url(url).database or "")


# -- the languages: each returns the bytes that its library made of EVENT ---------------------


def write_plain_python(url: str) -> str:
    """Write with the sqlite3 module."""
    script = (
        f"import os, sys\npath = os.environ['DB_PATH']\nevent = {EVENT!r}\n"
        f"{tagged('python', 'plain')}\nsys.stdout.write(json.dumps(event))"
    )
    return python(script, DB_PATH=str(path_of(url)))


def write_pdo_sqlite(url: str) -> str:
    """Write with PHP on SQLite."""
    return php(
        "pdo_sqlite",
        "$path = getenv('DB_PATH'); $event = json_decode(getenv('EVENT'), true);\n"
        f"{tagged('php', 'pdo-sqlite')}\necho json_encode($event);",
        DB_PATH=str(path_of(url)),
        EVENT=json.dumps(EVENT),
    )


def write_pdo_pgsql(url: str) -> str:
    """Write with PHP on Postgres."""
    return php(
        "pdo_pgsql",
        "[$dsn, $user, $password] = array_map('getenv', ['DSN', 'DB_USER', 'DB_PASSWORD']);\n"
        "$event = json_decode(getenv('EVENT'), true);\n"
        f"{tagged('php', 'pdo-pgsql')}\necho json_encode($event);",
        EVENT=json.dumps(EVENT),
        **pdo_dsn(url),
    )


def write_better_sqlite3(url: str) -> str:
    """Write with Node on SQLite."""
    return node(
        "better-sqlite3",
        "const path = process.env.DB_PATH, event = JSON.parse(process.env.EVENT);\n"
        f"{tagged('js', 'better-sqlite3')}\nprocess.stdout.write(JSON.stringify(event));",
        DB_PATH=str(path_of(url)),
        EVENT=json.dumps(EVENT),
    )


def write_pg(url: str) -> str:
    """Write with Node on Postgres; top level `await` needs a function around it."""
    return node(
        "pg",
        "const url = process.env.DB_URL, event = JSON.parse(process.env.EVENT);\n"
        f"(async () => {{\n{tagged('js', 'pg')}\n"
        "process.stdout.write(JSON.stringify(event));\n})();",
        DB_URL=libpq_url(url),
        EVENT=json.dumps(EVENT),
    )


WRITERS: dict[tuple[str, str], tuple[str, Callable[[str], str]]] = {
    ("python", "plain"): ("sqlite", write_plain_python),
    ("php", "pdo-sqlite"): ("sqlite", write_pdo_sqlite),
    ("php", "pdo-pgsql"): ("postgres", write_pdo_pgsql),
    ("js", "better-sqlite3"): ("sqlite", write_better_sqlite3),
    ("js", "pg"): ("postgres", write_pg),
}
LANGUAGES = {language for language, _ in WRITERS} | {"sql", "ts"}
# Blocks that bring their own events; each has a test of its own below.
OTHERS = {
    ("sql", "sqlite-shell"),
    ("sql", "psql"),
    ("sql", "fan-out"),
    ("python", "outbox"),
    ("python", "destinations"),
}
NO_WRITERS = {("ts", "prisma")}


@pytest.fixture(params=WRITERS, ids=" ".join)
def writer(request: pytest.FixtureRequest) -> tuple[str, Callable[[str], str]]:
    """Give a writer, and the URL of a database that it can write to."""
    kind, write = WRITERS[request.param]
    return request.getfixturevalue(f"{kind}_url"), write


def test_no_example_of_a_writer_is_left_out() -> None:
    """A language that a document shows is run here; the others have tests elsewhere."""
    shown = {(block.language, block.tag) for block in blocks() if block.language in LANGUAGES}
    assert shown == {*WRITERS, *OTHERS, *NO_WRITERS}


def test_a_write_is_pending_under_the_shoppers_key(
    writer: tuple[str, Callable[[str], str]],
) -> None:
    """One row, with a derived key, the columns' defaults, and exactly the bytes of the language."""
    url, write = writer
    made = write(url)
    [row] = written(url)
    assert row.payload == made
    assert json.loads(row.payload) == EVENT
    assert row[2:] == ("default", SHOPPER, "pending", 0, None, None)
    assert row.event_id


@pytest.mark.parametrize("name", ["pdo-sqlite", "pdo-pgsql"])
def test_php_can_write_the_same_order_twice(request: pytest.FixtureRequest, name: str) -> None:
    """ON CONFLICT makes the second write nothing, and no error."""
    kind, write = WRITERS["php", name]
    url: str = request.getfixturevalue(f"{kind}_url")
    write(url)
    write(url)
    assert [row.event_id for row in written(url)] == ["order-4711"]


# -- the shells -------------------------------------------------------------------------------


def quoted(script: str) -> str:
    """Return the event that a script of SQL holds."""
    [_, payload, *_] = script.split("'", 2)
    return payload


def test_the_sqlite_shell_writes_what_was_typed(sqlite_url: str) -> None:
    """The row has the literal's bytes and the key of its user."""
    script = tagged("sql", "sqlite-shell")
    sqlite_shell(path_of(sqlite_url), script)
    [row] = written(sqlite_url)
    assert row.payload == quoted(script)
    assert row[2:] == ("default", SHELL_SHOPPER, "pending", 0, None, None)


def test_psql_writes_what_was_typed_and_only_once(postgres_url: str) -> None:
    """The row has the literal's bytes, and running the script again adds none."""
    script = tagged("sql", "psql")
    psql(postgres_url, script)
    psql(postgres_url, script)
    [row] = written(postgres_url)
    assert row.payload == quoted(script)
    assert row[1:] == ("order-W-4711", "default", SHELL_SHOPPER, "pending", 0, None, None)


# -- our own library --------------------------------------------------------------------------


def test_the_outbox_writes_both_events_in_order(database_url: str) -> None:
    """The `interact` stands before the `order` of the same shopper."""
    script = (
        "import os\nfrom sqlalchemy import create_engine\nfrom sqlalchemy.orm import Session\n"
        "session, customer_number = Session(create_engine(os.environ['DB_URL'])), '10042'\n"
        f"{tagged('python', 'outbox')}\nsession.close()\nprint(user)"
    )
    user = python(script, DB_URL=database_url).strip()
    rows = written(database_url)
    events: list[dict[str, Any]] = [json.loads(row.payload) for row in rows]
    assert [event["type"] for event in events] == ["interact", "order"]
    assert [row[2:] for row in rows] == [("default", user, "pending", 0, None, None)] * 2
    assert rows[1].event_id == "order-W-4711"


def test_the_outbox_writes_a_row_for_each_destination(database_url: str) -> None:
    """With the ids that the chapter names."""
    script = (
        "import os\nfrom sqlalchemy import create_engine\nfrom sqlalchemy.orm import Session\n"
        "from shipper import Outbox\n"
        f"session, event = Session(create_engine(os.environ['DB_URL'])), {EVENT!r}\n"
        f"{tagged('python', 'destinations')}\nsession.commit()\nsession.close()"
    )
    python(script, DB_URL=database_url)
    found = [(row.event_id, row.destination) for row in written(database_url)]
    assert found == [
        ("order-4711", "default"),
        ("order-4711@erp", "erp"),
        ("order-4711@ga4", "ga4"),
    ]
    assert "`order-4711`, `order-4711@erp`, `order-4711@ga4`" in TEXT
