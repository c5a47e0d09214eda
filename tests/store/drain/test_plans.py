"""How the databases find what they are asked for: cost must not grow with the backlog.

Design.md 4: nothing in the drain may cost more because more is pending, because there are more
keys, or because one of them has most of it all. What is explained is what is really executed.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.db.postgres.dialect import PostgresDialect
from shipper.store.db.transactions import glancing
from shipper.store.drain.look import Looks
from shipper.store.drain.look_statements import REACH
from shipper.store.drain.messages import Look, Work
from shipper.store.upkeep.times import newest
from tests.store.daemons import NOW
from tests.store.shipping import accepted, ask, claim, failed, record, refused, run, settled, taken

# What is filled once is for all of them.
pytestmark = pytest.mark.xdist_group("plans")

HISTORY = 50_000
BACKLOG = 5_000

_FILL = {
    "sqlite": (
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :count)"
        " INSERT INTO shipper_outbox (payload, destination, ordering_key) SELECT '{}',"
        " CASE n % 5 WHEN 0 THEN 'other' ELSE 'default' END,"
        " CASE WHEN n % 2 = 0 THEN 'hot' ELSE 'k' || n END FROM n"
    ),
    "postgresql": (
        "INSERT INTO shipper_outbox (payload, destination, ordering_key) SELECT '{}',"
        " CASE n % 5 WHEN 0 THEN 'other' ELSE 'default' END,"
        " CASE WHEN n % 2 = 0 THEN 'hot' ELSE 'k' || n END FROM generate_series(1, :count) AS n"
    ),
}
_HOLD = (
    "INSERT INTO shipper_hold (destination, ordering_key, cause)"
    " SELECT DISTINCT destination, ordering_key, 'operator' FROM shipper_outbox"
    " WHERE ordering_key <> 'hot' LIMIT 10000"
)
_DELIVER = (
    "UPDATE shipper_outbox SET status = 'delivered', delivered_at = created_at,"
    f" delivery_number = id WHERE id <= {HISTORY - BACKLOG}"
)


@pytest.fixture(params=["plain", "analyzed", "outgrown"])
def lite(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[Engine]:
    """Give an outbox on SQLite with a history and a backlog.

    Also where it has statistics, and where they are of a day when there was one event.
    """
    engine = open_engine(sqlite_url)
    if request.param == "outgrown":
        run(engine, _FILL["sqlite"], count=1)
        run(engine, "ANALYZE")
        engine.dispose()
    run(engine, _FILL["sqlite"], count=1000)
    run(engine, _DELIVER.replace(str(HISTORY - BACKLOG), "900"))
    if request.param == "analyzed":
        run(engine, "ANALYZE")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def filled_url(postgres_server: Any, postgres_template: str) -> Iterator[str]:
    """Give a PostgreSQL outbox of 50,000 events, most of them delivered, with statistics."""
    from sqlalchemy import create_engine

    name = f"shipper_plans_{id(postgres_template)}"
    server = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
        yield _fill(postgres_server.set(database=name).render_as_string(hide_password=False))
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def _fill(url: str) -> str:
    engine = open_engine(url)
    run(engine, _FILL["postgresql"], count=HISTORY)
    run(engine, _DELIVER)
    run(engine, _HOLD)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return url


@pytest.fixture(params=["small", "large", "backlog", "new"])
def post(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL.

    An almost empty one that never scans, a large one, one of which nothing was ever delivered, and
    the same before it has statistics.
    """
    large = request.param == "large"
    engine = open_engine(request.getfixturevalue("filled_url" if large else "postgres_url"))
    if request.param == "small":
        run(engine, _FILL["postgresql"], count=20)
        run(engine, "SET enable_seqscan = off")
    if request.param in {"backlog", "new"}:
        run(engine, "ALTER TABLE shipper_outbox SET (autovacuum_enabled = off)")
        run(engine, _FILL["postgresql"], count=HISTORY)
        run(engine, _HOLD)
    if request.param == "backlog":
        run(engine, "ANALYZE")
    yield engine
    engine.dispose()


# -- what was executed, and how -------------------------------------------------------------------


class _Plans:
    """The statements that a connection executes, each with the plan that the database has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.found: list[str] = []

    def explain(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Ask for the plan of a statement that is about to be executed."""
        if not re.match(r"\(?SELECT|UPDATE|DELETE|WITH (written|reached)", statement):
            return
        lite = self._engine.dialect.name == "sqlite"
        ask = "EXPLAIN QUERY PLAN" if lite else "EXPLAIN (COSTS OFF)"
        rows = cursor.connection.execute(f"{ask} {statement}", parameters).fetchall()
        self.found.append("\n".join([statement, *(str(row[-1]) for row in rows)]))


@contextmanager
def _plans(engine: Engine) -> Iterator[_Plans]:
    """Watch the driver's calls: not every statement makes one of SQLAlchemy's events."""
    plans, dialect = _Plans(engine), engine.dialect

    def watched(call: Callable[..., None], *, many: bool) -> Callable[..., None]:
        def give(cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
            plans.explain(cursor, statement, parameters[0] if many else parameters)
            call(cursor, statement, parameters, *more)

        return give

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_execute", watched(dialect.do_execute, many=False))
        patch.setattr(dialect, "do_executemany", watched(dialect.do_executemany, many=True))
        # The same statements, one by one.
        patch.setattr(PostgresDialect, "pipelines", lambda *_: None)
        yield plans


def _plan(engine: Engine, act: Callable[[], object], of: str = "shipper_outbox") -> str:
    """Return the only plan of `act` that touches a table."""
    with _plans(engine) as plans:
        act()
    [plan] = [plan for plan in plans.found if of in plan]
    return plan


def _look(engine: Engine, question: Look) -> str:
    looks = settled(Looks(engine))
    return _plan(engine, lambda: looks.look(question))


SCAN = Look("pending", "default", 1000, after=7)
SHARED = replace(SCAN, shards=tuple(range(32)))
FIRST = Look("maybe_received", "default", 1000)
HOT = Look("lane", "default", 64, lane="hot")
COLD = Look("lane", "default", 64, lane="k49999")


# -- SQLite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (SCAN, "shipper_outbox_pending (destination=? AND id>? AND id<?)"),
        (FIRST, "shipper_outbox_maybe (destination=? AND id>? AND id<?)"),
        (HOT, "shipper_outbox_key (destination=? AND ordering_key=?)"),
        (Look("lane", "default", 1, lane=4711), "INTEGER PRIMARY KEY (rowid=?)"),
    ],
    ids=["scan", "first", "lane", "keyless"],
)
def test_sqlite_walks_along_an_index_and_sorts_nothing(
    lite: Engine, question: Look, index: str
) -> None:
    """From where the page begins to where it ends; no row of it is met for nothing."""
    plan = _look(lite, question)
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


def test_sqlite_claims_and_records_by_id(lite: Engine) -> None:
    """However many are pending."""
    queue = taken(lite)
    with _plans(lite) as plans:
        _work(queue)
        taken(lite)
    about = [plan for plan in plans.found if "shipper_outbox" in plan]
    assert len(about) >= 5
    for plan in about:
        # To the highest id is one step in the tree.
        assert re.search(r"SEARCH shipper_outbox( USING INTEGER PRIMARY KEY \(rowid=\?\))?", plan)
        assert "SCAN shipper_outbox" not in plan


def test_sqlite_trims_a_history_along_its_index(lite: Engine) -> None:
    """Other events' tries are not met."""
    queue = taken(lite)
    [event] = claim(queue, 950)
    with _plans(lite) as plans:
        record(queue, failed(event))
    [trim] = [plan for plan in plans.found if plan.startswith("DELETE FROM shipper_attempt")]
    assert trim.count("shipper_attempt_outbox (outbox_id=?") == 2
    assert "SCAN" not in trim
    assert "TEMP B-TREE" not in trim


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "index"),
    [
        # Where all of it is pending, the primary key is as good.
        (SCAN, "shipper_outbox_(pending|pkey)"),
        (SHARED, "shipper_outbox_(pending|pkey)"),
        (FIRST, "shipper_outbox_maybe"),
        (HOT, "shipper_outbox_lane"),
        (COLD, "shipper_outbox_lane"),
        (Look("lane", "default", 1, lane=4711), "shipper_outbox_(pkey|pending)"),
    ],
    ids=["scan", "of-some-shards", "first", "hot-lane", "cold-lane", "keyless"],
)
def test_postgres_walks_along_an_index(post: Engine, question: Look, index: str) -> None:
    """Also where statistics would let it choose, and one key has half of all that is pending."""
    plan = _look(post, question)
    assert re.search(rf"Index (Only )?Scan using {index} on|Bitmap Index Scan on {index}\b", plan)
    assert "Seq Scan" not in plan
    assert re.search(r"Scan (using|on) shipper_hold_key\b", plan)


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (SCAN, "shipper_outbox_pending"),
        (SHARED, "shipper_outbox_pending"),
        (HOT, "shipper_outbox_lane"),
    ],
    ids=["scan", "of-some-shards", "hot-lane"],
)
def test_postgres_sorts_no_page_of_a_backlog(filled_url: str, question: Look, index: str) -> None:
    """It stops where the page ends, instead of collecting everything first."""
    engine = open_engine(filled_url)
    plan = _look(engine, question)
    engine.dispose()
    assert f"Index Scan using {index} on" in plan
    assert "Limit" in plan
    assert "Sort" not in plan


def test_rows_of_other_daemons_are_read_once_and_so_many_at_a_time(postgres_url: str) -> None:
    """Beside a backlog that isn't its own, a daemon looks for its events at no greater cost."""
    engine = open_engine(postgres_url)
    run(engine, "ALTER TABLE shipper_outbox SET (autovacuum_enabled = off)")
    run(engine, _ONE_LANE, count=2 * REACH)
    run(engine, "ANALYZE")
    [(theirs,)] = ask(engine, "SELECT DISTINCT slot & 63 FROM shipper_outbox")
    shards = tuple(shard for shard in range(64) if shard != theirs)
    looks, question = settled(Looks(engine)), Look("pending", "default", 512, shards=shards)
    read: list[int] = []
    for _ in range(4):
        before = _read(engine)
        page = looks.page(question)
        read.append(_read(engine) - before)
        question = replace(question, after=page.seen)
    assert page.is_last
    engine.dispose()
    # Each row is met once to see whose it is, and once to count it.
    assert max(read) <= 2 * REACH
    assert read[2:] == [0, 0]


_ONE_LANE = (
    "INSERT INTO shipper_outbox (payload, ordering_key) SELECT '{}', 'hot'"
    " FROM generate_series(1, :count)"
)


def _read(engine: Engine) -> int:
    """Return how many rows were read by way of an index so far."""
    ask(engine, "SELECT pg_stat_force_next_flush()")
    [(read,)] = ask(
        engine,
        "SELECT CAST(sum(idx_tup_read) AS bigint) FROM pg_stat_user_indexes"
        " WHERE relname = 'shipper_outbox'",
    )
    return int(read)


def test_postgres_finds_the_highest_id_at_the_end_of_the_index(post: Engine) -> None:
    """A pulse reads one entry of it, many times a second."""
    looks = Looks(post)
    looks.pulse()  # the first one looks at the tables, too
    plan = _plan(post, looks.pulse)
    assert "Index Only Scan Backward using shipper_outbox_pkey" in plan


@pytest.mark.parametrize("post", ["large", "backlog", "new"], indirect=True)
def test_postgres_claims_and_records_by_id(post: Engine) -> None:
    """However many are pending."""
    queue = taken(post)
    with _plans(post) as plans:
        _work(queue)
        taken(post)
    about = [plan for plan in plans.found if " on shipper_outbox" in plan]
    assert len(about) >= 5
    for plan in about:
        assert re.search(r"Index (Only )?Scan (Backward )?using shipper_outbox_pkey on", plan)
        assert "Seq Scan on shipper_outbox" not in plan


@pytest.mark.parametrize("post", ["large", "backlog", "new"], indirect=True)
def test_postgres_needs_no_plan_for_each_value(post: Engine) -> None:
    """What is prepared gets a plan for any value in the end; that one is no worse."""
    queue, looks = taken(post), settled(Looks(post))
    for row in (HISTORY - 20, HISTORY - 21):
        record(queue, *map(accepted, claim(queue, row)))
        for question in (SCAN, SHARED, FIRST, HOT):
            looks.look(question)
    plans = _generic_plans(post)
    assert len(plans) >= 5
    for plan in plans:
        assert re.search(r"Index (Only )?Scan (Backward )?using shipper_outbox_\w+ on", plan)
        assert "Seq Scan on shipper_outbox" not in plan


def test_a_plan_from_an_empty_outbox_doesnt_scan_a_full_one(postgres_url: str) -> None:
    """Postgres keeps a plan until the next ANALYZE, however the table grows."""
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    run(other, "ALTER TABLE shipper_outbox SET (autovacuum_enabled = off)")
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    queue = taken(engine)
    gone = Event(10**9, "gone", "default", None, b"")
    queue.turn(Work(now=NOW, wanted=[1], records=[accepted(gone)]))
    looks = settled(Looks(engine))
    _ask(looks)
    run(other, _FILL["postgresql"], count=BACKLOG)
    ask(engine, "SELECT pg_stat_force_next_flush()")
    [before] = ask(other, _SCANNED)
    record(queue, *map(accepted, claim(queue, 1, 2, 3)))
    _ask(looks)
    ask(engine, "SELECT pg_stat_force_next_flush()")
    engine.dispose()
    assert [before] == ask(other, _SCANNED)
    other.dispose()


def _ask(looks: Looks) -> None:
    for question in (SCAN, FIRST, HOT, COLD, Look("lane", "default", 1, lane=4711)):
        looks.look(question)


_SCANNED = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'shipper_outbox'"


def _generic_plans(engine: Engine) -> list[str]:
    """Return the plans for any value of what the engine's connection has prepared."""
    with glancing(engine) as connection:
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        prepared = connection.exec_driver_sql(
            "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements"
            " WHERE statement LIKE '%%shipper_outbox%%' AND cardinality(parameter_types) > 0"
        ).all()
        asked = (f"EXPLAIN EXECUTE {name}({', '.join(['NULL'] * n)})" for name, n in prepared)
        return ["\n".join(connection.exec_driver_sql(ask).scalars()) for ask in asked]


def _work(queue: Any) -> None:
    """Claim, record in every way, and leave something to recover."""
    newest = (HISTORY - 5, HISTORY - 4, HISTORY - 3, HISTORY - 2, 995, 996, 997, 998, 5, 6, 7, 8)
    events: list[Event] = claim(queue, *newest)
    first, second, third, *_ = events
    record(queue, accepted(first), refused(second), failed(third))
    gone = Event(10**9, "gone", "default", None, b"")
    queue.turn(Work(now=NOW, records=[accepted(gone)]))


def test_the_newest_time_of_a_large_outbox_is_one_step_on_sqlite(lite: Engine) -> None:
    """A daemon asks for it when it starts: from the end of the table, and of the deliveries."""
    with _plans(lite) as plans:
        assert newest(lite) is not None
    assert len(plans.found) == 2
    assert not [plan for plan in plans.found if "B-TREE" in plan]


def test_the_newest_time_of_a_large_outbox_is_one_step_on_postgres(post: Engine) -> None:
    """The same."""
    with _plans(post) as plans:
        assert newest(post) is not None
    asked = [plan for plan in plans.found if "FROM shipper_outbox" in plan]
    assert len(asked) == 2
    assert not [plan for plan in asked if "Sort" in plan or "Seq Scan" in plan]
