"""What a daemon does when shards go to other daemons, and come: its limits, probes, and log."""

import asyncio
import random
from collections.abc import Callable
from math import inf
from typing import Any, cast
from unittest.mock import Mock

import pytest

from shipper.drain.dispatcher import Dispatcher
from shipper.drain.exchange import Exchange, Runner
from shipper.drain.reporter import SHARES_A_MINUTE, Reporter
from shipper.drain.route import Route
from shipper.drain.sharing import Sharing
from shipper.drain.wait import Rhythm
from shipper.errors import StoreUnavailable
from shipper.policy.backoff import Backoff
from shipper.policy.link import Link
from shipper.policy.outcome import Outcome
from shipper.policy.pace import Pace
from shipper.policy.shares import ALL_SHARDS, NOTHING, SHARDS, WHOLE, EndedDaemon, Shares
from shipper.policy.state import State
from shipper.store.drain.messages import Holds, Page, PendingRow, Pulse, Work
from shipper.system.steps import Steps, whole
from tests.carriers import landed
from tests.drain.test_route import Clock, event, route, see
from tests.policy.link_parts import BARE, DOWN_BY, Bench, later

HALF = frozenset(range(32))
REST = ALL_SHARDS - HALF
GIVING = Shares(ALL_SHARDS, 2, gives=REST)
RHYTHM = Rhythm(1.0, 1.0, inf, 0.0)


# -- limits ---------------------------------------------------------------------------------------


def test_a_destinations_limits_are_shared_out_by_shards() -> None:
    """They shrink when giving begins, and grow when shards have come."""
    one = route(max_rate=10.0, most=64)
    one.share(GIVING, 100.0)
    assert (one.link.max_in_flight, one.flights.pace.rate) == (32, 5.0)
    one.share(Shares(HALF, 2), 100.0)
    assert (one.link.max_in_flight, one.flights.pace.rate) == (32, 5.0)
    one.share(Shares(frozenset({7}), 64), 100.0)
    assert (one.link.max_in_flight, one.flights.pace.rate) == (1, 10.0 / 64)
    one.share(NOTHING, 100.0)
    assert one.flights.pace.rate > 0, "0 would be no limit"
    one.share(WHOLE, 100.0)
    assert (one.link.max_in_flight, one.flights.pace.rate) == (64, 10.0)


def test_a_destination_without_a_rate_gets_none() -> None:
    """A part of nothing is nothing."""
    one = route()
    one.share(GIVING, 100.0)
    assert one.flights.pace.wait(100.0) == 0.0


@pytest.mark.parametrize(
    ("rate", "left"), [(2.0, 0.5), (0.5, 1.0), (1.0, 1.0)], ids=["faster", "slower", "as before"]
)
def test_a_wait_that_has_begun_gets_shorter_with_a_higher_rate(rate: float, left: float) -> None:
    """And never longer: the next one does."""
    pace = Pace(1.0)
    pace.take(100.0)
    pace.change(rate, 100.0)
    assert pace.wait(100.0) == left
    pace.take(100.0 + left)
    assert pace.wait(100.0 + left) == pytest.approx(1.0 / rate)


def test_a_ramp_that_has_passed_a_smaller_limit_stops_there() -> None:
    """The limit can shrink in the middle of it."""
    bench = Bench(Link(64, Backoff(1.0, 60.0)))
    bench.link.state, bench.link._ramp = State.RAMPING, 16
    bench.link.max_in_flight = 4
    assert bench.allowed() == 4


# -- probes ---------------------------------------------------------------------------------------


LONGEST = 60.0  # seconds between two probes of a daemon that is alone, at most


def asked_by_one(
    first: Outcome, daemons: int, hours: int, then: Outcome, chance: random.Random
) -> int:
    """Return how often one of them asks a receiver that has been down for so many hours."""
    bench, asked = Bench(Link(8, Backoff(1.0, LONGEST), daemons=daemons)), 0
    bench.go("first", first)
    while (hour := bench.now / 3600.0) < 2 * hours:
        asked += hour >= hours
        bench.probe("next", then, chance.random())
    return asked


@pytest.mark.parametrize("state", [State.PAUSED, State.THROTTLED])
@pytest.mark.parametrize("daemons", [1, 2, 3, 5, 8, 64])
def test_all_daemons_together_probe_at_most_twice_in_the_longest_wait(
    state: State, daemons: int
) -> None:
    """Twice in `probe_max_delay` on average, whatever their waits are; and hardly less often."""
    seeds, hours = 128, daemons
    chances = [random.Random(seed) for seed in range(seeds)]
    asked = [asked_by_one(DOWN_BY[state], daemons, hours, BARE, one) for one in chances]
    together = sum(asked) * daemons / seeds
    most = 2 * hours * 3600.0 / LONGEST
    assert 0.97 * most < together < 1.01 * most


@pytest.mark.parametrize("daemons", [2, 8])
def test_the_first_probes_of_one_of_many_come_as_soon_as_those_of_one(daemons: int) -> None:
    """A short failure doesn't last longer because there are more daemons."""
    alone, one = (Bench(Link(8, Backoff(1.0, LONGEST), daemons=n)) for n in (1, daemons))
    for bench in (alone, one):
        bench.go("first", DOWN_BY[State.PAUSED], chance=0.9)
    for number in range(4):
        assert one.wait() == alone.wait()
        for bench in (alone, one):
            bench.probe(f"probe{number}", BARE, chance=0.9)


def test_no_daemon_waits_longer_than_its_turn_among_all() -> None:
    """However long the receiver is down."""
    bench = Bench(Link(8, Backoff(1.0, LONGEST), daemons=8))
    bench.go("first", DOWN_BY[State.PAUSED])
    for number in range(100):
        bench.probe(f"probe{number}", BARE, chance=1.0)
    assert bench.wait() == 8 * LONGEST


@pytest.mark.parametrize("daemons", [2, 8])
def test_among_many_daemons_a_pause_that_was_asked_for_is_never_cut_short(daemons: int) -> None:
    """It may be longer, because each of them asks."""
    bench = Bench(Link(8, Backoff(1.0, LONGEST), daemons=daemons))
    bench.go("a", DOWN_BY[State.THROTTLED])
    assert bench.wait() == 30.0
    for number in range(10):
        bench.probe(f"probe{number}", DOWN_BY[State.THROTTLED])
        assert bench.wait() == 30.0
    bench.probe("last", DOWN_BY[State.THROTTLED], chance=1.0)
    assert bench.wait() == daemons * 30.0


@pytest.mark.parametrize("daemons", [1, 2, 8, 64])
@pytest.mark.parametrize("asked", [5.0, 20.0, 60.0, 300.0])
def test_all_daemons_together_ask_again_at_least_as_often_as_one_does(
    asked: float, daemons: int
) -> None:
    """At most twice in the pause, or twice in `probe_max_delay` if that is shorter."""
    seeds, hours = 4, daemons
    chances = [random.Random(seed) for seed in range(seeds)]
    each = [asked_by_one(later(asked), daemons, hours, later(asked), one) for one in chances]
    together = sum(each) * daemons / seeds / (hours * 3600.0)
    assert 0.98 / asked < together < (1.02 if daemons == 1 else 2.1) / min(asked, LONGEST)


def test_an_operators_release_probes_at_once_however_many_daemons_there_are() -> None:
    """A changed credential does as well."""
    bench = Bench(Link(8, Backoff(1.0, 60.0)))
    bench.link.daemons = 64
    bench.go("a", DOWN_BY[State.PAUSED])
    bench.link.release(bench.now)
    assert bench.wait() == 0.0
    bench.probe("b", DOWN_BY[State.PAUSED])
    bench.link.probe_at_once(bench.now)
    assert bench.wait() == 0.0


# -- giving back ----------------------------------------------------------------------------------


def loaded_route(most: int = 64) -> Route:
    """Return a route with one event of each half loaded."""
    one = route(most=most)
    see(one, PendingRow(1, "k", None, shard=1), PendingRow(2, "m", None, shard=40))
    one.ahead.take_claims(one.ahead.wanted, {1: event(1), 2: event(2, "m")})
    one.ahead.wanted = []
    return one


async def test_a_shard_is_given_back_when_its_try_is_recorded() -> None:
    """All others can go earlier: nothing of them is under way."""
    one, sharing = loaded_route(), Sharing(WHOLE)
    one.start(inf)
    assert one.in_flight == 2
    sharing.take(GIVING, [one], 100.0)
    assert sharing.has_done([one])
    assert sharing.gives([one]) == REST - {40}
    assert not sharing.has_done([one]), "the same would be asked without end"
    await landed(one.flights)
    assert sharing.gives([one]) == REST - {40}, "its outcome isn't recorded"
    for item in one.flights.take_ended():
        one.recorded(item)
    assert sharing.has_done([one])
    assert sharing.gives([one]) == REST


async def test_nothing_is_given_back_while_more_is_in_flight_than_the_part_that_stays() -> None:
    """The daemon that gets the shards gets their part of the limit: together it would be more."""
    one, other, sharing = route(most=1), loaded_route(most=2), Sharing(WHOLE)
    other.start(inf)
    sharing.take(GIVING, [one, other], 100.0)
    assert other.link.max_in_flight == 1
    assert sharing.gives([one, other]) == frozenset()
    await landed(other.flights)
    for item in other.flights.take_ended():
        other.recorded(item)
    assert sharing.gives([one, other]) == REST


async def test_a_daemon_that_stops_keeps_only_what_is_under_way() -> None:
    """And so many shards that their part of the limit covers what is in flight."""
    one, sharing = loaded_route(most=8), Sharing(Shares(ALL_SHARDS, 2))
    one.start(inf)
    sharing.take(Shares(ALL_SHARDS, 2, gives=ALL_SHARDS), [one], 100.0)
    first = sharing.gives([one])
    assert len(first) == SHARDS - 16
    assert first.isdisjoint({1, 40})
    left = ALL_SHARDS - first
    sharing.take(Shares(left, 2, gives=left), [one], 100.0)
    assert sharing.gives([one]) == frozenset()
    await landed(one.flights)
    [first_ended, second_ended] = one.flights.take_ended()
    one.recorded(first_ended)
    assert sharing.gives([one]) == left - {40}
    one.recorded(second_ended)
    assert sharing.gives([one]) == left


async def test_a_hold_in_a_shard_that_went_away_is_no_error() -> None:
    """A dead letter may hold its key in the moment in which its lane leaves."""
    one = loaded_route()
    one.share(Shares(HALF, 2), 100.0)
    one.lanes.hold_one("m")
    one.lanes.hold(["m", "k"])
    assert "m" not in one.lanes.held


# -- the exchange ---------------------------------------------------------------------------------


class Others:
    """A queue whose answers about the shards are given, and that keeps what was given back."""

    attends = True
    shares = WHOLE

    def __init__(self, *answers: Shares | Exception | None) -> None:
        self.answers = list(answers)
        self.gave: list[frozenset[int]] = []
        self.stopped: list[bool] = []

    def steps(self, *_: object) -> Steps[list[Any]]:
        """Do no work."""
        yield from ()
        return []

    def attend(self, gave: frozenset[int], *, stops: bool) -> Shares | None:
        """Return the next answer; the last one again and again."""
        self.gave.append(gave)
        self.stopped.append(stops)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Moving(Clock):
    """A clock that the test sets."""

    now = 100.0

    def monotonic(self) -> float:
        """Return the moment of the test."""
        return self.now


def exchange(queue: Others, clock: Moving, epochs: list[int]) -> Exchange:
    """Return an exchange whose pulses show these epochs, and the last one from then on."""
    looks = Mock()
    looks.settled, looks.page.return_value = 0, Page([], 0, is_last=True)

    def pulse() -> Pulse:
        epoch = epochs.pop(0) if len(epochs) > 1 else epochs[0]
        return Pulse(fresh=False, generation=1, epoch=epoch)

    looks.pulse.side_effect = pulse

    async def work(talk: Callable[[], Steps[object]]) -> Any:
        return whole(talk())

    return Exchange(
        cast("Any", queue),
        looks,
        cast("Runner", work),
        clock=clock,
        reporter=Mock(),
        rhythm=RHYTHM,
    )


async def test_a_daemon_alone_asks_for_its_shards_only_when_another_comes() -> None:
    """However long it runs."""
    queue, clock = Others(WHOLE), Moving()
    talk, stop = exchange(queue, clock, [1, 1, 1, 2]), asyncio.Event()
    for _ in range(3):
        await talk(Work(now=0.0), [], stop)
        clock.now += 60.0
    assert len(queue.gave) == 1
    answer = await talk(Work(now=0.0), [], stop)
    assert (len(queue.gave), answer.shares) == (2, WHOLE)


async def test_beside_others_a_daemon_asks_every_second_whether_they_live() -> None:
    """And at once if it has shards to give back, or stops: it says so to the database."""
    queue, clock = Others(GIVING), Moving()
    talk, stop = exchange(queue, clock, [1]), asyncio.Event()
    for _ in range(20):
        await talk(Work(now=0.0), [], stop)
        clock.now += 0.25
    assert len(queue.gave) == 5
    await talk(Work(now=0.0), [], stop)
    answer = await talk(Work(now=0.0), [], stop, gave=REST)
    assert queue.gave[-1] == REST
    assert answer.shares == GIVING
    assert not any(queue.stopped)
    stop.set()
    for _ in range(2):
        await talk(Work(now=0.0), [], stop)
    assert queue.stopped[-2:] == [True, True]


async def test_a_daemon_that_stops_alone_asks_for_no_shards() -> None:
    """No other daemon waits for them."""
    queue, clock, stop = Others(WHOLE), Moving(), asyncio.Event()
    talk = exchange(queue, clock, [1])
    await talk(Work(now=0.0), [], stop)
    stop.set()
    clock.now += 60.0
    await talk(Work(now=0.0), [], stop)
    assert queue.stopped == [False]


async def test_a_daemon_that_cannot_change_shards_now_tries_again_with_the_next_exchange() -> None:
    """What it gives back is still its own until then."""
    queue, clock = Others(WHOLE, None, GIVING, None, Shares(HALF, 2)), Moving()
    talk, stop = exchange(queue, clock, [1, 2]), asyncio.Event()
    answers = [
        (await talk(Work(now=0.0), [], stop, gave=gave)).shares
        for gave in (frozenset(), frozenset(), frozenset(), REST, REST)
    ]
    assert answers == [WHOLE, None, GIVING, None, Shares(HALF, 2)]


async def test_a_change_is_not_forgotten_when_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is a daemon that was ended before it went away."""

    async def wait(*_: object) -> None:
        """Take no time."""

    monkeypatch.setattr("shipper.drain.exchange._wait", wait)
    one, two = (EndedDaemon(name, "pid 1", 3) for name in ("one", "two"))
    first, second = Shares(HALF, 2, ended=(one,)), Shares(ALL_SHARDS, 1, ended=(two,))
    queue, clock = Others(StoreUnavailable("away"), first, second), Moving()
    talk, stop = exchange(queue, clock, [7, 7, 8]), asyncio.Event()
    looks: Any = talk._looks
    looks.holds.side_effect = [StoreUnavailable("away"), None]
    answer = await talk(Work(now=0.0), [], stop, loaded={}, gave=REST)
    assert queue.gave == [REST, REST, frozenset()]
    assert answer.shares == second._replace(ended=(one, two))


# -- the dispatcher -------------------------------------------------------------------------------


def dispatcher(queue: Others, looks: Mock) -> Dispatcher:
    """Return a dispatcher whose work on the database is done at once."""

    async def work(talk: Callable[[], Steps[object]]) -> Any:
        return whole(talk())

    return Dispatcher(
        cast("Any", queue),
        looks,
        clock=Clock(),
        reporter=Mock(),
        database=cast("Runner", work),
        rhythm=RHYTHM,
    )


async def test_a_destination_that_is_added_later_has_its_part_too() -> None:
    """A reload may add it in the middle of a handover."""
    queue = Others(GIVING)
    queue.shares = GIVING
    looks = Mock()
    drain = dispatcher(queue, looks)
    one = route(most=64)
    drain.add(one)
    assert drain.shares.leads
    assert one.link.max_in_flight == 32
    await drain._routes.aclose()


async def test_a_stop_that_loses_the_database_gives_nothing_that_is_still_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an exchange could not release the next one does, before it gives the shards away."""

    async def wait(*_: object) -> None:
        """Take no time."""

    monkeypatch.setattr("shipper.drain.exchange._wait", wait)
    queue, away, written = Others(Shares(HALF, 2)), [True], []

    def steps(work: Work, _: object) -> Steps[list[Any]]:
        yield from ()
        if away[0]:
            raise StoreUnavailable("away")
        written.append((work.released, len(queue.gave)))
        return []

    queue.shares = GIVING
    monkeypatch.setattr(queue, "steps", steps)
    looks = Mock(may_wait=False, settled=0)
    looks.pulse.return_value = Pulse(fresh=False, generation=-1, epoch=5)
    drain = dispatcher(queue, looks)
    one = route(most=64)
    drain.add(one)
    one.lanes.loaded.let_go(event(5, "a"))
    drain._begin_to_end()
    with pytest.raises(StoreUnavailable):
        await drain._converse([])
    away[0] = False
    await drain._converse([])
    await drain._converse([])
    assert [released for released, _ in written] == [[5], []]
    assert (written[0][1], queue.gave[0]) == (0, REST)
    await drain._routes.aclose()


async def test_shards_go_within_a_tick_when_nothing_of_them_is_under_way() -> None:
    """The joining daemon doesn't wait for a poll of this one."""
    queue = Others(WHOLE, GIVING, Shares(HALF, 2))
    looks = Mock(may_wait=False, settled=0)
    looks.pulse.side_effect = [
        Pulse(fresh=False, generation=-1, epoch=epoch) for epoch in (5, 5, 6, 6, 7)
    ]
    looks.page.return_value = Page([], 0, is_last=True)
    looks.holds.return_value = Holds()
    drain = dispatcher(queue, looks)
    one = route(most=64)
    drain.add(one)
    assert await drain.tick() > 0.0
    assert await drain.tick() == 0.0
    assert await drain.tick() > 0.0
    assert queue.gave == [frozenset(), frozenset(), REST]
    assert drain.shares == Shares(HALF, 2)
    assert one.ahead._shards == tuple(range(32))
    await drain._routes.aclose()


# -- the log --------------------------------------------------------------------------------------


def test_the_log_has_each_change_of_the_share_and_few_lines_a_minute() -> None:
    """The last one comes in any case, later."""
    lines: list[tuple[str, dict[str, Any]]] = []
    report = Reporter(cast("Any", lambda what, **fields: lines.append((what, fields))), Mock())
    report.shares(WHOLE, 0.0)
    assert lines == []
    report.shares(NOTHING._replace(daemons=65), 0.0)
    assert lines[0][1]["shards"] == 0
    assert "ready to take over" in lines[0][1]["hint"]
    for daemons in range(2, 30):
        report.shares(Shares(HALF, daemons), 1.0)
    assert len(lines) == SHARES_A_MINUTE
    report.shares(Shares(HALF, 29), 61.0)
    assert lines[-1] == ("daemon.shares", {"shards": 32, "daemons": 29})
    report.took_over([EndedDaemon("shop-2", "pid 7 on b", 5)])
    assert lines[-1][1] == {"name": "shop-2", "process": "pid 7 on b", "maybe_received": 5}
