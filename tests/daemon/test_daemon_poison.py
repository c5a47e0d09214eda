"""One event that the receiver can't take must not stop the others, nor they be charged for it."""

from itertools import count

import pytest

from shipper.sandbox import InjectedFault, RequestInfo, SandboxAnswer
from tests.daemon.harness import Shop, of_user, only_sqlite
from tests.daemon.processes import until

BAD = "bad-1"
POISON: dict[str, SandboxAnswer | InjectedFault] = {
    "403": SandboxAnswer(403, b"blocked by the firewall"),
    "500": SandboxAnswer(500),
    "408": SandboxAnswer(408),
    "timeout": InjectedFault("stall"),
    "closed": InjectedFault("drop"),
}
MAX_ATTEMPTS = 3


def poison(shop: Shop, what: SandboxAnswer | InjectedFault) -> None:
    """Let one event fail in the same way for ever."""

    def answer(request: RequestInfo) -> SandboxAnswer | InjectedFault | None:
        return what if request.key == BAD else None

    shop.sandbox.answer_for = answer
    # Short only where a try has to time out: on a busy machine the others would time out, too.
    timeout = 1.0 if what == POISON["timeout"] else 10.0
    shop.configure(timeout=timeout, retry={"max_attempts": MAX_ATTEMPTS})


async def trade_until_it_is_dead(shop: Shop) -> list[str]:
    """Let other users write, one event after the other, until the bad one has died."""
    written: list[str] = []
    for number in count(1):
        if shop.dead() or number > 500:
            return written
        name = f"u{number % 3}-{number}"
        shop.add(name)
        written.append(name)
        await shop.arrival(name)
    return written


async def assert_that_only_it_died(shop: Shop, others: list[str]) -> None:
    """Fail unless all the others were delivered, in order."""
    await shop.settled()
    assert shop.dead() == [BAD]
    [row] = shop.rows(f"SELECT attempts, last_error FROM shipper_outbox WHERE event_id = '{BAD}'")
    assert row.attempts == MAX_ATTEMPTS
    assert row.last_error
    assert sorted(set(shop.arrived())) == sorted(others)
    assert shop.wasted() == 0
    shop.assert_flawless()


@pytest.mark.parametrize(
    ("database_url", "what"),
    [*(("sqlite", what) for what in POISON), ("postgres", "500")],
    indirect=["database_url"],
)
async def test_a_poisonous_event_among_others_dies_alone(shop: Shop, what: str) -> None:
    """The others of its own key follow it."""
    poison(shop, POISON[what])
    first = [f"u{n}-0" for n in range(20)]
    shop.add(*first[:10], BAD, "bad-2", *first[10:], "bad-3")
    daemon = await shop.started()
    others = await trade_until_it_is_dead(shop)
    await assert_that_only_it_died(shop, [*first, *others, "bad-2", "bad-3"])
    await daemon.stop()
    assert of_user("bad", shop.ended()) == [BAD, "bad-2", "bad-3"]


@pytest.mark.parametrize(
    ("database_url", "what"),
    [("sqlite", "403"), ("sqlite", "timeout"), ("postgres", "500")],
    indirect=["database_url"],
)
async def test_a_poisonous_event_in_a_quiet_shop_waits_for_a_witness(shop: Shop, what: str) -> None:
    """Alone it can't be told from an outage; it dies once others pass."""
    poison(shop, POISON[what])
    shop.add(BAD, "bad-2")
    daemon = await shop.started()
    await shop.link_is("paused" if what == "403" else "offline")
    seen = shop.sandbox.ledger.summary().requests
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= seen + MAX_ATTEMPTS + 2)
    assert shop.counts() == {"pending": 2}
    assert shop.wasted() == 0
    others = await trade_until_it_is_dead(shop)
    await assert_that_only_it_died(shop, [*others, "bad-2"])
    await daemon.stop()


MANY = [f"bad{n}-1" for n in range(12)]


def many_are_bad(shop: Shop, what: SandboxAnswer | InjectedFault) -> list[str]:
    """Let the events of twelve shoppers fail in the same way for ever; return all there are."""
    shop.sandbox.answer_for = lambda request: what if request.key in MANY else None
    # Not so often that only they are tried, on a busy machine either: what is accepted between two
    # of them is the contrast.
    waits = {"min_delay": 3.0, "max_delay": 4.0, "probe_max_delay": 4.0}
    shop.configure(retry={"max_attempts": MAX_ATTEMPTS, **waits})
    return [
        name for n, bad in enumerate(MANY) for name in [*(f"u{n}a{m}-1" for m in range(25)), bad]
    ]


async def trade(shop: Shop, round_: int) -> int:
    """Let ten others write, and wait until they have arrived; return how many they were."""
    names = [f"later{n}-{round_}" for n in range(10)]
    shop.add(*names)
    for name in names:
        await shop.arrival(name)
    return len(names)


@only_sqlite
async def test_a_firewall_that_refuses_a_few_pauses_nothing_and_ends_with_those_dead(
    shop: Shop,
) -> None:
    """However many they are: each of these answers is about one request."""
    shop.add(*many_are_bad(shop, POISON["403"]))
    daemon = await shop.started()
    for number in count(1):
        if len(shop.dead()) == len(MANY) or number > 500:
            break
        await trade(shop, number)
    await daemon.stop()
    assert sorted(shop.dead()) == sorted(MANY)
    assert not daemon.said("link.paused")
    shop.assert_flawless()


@only_sqlite
async def test_a_shard_that_is_down_kills_nobody(shop: Shop) -> None:
    """The others are accepted all the time; when it is back, all that waited is delivered."""
    shop.add(*many_are_bad(shop, POISON["500"]))
    daemon = await shop.started()
    written = 300
    for number in count(1):
        tried = shop.sandbox.ledger.summary().requests - written
        if tried > 2 * len(MANY) * MAX_ATTEMPTS or number > 500:
            break
        written += await trade(shop, number)
    assert not shop.dead()
    shop.sandbox.answer_for = None
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless()


async def test_an_event_that_waits_is_sent_now_or_given_up_beside_the_daemon(shop: Shop) -> None:
    """Its key goes on at once, too, although its next try was an hour away."""
    shop.configure(retry={"min_delay": 3600.0, "max_delay": 3600.0, "probe_max_delay": 3600.0})
    shop.sandbox.answer_for = lambda request: (
        SandboxAnswer(500) if request.key in {"u1-1", "u2-1"} else None
    )
    shop.add("u1-1", "u1-2", "u2-1", "u2-2", "u3-1")
    daemon = await shop.started()
    await shop.arrival("u3-1")
    await until(lambda: shop.rows(_WAITING)[0][0] == 2)
    shop.sandbox.answer_for = None
    assert await (await shop.command("events", "retry", "u1-1")).ended() == 0
    await shop.arrival("u1-2")
    assert await (await shop.command("events", "discard", "u2-1", "--yes")).ended() == 0
    await shop.arrival("u2-2")
    await shop.settled()
    await daemon.stop()
    assert shop.counts() == {"delivered": 4, "discarded": 1}
    await shop.assert_verified()


_WAITING = (
    "SELECT count(*) FROM shipper_outbox WHERE status = 'pending' AND next_attempt_at IS NOT NULL"
)
