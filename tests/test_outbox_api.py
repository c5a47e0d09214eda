"""`Outbox.add` writes in the caller's transaction, once per event id, on both databases."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.dialects.mysql import dialect as mysql_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from shipper import InvalidEvent, Outbox, order
from shipper.errors import UsageError

EVENT = {"type": "view", "view": {"type": "customSet", "customSet": {"id": "1"}}}
_NAME = "must be a name of small letters, digits and _ that begins with a letter"
_ID = "must be a string of 1 to 255 characters, none of them a control character"
ROWS = "SELECT CAST(payload AS TEXT), destination, ordering_key, event_id FROM shipper_outbox"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Connect as an application does, with nothing of ours in between."""
    made = create_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connect as an asynchronous application does."""
    made = create_async_engine(database_url.replace("sqlite://", "sqlite+aiosqlite://"))
    yield made
    await made.dispose()


def rows(engine: Engine) -> list[tuple[Any, ...]]:
    """Return what everybody else sees in the outbox."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(ROWS))]


async def async_rows(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    """Return what everybody else sees in the outbox."""
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(ROWS))]


def test_an_event_is_seen_once_its_transaction_commits(engine: Engine) -> None:
    """Until then nobody else sees it: add never commits."""
    with Session(engine) as session:
        made = Outbox(session).add(EVENT)
        session.rollback()
        assert rows(engine) == []
        made = Outbox(session).add(EVENT)
        session.commit()
    assert rows(engine) == [
        (
            '{"type":"view","view":{"type":"customSet","customSet":{"id":"1"}}}',
            "default",
            None,
            made,
        )
    ]
    assert UUID(made).version == 4


def test_a_connection_will_do(engine: Engine) -> None:
    """Core users pass the connection that holds their transaction."""
    with engine.connect() as connection:
        Outbox(connection).add(EVENT, "shopper", "order-1", "warehouse")
        connection.rollback()
        Outbox(connection).add(EVENT, "shopper", "order-2", "warehouse")
        connection.commit()
    assert [row[1:] for row in rows(engine)] == [("warehouse", "shopper", "order-2")]


def test_a_scoped_session_will_do(engine: Engine) -> None:
    """Web frameworks hand out their session behind a registry."""
    registry = scoped_session(sessionmaker(engine))
    Outbox(registry).add(EVENT, event_id="order-1")
    registry.commit()
    registry.remove()
    assert len(rows(engine)) == 1


def test_a_repeated_event_id_writes_nothing(engine: Engine) -> None:
    """The write itself can be repeated, and the first one stands."""
    with Session(engine) as session, session.begin():
        assert Outbox(session).add(EVENT, event_id="order-4711") == "order-4711"
        assert Outbox(session).add({"type": "x", "x": {}}, event_id="order-4711") == "order-4711"
    with Session(engine) as session, session.begin():
        Outbox(session).add(EVENT, event_id="order-4711")
        session.execute(text("SELECT 1"))  # the caller's transaction is still good
    assert len(rows(engine)) == 1


def test_text_is_kept_as_it_was_written(engine: Engine) -> None:
    """Blanks, the order of names and repeated ones arrive in the table as they are."""
    written = '{ "view":{"n":1.50, "é":"\\u0000"},\n"type" : "view", "view":{} }'
    with Session(engine) as session, session.begin():
        Outbox(session).add(written)
        Outbox(session).add(written.encode())
    assert [row[0] for row in rows(engine)] == [written, written]


def test_money_is_kept_exactly(engine: Engine) -> None:
    """A Decimal reaches the table with all its digits."""
    with Session(engine) as session, session.begin():
        Outbox(session).add(order("1", [("A", 1, Decimal("149.90"), "EUR")]))
    assert '"amount":149.90,' in rows(engine)[0][0]


def test_empty_counts_as_left_out(engine: Engine) -> None:
    """ORMs bind '' and None for what nobody filled in."""
    with Session(engine) as session, session.begin():
        made = Outbox(session).add(EVENT, "", "", "")
    assert [row[1:] for row in rows(engine)] == [("default", None, made)]
    assert UUID(made).version == 4


async def test_an_async_session_commits_and_rolls_back(async_engine: AsyncEngine) -> None:
    """The same through an AsyncSession: the caller's transaction, one row for one id."""
    async with AsyncSession(async_engine) as session:
        await Outbox(session).add(EVENT, event_id="order-1")
        await session.rollback()
        assert await async_rows(async_engine) == []
        assert await Outbox(session).add(EVENT, event_id="order-2") == "order-2"
        assert await Outbox(session).add(EVENT, event_id="order-2") == "order-2"
        await session.commit()
    assert [row[3] for row in await async_rows(async_engine)] == ["order-2"]


async def test_an_async_connection_commits_and_rolls_back(async_engine: AsyncEngine) -> None:
    """The same through an AsyncConnection."""
    async with async_engine.connect() as connection:
        await Outbox(connection).add(EVENT, event_id="order-1")
        await connection.rollback()
        await Outbox(connection).add(EVENT, event_id="order-2")
        await connection.commit()
    assert [row[3] for row in await async_rows(async_engine)] == ["order-2"]


async def test_an_async_scoped_session_will_do(async_engine: AsyncEngine) -> None:
    """The asynchronous registry is told apart from the synchronous one."""
    registry = async_scoped_session(async_sessionmaker(async_engine), scopefunc=lambda: 1)
    await Outbox(registry).add(EVENT, event_id="order-1")
    await registry.commit()
    await registry.remove()
    assert len(await async_rows(async_engine)) == 1


# -- several destinations ---------------------------------------------------------------------


def ids(engine: Engine) -> list[tuple[str, str]]:
    """Return destination and event id of each row, in the order of `id`."""
    query = "SELECT destination, event_id FROM shipper_outbox ORDER BY id"
    with engine.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(text(query))]


BOTH = [("default", "order-4711"), ("erp", "order-4711@erp")]


def test_an_event_for_several_destinations_is_a_row_for_each(engine: Engine) -> None:
    """In the caller's transaction, with the same payload and key; the first has the id itself."""
    with Session(engine) as session:
        add = Outbox(session).add
        assert add(EVENT, "k", "order-4711", destinations=["default", "erp"]) == "order-4711"
        session.rollback()
        assert rows(engine) == []
        add(EVENT, "k", "order-4711", destinations=["default", "erp"])
        session.commit()
    assert ids(engine) == BOTH
    assert len({(row[0], row[2]) for row in rows(engine)}) == 1


def test_writing_to_several_destinations_can_be_repeated(engine: Engine) -> None:
    """Nothing is written twice, and one that was added at the end gets its row."""
    with Session(engine) as session, session.begin():
        for destinations in (["default", "erp"], ("default", "erp"), ["default", "erp", "ga"]):
            made = Outbox(session).add(EVENT, event_id="order-4711", destinations=destinations)
            assert made == "order-4711"
    assert ids(engine) == [*BOTH, ("ga", "order-4711@ga")]


def test_a_row_that_is_there_does_not_keep_the_others_out(engine: Engine) -> None:
    """An event that was written for one destination can be written for more later."""
    with Session(engine) as session, session.begin():
        Outbox(session).add(EVENT, event_id="order-4711")
        Outbox(session).add(EVENT, event_id="order-4711", destinations=["default", "erp"])
    assert ids(engine) == BOTH


def test_an_id_that_is_made_is_the_same_for_all(engine: Engine) -> None:
    """A UUID, and the name behind it; a list of one is as good as `destination`."""
    with Session(engine) as session, session.begin():
        made = Outbox(session).add(EVENT, destinations=["ga", "erp"])
        alone = Outbox(session).add(EVENT, destinations=["erp"])
    assert UUID(made).version == 4
    assert ids(engine) == [("ga", made), ("erp", f"{made}@erp"), ("erp", alone)]


def test_a_row_that_fails_leaves_none(engine: Engine) -> None:
    """Even if the application goes on and commits: it is one statement."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            raising = "BEGIN SELECT RAISE(ABORT, 'no'); END"
            on = f"BEFORE INSERT ON shipper_outbox WHEN NEW.destination = 'erp' {raising}"
            connection.execute(text(f"CREATE TRIGGER stop {on}"))
        else:
            only = "CHECK (destination <> 'erp')"
            connection.execute(text(f"ALTER TABLE shipper_outbox ADD CONSTRAINT stop {only}"))
    with Session(engine) as session:
        with pytest.raises(DBAPIError, match=r"no|stop"), session.begin_nested():
            Outbox(session).add(EVENT, destinations=["default", "erp"])
        session.commit()
    assert rows(engine) == []


async def test_several_destinations_through_an_async_session(async_engine: AsyncEngine) -> None:
    """The same, awaited."""
    async with AsyncSession(async_engine) as session:
        made = await Outbox(session).add(EVENT, event_id="o", destinations=["default", "erp"])
        await session.commit()
    assert made == "o"
    assert [row[3] for row in await async_rows(async_engine)] == ["o", "o@erp"]


@pytest.mark.parametrize(
    ("destinations", "event_id", "message"),
    [
        ([], None, "destinations must be a list of at least one name"),
        ("erp", None, "destinations must be a list of at least one name"),
        ({"a", "b"}, None, "destinations must be a list of at least one name"),
        (["erp", "default", "erp"], None, "destinations must not have a name twice"),
        (["default", "ERP"], None, f"destination {_NAME}"),
        (["default", None], None, f"destination {_NAME}"),
        (["", "erp"], None, f"destination {_NAME}"),
        (["default", 7], None, f"destination {_NAME}"),
        (
            ["default", "e\nrp"],
            "a\nb",
            f"event_id {_ID}; destination {_NAME}",
        ),
        (["default", "erp"], "x" * 252, "event_id must have at most 255 characters with @ and"),
        (["default", "erp"], 4711, "event_id must be a string"),
    ],
)
def test_a_list_of_destinations_that_cannot_be_is_refused(
    destinations: Any, event_id: Any, message: str
) -> None:
    """Before the database hears of it, with every violation once."""
    session: Any = Untouchable()
    with pytest.raises(InvalidEvent) as refused:
        Outbox(session).add(EVENT, event_id=event_id, destinations=destinations)
    said = str(refused.value)
    assert message in said
    assert said.count(";") == message.count(";")


def test_one_destination_and_several_exclude_each_other() -> None:
    """A program that names both has a mistake."""
    session: Any = Untouchable()
    with pytest.raises(UsageError, match="destination and destinations"):
        Outbox(session).add(EVENT, destination="erp", destinations=["default"])


class Untouchable:
    """A database that nobody may speak to, of a kind that we don't support."""

    dialect = mysql_dialect()


def test_everything_wrong_is_listed_before_the_database_hears_of_it() -> None:
    """One InvalidEvent with every breach, of the columns and of the envelope."""
    session: Any = Untouchable()
    with pytest.raises(InvalidEvent) as refused:
        Outbox(session).add({"type": "order", "context": 5}, "k" * 256, "a\nb", "Default")
    assert str(refused.value) == (
        "destination must be a name of small letters, digits and _ that begins with a letter; "
        "ordering_key must be a string of at most 255 characters, none of them NUL; "
        "event_id must be a string of 1 to 255 characters, none of them a control character; "
        "event must have required property 'order'; event/context must be array"
    )
    assert len(refused.value.violations) == 5


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ordering_key", "a\x00b"),
        ("ordering_key", "\ud800"),
        ("ordering_key", 0),
        ("event_id", "x" * 256),
        ("event_id", "\x85"),
        ("event_id", 4711),
        ("destination", "9lives"),
        ("destination", "default\n"),
    ],
)
def test_a_column_that_no_row_can_hold_is_refused(column: str, value: object) -> None:
    """The error names the column and not its value."""
    session: Any = Untouchable()
    with pytest.raises(InvalidEvent, match=f"^{column} must be") as refused:
        Outbox(session).add(EVENT, **cast("dict[str, Any]", {column: value}))
    assert [v["params"] for v in refused.value.violations] == [{"column": column}]
    assert repr(value) not in str(refused.value)


@pytest.mark.parametrize("value", ["é" * 255, "a\tb\u2028c", " ", "\x7f"])
def test_an_ordering_key_may_be_any_text(value: str, engine: Engine) -> None:
    """255 characters, not bytes; only NUL has no place in a database."""
    with Session(engine) as session, session.begin():
        Outbox(session).add(EVENT, value, value.replace("\t", " ").replace("\x7f", "-"))
    assert rows(engine)[0][2] == value


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"\xff", "UTF-8"),
        ("{", "JSON"),
        ('{"type":"x","x":{"a":"\\ud800"}}', "surrogate"),
        ({"type": "x", "x": {"amount": float("nan")}}, "event/x/amount must be a finite number"),
        ({"type": "x", "x": {"amount": Decimal("1E+400")}}, "JSON"),
        ({"type": "x", "x": {"text": "x" * 2**20}}, "1048576 bytes"),
        ([EVENT], "must be object"),
    ],
)
def test_an_event_that_breaks_the_envelope_is_refused(event: object, reason: str) -> None:
    """Nothing is written that the daemon could only bury."""
    session: Any = Untouchable()
    with pytest.raises(InvalidEvent, match=reason):
        Outbox(session).add(cast("Any", event))


@pytest.mark.parametrize(
    "event", [{"client_id": "1", "events": []}, '{"requests":["?idsite=1&rec=1"]}', b"[1, 2]"]
)
def test_an_event_for_another_api_needs_no_envelope(engine: Engine, event: Any) -> None:
    """If the caller says so; else it is refused as every event without a type."""
    with Session(engine) as session, session.begin():
        with pytest.raises(InvalidEvent):
            Outbox(session).add(event, destination="ga4")
        Outbox(session).add(event, destination="ga4", validation="off")
    assert [row[1] for row in rows(engine)] == ["ga4"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [("{", "JSON"), (b"\xff", "UTF-8"), ({"a": "x" * 2**20}, "1048576 bytes"), (7, "JSON")],
)
def test_what_cannot_be_stored_or_sent_is_refused_all_the_same(event: Any, reason: str) -> None:
    """The database would raise, or the event would be a dead letter."""
    session: Any = Untouchable()
    with pytest.raises(InvalidEvent, match=reason):
        Outbox(session).add(b"7 7" if event == 7 else event, validation="off")


def test_another_database_is_refused_by_name() -> None:
    """Only SQLite and PostgreSQL have the table."""
    session: Any = Untouchable()
    with pytest.raises(UsageError, match="mysql"):
        Outbox(session).add(EVENT)


def test_the_types_tell_sync_from_async(engine: Engine, async_engine: AsyncEngine) -> None:
    """A type checker knows which result has to be awaited."""

    def sync(connection: Connection) -> str:
        return Outbox(connection).add(EVENT)

    async def waiting(session: AsyncSession) -> str:
        return await Outbox(session).add(EVENT)

    with engine.begin() as connection:
        assert sync(connection)
    assert waiting.__annotations__["return"] is str


def test_an_application_loads_nothing_of_the_daemon() -> None:
    """`import shipper.outbox` stays light: no validator, no HTTP client, no scheduler."""
    heavy = (
        "{'httpx', 'aiohttp', 'apscheduler', 'alembic', 'pydantic', 'jsonschema_rs', 'structlog'}"
    )
    code = f"import sys, shipper.outbox; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
