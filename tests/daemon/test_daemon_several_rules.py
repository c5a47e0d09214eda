"""What holds for a destination or an outbox holds for all its daemons together.

Limits are shared out, operators' commands reach every daemon, and what the daemons can't agree on
is said.
"""

import signal
from bisect import bisect_left
from collections import Counter

from shipper.sandbox import InjectedFault, RequestInfo, SandboxAnswer
from tests.daemon.crew import Crew, Crowd
from tests.daemon.harness import Shop, only_postgres, several
from tests.daemon.processes import Daemon, until

pytestmark = only_postgres

SLOW = InjectedFault("slow", delay=0.05)
USERS = 24
_OTHER = '[destinations.other]\nurl = "{url}"\napi_id = "x"'


async def pair(shop: Shop, **settings: object) -> tuple[Crew, Daemon, Daemon]:
    """Start two daemons that share."""
    crew = Crew(shop)
    return crew, await crew.join("one", **settings), await crew.join("two", **settings)


async def test_max_in_flight_is_the_destinations(shop: Shop) -> None:
    """It is reached and never exceeded, by one, two or three, also while shards change hands."""
    shop.sandbox.ledger = crowd = Crowd()
    shop.sandbox.answer_for = lambda _: SLOW
    shop.configure(max_in_flight=6)
    crew = Crew(shop)
    daemons = [await crew.join("one", max_in_flight=6)]
    for turn, who in enumerate(("two", "three")):
        shop.add(*several(USERS, 6, first=1 + 6 * turn))
        await until(lambda: crowd.open == 6)
        daemons.append(await crew.join(who, max_in_flight=6))
    await shop.settled()
    shop.add(*several(USERS, 6, first=13))
    await until(lambda: crowd.open >= 3)
    await daemons.pop(0).stop()
    await shop.settled()
    assert crowd.most == 6
    await crew.end(*daemons)
    shop.assert_flawless(repeats=0)


async def test_no_second_sees_more_than_max_rate_of_all_daemons(shop: Shop) -> None:
    """Also while one joins and another leaves."""
    rate = 30
    crew = Crew(shop)
    shop.add(*several(USERS, 6))
    one = await crew.join("one", max_rate=rate)
    two = await crew.join("two", max_rate=rate)
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= USERS * 4, 60)
    await one.stop()
    await shop.settled(60)
    await crew.end(two)
    began = [visit.began for visit in shop.sandbox.ledger.visits]
    assert len(began) == USERS * 6
    # Spaced when they leave; a loaded machine may let a few arrive together.
    most = max(bisect_left(began, moment + 1.0) - at for at, moment in enumerate(began))
    assert most <= rate * 1.3
    assert began[-1] - began[0] >= (len(began) - 1) / rate * 0.8
    shop.assert_flawless(repeats=0)


async def test_a_held_destination_and_held_keys_are_held_by_all(shop: Shop) -> None:
    """And what is released goes on wherever it lies."""
    crew, one, two = await pair(shop)
    assert await (await shop.command("hold", "--destination", "default")).ended() == 0
    shop.add(*several(USERS, 2))
    keys = [crew.events_of(who)[0].partition("-")[0] for who in ("one", "two")]
    for key in keys:
        assert await (await shop.command("hold", "--key", key)).ended() == 0
    # Two commands later, both daemons have looked many times.
    assert shop.arrived() == []
    assert await (await shop.command("release", "--destination", "default")).ended() == 0
    await until(lambda: shop.counts() == {"pending": 4, "delivered": USERS * 2 - 4})
    assert not [name for name in shop.arrived() if name.partition("-")[0] in keys]
    for key in keys:
        assert await (await shop.command("release", "--key", key)).ended() == 0
    await shop.settled()
    await crew.end(one, two)
    shop.assert_flawless(repeats=0)


async def test_dead_letters_are_retried_and_discarded_wherever_they_lie(shop: Shop) -> None:
    """Each daemon hears of its own; a discarded one comes nowhere."""
    refused = True

    def answer(request: RequestInfo) -> SandboxAnswer | None:
        return SandboxAnswer(422) if refused and str(request.key).endswith("-1") else None

    shop.sandbox.answer_for = answer
    crew, one, two = await pair(shop)
    # Good ones among the bad: where everything is refused, no event is to blame.
    for user in range(1, 9):
        shop.add(f"u{user}-1")
        await until(lambda: len(shop.dead()) == user)  # noqa: B023
        shop.add(*(f"u{other}-{1 + user}" for other in range(9, 15)))
        await until(lambda: shop.counts().get("delivered") == user * 6)  # noqa: B023
    assert one.said("delivery.dead")
    assert two.said("delivery.dead")
    dead = shop.dead()
    gone = [next(name for name in crew.events_of(who) if name in dead) for who in ("one", "two")]
    discarded = await shop.command(
        "dead", "discard", *(f"event_id:{each}" for each in gone), "--yes"
    )
    assert await discarded.ended() == 0, discarded.stderr
    refused = False
    retried = await shop.command("dead", "retry", "ALL", "--yes")
    assert await retried.ended() == 0, retried.stderr
    await shop.settled()
    await crew.end(one, two)
    assert shop.counts() == {"delivered": 8 * 7 - 2, "discarded": 2}
    times = Counter(shop.arrived())
    assert not [each for each in gone if times[each]]
    shop.assert_flawless(repeats=0)


async def test_events_are_rerouted_from_every_daemon(shop: Shop) -> None:
    """They lie in other shards then, and are sent once, to where they belong now."""
    more = _OTHER.format(url=shop.sandbox.events_url.replace("/v3/", "/v9/"))
    shop.configure(more=more)
    crew, one, two = await pair(shop, more=more)
    assert await (await shop.command("hold", "--destination", "other")).ended() == 0
    shop.add(*several(USERS, 1), destination="other")
    rerouted = await shop.command(
        "events", "reroute", "ALL", "--destination", "other", "--to", "default", "--yes"
    )
    assert await rerouted.ended() == 0, rerouted.stderr
    await shop.settled()
    await crew.end(one, two)
    assert sorted(shop.arrived()) == sorted(several(USERS, 1))
    shop.assert_flawless(repeats=0)


async def test_settings_that_differ_are_said_on_both(shop: Shop) -> None:
    """With the setting's name and the other daemon's, and both go on."""
    crew = Crew(shop)
    one = await crew.join("one", max_in_flight=8)
    two = await crew.join("two", max_in_flight=16)
    for daemon, other in ((one, "two"), (two, "one")):
        told = await daemon.told("daemon.differs")
        assert told["settings"] == ["destinations.default.max_in_flight"]
        assert told["name"].startswith(other)
    crew.write("two", max_in_flight=8)
    two.signal(signal.SIGHUP)
    await two.told("config.reloaded")
    shop.add(*several(USERS, 1))
    await shop.settled()
    await crew.end(one, two)
    assert len(one.said("daemon.differs")) == len(two.said("daemon.differs")) == 1


async def test_an_older_daemon_is_refused_where_the_tables_are_newer(shop: Shop) -> None:
    """With 78, while those that were there before go on."""
    crew, one, two = await pair(shop)
    shop.execute("UPDATE shipper_alembic_version SET version_num = '9999'")
    third = crew.start("three")
    assert await third.ended() == 78
    assert "Traceback" not in third.stderr
    shop.add(*several(USERS, 1))
    await shop.settled()
    assert crew.shares() == {"one": 32, "two": 32}
    await one.stop()
    await two.stop()
    shop.assert_flawless(repeats=0)


async def test_a_receiver_that_is_down_hears_from_each_daemon_one_at_a_time(shop: Shop) -> None:
    """No event is charged for it, and when it is back all is delivered, by both."""
    crew, one, two = await pair(shop)
    await shop.sandbox.stop()
    port = shop.port
    shop.add(*several(USERS, 2))
    offline = "SELECT count(*) FROM shipper_link WHERE state = 'offline'"
    await until(lambda: shop.rows(offline)[0][0] == 2)
    shop.sandbox.ledger = crowd = Crowd()
    shop.sandbox.answer_for = lambda _: SandboxAnswer(503)
    await shop.sandbox.start(port=port)
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= 10, 30)
    assert crowd.most <= 2
    shop.sandbox.answer_for = None
    await shop.settled()
    await crew.end(one, two)
    assert not shop.wasted()
    assert shop.counts() == {"delivered": USERS * 2}
