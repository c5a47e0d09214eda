"""Lanes, one situation each: order, bounds, what waits and what is fetched anew."""

import pytest

from shipper.policy.event import Event
from shipper.policy.lanes import Candidate, Lanes
from tests.drain.parts import Drain, loaded, offer

# -- order ------------------------------------------------------------------------------------


def test_an_event_without_a_key_is_a_lane_of_its_own() -> None:
    """Nothing waits for it; and a key that reads like its id is another lane."""
    assert Event(7, "e", "default", None, b"").lane == 7
    assert Event(7, "e", "default", "7", b"").lane == "7"
    assert loaded(None, None, "1", "2").go() == [1, 2, 3, 4]


def test_the_next_of_a_lane_starts_when_its_predecessor_is_recorded() -> None:
    """Not when the answer comes, and not beside it."""
    drain = loaded("a", "a", "b")
    assert drain.go() == [1, 3]
    drain.finish(1, "delivered")
    assert drain.go() == []
    drain.exchange()
    assert drain.go() == [2]


def test_lanes_take_turns() -> None:
    """A lane goes to the end of the line when its head has ended."""
    drain = loaded("a", "a", "b", "c")
    drain.start(1)
    drain.end(1)
    assert drain.go() == [3, 4, 2]


def test_a_head_that_may_have_been_received_repeats_itself_first() -> None:
    """Before all other lanes; any other goes behind them."""
    drain = loaded("a", "b", "c")
    drain.start(2)
    drain.finish(1, "first", received=True)
    drain.finish(2, "again")
    drain.exchange()
    assert drain.go() == [1, 3, 2]


def test_what_a_crash_left_goes_before_everything_of_its_lane() -> None:
    """Also before a retried dead letter of smaller id, and before other lanes."""
    drain = Drain(Lanes(100, 8), page=50, turn=100)
    drain.write("b", "a", "b", "b", "c")
    drain.table.rows[3].received = True
    drain.table.rows[1].retried = True
    drain.table.rows[5].received = True
    drain.turns()
    assert drain.go() == [5, 2]
    drain.turns()
    assert drain.go() == [3]
    drain.end(3)
    assert drain.go() == [1]
    drain.end(1)
    assert drain.go() == [4]


def test_what_comes_before_its_predecessor_is_claimed_is_not_loaded() -> None:
    """A claim that met the limit of its turn leaves a gap; what was asked for behind it waits."""
    drain = loaded("a", "a", "a", "a", turn=2)
    drain.turn_bytes = 1
    drain.run_dry()
    assert drain.started == [1, 2, 3, 4]


def test_a_row_that_is_gone_before_it_is_claimed_holds_up_nobody() -> None:
    """An operator discarded it meanwhile."""
    drain = Drain(Lanes(100, 8), page=50, turn=1)
    drain.write("a", "a", "b")
    drain.exchange()
    drain.exchange()
    drain.table.rows[1].pending = False
    drain.run_dry()
    assert drain.started == [3, 2]


# -- the operator -----------------------------------------------------------------------------


def test_a_retried_dead_letter_goes_by_its_id_when_the_event_in_flight_has_ended() -> None:
    """What was loaded behind it is let go and fetched anew."""
    drain = loaded("a", "a", "a")
    drain.start(1)
    drain.end(1, "dead")
    assert drain.go() == [2]
    drain.put_back(1)
    drain.turns()
    assert drain.go() == []
    drain.end(2)
    assert drain.go() == [1]
    drain.end(1)
    assert drain.go() == [3]


def goes_before_what_waits_an_hour(drain: Drain) -> None:
    """Assert that the first event of a lane goes at once, and the second when its time comes."""
    assert drain.go() == [1]
    drain.end(1)
    assert drain.go() == []
    drain.now += 3600.0
    drain.start(0)
    drain.turns()
    assert drain.go() == [2]


def test_a_retried_dead_letter_does_not_wait_for_the_backoff_of_a_later_event() -> None:
    """It waits for what is in flight, not for what waits itself; that still waits its time."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.end(1, "dead")
    drain.start(1)
    drain.end(2, "wait", wait=3600.0, charged=True)
    drain.put_back(1)
    drain.turns()
    goes_before_what_waits_an_hour(drain)


def test_a_retried_dead_letter_does_not_wait_for_the_backoff_of_what_was_in_flight() -> None:
    """The daemon sees the command only once, while the event is in flight."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.end(1, "dead")
    assert drain.go() == [2]
    drain.put_back(1)
    drain.turns()
    drain.end(2, "wait", wait=3600.0, charged=True)
    goes_before_what_waits_an_hour(drain)


def test_one_that_may_have_been_received_keeps_its_place_before_a_retried_one() -> None:
    """Even while it waits."""
    drain = loaded("a", "a")
    drain.start(1)
    drain.end(1, "dead")
    drain.start(1)
    drain.end(2, "wait", wait=60.0, charged=True, received=True)
    drain.put_back(1)
    drain.turns()
    assert drain.go() == []
    drain.now += 60.0
    drain.start(0)
    drain.turns()
    assert drain.go() == [2]


def test_a_held_key_ends_what_is_in_flight_and_starts_nothing() -> None:
    """What was loaded of it is let go as soon as nothing of it is in flight."""
    drain = loaded("a", "a", "b", "b")
    drain.start(1)
    drain.hold("ab")
    drain.turns()
    assert drain.go() == []
    assert drain.table.claimed == {1, 2}
    drain.end(1)
    assert drain.is_idle()
    drain.hold("b")
    drain.turns()
    assert drain.go() == [2]


@pytest.mark.parametrize("turns", [1, 2])
def test_a_key_held_while_it_is_fetched_is_let_go_again(turns: int) -> None:
    """Whether its page has been answered or its events are being claimed."""
    drain = loaded("a", "a", "a", "a", depth=2)
    for row in (1, 2):
        drain.start(1)
        drain.finish(row, "delivered")
        drain.exchange()
    for _ in range(turns):
        drain.exchange()
    drain.held = frozenset("a")
    drain.lanes.hold("a")
    drain.turns()
    assert drain.go() == []
    assert drain.table.claimed == set()


def test_a_held_lane_in_the_line_to_be_fetched_leaves_it() -> None:
    """And comes back when it is released."""
    drain = loaded("a", "a", depth=1)
    drain.start(1)
    drain.finish(1, "delivered")
    drain.exchange()
    assert drain.lanes.has_to_fetch()
    drain.held = frozenset("a")
    drain.lanes.hold("a")
    assert drain.lanes.is_empty()
    assert drain.lanes.to_fetch.take(5) == []
    drain.hold(())
    drain.turns()
    assert drain.go() == [2]


def test_a_lane_that_was_forgotten_takes_no_other_of_its_name_with_it() -> None:
    """It still stands in the line of those that may go; meanwhile its key was let go, and held."""
    drain = loaded("a")
    drain.held = frozenset("a")
    drain.lanes.hold_one("a")
    drain.hold(())
    while not drain.ahead.wanted:
        drain.exchange()
    drain.held = frozenset("a")
    drain.lanes.hold_one("a")
    assert drain.go() == []
    drain.turns()
    assert drain.is_idle()


def test_a_key_held_at_the_moment_it_is_fetched_is_let_go_again() -> None:
    """The operator's command and the page come with the same exchange."""
    drain = loaded("a", "a", depth=1)
    drain.start(1)
    drain.finish(1, "delivered")
    drain.exchange()
    drain.hold("a")
    drain.turns()
    assert drain.is_idle()
    assert (drain.go(), drain.table.claimed) == ([], set())


def test_a_lane_that_is_fetched_anew_starts_nothing_from_its_old_place_in_line() -> None:
    """What it stood there for was let go; it goes when its page has come and is claimed."""
    lanes = Lanes(10, 2)
    head = Event(1, "e1", "default", "a", b"")
    assert offer(lanes, [Candidate(1, "a")], 0.0) == [1]
    lanes.load(head)
    lanes.unload_all()
    (lane,) = lanes.to_fetch.take(1)
    assert lanes.start() is None
    assert lanes.take_page(lane, [Candidate(1, "a")], 2, 0.0) == [1]
    lanes.load(head)
    assert lanes.start() is lane


def test_a_lane_takes_nothing_from_a_scan_while_its_page_is_on_the_way() -> None:
    """The page will begin at its beginning; what the scan saw comes with it, or after it."""
    lanes = Lanes(10, 2)
    assert offer(lanes, [Candidate(1, "a"), Candidate(2, "a"), Candidate(3, "a")], 0.0) == [1, 2]
    lanes.missed("a", 1)
    lanes.missed("a", 2)
    (lane,) = lanes.to_fetch.take(1)
    assert offer(lanes, [Candidate(3, "a")], 0.0) == []
    assert lanes.take_page(lane, [Candidate(1, "a")], 2, 0.0) == [1]


def test_a_hold_more_costs_the_same_however_many_there_are() -> None:
    """Keys without loaded events aren't remembered: each row says whether its key is held."""
    drain = loaded("a", "b")
    drain.lanes.hold(f"k{number}" for number in range(10_000))
    drain.lanes.hold_one("nobody's")
    assert drain.lanes.held == set()
    assert sorted(drain.lanes.loaded_keys()) == ["a", "b"]
    drain.held = frozenset("a")
    drain.lanes.hold_one("a")
    assert drain.go() == [2]
    assert drain.lanes.held == set()
    assert drain.lanes.loaded_keys() == ["b"]


def test_a_lane_that_is_to_be_fetched_twice_is_fetched_once() -> None:
    """Two commands in a row may touch it before there is room for its page."""
    lanes = Lanes(10, 2)
    lanes.refetch("a")
    lanes.refetch("a")
    assert [lane.name for lane in lanes.to_fetch.take(2)] == ["a"]
    assert not lanes.has_to_fetch()
