"""Lanes whose shards go to other daemons and come back."""

import pytest

from shipper.policy.lanes import Lanes
from shipper.policy.lanes.ready import Ready
from shipper.policy.shares import ALL_SHARDS
from tests.drain.parts import Drain, loaded

A, B, C = 1, 2, 3
"""The shards of the keys a, b and c."""
HOLDS_TO_THE_END = ("delivered", "dead")


def test_what_is_loaded_of_a_shard_that_goes_is_abandoned() -> None:
    """Otherwise two daemons would send it."""
    drain = loaded("a", "b", "a", "b")
    drain.share({B})
    assert drain.lanes.loaded.ids == {2, 4}
    assert drain.go() == [2]
    drain.turns(1)
    assert A in drain.away


@pytest.mark.parametrize("end", ["delivered", "dead", "again", "first", "wait"])
def test_a_shard_goes_only_when_what_is_in_flight_is_recorded(end: str) -> None:
    """However the try ends; its followers never start here."""
    drain = loaded("a", "a", "b")
    assert drain.go() == [1, 3]
    drain.share({B})
    drain.turns(3)
    assert A not in drain.away
    drain.finish(1, end, wait=2.0)
    drain.exchange()  # records it
    assert A not in drain.away
    drain.exchange()  # releases its claim, or that of its followers
    assert A in drain.away
    drain.now += 60.0
    drain.turns()
    assert drain.go() == []
    assert drain.table.rows[1].pending is (end not in HOLDS_TO_THE_END)


def test_rows_that_were_looked_at_before_their_shard_went_are_ignored() -> None:
    """The look was asked in the same exchange in which the shard went."""
    drain = Drain(Lanes(100, 8), page=50, turn=100)
    drain.turns(2)
    drain.write("a", "b")
    drain.coming = frozenset({B})
    drain.exchange()
    assert drain.ahead.wanted == [(2, "b")]
    drain.turns(2)
    assert drain.go() == [2]


def test_a_lane_that_was_asked_for_when_its_shard_went_is_forgotten() -> None:
    """Its page comes when the shard is another daemon's."""
    drain = loaded("a", depth=1)
    drain.write("a")
    drain.turns(1)
    drain.go()
    drain.finish(1, "delivered")
    drain.exchange()
    assert drain.lanes.has_to_fetch()
    drain.coming = frozenset({B})
    drain.exchange()
    assert drain.lanes.is_empty()


@pytest.mark.parametrize("key", ["a", "b"])
def test_a_lane_that_an_operator_names_is_fetched_only_by_its_daemon(key: str) -> None:
    """A command says only its key: one look shows whose it is."""
    drain = loaded("a", "b")
    drain.share({B})
    drain.go()
    drain.finish(2, "delivered")
    drain.turns(2)
    drain.table.rows[1].pending = drain.table.rows[2].pending = False
    row = {"a": 1, "b": 2}[key]
    drain.table.rows[row].dead = True
    drain.put_back(row)
    drain.exchange()
    drain.turns(3)
    assert drain.go() == ([2] if key == "b" else [])
    assert drain.lanes.is_empty() is (key == "a")


def test_a_shard_that_comes_back_in_flight_goes_on_in_its_order() -> None:
    """Another daemon died before it took it: what is in flight is still ours."""
    drain = loaded("a", "a", "a")
    assert drain.go() == [1]
    drain.share({B})
    drain.turns(1)
    drain.share(ALL_SHARDS)
    drain.turns(2)
    assert drain.go() == []
    drain.end(1)
    assert drain.go() == [2]


def test_what_was_held_or_waited_here_goes_on_when_it_comes_back_released() -> None:
    """Nothing of what was known of a lane outlives its shard."""
    drain = loaded("a", "a", "b", "c")
    drain.hold(["a"])
    drain.turns(3)
    assert drain.go() == [3, 4]
    drain.finish(3, "wait", wait=3600.0, charged=True)
    drain.end(4)
    drain.share({C})
    drain.turns(2)
    assert drain.lanes.is_empty()
    assert drain.lanes.held == set()
    drain.held, drain.table.rows[3].due = frozenset(), None
    drain.share(ALL_SHARDS)
    drain.turns(3)
    assert drain.go() == [1, 3]


def test_what_a_dead_daemon_may_have_sent_goes_first() -> None:
    """The sweep of a shard that comes begins at once, and with that."""
    drain = Drain(Lanes(100, 8), page=50, turn=100)
    drain.share({B})
    drain.turns(3)
    drain.write("a", "a", "b")
    drain.turns(2)
    assert drain.go() == [3]
    drain.table.rows[2].received = True
    drain.share(ALL_SHARDS)
    for _ in range(3):
        drain.turns(3)
        drain.go()
    assert drain.started == [3, 2]


def test_a_sweep_that_begins_anew_still_has_to_see_what_the_last_one_had_begun() -> None:
    """A new event of such a lane comes at the tail: it waits for those that no sweep has seen."""
    drain = Drain(Lanes(400, 4), page=2, turn=100, names=False)
    drain.share({A, B})
    drain.hold(["a", "b"])
    drain.write("a", "b", "b", "a", "a")
    drain.turns(4)
    drain.hold([])
    while drain.ahead.wanted != [(1, "a"), (2, "b")]:
        drain.exchange()
    drain.write("a")
    drain.coming = ALL_SHARDS
    drain.turns(2)
    assert 6 not in drain.lanes.loaded.ids
    drain.run_dry()
    assert [row for row in drain.started if drain.table.rows[row].key == "a"] == [1, 4, 5, 6]


def test_an_answer_to_the_sweep_before_says_nothing_about_the_new_one() -> None:
    """It would end the search for what a dead daemon may have sent."""
    drain = Drain(Lanes(100, 8), page=50, turn=100)
    drain.share({B})
    drain.turns(3)
    drain.write("a", "a", "b")
    drain.turns(3)
    drain.restart()
    while drain.ahead._kind != "pending" or not drain.ahead._sweeping:
        drain.exchange()
    drain.table.rows[2].received = True
    drain.coming = ALL_SHARDS
    drain.turns(2)
    assert drain.ahead.wanted == [(2, "a")]


def test_a_daemon_without_shards_asks_nothing_and_wakes_for_nothing() -> None:
    """It is ready to take over."""
    drain = loaded("a", "b")
    drain.restart()
    drain.share(())
    drain.ahead.refetch("a")
    drain.ahead.rescan()
    drain.turns(2)
    assert drain.ahead.questions(drain.now) == []
    assert not drain.ahead.has_more()
    assert drain.ahead.next_sweep() is None
    assert drain.is_idle()
    drain.share(ALL_SHARDS)
    drain.turns(3)
    assert drain.go() == [1, 2]


@pytest.mark.parametrize("places", [1, 2, 7, 64])
def test_the_share_of_failed_heads_stays_within_the_places(places: int) -> None:
    """Whether they grow or shrink."""
    ready = Ready(64)
    ready._share = 60
    ready.set_places(places)
    assert 1 <= ready._least <= ready._share <= places
    ready.set_places(64)
    assert 8 == ready._least <= ready._share <= 64
