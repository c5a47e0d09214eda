"""What a daemon on PostgreSQL could get wrong about its server, each a slip in one place.

The campaign has to catch each of them, or it is worth nothing: `test_planted.py` has the seed, and
`python -m tests.campaigns clusters --planted NAME` runs any. As with those of the simulation, a bug
is in the product for the length of a run.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from sqlalchemy import text

from shipper.drain.dispatcher import Dispatcher
from shipper.policy.event import Event
from shipper.store.db.dialect import POSTGRES
from shipper.store.db.statement import Statement
from shipper.store.db.transactions import glancing, writing
from shipper.store.drain.floors import Floors
from shipper.store.drain.look import Looks
from shipper.store.drain.queue import Queue
from shipper.store.drain.watermark import Watermark
from shipper.store.lease import membership, unlock
from shipper.store.lease.lost import taken_over
from shipper.store.lease.stillness import DaemonRow, StillnessTimer
from shipper.store.lease.turns import Turn, TurnBook
from shipper.system.steps import Mark, Steps
from tests.planting import Plants

bug = PLANTED = Plants()
planted = PLANTED.planted


# -- a server that another has taken the place of -------------------------------------------------


@bug
def the_watermark_outlives_its_server() -> Any:
    """Keep what is known of the order of commits with a new connection."""

    def _meet(self: Looks, tx: Any, started: int) -> bool:
        before = self._watermark
        moved = original(self, tx, started)
        if moved:
            self._watermark = before
        return moved

    original = Looks._meet
    return patch.object(Looks, "_meet", _meet)


@bug
def the_fence_is_of_another_cluster() -> Any:
    """Look the table up by its name, and compare its transactions with those of the cluster before."""

    def observe(self: Watermark, highest: int, oldest: int, upcoming: int) -> None:
        original(self, highest, oldest, max(upcoming, self._fence))

    def _pulse(self: Looks) -> Any:
        self._made, self._asked_pulse = {}, None
        return original_pulse(self)

    original, original_pulse = Watermark.observe, Looks._pulse_postgres
    stack = ExitStack()
    stack.enter_context(patch.object(Watermark, "observe", observe))
    stack.enter_context(patch.object(Looks, "_pulse_postgres", _pulse))
    stack.enter_context(nobody_asks_which_server_answers())
    return stack


@bug
def nobody_asks_which_server_answers() -> Any:
    """Take a new connection for the one before."""
    return patch.object(Looks, "_meet", lambda *_: False)


@bug
def the_scan_outlives_its_server() -> Any:
    """Where the scan has come to, and what waits in lanes, is kept with a new connection."""

    def _go_back(self: Dispatcher, answer: Any) -> None:
        original(self, replace(answer, pulse=replace(answer.pulse, moved=False)))

    original = Dispatcher._go_back
    return patch.object(Dispatcher, "_go_back", _go_back)


@bug
def claims_outlive_a_server_that_went_back() -> Any:
    """As long as the token is ours, what was claimed counts, whatever the server has of it."""

    def fence(self: Queue, tx: Any) -> None:
        self._tenure.renew(tx, self._turn.token)

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        yield Mark.WAIT
        with writing(self._engine) as tx:
            last = self._tenure.hold(tx, Turn(0, self._turn.token, 0, 0, 0))
        self._known = 0
        self._turn = self._turn._replace(number=last.number)
        return (yield from original(self, work, follow))

    original = Queue.steps
    return patch.multiple(Queue, fence=fence, steps=steps)


@bug
def a_server_that_went_back_is_a_takeover() -> Any:
    """Whoever finds another last turn than its own ends."""
    return patch.object(membership, "went_back", taken_over)


@bug
def what_was_settled_elsewhere_is_written_down() -> Any:
    """Believe what a turn says of the order of commits, wherever that was seen."""

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        yield Mark.WAIT
        with glancing(self._engine) as tx:
            self._met = self._meet(tx)
        return (yield from original_steps(self, work, follow))

    def _advance(self: Queue, channel: Any, turn: Any, _: Any) -> Any:
        return original(self, channel, turn, channel.tx.connection.driver_connection)

    original, original_steps = Queue._advance, Queue.steps
    return patch.multiple(Queue, _advance=_advance, steps=steps)


@bug
def an_open_transaction_is_overtaken() -> Any:
    """Whatever is visible is sent."""

    def observe(self: Watermark, highest: int, *_: int) -> None:
        self.safe = max(self.safe, highest)

    return patch.object(Watermark, "observe", observe)


# -- the lease ------------------------------------------------------------------------------------


@bug
def the_lease_is_judged_by_the_servers_clock() -> Any:
    """When the server says that a lease is over, it is."""

    def left(self: StillnessTimer, row: DaemonRow) -> float:
        return 0.0 if row.seems_over else original(self, row)

    original = StillnessTimer.left
    return patch.object(StillnessTimer, "left", left)


@bug
def a_watch_never_begins_anew() -> Any:
    """Who has waited for as long as a lease takes the outbox, though its holder lives."""
    return patch.object(DaemonRow, "life", ("the same", 0))


@bug
def who_was_taken_over_goes_on() -> Any:
    """Take the token that is there for ours."""

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        yield Mark.WAIT
        with writing(self._engine) as tx:
            row = tx.execute(text("SELECT token, turn FROM shipper_turn ORDER BY 1 DESC, 2 DESC"))
            token, number = row.first() or (0, 0)
        self._turn = self._turn._replace(number=number, token=token)
        return (yield from original(self, work, follow))

    original = Queue.steps
    return patch.multiple(Queue, steps=steps, fence=lambda *_: None)


@bug
def an_unlocked_lease_is_still_held() -> Any:
    """Take in an operator's word, and free nobody's outbox."""
    return patch.object(unlock, "end", lambda *_: None)


# -- snapshots ------------------------------------------------------------------------------------


@bug
def a_lane_is_read_from_its_first_version() -> Any:
    """Where a lane begins is looked for from the beginning of the index each time."""
    return patch.object(Floors, "of", lambda *_: 0)


@bug
def the_lease_is_prolonged_with_every_turn() -> Any:
    """Each turn leaves a dead version of the row that every turn locks."""

    def advance(self: TurnBook, channel: Any, turn: Any, known: Any) -> Callable[[], Any]:
        prolong.send(channel, {"token": turn.token})
        return original(self, channel, turn, known)

    prolong = Statement(POSTGRES, "UPDATE shipper_daemon SET ttl = ttl WHERE token = :token")
    original = TurnBook.advance
    return patch.object(TurnBook, "advance", advance)
