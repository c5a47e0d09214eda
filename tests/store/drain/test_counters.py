"""The counters and the numbers: what a daemon counts as it goes is what a recount would find.

Promise 1 in the guarantees.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from shipper.policy.event import Event
from shipper.store.db.dialect import dialect_of
from shipper.store.drain.messages import Record
from shipper.store.report.verify import verify
from tests.store.daemons import write
from tests.store.shipping import accepted, ask, claim, failed, record, refused, table, taken, wipe


def test_a_destination_that_nobody_has_seen_is_counted_too(engine: Engine) -> None:
    """Its first record makes its row."""
    queue = taken(engine)
    first, second = (
        claim(queue, *write(engine, "a", destination=name))[0] for name in ("new", "newer")
    )
    record(queue, accepted(first), refused(second))
    counts = {row["name"]: (row["delivered"], row["dead"]) for row in table(engine, "destination")}
    assert counts == {"new": (1, 0), "newer": (0, 1)}


def test_events_are_numbered_in_the_order_of_their_ends(engine: Engine) -> None:
    """Those of one turn in the order in which it has them."""
    queue = taken(engine)
    a, b, c, d = claim(queue, *write(engine, "a", "b", "c", "d"))
    record(queue, accepted(c), failed(b), refused(a), accepted(d))
    record(queue, accepted(b))
    ended = ask(engine, "SELECT id FROM shipper_outbox ORDER BY delivery_number")
    assert ended == [(c.id,), (a.id,), (d.id,), (b.id,)]


class _Story:
    """A daemon that meets whatever may happen, and what it must have written by then."""

    def __init__(self, engine: Engine) -> None:
        wipe(engine)
        self.engine = engine
        self.queue = taken(engine)
        self.pending: list[int] = []
        self.numbers: list[int] = []

    def written(self, count: int) -> None:
        """Let the application write."""
        names = ("default", "other")
        for n in range(count):
            self.pending += write(self.engine, None, destination=names[n % 2])

    def happened(self, outcomes: list[Callable[[Event], Record]]) -> None:
        """Try as many events as there are outcomes, in one turn."""
        events = claim(self.queue, *self.pending[: len(outcomes)])
        records = [outcome(event) for event, outcome in zip(events, outcomes, strict=False)]
        record(self.queue, *records)
        ended = [r.event.id for r in records if r.next_attempt_at is None]
        self.numbers += ended
        self.pending = [row for row in self.pending if row not in ended]

    def restarted(self, clean: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        """End the process, one way or the other, and start another."""
        if clean:
            self.queue.release()
        self.queue = taken(self.engine)

    def check(self) -> None:
        """Compare with a recount."""
        rows = table(self.engine, "outbox")
        recount = Counter((row["destination"], row["status"]) for row in rows)
        counters = dialect_of(self.engine).counters
        for name, delivered, dead in ask(
            self.engine, f"SELECT name, delivered, dead FROM {counters}"
        ):
            assert (delivered, dead) == (recount[name, "delivered"], recount[name, "dead"])
        given = {row["id"]: row["delivery_number"] for row in rows if row["delivery_number"]}
        assert sorted(given, key=lambda row: given[row]) == self.numbers
        # On a server, daemons take their numbers in blocks: some are never given.
        if dialect_of(self.engine).is_file:
            assert sorted(given.values()) == list(range(1, len(given) + 1))
        assert len({*given.values()}) == len(given)
        assert [finding for finding in verify(self.engine) if finding.fault] == []


_steps = st.one_of(
    st.tuples(st.just(_Story.written), st.integers(1, 4)),
    st.tuples(
        st.just(_Story.happened),
        st.lists(st.sampled_from([accepted, accepted, refused, failed]), min_size=1, max_size=5),
    ),
    st.tuples(st.just(_Story.restarted), st.booleans()),
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(_steps, max_size=8))
def test_the_counters_always_equal_a_recount(
    engine: Engine, steps: list[tuple[Callable[[_Story, Any], None], Any]]
) -> None:
    """And the numbers go on without a gap, whatever happens and however often it is restarted."""
    story = _Story(engine)
    for act, argument in [(_Story.written, 3), *steps]:
        act(story, argument)
    story.check()
