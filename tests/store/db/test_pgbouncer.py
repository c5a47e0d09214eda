"""A real pgbouncer: in transaction mode shipper works, in statement mode it says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, make_url

from shipper.errors import SchemaError, StoreUnavailable
from shipper.store.db.dialect import POSTGRES
from shipper.store.db.engine import open_engine
from shipper.store.db.snapshot import snapshot
from shipper.store.db.statement import Sent, Statement
from shipper.store.db.transactions import asking, exchanging, glancing, writing
from shipper.store.drain.queue import ask_nothing
from shipper.store.report.facts import server
from shipper.system.steps import whole
from tests.store.daemons import Daemon, column, write
from tests.store.poolers import Mode, pooling
from tests.store.shipping import ask


@pytest.mark.parametrize(("mode", "shares"), [("session", False), ("transaction", True)])
def test_a_daemon_ships_through_a_pooler(postgres_url: str, mode: Mode, shares: bool) -> None:  # noqa: FBT001
    """Of sessions or of transactions."""
    with pooling(postgres_url, mode) as url:
        engine = open_engine(url)
        facts = server(engine)
        assert (facts.pooled, facts.shares) == (True, shares)
        rows = write(engine, "a", "a", "b")
        daemon = Daemon(engine)
        daemon.deliver(*rows)
        daemon.queue.release()
        assert [column(engine, "status", row) for row in rows] == ["delivered"] * 3
        engine.dispose()


def test_a_pooler_of_statements_is_refused_with_what_to_do(postgres_url: str) -> None:
    """At the first connection: nothing is claimed."""
    with pooling(postgres_url, "statement") as url:
        engine = open_engine(url)
        with pytest.raises(SchemaError, match="pools statements") as raised, glancing(engine):
            pass
        assert "pool_mode = transaction" in str(raised.value.hint)
        engine.dispose()


# -- what is set, on each process of the server ---------------------------------------------------

FROZEN = 0.2
IN_FORCE = (
    "SELECT concat_ws(' ', pg_backend_pid(),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout'),"
    " current_setting('statement_timeout'), current_setting('synchronous_commit'),"
    " coalesce(current_schema(), 'nowhere'))"
)
ASK = Statement(POSTGRES, IN_FORCE)
OURS = "200ms 5s 30s on public"
ITS = "0 0 0 off nowhere"


@contextmanager
def elsewhere(postgres_url: str) -> Iterator[tuple[Engine, int]]:
    """Give an engine whose next transaction gets another process than its connection had first.

    And the number of that process, on which nothing of ours was ever set.
    """
    place = make_url(postgres_url).database
    with session(postgres_url) as direct:
        for setting in ("synchronous_commit = off", 'search_path = "$user"'):
            direct.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{place}" SET {setting}')
    with pooling(postgres_url, "transaction", 2) as url, session(url) as first:
        [[pid]] = first.execute("SELECT pg_backend_pid()").fetchall()
        engine = open_engine(url, frozen=FROZEN)
        with glancing(engine) as tx:  # the other process: the first is in a transaction
            assert tx.exec_driver_sql(IN_FORCE).scalar_one().endswith(OURS)
        with session(url) as second:  # it holds the process with our settings
            second.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            assert second.execute("SELECT pg_backend_pid()").fetchall() != [(pid,)]
            assert first.execute(IN_FORCE).fetchall() == [(f"{pid} {ITS}",)]
            first.commit()
            yield engine, pid
        engine.dispose()


def session(url: str) -> "psycopg.Connection[tuple[Any, ...]]":
    """Return another program's session."""
    return psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))


def in_a_turn(engine: Engine) -> str:
    """Ask in a transaction of the drain."""
    with whole(exchanging(engine, ask_nothing)) as channel:
        answer = ASK.send(channel)
        channel.wait()
        return str(answer.rows()[0][0])


def behind_a_turn(engine: Engine) -> str:
    """Ask together with the COMMIT of the drain."""
    answers: list[Sent] = []
    with whole(exchanging(engine, lambda channel: answers.append(ASK.send(channel)))):
        pass
    return str(answers[0].rows()[0][0])


def in_questions(engine: Engine) -> str:
    """Ask as the drain asks without a turn."""
    with asking(engine) as channel:
        answer = ASK.send(channel)
        channel.wait()
        return str(answer.rows()[0][0])


def in_a_change(engine: Engine) -> str:
    """Ask in a transaction of a command, or of a change of shards."""
    with writing(engine) as tx:
        return str(tx.exec_driver_sql(IN_FORCE).scalar_one())


def in_a_view(engine: Engine) -> str:
    """Ask in a transaction that only reads."""
    with snapshot(engine) as tx:
        return str(tx.exec_driver_sql(IN_FORCE).scalar_one())


ASKED = [in_a_turn, behind_a_turn, in_questions, in_a_change, in_a_view]


@pytest.mark.parametrize("asked", ASKED)
def test_our_settings_are_in_force_on_each_process_of_the_server(
    postgres_url: str, asked: Callable[[Engine], str]
) -> None:
    """Also where the pooler has never passed on what was set for the connection."""
    with elsewhere(postgres_url) as (engine, pid):
        assert asked(engine) == f"{pid} {OURS}"


@pytest.mark.parametrize("asked", ASKED)
def test_what_we_set_for_a_transaction_stays_with_it(
    postgres_url: str, asked: Callable[[Engine], str]
) -> None:
    """The next client of that process finds it as it was."""
    with elsewhere(postgres_url) as (engine, pid):
        asked(engine)
        with glancing(engine) as tx:
            assert tx.exec_driver_sql(IN_FORCE).scalar_one() == f"{pid} {ITS}"


LOCK = "SELECT 1 FROM shipper_lease WHERE name = 'outbox' FOR UPDATE"


def stand_in_a_turn(engine: Engine, meanwhile: Callable[[], None]) -> None:
    """Stand still in a transaction of the drain, between two answers."""
    lock = Statement(POSTGRES, LOCK)
    with whole(exchanging(engine, ask_nothing)) as channel:
        lock.send(channel)
        channel.wait()
        meanwhile()


def stand_in_a_change(engine: Engine, meanwhile: Callable[[], None]) -> None:
    """Stand still in a transaction of a command, or of a change of shards."""
    with writing(engine) as tx:
        tx.exec_driver_sql(LOCK)
        meanwhile()


@pytest.mark.parametrize("stand", [stand_in_a_turn, stand_in_a_change])
def test_the_server_ends_a_session_that_stands_still_behind_a_pooler(
    postgres_url: str, stand: Callable[[Engine, Callable[[], None]], None]
) -> None:
    """Else its locks would block its lanes and all commands for as long as it stands still."""
    direct, waited = open_engine(postgres_url), []

    def wait() -> None:
        waited.extend(ask(direct, LOCK))  # the lock is free once the session has ended

    with elsewhere(postgres_url) as (engine, _):
        with pytest.raises(StoreUnavailable):
            stand(engine, wait)
        assert waited == [(1,)]
    direct.dispose()
