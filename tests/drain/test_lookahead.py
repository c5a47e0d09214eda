"""What is looked at next, beside crowds of lanes that can't go: counted, not timed."""

import asyncio

import pytest

from shipper.drain.lookahead import SWEEP_EVERY, Lookahead
from shipper.drain.terms import Question
from shipper.policy.lanes import Candidate, Lane, Lanes
from shipper.store.drain.messages import Look
from tests.drain.parts import REACH, Drain
from tests.drain.test_route import event, route
from tests.policy.table import Row

CROWD = 2_000
PAGE = 50


def beside(*, waiting_max: int = 50_000) -> Drain:
    """Return a drain with bounds in the same proportions as in earnest."""
    return Drain(Lanes(400, 4, places=8, waiting_max=waiting_max), page=PAGE, turn=100)


def exchanges_until_sent(drain: Drain, row: int, most: int) -> int:
    """Return after how many exchanges an event is sent; what else is sent is accepted."""
    for number in range(1, most + 1):
        drain.exchange()
        drain.start(8)
        if row in drain.started:
            return number
        for flying in drain.flying:
            if not any(item.row.id == flying for item in drain.ended):
                drain.finish(flying, "delivered")
    raise AssertionError(f"not sent within {most} exchanges")


def shard_of(key: str) -> int:
    """Return the shard of a key."""
    return Row(0, key, b"").shard


def wait_all(drain: Drain) -> None:
    """Let every event there is wait for an hour, as a failure leaves it."""
    for row in drain.table.rows.values():
        row.due = drain.now + 3600.0


@pytest.mark.parametrize("waiting_max", [50_000, 100, 1])
def test_a_crowd_that_waits_is_passed_once_and_never_stops_the_scan(waiting_max: int) -> None:
    """However few of them are remembered: what is behind them goes."""
    drain = beside(waiting_max=waiting_max)
    drain.write(*(f"w{n}" for n in range(CROWD)))
    wait_all(drain)
    drain.write("well")
    assert exchanges_until_sent(drain, CROWD + 1, CROWD // PAGE + 10)
    drain.finish(CROWD + 1, "delivered")
    drain.write("next")
    assert exchanges_until_sent(drain, CROWD + 2, 3)


def test_what_follows_a_head_that_is_overlooked_waits_for_it() -> None:
    """It looks like the beginning of its lane, and isn't."""
    drain = beside(waiting_max=1)
    drain.write("a", "b", "c")
    wait_all(drain)
    drain.write("a", "b", "c", "b", "d")
    drain.turns(9)
    assert drain.go() == [8]
    drain.end(8)
    drain.now += 3601.0
    drain.run_dry()
    assert [row for row in drain.started if drain.table.rows[row].key == "b"] == [2, 5, 7]


def test_beside_a_sweep_the_beginning_of_a_lane_is_asked_for_by_its_key() -> None:
    """A dead letter came back far below; a new event of its key comes at the tail."""
    drain = beside()
    drain.write(*["held"] * CROWD, "a")
    drain.hold(["held"])
    drain.turns(CROWD // PAGE + 10)
    drain.start(1)
    drain.finish(CROWD + 1, "dead")
    drain.exchange()
    drain.put_back(CROWD + 1)
    drain.write("a")
    drain.exchange()
    drain.turns(3)
    assert drain.go() == [CROWD + 1]


def test_a_new_event_waits_for_the_rows_of_its_key_that_a_sweep_has_not_seen() -> None:
    """The sweep has begun the lane; while it looks at another one, the tail sees the new event."""
    lanes = Lanes(8, 2, waiting_max=1, places=1)
    drain = Drain(lanes, page=2, turn=2)
    drain.turns(14)  # so that the last turns below look at the sweep only once
    drain.write("a", "b", "b", "a")
    drain.turns(2)
    drain.write("c")
    drain.start(3)
    drain.write("a")
    drain.turns(2)
    drain.finish(1, "wait", wait=60.0)
    drain.finish(2, "wait", wait=2.0)
    drain.now += 1.0
    drain.write("a", "c", "a", "a")
    drain.turns(2)
    drain.start(1)
    drain.finish(5, "wait", wait=0.5)  # now more lanes wait than are remembered
    drain.write(None)
    drain.turns(2)
    drain.write("a", None, "a", "a", "b")
    drain.now += 2.0
    drain.turns(3)
    drain.run_dry()
    assert [row for row in drain.started if drain.table.rows[row].key == "b"] == [2, 2, 3, 16]


def test_an_event_that_is_another_destinations_by_now_is_not_loaded() -> None:
    """That one wanted it too, so the turn has claimed it; here it is missing."""

    async def load() -> tuple[int, int]:
        one = route()
        asked = [(1, "m"), (2, "n")]
        found = [Candidate(*row) for row in asked]
        looked = Question(Look("pending", "default", 512))
        one.ahead.take_rows(looked, found, 0.0, 2, is_last=True)
        claimed = {1: event(1, "m")._replace(destination="erp"), 2: event(2, "n")}
        one.ahead.take_claims(one.ahead.take_wanted(9), claimed)
        return one.lanes.startable(), len(one.lanes.loaded.ids)

    assert asyncio.run(load()) == (1, 1)


def test_a_command_keeps_no_new_event_waiting() -> None:
    """Not for the length of the sweep that it asks for: what is held below is waded through."""
    drain = beside()
    drain.write("dead", *["held"] * CROWD)
    drain.hold(["held"])
    drain.exchange()
    drain.turns(4)
    drain.start(1)
    drain.finish(1, "dead")
    drain.turns(CROWD // PAGE + 10)
    for number in range(1, 5):
        drain.put_back(1)
        drain.write("well")
        assert exchanges_until_sent(drain, CROWD + 1 + number, 4) <= 4
        drain.finish(CROWD + 1 + number, "delivered")
        drain.flying.pop(1, None)
        drain.ended = [item for item in drain.ended if item.row.id != 1]
        drain.table.rows[1].pending, drain.table.rows[1].dead = False, True


def test_commands_one_after_the_other_never_keep_a_sweep_from_its_end() -> None:
    """A script that retries one every second: each is found all the same."""
    drain = beside()
    drain.write(*["held"] * CROWD, "dead")
    drain.hold(["held"])
    drain.turns(CROWD // PAGE + 10)
    drain.start(1)
    drain.finish(CROWD + 1, "dead")
    drain.exchange()
    drain.put_back(CROWD + 1)
    for number in range(CROWD // PAGE * (SWEEP_EVERY + 1)):
        drain.back = drain.command = drain.command or number % 3 == 0
        drain.exchange()
        if CROWD + 1 in drain.go():
            return
    pytest.fail("the sweep began anew with every command")


def test_the_rows_of_another_daemon_are_passed_once() -> None:
    """However many of them are pending: the next look begins behind them."""
    drain = beside()
    drain.share({shard_of("mine")})
    drain.write(*["theirs"] * CROWD, "mine", *["theirs"] * CROWD)
    assert exchanges_until_sent(drain, CROWD + 1, CROWD // REACH + 10)
    drain.finish(CROWD + 1, "delivered")
    drain.turns(CROWD // REACH + 10)
    assert drain.ahead.at_end
    [tail] = [one.look.after for one in drain.ahead.questions(drain.now) if not one.is_sweep]
    assert tail == len(drain.table.rows)
    drain.ahead.look_again()
    drain.write("mine")
    assert exchanges_until_sent(drain, 2 * CROWD + 2, 3)


def test_a_sweep_leaves_the_tail_behind_the_rows_of_another_daemon() -> None:
    """It sees the same end."""
    drain = beside()
    drain.share({shard_of("mine")})
    drain.write("mine", *["theirs"] * CROWD)
    drain.turns(CROWD // REACH + 10)
    drain.restart()
    drain.turns((CROWD // REACH + 10) * SWEEP_EVERY)
    assert drain.ahead.next_sweep() is None
    assert drain.ahead._tail == len(drain.table.rows)


def test_what_another_daemon_had_of_a_shard_is_seen_though_the_tail_has_passed_it() -> None:
    """With the shard comes a sweep from the beginning."""
    drain = beside()
    drain.share({shard_of("mine")})
    drain.write(*["theirs"] * 3, "mine")
    drain.turns(5)
    drain.share({shard_of("mine"), shard_of("theirs")})
    drain.run_dry()
    assert sorted(drain.started) == [1, 2, 3, 4]


def test_of_a_key_that_was_released_nothing_goes_before_what_was_skipped() -> None:
    """A later row of it may be seen as soon as it is released, before the sweep."""
    drain = beside()
    drain.write("mine", *["other"] * CROWD)
    drain.hold(["other", "mine"])
    drain.turns(CROWD // PAGE + 10)
    drain.held = frozenset(["other"])  # it is released, and the daemon doesn't know yet
    drain.write("mine")
    drain.turns(3)
    assert drain.go() == [1]


def test_a_key_released_while_it_is_in_flight_forgets_nothing() -> None:
    """What came while it was held was skipped."""
    drain = beside()
    drain.write("a")
    drain.turns(4)
    assert drain.go() == [1]
    drain.hold(["a"])
    drain.exchange()
    drain.write("a", "a")
    drain.turns(3)
    drain.hold([])
    drain.exchange()
    drain.end(1)
    assert drain.go() == [2]


@pytest.mark.parametrize("most", [1, 64, 256, 1024])
def test_a_backlog_written_key_by_key_fills_all_places(most: int) -> None:
    """Twenty thousand rows of each key one after the other, whatever may be in flight."""

    async def load() -> int:
        one = route(most=most)
        at = 0
        for _ in range(1000):
            if not one.ahead.may_look():
                break
            rows = range(at, at + 512)
            found = [Candidate(row + 1, f"k{row // 200}") for row in rows]
            looked = Question(Look("pending", "default", 512))
            at += 512
            one.ahead.take_rows(looked, found, 0.0, at, is_last=False)
            asked, one.ahead.wanted = one.ahead.wanted, []
            one.ahead.take_claims(asked, {row: event(row, str(lane)) for row, lane in asked})
        return one.lanes.startable()

    assert asyncio.run(load()) >= most


def fail_all(drain: Drain) -> None:
    """Let everything in flight that isn't well fail, and what is well be accepted."""
    for row in list(drain.flying):
        bad = str(drain.table.rows[row].key).startswith("bad")
        drain.finish(row, "wait" if bad else "delivered", wait=1.0, charged=True)


def test_lanes_that_fail_take_a_share_of_the_places_and_of_the_window() -> None:
    """A shard that answers late: the places of the others are theirs."""
    drain = beside()
    drain.write(*(f"bad{n}" for n in range(300)))
    wait_all(drain)
    drain.turns(300 // PAGE + 5)
    drain.now += 3601.0
    drain.write(*(f"well{n}" for n in range(100)))
    sent_bad = 0
    for _ in range(60):
        drain.exchange()
        drain.start(8 - len(drain.flying))
        bad = [row for row in drain.flying if row <= 300]
        assert len(bad) <= 2
        sent_bad += len(bad)
        assert drain.lanes.loaded.window - drain.lanes.loaded.room() <= 2 * 4 + 100
        fail_all(drain)
        if not any(row.id > 300 for row in drain.table.pending()):
            break
    assert sent_bad
    assert not any(row.id > 300 for row in drain.table.pending())


def test_when_they_are_accepted_again_they_get_all_places() -> None:
    """Their share grows with each."""
    drain = beside()
    drain.write(*(f"k{n}" for n in range(100)))
    wait_all(drain)
    drain.turns(100 // PAGE + 5)
    drain.now += 3601.0
    most = 0
    for _ in range(100):
        drain.exchange()
        drain.start(8 - len(drain.flying))
        most = max(most, len(drain.flying))
        fail_all(drain)
    assert most == 8
    assert not drain.table.pending()


def test_an_outbox_that_was_emptied_and_numbered_anew_is_seen() -> None:
    """The tail goes back to where a sweep has found the end."""
    lanes = Lanes(400, 4)
    ahead = Lookahead("default", lanes, PAGE)

    def ask(rows: list[int]) -> list[int]:
        for question in ahead.questions(0.0):
            page = [Candidate(row, row) for row in rows if row > question.look.after]
            page = page if question.look.kind == "pending" else []
            ahead.take_rows(question, page, 0.0, page[-1].id if page else 0, is_last=True)
        asked, ahead.wanted = ahead.wanted, []
        for row, _ in asked:
            lanes.missed(row, row)
            for lane in lanes.to_fetch.take(1):
                lanes.take_page(lane, [], 1, 0.0)
        return [row for row, _ in asked]

    assert [ask([900]), ask([900])] == [[], [900]]
    ahead.rescan()
    for _ in range(3):
        ask([])
    ahead.look_again()
    assert ask([5]) == [5]


@pytest.mark.parametrize("sent_now", [True, False])
def test_an_operators_word_about_a_head_that_waits_is_heard_at_once(*, sent_now: bool) -> None:
    """It is to be sent now, or was given up: then what follows it needn't wait for its time."""
    drain = beside()
    drain.write("a", "b", "a")
    wait_all(drain)
    drain.table.rows[3].due = None
    drain.turns(5)
    if sent_now:
        drain.table.rows[1].due = None
    else:
        drain.table.rows[1].pending = False
    drain.back = drain.command = True
    drain.turns(5)
    assert drain.go() == [1 if sent_now else 3]


def test_a_sweep_wakes_nobody_whose_head_it_has_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every five minutes there is one, and what waits goes on waiting."""
    drain = beside()
    drain.write(*"aabbb")
    drain.table.rows[1].due = drain.table.rows[3].due = drain.now + 60.0
    drain.turns(5)
    woken: list[Lane] = []
    monkeypatch.setattr(drain.lanes._ready, "wake", woken.append)
    drain.ahead.rescan()
    drain.turns(5)
    assert woken == []


def test_a_sweep_that_a_sleep_has_cut_in_two_keeps_nobody_waiting_for_hours() -> None:
    """The next one comes within seconds, however long the last seems to have taken."""
    drain = beside()
    drain.write("mine", *["other"] * CROWD)
    drain.hold(["mine", "other"])
    drain.turns(CROWD // PAGE + 10)
    drain.restart()
    drain.turns(3)
    assert drain.ahead.next_sweep() is None, "it is under way"
    drain.now += 7200.0
    drain.turns(CROWD // PAGE + 10)
    drain.restart()
    due = drain.ahead.next_sweep()
    assert due is not None
    assert due - drain.now <= 10.0


def test_a_command_that_names_very_many_stops_nobody_and_takes_no_memory() -> None:
    """What stands in no line is found by a sweep; what is well, and new, goes meanwhile."""
    drain = beside()
    drain.write(*(f"w{n}" for n in range(CROWD)), "well")
    for row in drain.table.rows.values():
        row.pending, row.dead = row.key == "well", row.key != "well"
    drain.turns()
    assert drain.go() == [CROWD + 1]
    for number in range(1, CROWD + 1):
        drain.put_back(number)
    drain.exchange()
    assert len(drain.lanes.to_fetch) <= PAGE
    drain.run_dry()
