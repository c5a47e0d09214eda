"""The tally counts what is recorded, in a space that doesn't grow."""

from shipper.drain.tally import LATENCY_BOUNDS, OTHER, OUTCOMES_MAX, Tally, Totals
from shipper.drain.terms import Ended
from shipper.policy.delivery import Status, Verdict
from shipper.policy.event import Event
from shipper.policy.lanes import Lane
from shipper.policy.outcome import Kind, Outcome
from shipper.store.drain.messages import Record

WRITTEN = 1000.0


def ended(
    status: Status = Status.DELIVERED,
    cause: str = "accepted",
    *,
    latency: float = 0.25,
    created_at: float = WRITTEN,
) -> Ended:
    """Return a try that ended so long after its event was written."""
    event = Event(1, "e", "default", "k", b"{}", created_at=created_at)
    record = Record(event, Verdict(status, 0), WRITTEN + latency)
    outcome = Outcome(Kind.ACCEPTED, cause)
    return Ended(Lane("k"), record, outcome, None, newly_received=False, seconds=0.5)


def tally_of(*items: Ended) -> Tally:
    """Return a tally that has counted these."""
    tally = Tally(0.0)
    tally.recorded("default", items)
    return tally


def test_every_end_of_a_try_is_counted_once() -> None:
    """Delivered, postponed or dead, and each under its outcome."""
    tally = tally_of(
        ended(),
        ended(latency=3.0),
        ended(Status.PENDING, "http-503"),
        ended(Status.DEAD, "http-422"),
    )
    assert tally.totals() == {"default": Totals(2, 1, 1, 3.25, 3.0)}
    counts = tally.destinations["default"]
    assert counts.tries == {"accepted": 2, "http-503": 1, "http-422": 1}
    assert counts.seconds == 2.0
    assert sum(counts.latency.counts) == 2


def test_a_latency_falls_under_the_first_bound_that_it_does_not_exceed() -> None:
    """The bound itself included; what exceeds all of them has a place of its own."""
    tally = tally_of(ended(latency=0.0), ended(latency=1e9), ended(latency=0.25))
    counts = tally.destinations["default"].latency.counts
    assert LATENCY_BOUNDS[4] == 0.25
    assert [at for at, count in enumerate(counts) if count] == [0, 4, len(LATENCY_BOUNDS)]


def test_a_clock_that_is_ahead_makes_no_latency_below_zero() -> None:
    """The database's clock and ours need not agree."""
    tally = tally_of(ended(latency=-5.0))
    assert tally.totals()["default"] == Totals(1, 0, 0, 0.0, 0.0)
    assert sum(tally.destinations["default"].latency.counts) == 1


def test_an_unknown_time_of_writing_is_no_latency() -> None:
    """An operator may have written nonsense there by hand."""
    tally = tally_of(ended(created_at=0.0))
    assert tally.totals()["default"] == Totals(1, 0, 0, 0.0, 0.0)
    assert sum(tally.destinations["default"].latency.counts) == 0


def test_a_receiver_cannot_make_it_grow() -> None:
    """Whatever status codes it invents, they end in one."""
    tally = tally_of(*(ended(Status.PENDING, f"http-{number}") for number in range(1000)))
    tries = tally.destinations["default"].tries
    assert len(tries) == OUTCOMES_MAX + 1
    assert tries[OTHER] == 1000 - OUTCOMES_MAX
    tally.recorded("default", [ended(Status.PENDING, "http-0")])
    assert tries["http-0"] == 2


def test_the_longest_latency_can_begin_anew() -> None:
    """Who writes a row a minute wants the longest of that minute."""
    tally = tally_of(ended(latency=3.0))
    assert tally.totals(restart_max=True)["default"].latency_max == 3.0
    tally.recorded("default", [ended(latency=1.0)])
    assert tally.totals()["default"] == Totals(2, 0, 0, 4.0, 1.0)
    assert sum(tally.destinations["default"].latency.counts) == 2


def test_a_lost_database_is_lost_since_the_first_failure_until_it_answers() -> None:
    """And answers from then on."""
    tally = Tally(10.0)
    tally.turned(0.002, 11.0, 40.0)
    assert times(tally) == (11.0, 40.0, None)
    tally.lost(12.0)
    tally.lost(13.0)
    assert times(tally) == (11.0, 40.0, 12.0)
    tally.turned(0.002, 14.0, 43.0)
    assert times(tally) == (14.0, 43.0, None)
    assert sum(tally.turns.counts) == 2


def times(tally: Tally) -> tuple[float, float, float | None]:
    """Return what it knows of the database."""
    return tally.answered_at, tally.lease_until, tally.lost_at
