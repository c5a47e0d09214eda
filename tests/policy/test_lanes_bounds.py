"""Lanes that wait, and how much of them is loaded at most."""

from shipper.drain.lookahead import Lookahead
from shipper.policy.event import Event
from shipper.policy.lanes import Candidate, Lane, Lanes
from shipper.policy.lanes.failed import Failed
from shipper.policy.lanes.waiting import Waiting
from shipper.policy.streak import Streak
from tests.drain.parts import Drain, loaded, offer


def take_released(lanes: Lanes) -> list[int]:
    """Release the claims that are to be released; return their ids."""
    released = [*lanes.loaded.released]
    lanes.loaded.forget_released(len(released))
    return released


# -- waiting ----------------------------------------------------------------------------------


def test_a_lane_that_waits_keeps_nothing_loaded() -> None:
    """An outage of ten thousand lanes needs no memory for their events."""
    drain = loaded("a", "a", "b")
    drain.start(1)
    drain.end(1, "wait", wait=5.0)
    assert drain.table.claimed == {3}
    assert drain.lanes.next_due() == drain.now + 5.0
    assert drain.go() == [3]


def test_a_lane_goes_on_when_its_time_has_come() -> None:
    """Not before; and its successors behind it."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.end(1, "wait", wait=5.0, charged=True)
    drain.now += 4.9
    drain.start(1)
    drain.turns()
    assert drain.go() == []
    drain.now += 0.2
    drain.start(1)
    drain.turns()
    assert drain.go() == [1]
    assert drain.lanes.next_due() is None


def test_events_claimed_while_their_lane_began_to_wait_are_let_go() -> None:
    """They would come before the head that waits."""
    drain = loaded("a", turn=1)
    drain.start(1)
    drain.write("a", "a")
    drain.exchange()
    drain.finish(1, "wait", wait=5.0)
    drain.turns()
    assert drain.table.claimed == set()
    drain.run_dry()
    assert drain.started == [1, 1, 2, 3]


def test_a_row_that_waits_by_itself_is_not_loaded_before_its_time() -> None:
    """After a restart the rows alone know: a head's lane waits, and so does one further behind."""
    drain = Drain(Lanes(100, 8), page=50, turn=100)
    drain.write("a", "b", "b", "b")
    drain.table.rows[1].due = drain.now + 10.0
    drain.table.rows[3].due = drain.now + 20.0
    drain.turns()
    assert drain.go() == [2]
    drain.end(2)
    assert drain.go() == []
    drain.run_dry()
    assert drain.started == [2, 1, 3, 4]


def test_when_the_link_goes_down_those_wake_that_were_not_charged() -> None:
    """Any of them may be the probe; a charged one keeps its time."""
    drain = loaded("a", "b", "c")
    drain.start(3)
    drain.finish(1, "wait", wait=50.0)
    drain.finish(2, "wait", wait=50.0, charged=True)
    drain.finish(3, "wait", wait=60.0)
    drain.exchange()
    drain.lanes.wake_uncharged()
    drain.lanes.wake_uncharged()
    assert drain.lanes.next_due() == drain.now + 50.0
    drain.turns()
    assert drain.go() == [1, 3]


def test_one_that_was_woken_before_its_time_goes_although_its_row_says_when() -> None:
    """Once: the next page is believed again. The row was written before the link went down."""
    lanes = Lanes(10, 2)
    offer(lanes, [Candidate(1, "a")], 0.0)
    lanes.load(Event(1, "e1", "default", "a", b""))
    lane = lanes.start()
    assert lane is not None
    lanes.postpone(lane, 50.0, charged=False)
    lanes.wake_uncharged()
    late = [Candidate(1, "a", wait=50.0), Candidate(2, "a"), Candidate(3, "a", wait=0.5)]
    assert lanes.to_fetch.take(1) == [lane]
    assert lanes.take_page(lane, late, 4, 0.0) == [1, 2]
    lanes.missed("a", 1)
    lanes.missed("a", 2)
    assert lanes.to_fetch.take(1) == [lane]
    assert lanes.take_page(lane, late, 4, 0.0) == []
    lanes.wake_uncharged()
    assert lanes.next_due() == 50.0


def test_a_lane_that_a_scan_finds_waiting_keeps_its_time() -> None:
    """It isn't known whom its failure was charged to, and rows far behind don't matter."""
    lanes = Lanes(10, 2)
    assert offer(lanes, [Candidate(5, "a", wait=7.0)], 100.0) == []
    lanes.wake_uncharged()
    assert offer(lanes, [Candidate(5, "a"), Candidate(6, "a")], 100.0) == []
    assert lanes.next_due() == 107.0


def test_one_put_back_before_a_head_that_waits_wakes_the_lane_when_it_may_go() -> None:
    """Not if it waits itself."""
    lanes = Lanes(10, 2)
    offer(lanes, [Candidate(5, "a", wait=7.0)], 0.0)
    offer(lanes, [Candidate(3, "a", wait=0.5)], 0.0)
    assert (lanes.next_due(), lanes.has_to_fetch()) == (7.0, False)
    offer(lanes, [Candidate(3, "a")], 0.0)
    assert (lanes.next_due(), lanes.has_to_fetch()) == (None, True)


def test_one_that_waits_behind_others_is_left_to_be_fetched() -> None:
    """However short."""
    lanes = Lanes(10, 3)
    assert offer(lanes, [Candidate(1, "a"), Candidate(2, "a", wait=0.5)], 0.0) == [1]
    assert offer(lanes, [Candidate(3, "a")], 0.0) == []


def test_everything_behind_one_that_could_not_be_claimed_is_let_go() -> None:
    """However many come: each would go before it."""
    lanes = Lanes(10, 4)
    offer(lanes, [Candidate(row, "a") for row in (1, 2, 3, 4)], 0.0)
    lanes.missed("a", 1)
    for row in (2, 3, 4):
        lanes.load(Event(row, f"e{row}", "default", "a", b""))
    assert (take_released(lanes), lanes.startable()) == ([2, 3, 4], 0)
    assert lanes.has_to_fetch()


def test_lanes_of_one_time_go_in_the_order_in_which_they_began_to_wait() -> None:
    """And are fetched no more of them at once than was asked for."""
    lanes = Lanes(10, 2)
    offer(lanes, [Candidate(row, row, wait=5.0) for row in (1, 2, 3)], 0.0)
    lanes.wake_due(5.0)
    assert [lane.name for lane in lanes.to_fetch.take(2)] == [1, 2]
    assert [lane.name for lane in lanes.to_fetch.take(2)] == [3]


def test_an_events_streak_of_failures_ends_with_it() -> None:
    """It survives waiting and fetching, and is never another event's."""
    drain = loaded("a", "a")
    drain.start(1)
    lane = drain.flying[1]
    lane.streak_of_head().failures = 3
    drain.end(1, "wait", wait=0.0)
    drain.start(0)
    drain.turns()
    drain.start(1)
    assert drain.flying[1] is lane
    assert lane.streak_of_head().failures == 3
    drain.end(1)
    drain.start(1)
    assert lane.streak_of_head().failures == 0
    assert lane.streak_of_head().event == 2


def test_the_streak_of_an_overtaken_head_is_not_its_successors() -> None:
    """An operator's retry goes in between."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.end(1, "dead")
    drain.start(1)
    drain.flying[2].streak_of_head().failures = 3
    drain.put_back(1)
    drain.end(2, "wait", wait=1.0, charged=True)
    drain.start(1)
    assert drain.flying[1].streak_of_head().failures == 0


def test_a_retried_dead_letter_begins_a_streak_of_its_own() -> None:
    """What it was buried for is over, also where it comes back as the next of its lane."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.flying[1].streak_of_head().failures = 3
    drain.end(1, "dead")
    drain.put_back(1)
    drain.turns(3)
    drain.start(0)
    drain.turns()
    for _ in range(2):
        drain.go()
        drain.turns()
    assert 1 in drain.flying
    assert drain.flying[1].streak_of_head().failures == 0


# -- bounds -----------------------------------------------------------------------------------


def test_a_hot_lane_leaves_room_for_the_others() -> None:
    """Its look-ahead is bounded; what doesn't fit is fetched by its key later."""
    drain = loaded(*"aaaaaaaaaa", "b", depth=3)
    assert drain.table.claimed == {1, 2, 3, 11}
    drain.run_dry()
    assert drain.started == [1, 11, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_the_window_bounds_what_is_loaded() -> None:
    """And the scan goes on where it stopped."""
    drain = loaded(*"abcdefgh", window=3)
    assert (drain.table.claimed, drain.lanes.loaded.room()) == ({1, 2, 3}, 0)
    assert drain.lanes.startable() == 3
    drain.run_dry()
    assert drain.started == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_lane_stands_in_line_once() -> None:
    """However often something is added behind its head."""
    drain = loaded("a", "b")
    drain.write("a", "a")
    drain.turns()
    assert drain.lanes.startable() == 2


def test_bytes_bound_what_is_loaded() -> None:
    """Nothing more is looked for while the payloads in memory are too many."""
    drain = Drain(Lanes(100, 8, bytes_max=10), page=1, turn=1)
    for key in "abcdef":
        drain.table.insert(key, 4)
    drain.turns(10)
    assert drain.lanes.loaded.room() == 0
    assert 10 <= drain.lanes.loaded.bytes <= 16
    drain.run_dry()


def test_lanes_that_wait_are_bounded_too() -> None:
    """Beyond that they are overlooked: what is behind them goes on, and a sweep finds them."""
    drain = Drain(Lanes(100, 8, waiting_max=2), page=1, turn=100)
    drain.write(*"abcd")
    for row in (1, 2, 3):
        drain.table.rows[row].due = drain.now + row
    drain.turns(9)
    assert drain.lanes.overlooked.due == drain.now + 3
    assert drain.go() == [4]
    drain.end(4)
    assert not drain.is_idle()
    drain.run_dry()
    assert drain.started == [4, 1, 2, 3]


def test_no_more_is_loaded_than_bytes_allow() -> None:
    """To the byte."""
    lanes = Lanes(10, 2, bytes_max=4)
    offer(lanes, [Candidate(1, "a")], 0.0)
    lanes.load(Event(1, "e1", "default", "a", b"1234"))
    assert lanes.loaded.room() == 0


def test_of_the_lanes_that_wait_every_one_is_counted_once() -> None:
    """Those that were woken no more."""
    lanes = Lanes(10, 2, waiting_max=2)
    seen = []
    for row in range(1, 4):
        offer(lanes, [Candidate(row, row, wait=5.0)], 0.0)
        seen.append(lanes.overlooked.due)
    lanes.wake_due(5.0)
    lanes.overlooked.clear()
    for row in range(4, 7):
        offer(lanes, [Candidate(row, row, wait=5.0)], 5.0)
        seen.append(lanes.overlooked.due)
    assert seen == [None, None, 5.0, None, None, 10.0]


def test_a_lane_is_fetched_where_there_is_room_for_one_event() -> None:
    """And not where there is none."""
    drain = loaded("a", "a", "b", "c", window=3, depth=1)
    drain.start(1)
    drain.finish(1, "delivered")
    drain.exchange()
    assert [drain.lanes.loaded.room(), drain.lanes.has_to_fetch()] == [1, True]
    offer(drain.lanes, [Candidate(9, "d")], 0.0)
    assert [drain.lanes.loaded.room(), drain.lanes.has_to_fetch()] == [0, False]


def test_everything_that_is_not_in_flight_can_be_let_go() -> None:
    """At a clean stop: also what is loaded of a lane of which more was asked for."""
    drain = loaded("a", "b", "b", turn=1)
    drain.start(1)
    drain.write("b", "a")
    drain.exchange()
    drain.lanes.unload_all()
    drain.release()
    assert drain.table.claimed.difference(drain.released) == {1}
    drain.run_dry()


def test_a_page_that_finds_nothing_ends_the_lane() -> None:
    """What was left of it has been discarded."""
    drain = loaded("a", "a", depth=1)
    drain.start(1)
    drain.table.rows[2].pending = False
    drain.end(1)
    assert drain.is_idle()
    assert not drain.lanes.has_to_fetch()
    assert drain.lanes.start() is None


# -- more that wait than are remembered -----------------------------------------------------------


def test_who_waits_the_longest_makes_room_for_who_is_due_sooner() -> None:
    """The outbox knows until when it waits; that is enough."""
    lanes = Lanes(10, 2, waiting_max=3)
    offer(lanes, [Candidate(row, f"k{row}", wait=100.0 - row) for row in range(1, 6)], 0.0)
    assert (lanes.next_due(), lanes.overlooked.due) == (95.0, 98.0)
    lanes.wake_due(100.0)
    assert [lane.name for lane in lanes.to_fetch.take(9)] == ["k5", "k4", "k3"]
    assert "k1" in lanes.overlooked


def test_one_that_would_wait_the_longest_takes_nobodys_place() -> None:
    """Nor one that waits as long."""
    lanes = Lanes(10, 2, waiting_max=1)
    offer(lanes, [Candidate(1, "a", wait=5.0)], 0.0)
    offer(lanes, [Candidate(2, "b", wait=5.0), Candidate(3, "c", wait=6.0)], 0.0)
    lanes.wake_due(9.0)
    assert [lane.name for lane in lanes.to_fetch.take(9)] == ["a"]


def test_of_an_event_whose_lane_was_not_remembered_it_is_known_when_it_failed_first() -> None:
    """Else each failure would be the first: charged to no event, and counted against the link."""
    drain = Drain(Lanes(100, 8, waiting_max=1), page=50, turn=100)
    drain.write("a", "b")
    drain.turns()
    drain.start(2)
    drain.flying[1].streak_of_head().fail(41)
    drain.finish(1, "wait", wait=60.0, charged=True)
    drain.finish(2, "wait", wait=30.0, charged=True)
    drain.turns()
    assert "a" in drain.lanes.overlooked
    drain.now += 61.0
    for _ in range(5):
        drain.start(2)
        drain.turns()
    assert drain.flying[1].streak_of_head().began == 41
    assert drain.flying[2].streak_of_head().began is None


def test_a_dead_letter_that_is_retried_begins_anew_whoever_remembers_its_first_life() -> None:
    """Else an outage that begins just then would be charged to it: others were accepted before."""
    failed = Failed()
    failed.remember(Streak(1, began=41))
    event = Event(1, "e1", "default", "a", b"{}", failed=True)
    seen = [
        failed.streak_of(event._replace(attempts=attempts, manual=manual))
        for attempts, manual in ((0, False), (3, False), (3, True), (0, True))
    ]
    assert [streak and streak.began for streak in seen] == [41, 41, 41, None]


def test_lanes_that_are_woken_again_and_again_leave_nothing_behind() -> None:
    """What was entered of them is thrown away, however far off their time was."""
    waiting, lane = Waiting(10), Lane("a")
    waiting.put(Lane("b"), 5.0)
    for number in range(1_000):
        waiting.put(lane, 3600.0 + number)
        waiting.wake(lane)
    assert waiting.next_due() == 5.0
    assert len(waiting._heap) + len(waiting._last) < 200


def test_lanes_that_make_room_for_others_leave_nothing_behind() -> None:
    """Each is sooner than all before, as after a backoff that begins anew; or later than all."""
    for step in (-1.0, 1.0):
        lanes = Lanes(10, 2, waiting_max=10)
        waits = (100_000.0 + step * row for row in range(1, 1_001))
        offer(lanes, [Candidate(row, row, wait) for row, wait in enumerate(waits, 1)], 0.0)
        assert len(lanes._waiting._heap) + len(lanes._waiting._last) < 200


# -- lanes that wait and stay loaded --------------------------------------------------------------


def _waiting(lanes: Lanes, row: int, key: str, due: float, **more: bool) -> Lane:
    """Load rows `row` and `row + 1` of a lane, and let its head fail and wait."""
    offer(lanes, [Candidate(row, key), Candidate(row + 1, key)], 0.0)
    for one in (row, row + 1):
        lanes.load(Event(one, f"e{one}", "default", key, b"x"))
    lane = lanes.start()
    assert lane is not None
    charged = more.get("charged", True)
    lanes.postpone(lane, due, charged=charged, stays=lane.head._replace(failed=True, attempts=1))
    return lane


def test_a_lane_that_stays_loaded_goes_on_without_the_database() -> None:
    """Its head is the event as it is after the failure."""
    lanes = Lanes(8, 4)
    lane = _waiting(lanes, 1, "a", 2.0)
    lanes.wake_due(1.9)
    assert (lanes.startable(), lanes.next_due()) == (0, 2.0)
    lanes.wake_due(2.0)
    assert lanes.start() is lane
    assert (lane.head.attempts, lanes.has_to_fetch(), lanes.loaded.released) == (1, False, [])


def test_lanes_that_stay_loaded_have_a_quarter_of_the_window() -> None:
    """The others are unloaded; a lane that goes on makes room for another one."""
    lanes = Lanes(16, 4)
    for row, key in ((1, "a"), (3, "b"), (5, "c")):
        _waiting(lanes, row, key, 2.0)
    assert take_released(lanes) == [5, 6]
    lanes.wake_due(2.0)
    _waiting(lanes, 7, "d", 9.0)
    assert take_released(lanes) == []


def test_lanes_that_stay_loaded_have_half_of_the_bytes() -> None:
    """The rest is for lanes that can go."""
    lanes = Lanes(100, 4, bytes_max=6)
    _waiting(lanes, 1, "a", 2.0)
    assert take_released(lanes) == []
    _waiting(lanes, 3, "b", 2.0)
    assert take_released(lanes) == [3, 4]


def test_a_lane_that_is_held_while_it_waits_is_unloaded_when_its_time_comes() -> None:
    """It isn't sent."""
    lanes = Lanes(8, 4)
    _waiting(lanes, 1, "a", 2.0)
    lanes.hold(["a"])
    lanes.wake_due(2.0)
    assert (lanes.start(), take_released(lanes)) == (None, [1, 2])


def test_an_operators_command_fetches_a_lane_that_stays_loaded() -> None:
    """What is loaded of it may have changed."""
    lanes = Lanes(8, 4)
    lane = _waiting(lanes, 1, "a", 2.0)
    lanes.refetch("a")
    assert (lanes.to_fetch.take(1), take_released(lanes)) == ([lane], [1, 2])


def test_the_lane_that_waits_the_longest_is_unloaded_when_it_is_forgotten() -> None:
    """Otherwise its claims would stay for ever."""
    lanes = Lanes(100, 4, waiting_max=1)
    _waiting(lanes, 1, "a", 9.0)
    _waiting(lanes, 3, "b", 2.0)
    assert (take_released(lanes), lanes.next_due()) == ([1, 2], 2.0)


def test_one_that_stayed_loaded_and_was_woken_early_believes_the_next_page() -> None:
    """The row of its next head was written after that."""
    lanes = Lanes(8, 2)
    lane = _waiting(lanes, 1, "a", 4.0, charged=False)
    lanes.wake_uncharged()
    for _ in range(2):
        assert lanes.start() is lane
        lane.incomplete = True
        lanes.finish(lane)
    assert lanes.to_fetch.take(1) == [lane]
    assert lanes.take_page(lane, [Candidate(3, "a", wait=5.0)], 2, 10.0) == []
    assert lanes.next_due() == 15.0


def test_a_sweep_leaves_a_lane_that_stays_loaded_waiting() -> None:
    """It skips the loaded head, so it can't say that the head is gone."""
    lanes = Lanes(8, 2)
    _waiting(lanes, 1, "a", 4.0)
    for row in (1, 2, 3):
        assert not lanes.takes(Candidate(row, "a"), 1.0, sweep=2)
    assert (lanes.next_due(), lanes.startable()) == (4.0, 0)


def test_what_was_asked_for_counts_as_loaded_of_a_lane_that_waits() -> None:
    """It comes while the lane waits, and would fill the window."""
    lanes = Lanes(16, 4)
    for row, key in ((1, "a"), (5, "b")):
        offer(lanes, [Candidate(row, key)], 0.0)
        lanes.load(Event(row, f"e{row}", "default", key, b"x"))
        lane = lanes.start()
        assert lane is not None
        offer(lanes, [Candidate(row + more, key) for more in (1, 2, 3)], 0.0)
        lanes.postpone(lane, 2.0, charged=True, stays=lane.head)
    assert take_released(lanes) == [5]


def test_a_lane_that_is_woken_twice_is_hurried_each_time() -> None:
    """Also if rows of it were still asked for at the first time."""
    lanes = Lanes(16, 4)
    offer(lanes, [Candidate(1, "a")], 0.0)
    lanes.load(Event(1, "e1", "default", "a", b"x"))
    for _ in range(2):
        lane = lanes.start()
        assert lane is not None
        if lane.head.id == 1 and not lane.claiming:
            offer(lanes, [Candidate(2, "a")], 0.0)
        lanes.postpone(lane, 4.0, charged=False, stays=lane.head)
        lanes.wake_uncharged()
        if lane.claiming:
            lanes.load(Event(2, "e2", "default", "a", b"x"))
        assert (lanes.next_due(), lanes.startable()) == (None, 1)


def test_what_waits_and_stays_loaded_is_fetched_after_a_command_that_may_have_touched_it() -> None:
    """A sweep passes by what is loaded."""
    lanes = Lanes(16, 4)
    lane = _waiting(lanes, 1, "a", 4.0)
    Lookahead("default", lanes, 8).rescan()
    assert lanes.to_fetch.take(9) == [lane]
    assert take_released(lanes) == [1, 2]
