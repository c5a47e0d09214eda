"""What the daemon remembers of a server that another has taken the place of.

Real servers, a real streaming standby, a real failover that lost what was committed last; and a
dump that was restored behind the same address.
"""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine

from shipper.errors import OutboxChanged
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.drain.numbers import BLOCK
from shipper.store.drain.queue import Queue
from shipper.store.drain.watermark import Watermark
from shipper.store.lease.lease import Owner
from tests import standbys
from tests.store.daemons import NOW, write
from tests.store.shipping import accepted, ask, claim, record, settled, taken

_SETTLED = "SELECT settled FROM shipper_turn ORDER BY turn DESC LIMIT 1"
ALL = Look("pending", "default", 1000)


@pytest.fixture
def engine(pair: standbys.Pair) -> Iterator[Engine]:
    """Give an engine that goes to whichever of the two may be written."""
    engine = open_engine(pair.url())
    yield engine
    engine.dispose()


def _shown(looks: Looks) -> list[int]:
    return [row.id for row in looks.look(ALL)]


def _open_writer(server: standbys.Server) -> psycopg.Connection:
    """Return an application's transaction that has written and is still open."""
    where = f"host=127.0.0.1 port={server.port} user=postgres dbname=shop"
    connection = psycopg.connect(where)
    connection.execute("SELECT pg_current_xact_id()")
    return connection


def test_a_failover_that_lost_commits_is_noticed_before_anything_is_sent(
    pair: standbys.Pair, engine: Engine
) -> None:
    """A daemon that only looks learns of it, too; what it had claimed isn't on this server.

    And one that writes isn't told that another process had taken over.
    """
    queue, looks = taken(engine), Looks(engine)
    first = write(engine, "a")
    settled(looks)
    claim(queue, *first)
    pair.part()
    lost = write(engine, "b")
    settled(looks)
    assert [event.id for event in claim(queue, *lost)] == lost
    pair.fail_over()
    engine.dispose()
    assert looks.pulse().moved
    with pytest.raises(OutboxChanged, match="a standby was promoted"):
        queue.renew()
    with pytest.raises(OutboxChanged, match="a standby was promoted"):
        queue.turn(Work(now=NOW, wanted=first))
    again = Queue(engine, lease_ttl=60.0)
    assert again.acquire(Owner.here()) == 1


def test_after_a_failover_no_event_overtakes_one_of_an_open_transaction(
    pair: standbys.Pair, engine: Engine
) -> None:
    """What was seen of ids and transactions was of the other server; no turn was written since."""
    queue, looks = taken(engine), Looks(engine)
    write(engine, "a")
    settled(looks)
    pair.part()
    # Fewer than a sequence is ahead of its log, so the ids themselves don't tell.
    write(engine, *"bcdefghijk")
    settled(looks)
    pair.fail_over()
    engine.dispose()
    early = _open_writer(pair.standby)
    early.execute("INSERT INTO shipper_outbox (payload, ordering_key) VALUES ('{}', 'z')")
    late = write(engine, "z")
    pulse = looks.pulse()
    assert (pulse.moved, pulse.held_back) == (True, True)
    assert not set(late) & set(_shown(looks))
    queue.renew()  # nothing of ours is missing
    early.commit()
    early.close()
    settled(looks)
    assert _shown(looks)[-1:] == late


def test_a_fence_of_another_server_holds_nothing_back(pair: standbys.Pair, engine: Engine) -> None:
    """There transactions have smaller numbers, and it would take days until they are as high."""
    queue, looks = taken(engine), Looks(engine)
    write(engine, "a")
    settled(looks)
    queue.renew()
    pair.part()
    for _ in range(300):
        pair.primary.administer("SELECT pg_current_xact_id()")
    writer = _open_writer(pair.primary)
    write(engine, "b")
    assert looks.pulse().held_back
    pair.fail_over()
    writer.close()
    engine.dispose()
    new = write(engine, "c")
    settled(looks)
    assert _shown(looks)[-1:] == new


def test_a_failover_that_lost_nothing_costs_nothing(pair: standbys.Pair, engine: Engine) -> None:
    """What is claimed stays claimed, and the turn whose answer was lost isn't done again."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, "a", "b")
    settled(looks)
    claim(queue, *ids)
    pair.catch_up()
    pair.fail_over()
    engine.dispose()
    assert looks.pulse().moved
    queue.renew()
    assert [event.id for event in claim(queue, *ids)] == ids


def test_no_delivery_number_of_another_server_is_given_on_this_one(
    pair: standbys.Pair, engine: Engine
) -> None:
    """The new one may not know that its block was taken, and gives it to another daemon."""
    queue, looks = taken(engine), Looks(engine)
    first, second = write(engine, "a", "b")
    settled(looks)
    record(queue, accepted(*claim(queue, first)))
    record(queue, *map(accepted, claim(queue, second)))
    pair.catch_up()
    pair.fail_over()
    engine.dispose()
    queue.renew()
    [third] = write(engine, "c")
    settled(looks)
    record(queue, *map(accepted, claim(queue, third)))
    numbers = [n for (n,) in ask(engine, "SELECT delivery_number FROM shipper_outbox ORDER BY id")]
    assert numbers[1] == numbers[0] + 1
    assert numbers[2] > numbers[0] + BLOCK - 1


def test_nothing_is_claimed_by_what_was_seen_on_another_server(
    pair: standbys.Pair, engine: Engine
) -> None:
    """The turn that comes first after a failover writes what it has to, and claims nothing."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, "a", "b")
    settled(looks)
    pair.catch_up()
    pair.fail_over()
    engine.dispose()
    assert claim(queue, *ids) == []
    assert [event.id for event in claim(queue, *ids)] == ids


def test_what_was_settled_on_another_server_is_written_down_on_none(
    pair: standbys.Pair, engine: Engine
) -> None:
    """The first turn after a failover knows of ids that were lost: they are given again."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, "a")
    settled(looks)
    queue.turn(Work(now=NOW, wanted=ids, settled=looks.settled))
    pair.part()
    write(engine, *"bcd" * 20)
    settled(looks)
    pair.fail_over()
    engine.dispose()
    queue.turn(Work(now=NOW, released=ids, settled=looks.settled))
    assert pair.standby.administer(_SETTLED, database="shop") == [(ids[0],)]


def test_what_was_settled_in_another_database_is_written_down_in_none(
    alone: standbys.Server,
) -> None:
    """A copy is put in its place on a server that never stopped: only the connection tells."""
    engine = open_engine(f"postgresql://postgres@127.0.0.1:{alone.port}/shop")
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, "a")
    settled(looks)
    queue.turn(Work(now=NOW, wanted=ids, settled=looks.settled))
    engine.dispose()
    alone.administer("CREATE DATABASE copy TEMPLATE shop")
    later = write(engine, *"bcd" * 20)
    settled(looks)
    engine.dispose()
    alone.administer("ALTER DATABASE shop RENAME TO gone", "ALTER DATABASE copy RENAME TO shop")
    assert write(engine, "x", "y") == later[:2]
    queue.turn(Work(now=NOW, released=ids, settled=looks.settled))
    assert alone.administer(_SETTLED, database="shop") == [(ids[0],)]
    engine.dispose()


def test_a_dump_behind_the_same_address_is_another_cluster(
    pair: standbys.Pair, engine: Engine
) -> None:
    """Whatever its numbers are; a session that begins anew ships from it."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, "a", "b")
    writer = _open_writer(pair.primary)
    later = write(engine, "c")
    assert looks.pulse().held_back
    claim(queue, *ids)
    dump = pair.primary.data / "dump.sql"
    source = f"host=127.0.0.1 port={pair.primary.port} user=postgres dbname=shop"
    pair.primary.run("pg_dump", "-d", source, "-f", str(dump))
    writer.close()
    port = pair.primary.port
    pair.primary.stop()
    pair.standby.stop()
    fresh = standbys.Server(pair.primary.data.parent / "fresh", port, pair.primary.run)
    standbys.make_room(fresh.data)
    try:
        fresh.run("initdb", "-D", str(fresh.data), "-A", "trust", "-U", "postgres", "-N")
        fresh.start()
        fresh.administer("CREATE DATABASE shop")
        fresh.run("psql", "-q", "-d", source, "-f", str(dump))
        engine.dispose()
        with pytest.raises(OutboxChanged, match="another PostgreSQL cluster"):
            looks.pulse()
        queue, looks = Queue(engine, lease_ttl=60.0), Looks(engine)
        assert queue.acquire(Owner.here()) == len(ids)
        settled(looks)
        assert _shown(looks) == [*ids, *later]
    finally:
        fresh.stop()


def test_a_watermark_forgets_a_fence_that_no_transaction_here_could_have_had() -> None:
    """Numbers of transactions only grow, on one server."""
    mark = Watermark()
    mark.observe(highest=7, oldest=5_000_000, upcoming=5_000_003)
    assert mark.is_held_back
    mark.observe(highest=8, oldest=700, upcoming=700)
    assert (mark.safe, mark.is_held_back) == (8, False)


def test_a_new_connection_to_the_same_server_begins_a_new_watermark(postgres_url: str) -> None:
    """Nobody can tell what happened between; what is written down is believed."""
    engine = open_engine(postgres_url)
    looks = Looks(engine)
    ids = write(engine, "a")
    settled(looks)
    assert not looks.pulse().moved
    engine.dispose()
    assert looks.pulse().moved
    settled(looks)
    assert _shown(looks) == ids
    engine.dispose()
