"""Real daemons behind a real pgbouncer: they ship and share, or are refused with what to do.

There is nothing in between: no event is claimed through a pooler that has no transactions.
"""

import json

import pytest

from shipper.sandbox import InjectedFault
from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, of_user, only_postgres, several
from tests.daemon.processes import until
from tests.store.poolers import Mode, pooling

pytestmark = only_postgres

USERS = 16
SLOW = InjectedFault("slow", delay=0.02)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_two_daemons_share_through_a_pooler(shop: Shop, mode: Mode) -> None:
    """Each sends a part; what one leaves at its clean stop, the other sends. It can come back."""
    with pooling(shop.url, mode) as pooled:
        crew = Crew(shop)
        shop.sandbox.answer_for = lambda _: SLOW
        one = await crew.join("one", database=pooled)
        two = await crew.join("two", database=pooled)
        shop.add(*several(USERS, 4))
        await shop.settled()
        assert one.said("delivery.delivered")
        assert two.said("delivery.delivered")
        shop.add(*several(USERS, 4, first=5))
        await one.stop()
        await shop.settled()
        assert crew.shares() == {"two": 64}
        again = await crew.join("one", database=pooled)
        shop.add(*several(USERS, 2, first=9))
        await shop.settled()
        await crew.end(again, two)
    assert "Traceback" not in one.stderr
    assert shop.counts() == {"delivered": USERS * 10}
    for user in range(1, USERS + 1):
        assert of_user(f"u{user}", shop.ended()) == [f"u{user}-{n}" for n in range(1, 11)]
    shop.assert_flawless(repeats=0)


async def test_a_daemon_behind_a_pooler_of_statements_says_what_to_do(shop: Shop) -> None:
    """And ends with 78, at once: it has taken nothing. So does `doctor`."""
    with pooling(shop.url, "statement") as pooled:
        shop.configure(database=pooled)
        shop.add("u1-1")
        daemon = shop.start()
        assert await daemon.ended() == 78
        assert "the pooler in front of the server pools statements" in daemon.stderr
        assert "set pool_mode = transaction (or session)" in daemon.stderr
        assert "Traceback" not in daemon.stderr
        assert shop.rows("SELECT 1 FROM shipper_daemon") == []
        assert shop.rows("SELECT 1 FROM shipper_claim") == []
        doctor = await shop.command("doctor", "--no-network")
        assert await doctor.ended() == 1
        told = doctor.stdout + doctor.stderr
        assert "the pooler in front of the server pools statements" in told
        assert "pool_mode = transaction" in told
    assert shop.counts() == {"pending": 1}
    assert shop.arrived() == []


async def test_doctor_says_that_the_pooler_shares_and_who_else_ships(shop: Shop) -> None:
    """Shipping works; what doesn't hold there, and what to do, is a warning."""
    with pooling(shop.url, "transaction") as pooled:
        crew = Crew(shop)
        one = await crew.join("one", database=pooled)
        two = await crew.join("two", database=pooled)
        shop.configure(database=pooled)
        doctor = await shop.command("doctor", "--no-network", "--json")
        told = {found["name"]: found for found in json.loads(doctor.stdout)["findings"]}
        assert told["pooler"]["level"] == "warning"
        assert "transaction mode): shipping works" in told["pooler"]["text"]
        assert "2 share the outbox" in told["daemons"]["text"]
        await until(lambda: crew.shares() == {"one": 32, "two": 32})
        await crew.end(one, two)
