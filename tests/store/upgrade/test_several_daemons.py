"""From one daemon to several on PostgreSQL, and back: what the daemon before has left is kept.

The outbox is one of the revision before, as its daemon left it.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from alembic import command
from sqlalchemy import Engine

from shipper.errors import OutboxHeld
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.lease.lease import Owner
from shipper.store.schema import revisions
from shipper.store.upgrade import migrate
from shipper.store.upgrade.recount import is_needed
from tests.store.daemons import write
from tests.store.lease.members import FakeClock, Member, elsewhere, pass_watched
from tests.store.older import make
from tests.store.shipping import ask, run

GONE = replace(Owner.here(), pid=2**22 + 1)


@pytest.fixture
def before(bare_postgres_url: str) -> Iterator[Engine]:
    """Give an outbox of one daemon, which has delivered an event and claimed two."""
    engine = open_engine(bare_postgres_url)
    make(engine, "0012")
    write(engine, "a", "a", "b", "b")
    run(
        engine,
        "UPDATE shipper_outbox SET status = 'delivered', delivery_number = 7, attempts = 1,"
        " delivered_at = clock_timestamp() WHERE id = 1",
    )
    run(engine, "DELETE FROM shipper_turn")
    run(
        engine,
        "INSERT INTO shipper_turn (turn, token, claim, delivery, settled) VALUES (9, 3, 2, 7, 4)",
    )
    run(engine, "INSERT INTO shipper_count VALUES (9, 'default', 1, 0)")
    run(engine, "INSERT INTO shipper_claim (number, ids) VALUES (2, '[2,3]')")
    run(engine, "UPDATE shipper_lease SET token = 3 WHERE name = 'outbox'")
    yield engine
    engine.dispose()


def _hold(engine: Engine, owner: Owner | None) -> None:
    run(
        engine,
        "UPDATE shipper_lease SET owner = :owner, acquired_at = clock_timestamp(), ttl = 60,"
        " expires_at = clock_timestamp() + interval '1 minute' WHERE name = 'outbox'",
        owner=owner.write() if owner else None,
    )


def _expect_kept(engine: Engine, url: str) -> None:
    member = Member(url, elsewhere(1), FakeClock())
    assert member.recovered == 2
    marked = "SELECT id FROM shipper_outbox WHERE maybe_received = 1 ORDER BY id"
    assert ask(engine, marked) == [(2,), (3,)]
    assert ask(engine, "SELECT name, delivered, dead FROM shipper_destination") == [
        ("default", 1, 0)
    ]
    member.send(2, 3)
    member.send(4)
    found = "SELECT delivery_number FROM shipper_outbox WHERE id IN (1, 2) ORDER BY id"
    [(earlier,), (later,)] = ask(engine, found)
    assert earlier < later
    assert not is_needed(engine)
    member.queue.release()
    member.close()


@pytest.mark.parametrize("owner", [None, GONE], ids=["free", "dead"])
def test_what_the_daemon_before_has_claimed_and_counted_is_kept(
    before: Engine, bare_postgres_url: str, owner: Owner | None
) -> None:
    """Whether it has ended cleanly or not."""
    _hold(before, owner)
    migrate.upgrade(before)
    _expect_kept(before, bare_postgres_url)


@pytest.mark.parametrize("owner", [elsewhere(1), Owner.here()], ids=["elsewhere", "here"])
def test_while_an_older_daemon_runs_nothing_is_changed(before: Engine, owner: Owner) -> None:
    """It couldn't go on with the new tables."""
    _hold(before, owner)
    with pytest.raises(OutboxHeld, match="older version") as held:
        migrate.upgrade(before)
    assert "stop it" in (held.value.hint or "")
    assert revisions.current(before) == "0012"
    assert ask(before, "SELECT token, claim FROM shipper_turn") == [(3, 2)]


def test_one_that_is_silent_elsewhere_is_waited_for_after_the_upgrade(
    before: Engine, bare_postgres_url: str
) -> None:
    """By the server's clock its lease is over, and that proves nothing."""
    _hold(before, elsewhere(7))
    run(before, "UPDATE shipper_lease SET expires_at = clock_timestamp() - interval '1 hour'")
    migrate.upgrade(before)
    clock = FakeClock()
    member = Member(bare_postgres_url, elsewhere(1), clock)
    assert member.recovered == 0
    assert member.queue.shares.daemons == 2
    pass_watched(clock, 60.0, member)
    [ended] = member.attend().ended
    assert (ended.name, ended.recovered) == ("before", 2)
    member.close()


def test_the_way_back_and_forth_keeps_everything(before: Engine, bare_postgres_url: str) -> None:
    """With two daemons' claims and counts that aren't added up."""
    _hold(before, None)
    migrate.upgrade(before)
    with writing(before) as tx:
        command.downgrade(migrate._config(tx), "0012")
    assert ask(before, "SELECT ids FROM shipper_claim") == [("[2,3]",)]
    [(token, delivery, settled)] = ask(before, "SELECT token, delivery, settled FROM shipper_turn")
    assert (token, delivery, settled) == (3, 7, 4)
    migrate.upgrade(before)
    _expect_kept(before, bare_postgres_url)
