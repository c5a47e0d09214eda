"""`shipper db unlock`: it ends a stuck lease, and never the lease of a living daemon."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shipper.errors import OutboxHeld
from shipper.store.db.engine import open_engine
from shipper.store.drain.queue import Queue
from shipper.store.lease import unlock
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from tests.cli.command_line import Home
from tests.store.daemons import write
from tests.store.shipping import ask, claim, taken

ELSEWHERE = replace(Owner.here(), host="web-2", boot="another", pid=4711)


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def home(tmp_path: Path, postgres_url: str) -> Home:
    """Give a configuration for it."""
    return Home(tmp_path, postgres_url)


def test_a_lease_that_is_stuck_is_ended_after_a_question(post: Engine, home: Home) -> None:
    """Events that were claimed under it are marked as maybe received for the next daemon."""
    stuck = Queue(post, lease_ttl=3600.0)
    stuck.acquire(ELSEWHERE)
    claim(stuck, *write(post, "a"))
    assert home.call("db", "unlock").status == 2  # there is no terminal to confirm on
    with pytest.raises(OutboxHeld, match="process 4711 on web-2"):
        taken(post)
    ran = home.call("db", "unlock", "--yes", "--json")
    assert (ran.status, ran.value) == (
        0,
        {"unlocked": True, "holder": "process 4711 on web-2"},
    )
    taken(post)
    assert ask(post, "SELECT maybe_received FROM shipper_outbox") == [(1,)]


def test_where_nobody_holds_the_outbox_there_is_nothing_to_end(
    tmp_path: Path, engine: Engine, database_url: str
) -> None:
    """Nor is there a question."""
    taken(engine).release()
    ran = Home(tmp_path, database_url).call("db", "unlock")
    assert (ran.status, ran.out) == (0, "no daemon holds this outbox\n")


def test_a_process_that_lives_here_keeps_its_outbox(post: Engine, home: Home) -> None:
    """It is named, with what stops it."""
    taken(post)
    ran = home.call("db", "unlock", "--yes")
    assert (ran.status, f"kill {Owner.here().pid}" in ran.err) == (75, True)


def test_a_lock_of_a_file_ends_with_its_process(tmp_path: Path, sqlite_url: str) -> None:
    """The command can't end it."""
    lock = FileLock(Path(sqlite_url.removeprefix("sqlite:///")))
    lock.acquire()
    ran = Home(tmp_path, sqlite_url).call("db", "unlock", "--yes")
    lock.release()
    assert (ran.status, "the lock ends with it" in ran.err) == (75, True)


def test_who_moves_the_lease_while_the_operator_thinks_lives(post: Engine) -> None:
    """Even if the operator confirms."""
    queue = Queue(post, lease_ttl=3600.0)
    queue.acquire(ELSEWHERE)
    for move in (queue.renew, lambda: claim(queue, *write(post, "a"))):
        [stuck] = unlock.find(post, None)
        move()
        with pytest.raises(OutboxHeld, match="has written meanwhile"):
            unlock.end(post, stuck)
    queue.renew()


def test_a_transaction_that_stands_still_on_the_lease_is_ended_too(
    post: Engine, postgres_url: str
) -> None:
    """Its process was stopped in the middle of a turn, so no other daemon could take the outbox."""
    Queue(post, lease_ttl=3600.0).acquire(ELSEWHERE)
    frozen = open_engine(postgres_url)
    with frozen.connect() as connection:
        connection.execute(text("SELECT 1 FROM shipper_lease WHERE name = 'outbox' FOR UPDATE"))
        [stuck] = unlock.find(post, None)
        assert len(stuck.frozen) == 1
        unlock.end(post, stuck)
        connection.invalidate()
    frozen.dispose()
    taken(post)


def test_of_several_that_live_none_is_offered(post: Engine) -> None:
    """Of daemons on other machines nothing shows that they live but their leases."""
    for number in (1, 2):
        owner = replace(Owner.here(), boot=f"another {number}")
        Queue(post, lease_ttl=60.0).acquire(owner, alone=False)
    with pytest.raises(OutboxHeld, match="2 daemons share this outbox"):
        unlock.find(post, None)
