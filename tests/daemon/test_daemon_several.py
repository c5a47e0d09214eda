"""Several real daemons on one PostgreSQL: they share, take over, and give back.

What the receiver saw decides: of a key everything in order, one at a time, and nothing twice but
what a daemon that was killed or stood still had in flight.
"""

import signal
from functools import partial

import pytest

from shipper.sandbox import InjectedFault
from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, only_postgres, several
from tests.daemon.processes import until

pytestmark = only_postgres

VERY_SLOW = InjectedFault("slow", delay=30.0)
SLOW = InjectedFault("slow", delay=0.05)
USERS = 24
_WRITTEN = "SELECT event_id, delivery_number, delivered_at FROM shipper_outbox ORDER BY id"


async def requests(shop: Shop, number: int) -> None:
    """Wait until the sandbox has so many requests."""
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= number, 30)


async def test_a_second_daemon_takes_half_while_events_flow(shop: Shop) -> None:
    """And the third a third; everything arrives once and in order, sent by each of them."""
    values = ", ".join(f"('u{user}', 0)" for user in range(40))
    shop.execute("CREATE TABLE shop_customer (name TEXT PRIMARY KEY, events INTEGER NOT NULL)")
    shop.execute(f"INSERT INTO shop_customer VALUES {values}")
    shop.sandbox.answer_for = lambda _: SLOW
    crew = Crew(shop)
    daemons = [await crew.join("one", max_in_flight=12)]
    writers = [shop.application("write", shop.url, str(n), "400", "40") for n in range(2)]
    for who, expected in (("two", 2), ("three", 3)):
        await requests(shop, 50 * expected)
        daemons.append(await crew.join(who, max_in_flight=12))
        assert len(crew.shares()) == expected
    for writer in writers:
        assert await writer.ended(120) == 0, writer.stderr
    # The writers are quick: the third may have come when there was nothing left for it.
    shop.add(*(f"late{user}-1" for user in range(USERS)))
    await shop.settled(120)
    assert sorted(crew.shares().values()) == [21, 21, 22]
    await crew.end(*daemons)
    assert all(daemon.said("delivery.delivered") for daemon in daemons)
    assert shop.counts() == {"delivered": 800 + USERS}
    shop.assert_flawless(repeats=0)


async def test_the_other_one_goes_on_where_one_was_killed(shop: Shop) -> None:
    """It repeats no more than what was in flight there, and that before all else of its keys."""
    crew = Crew(shop)
    one, two = await crew.join("one", max_in_flight=8), await crew.join("two", max_in_flight=8)
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=1.0)
    shop.add(*several(USERS, 3))
    await requests(shop, 8)
    in_flight = set(shop.arrived()) & set(crew.events_of("one"))
    assert 0 < len(in_flight) < 8
    shop.sandbox.answer_for = None
    one.signal(signal.SIGKILL)
    await one.ended()
    taken = await two.told("daemon.took_over", name="one")
    assert len(in_flight) <= taken["maybe_received"] <= USERS
    await shop.settled()
    assert crew.shares() == {"two": 64}
    await crew.end(two)
    assert shop.counts() == {"delivered": USERS * 3}
    shop.assert_flawless(repeats=len(in_flight))
    arrived = shop.arrived()
    assert in_flight == {name for name in arrived if arrived.count(name) == 2}


async def test_a_daemon_that_stops_gives_all_to_the_others(shop: Shop) -> None:
    """Nothing is repeated, and nothing waits for a lease."""
    crew = Crew(shop)
    one, two = await crew.join("one"), await crew.join("two")
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add(*several(USERS, 6))
    await requests(shop, USERS)
    await one.stop()
    await until(lambda: crew.shares() == {"two": 64})
    await shop.settled()
    await crew.end(two)
    assert not two.said("daemon.took_over")
    assert not two.said("daemon.recovered")
    shop.assert_flawless(repeats=0)
    assert shop.counts() == {"delivered": USERS * 6}


async def test_a_daemon_that_stops_keeps_only_the_shard_of_a_try_that_hangs(shop: Shop) -> None:
    """The other one sends all other keys meanwhile, and then the rest of that key."""
    crew = Crew(shop)
    one, two = [await crew.join(who, timeout="30s") for who in ("one", "two")]
    shop.add(*several(USERS, 1))
    await shop.settled()
    user = crew.events_of("one")[0].partition("-")[0]
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=10.0)
    shop.add(f"{user}-2")
    await requests(shop, USERS + 1)
    shop.sandbox.answer_for = None
    [hangs] = [visit for visit in shop.sandbox.ledger.visits if visit.ended is None]
    one.signal(signal.SIGTERM)
    await until(lambda: crew.shares() == {"one": 1, "two": 63})
    shop.add(f"{user}-3", *(name for name in several(USERS, 1, first=2) if name != f"{user}-2"))
    others = set(several(USERS, 1, first=2)).difference(crew.events_of("one"))
    assert len(others) > USERS / 2
    await until(lambda: others.issubset(shop.ended()))
    assert hangs.ended is None
    assert await one.ended() == 0
    await shop.settled()
    assert crew.shares() == {"two": 64}
    await crew.end(two)
    assert shop.counts() == {"delivered": 2 * USERS + 1}
    shop.assert_flawless(repeats=0)


async def test_one_that_stood_still_beyond_its_lease_ends_with_75(shop: Shop) -> None:
    """Its answers have come meanwhile, and what it knows of them it can write nowhere."""
    crew = Crew(shop)
    one, two = await crew.join("one"), await crew.join("two")
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=0.7)
    shop.add(*several(USERS, 2))
    await requests(shop, USERS)
    await crew.freeze(one, "one")
    in_flight = set(shop.arrived()) & set(crew.events_of("one"))
    # A lease outlives every try that has begun under it.
    await until(lambda: not [v for v in shop.sandbox.ledger.visits if v.ended is None])
    crew.end_lease("one")
    taken = await two.told("daemon.took_over", name="one")
    assert taken["maybe_received"] <= USERS
    await shop.settled()
    before = shop.rows(_WRITTEN)
    one.signal(signal.SIGCONT)
    assert await one.ended() == 75
    assert "another process has taken over" in one.stderr
    assert shop.rows(_WRITTEN) == before
    shop.add(*several(USERS, 1, first=3))
    await shop.settled()
    await crew.end(two)
    shop.assert_flawless(repeats=len(in_flight))
    assert shop.counts() == {"delivered": USERS * 3}


async def test_one_that_stood_still_within_its_lease_goes_on(shop: Shop) -> None:
    """The others see to their own keys meanwhile, and take nothing."""
    crew = Crew(shop)
    one, two = await crew.join("one"), await crew.join("two")
    await crew.freeze(one, "one")
    shop.add(*several(USERS, 2))
    its = set(crew.events_of("one"))
    await until(lambda: len(shop.ended()) == 2 * USERS - len(its))
    assert its.isdisjoint(shop.arrived())
    one.signal(signal.SIGCONT)
    await shop.settled()
    assert crew.shares() == {"one": 32, "two": 32}
    await crew.end(one, two)
    assert not two.said("daemon.took_over")
    shop.assert_flawless(repeats=0)


async def test_a_daemon_is_known_by_its_token_and_not_by_its_name(shop: Shop) -> None:
    """Two of one name share; one that is killed and started anew at once is taken over."""
    crew = Crew(shop)
    one = await crew.join("till")
    two = crew.start("till")
    await until(lambda: [row.shards for row in shop.rows(_BY_TOKEN)] == [32, 32])
    shop.sandbox.answer_for = lambda _: VERY_SLOW
    shop.add(*several(USERS, 2))
    await requests(shop, USERS)
    for daemon in (one, two):
        daemon.signal(signal.SIGKILL)
        await daemon.ended()
    shop.sandbox.answer_for = None
    again = crew.start("till")
    await shop.settled()
    await crew.end(again)
    shop.assert_flawless(repeats=USERS)
    assert shop.counts() == {"delivered": USERS * 2}


_BY_TOKEN = "SELECT token, count(*) AS shards FROM shipper_shard GROUP BY token ORDER BY token"


async def test_only_one_does_the_chores_also_after_it_stood_still(shop: Shop) -> None:
    """The one that led ends when it wakes up: it doesn't go on as one that leads."""
    crew, often = Crew(shop), '[retention]\ndelivered = "1s"'
    one, two = await crew.join("one", more=often), await crew.join("two", more=often)
    shop.add(*several(USERS, 1))
    await one.told("retention.pruned")
    await until(lambda: not shop.counts())
    assert not two.said("retention.pruned")
    await crew.freeze(one, "one")
    crew.end_lease("one")
    shop.add(*several(USERS, 1, first=2))
    await two.told("retention.pruned")
    told = len(one.said("retention.pruned"))
    one.signal(signal.SIGCONT)
    assert await one.ended() == 75
    assert len(one.said("retention.pruned")) == told
    await until(lambda: not shop.counts())
    await crew.end(two)
    shop.assert_flawless(repeats=0)


async def test_a_drain_leaves_all_to_a_daemon_that_starts_meanwhile(shop: Shop) -> None:
    """It does no chores, so it must not lead; from then on it only watches."""
    crew = Crew(shop)
    assert await (await shop.command("hold", "--destination", "default")).ended() == 0
    shop.add(*several(USERS, 2))
    drain = shop.begin("drain", "--timeout", "60s")
    await until(lambda: sum(crew.shares().values()) == 64)
    one = crew.start("one")
    await until(lambda: crew.shares() == {"one": 64})
    assert drain.is_alive
    assert await (await shop.command("release", "--destination", "default")).ended() == 0
    assert await drain.ended() == 0, drain.stderr
    assert f"one (process {one.pid} on" in drain.stderr
    assert "ships this outbox; watching it" in drain.stderr
    assert not one.said("daemon.took_over")
    await crew.end(one)
    assert shop.counts() == {"delivered": USERS * 2}
    shop.assert_flawless(repeats=0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_daemons_that_come_and_go_all_the_time(shop: Shop, how: signal.Signals) -> None:
    """Each leaves in the middle of its work, one after the other; one stays."""
    crew = Crew(shop)
    shop.sandbox.answer_for = lambda _: SLOW
    stays = await crew.join("stays", max_in_flight=16)
    gone = 0
    for turn in range(3):
        goes = await crew.join("goes", max_in_flight=16)
        shop.add(*several(USERS, 4, first=1 + 4 * turn))
        await until(partial(goes.said, "delivery.delivered"))
        gone += 16 if how is signal.SIGKILL else 0
        goes.signal(how)
        await goes.ended()
    await shop.settled()
    await crew.end(stays)
    shop.assert_flawless(repeats=gone)
    assert shop.counts() == {"delivered": USERS * 12}
