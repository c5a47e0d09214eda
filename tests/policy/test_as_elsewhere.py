"""What others had to learn about breakers, backoff and an operator's word: here, it holds.

Each docstring names a public report of a comparable system (repository#number).
"""

import asyncio
from math import inf

import pytest

from shipper.policy.backoff import Backoff
from shipper.policy.delivery import Blame
from shipper.policy.lanes import Lanes
from shipper.policy.link import Link
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.state import State
from shipper.store.drain.messages import LinkRow, PendingRow
from tests.carriers import landed
from tests.drain.parts import Drain
from tests.drain.test_flights import Ticking
from tests.drain.test_route import WALL, event, route, see
from tests.policy.link_parts import GONE, OK, Bench, later

FAULT = Outcome(Kind.TRANSIENT, "http-500", "HTTP 500", 500)
CROWD = 500


def beside(waiting_max: int = 50_000) -> Drain:
    """Return a drain; so many lanes that wait are remembered."""
    return Drain(Lanes(400, 4, places=8, waiting_max=waiting_max), page=50, turn=100)


def test_all_that_fail_at_once_are_one_step_of_the_backoff() -> None:
    """fluent/fluentd#3203: flushes that failed together each doubled the wait."""
    bench = Bench(Link(64, Backoff(1.0, 3600.0)))
    for flying in [bench.begin(f"lane{number}") for number in range(64)]:
        bench.blame(flying, GONE, chance=0.999)
    assert bench.state() is State.OFFLINE
    assert bench.wait() <= 2.0


def test_an_outage_of_any_length_ends_with_the_first_answer() -> None:
    """fluent/fluent-bit#5774: after an hour of errors nothing was tried again until a restart."""
    bench = Bench()
    for lane in "abcde":
        bench.go(lane, GONE)
    for _ in range(20_000):
        bench.probe("a", GONE, chance=0.999)
        assert bench.wait() <= 60.0
    bench.probe("a", OK)
    assert bench.state() is State.RAMPING


def test_no_probe_of_an_outage_costs_an_event_anything() -> None:
    """JiRaska/open-bank-oss#4163: an open breaker used up every row's attempts, until all died."""
    bench = Bench()
    for lane in "abcde":
        bench.go(lane, GONE)
    assert {bench.probe("a", FAULT) for _ in range(100)} == {Blame.NEITHER}


def test_a_success_takes_back_every_failure_before_it() -> None:
    """Particular/ServiceControl#5017: a breaker that was armed stayed so after successes."""
    bench = Bench()
    for _ in range(50):
        for lane in "abcd":
            bench.go(lane, GONE)
        bench.go("well", OK)
        assert bench.state() is State.READY


def test_one_request_that_always_fails_opens_no_breaker() -> None:
    """samosa-ai-com/opencode-go-multi-auth#6: three tries of one took everybody out of rotation."""
    bench = Bench()
    for number in range(200):
        bench.go("bad", FAULT)
        bench.go(f"well{number}", OK)
        assert bench.state() is State.READY


def test_the_time_of_one_beyond_those_remembered_comes() -> None:
    """Automattic/kue#312: behind 200 jobs with a longer delay, one that was due never ran."""
    drain = beside(waiting_max=100)
    drain.write(*(f"w{number}" for number in range(CROWD)), "soon")
    for row in drain.table.rows.values():
        row.due = drain.now + 3600.0
    drain.table.rows[CROWD + 1].due = drain.now + 60.0
    drain.turns(CROWD // 50 + 10)
    assert drain.go() == []
    drain.now += 60.0
    assert drain.go() == []
    drain.turns(3)
    assert drain.go() == [CROWD + 1]


def test_what_was_sent_by_hand_meanwhile_is_not_sent_again_at_its_time() -> None:
    """apache/falcon#76: a rerun by hand left the scheduled retry in its queue."""
    drain = beside()
    drain.write("a", "b")
    drain.table.rows[1].due = drain.now + 60.0
    drain.turns()
    assert drain.go() == [2]
    drain.table.rows[1].due = None
    drain.back = drain.command = True
    drain.turns()
    assert drain.go() == [1]
    drain.end(1)
    drain.end(2)
    drain.now += 120.0
    drain.turns()
    assert drain.go() == []


def test_a_held_key_stays_held_when_its_time_comes() -> None:
    """OptimalBits/bull#1087: jobs whose delay ended went although their queue was paused."""
    drain = beside()
    drain.write("a")
    drain.table.rows[1].due = drain.now + 60.0
    drain.turns()
    drain.hold(["a"])
    drain.turns()
    drain.now += 120.0
    drain.turns()
    assert drain.go() == []
    drain.hold([])
    drain.turns()
    assert drain.go() == [1]


def test_who_is_sent_now_keeps_his_turn_when_the_link_was_asked_to_wait() -> None:
    """taskforcesh/bullmq#1083: a job promoted under a rate limit went back among the delayed."""
    drain = beside()
    drain.write("a")
    drain.table.rows[1].due = drain.now + 3600.0
    drain.turns()
    drain.table.rows[1].due = None
    drain.back = drain.command = True
    drain.turns()
    drain.start(0)  # the link lets no event go
    drain.now += 10.0
    drain.turns()
    assert drain.go() == [1]


def test_a_receiver_that_asks_to_wait_again_and_again_is_asked_once_each_time() -> None:
    """taskforcesh/bullmq#2193: each pause that followed another let more pile up and burst."""
    bench = Bench()
    bench.go("a", later(10.0))
    for _ in range(50):
        assert bench.allowed() == 0
        bench.probe("a", later(10.0))
        assert bench.wait() == 10.0
    bench.probe("a", OK)
    assert bench.allowed() == 1


@pytest.mark.parametrize("releases", [1, 5])
def test_a_release_of_a_throttled_link_keeps_the_pace(releases: int) -> None:
    """An operator ends the pause that was asked for, and not `max_rate`: a request in two seconds.

    coder/xum#2463: who stops and retries is not to wait for what was before; nor to be flooded.
    """

    async def sent() -> tuple[int, float | None, int]:
        now = 100.0
        one = route(max_rate=0.5, clock=Ticking(lambda: now))
        see(one, PendingRow(1, "k", None), PendingRow(2, "m", None))
        one.ahead.take_claims(one.ahead.wanted, {1: event(1), 2: event(2, "m")})
        one.ahead.wanted = []
        one.resume(LinkRow("default", "throttled", "HTTP 429", WALL, WALL + 3600.0))
        one.start(inf)
        assert one.link.begun == 0
        for _ in range(releases):
            one.link.release(now)
            one.start(inf)
        await landed(one.flights)
        now = 100.5
        one.link.release(now)
        one.start(inf)
        begun = one.link.begun
        due = one.next_event(now)
        now = 102.0
        one.start(inf)
        await landed(one.flights)
        return begun, due, one.link.begun

    assert asyncio.run(sent()) == (1, 102.0, 2)
