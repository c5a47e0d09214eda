"""Commit order on PostgreSQL: no event is shown while one before it can still come.

Promise 2 in the guarantees. Every interleaving of two writers and
the daemon is run on a real server; `test_watermark` checks the rule itself against a model.
"""

import itertools
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Engine, text

from shipper.store.db.dialect import POSTGRES
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Work
from shipper.store.report.status import open_transactions
from tests import needs
from tests.store.overlaps import Daemon, Writer
from tests.store.shipping import ask, run, settled, taken, until


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give the daemon's connection, in a database that has a table of the application's."""
    engine = open_engine(postgres_url)
    run(engine, "CREATE TABLE business (n integer)")
    yield engine
    engine.dispose()


@pytest.fixture
def writers(post: Engine, postgres_url: str) -> Iterator[tuple[Writer, Writer]]:
    """Give two connections of the application."""
    engines = [open_engine(postgres_url), open_engine(postgres_url)]
    with engines[0].connect() as first, engines[1].connect() as second:
        yield Writer(first), Writer(second)
    for engine in engines:
        engine.dispose()


# -- a process that begins anew -------------------------------------------------------------------


def test_who_begins_anew_need_not_wait_for_what_runs_by_then(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """What was settled before is on disk with the turn; what comes after waits as ever."""
    first, second = writers
    first.insert()
    first.commit()
    queue, before = taken(post), settled(Looks(post))
    assert queue.turn(Work(now=0.0, wanted=[1], settled=before.settled)) != []
    second.step("write")
    late = Daemon(post)
    first.insert()
    first.commit()
    assert late.look() == [1]
    assert late.held_back
    second.commit()
    assert late.sees(1, 2)


def test_what_is_settled_stays_so(post: Engine, writers: tuple[Writer, Writer]) -> None:
    """A turn that knows less, of a process that has just begun, takes nothing back."""
    writers[0].insert()
    writers[0].commit()
    queue = taken(post)
    queue.turn(Work(now=0.0, wanted=[1], settled=settled(Looks(post)).settled))
    queue.turn(Work(now=0.0, released=[1]))
    assert ask(post, f"SELECT settled FROM {POSTGRES.books}") == [(1,)]


# -- every interleaving ---------------------------------------------------------------------------


def _merges(*actors: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield every order in which the steps of the actors can happen: (actor, step)."""
    places = [number for number, steps in enumerate(actors) for _ in steps]
    for order in sorted(set(itertools.permutations(places))):
        left = [iter(steps) for steps in actors]
        yield [(actor, next(left[actor])) for actor in order]


BEFORE = ("write", "insert")
AFTER = ("insert", "write")
ENDS = list(itertools.product(["commit", "rollback"], repeat=2))


def _play(
    post: Engine, writers: tuple[Writer, Writer], steps: list[tuple[int, str]], run_number: int
) -> None:
    destination = f"d{run_number}"
    daemon = Daemon(post, destination)
    for writer in writers:
        writer.destination, writer.committed = destination, []
    for actor, step in steps:
        if step == "look":
            daemon.look()
        else:
            writers[actor].step(step)
    assert daemon.sees(*sorted(writers[0].committed + writers[1].committed)), steps


@pytest.mark.parametrize("first", [BEFORE, AFTER], ids=["xid-first", "id-first"])
@pytest.mark.parametrize("second", [BEFORE, AFTER], ids=["xid-first", "id-first"])
def test_two_writers_and_a_look_after_every_step(
    post: Engine,
    writers: tuple[Writer, Writer],
    first: tuple[str, ...],
    second: tuple[str, ...],
) -> None:
    """In all 20 orders, however they end, what is shown is in order at any time, and complete."""
    numbers = itertools.count()
    for one, two in ENDS:
        for steps in _merges((*first, one), (*second, two)):
            looks = [moment for step in steps for moment in (step, (2, "look"))]
            _play(post, writers, looks, next(numbers))


def test_two_writers_and_two_looks_at_any_moment(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """In all orders of three actors; the two writers are alike, so that half of them is enough."""
    numbers = itertools.count()
    for one, two in ENDS:
        for steps in _merges((*BEFORE, one), (*BEFORE, two), ("look", "look")):
            if steps.index((0, "write")) < steps.index((1, "write")):
                _play(post, writers, steps, next(numbers))
    assert next(numbers) == 4 * 560 / 2


# -- what they are about --------------------------------------------------------------------------


def test_the_later_id_waits_for_the_earlier_one(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """Although it was committed first; then both come, in order."""
    early, late = writers
    assert (early.insert(), late.insert()) == (1, 2)
    late.commit()
    daemon = Daemon(post)
    assert daemon.waits()
    early.commit()
    assert daemon.sees(1, 2)
    assert not daemon.held_back


def test_an_id_that_never_comes_is_waited_for_no_longer(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """A rollback ends the wait as well as a commit."""
    early, late = writers
    early.insert()
    late.insert()
    late.commit()
    daemon = Daemon(post)
    assert daemon.waits()
    early.rollback()
    assert daemon.sees(2)


def test_a_transaction_that_is_older_than_the_one_before_it_is_no_reason_to_go_on(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """Where xid order and id order differ, to ship what is below xmin would ship 2 before 1."""
    elder, younger = writers
    elder.step("write")
    younger.step("write")
    assert (younger.insert(), elder.insert()) == (1, 2)
    elder.commit()
    naive = "SELECT id FROM shipper_outbox WHERE tx < pg_snapshot_xmin(pg_current_snapshot())"
    until(lambda: ask(post, naive) == [(2,)])
    daemon = Daemon(post)
    assert daemon.waits()
    younger.commit()
    assert daemon.sees(1, 2)


def test_what_was_settled_before_is_shown_meanwhile(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """Only what is younger than the open transaction waits."""
    early, late = writers
    daemon = Daemon(post)
    for row in (1, 2):
        assert late.insert() == row
        late.commit()
    assert daemon.sees(1, 2)
    early.insert()
    late.insert()
    late.commit()
    assert daemon.waits(1, 2)
    early.commit()
    assert daemon.sees(1, 2, 3, 4)


def test_under_writers_that_never_pause_it_goes_on(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """There is always an open transaction, but never the same: nothing waits for all of them."""
    daemon = Daemon(post)
    writers[0].insert()
    for turn in range(1, 20):
        writers[turn % 2].insert()
        daemon.look()
        writers[(turn + 1) % 2].commit()
        assert daemon.sees_so_many(turn - 2)
    writers[1].commit()
    assert daemon.sees(*range(1, 21))


def test_savepoints_change_nothing(post: Engine, writers: tuple[Writer, Writer]) -> None:
    """What is written in one waits and comes with its transaction; what is undone never comes."""
    early, late = writers
    with early.connection.begin_nested():
        assert early.insert() == 1
    undone = early.connection.begin_nested()
    assert early.insert() == 2
    undone.rollback()
    late.insert()
    late.commit()
    daemon = Daemon(post)
    assert daemon.waits()
    assert early.insert() == 4
    early.commit()
    assert daemon.sees(1, 3, 4)


# -- who else holds it up -------------------------------------------------------------------------


def test_a_transaction_that_only_reads_holds_nothing_up(
    post: Engine, writers: tuple[Writer, Writer]
) -> None:
    """However long it is open: it has no number."""
    reader, writer = writers
    reader.connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    reader.connection.execute(text("SELECT count(*) FROM shipper_outbox"))
    writer.insert()
    writer.commit()
    assert Daemon(post).sees(1)


def test_a_writing_transaction_of_another_database_holds_it_up(
    post: Engine, writers: tuple[Writer, Writer], bare_postgres_url: str
) -> None:
    """Numbers are the server's; that is a limit which is documented, and `status` names it."""
    elsewhere = open_engine(bare_postgres_url)
    with elsewhere.connect() as connection:
        connection.execute(text("CREATE TABLE anything (n integer)"))
        writers[0].insert()
        writers[0].commit()
        daemon = Daemon(post)
        assert daemon.waits()
        connection.rollback()
        assert daemon.sees(1)
    elsewhere.dispose()


@pytest.fixture
def preparing(post: Engine) -> None:
    """Make sure of a server that lets transactions be prepared."""
    if ask(post, "SHOW max_prepared_transactions") == [("0",)]:
        needs.missing("the server's max_prepared_transactions is 0")


@pytest.mark.usefixtures("preparing")
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_prepared_transaction_holds_it_up_until_somebody_ends_it(
    post: Engine, writers: tuple[Writer, Writer], end: str
) -> None:
    """It has no connection any more, but what it wrote can still come."""
    prepared, late = writers
    prepared.insert()
    prepared.connection.exec_driver_sql("PREPARE TRANSACTION 'orphan'")
    prepared.connection.rollback()
    late.insert()
    late.commit()
    daemon = Daemon(post)
    assert daemon.waits()
    [blocker] = open_transactions(post)
    assert blocker.database == post.url.database
    with post.connect().execution_options(isolation_level="AUTOCOMMIT") as operator:
        operator.exec_driver_sql(f"{end} PREPARED 'orphan'")
    assert daemon.sees(*[1, 2] if end == "COMMIT" else [2])


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO shipper_outbox (payload) VALUES ('{}')",
        "INSERT INTO shipper_outbox (payload, ordering_key) VALUES ('1', 'a'), ('2', 'b')",
        "INSERT INTO shipper_outbox (payload) SELECT to_json(n) FROM business ORDER BY random()",
    ],
)
def test_whoever_takes_an_id_has_a_number_already(post: Engine, statement: str) -> None:
    """All of it rests on this: in every row the transaction's number is asked for first."""
    plan = ask(post, f"EXPLAIN (VERBOSE, COSTS OFF) {statement}")
    [line] = [line for [line] in plan if "nextval" in line]
    assert line.index("pg_current_xact_id()") < line.index("nextval(")
