"""The dispatcher's talk with the database: one exchange at a time, in the database's own thread.

An exchange writes a turn's work in one transaction, then looks. It is given again until it is
done, because what is to be recorded must not get lost; the store sees to it that what was done
isn't done twice. Fatal in here: a lost lease.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from shipper.clock import Clock
from shipper.drain.reporter import Reporter
from shipper.drain.terms import Question
from shipper.drain.wait import Rhythm
from shipper.errors import AccessDenied, GivenUp, SchemaError, StoreUnavailable
from shipper.policy.event import Event
from shipper.store.drain.messages import NAMED, Holds, Look, Pulse, Row, Settled, Work

# A pulse costs as much as sending five events; a drain that turns all the time needs one now and
# then.
_PULSE_EVERY = 0.01
# A server that is back is noticed within seconds; who refuses us is asked more rarely, for each
# refusal may count.
_RETRY_MAX = 5.0
RETRY_REFUSED_MAX = 30.0
_TRIES_AT_STOP = 3
_WAIT_AT_STOP = 0.5

T = TypeVar("T")


class OutboxWriter(Protocol):
    """What the dispatcher writes through: `shipper.store.drain.queue.Queue`."""

    def turn(self, work: Work) -> list[Event]:
        """Do a turn's work in one durable transaction."""

    def renew(self) -> None:
        """Prolong the lease; fail where what was written before isn't there any more."""


class OutboxReader(Protocol):
    """What the dispatcher sees through: `shipper.store.drain.look.Looks`."""

    @property
    def settled(self) -> Settled:
        """How far the order of commits is known, and by which connection."""

    def pulse(self) -> Pulse:
        """Tell whether something may have changed."""

    def look(self, question: Look) -> list[Row]:
        """Show pending rows."""

    def touched(self, since: int) -> list[tuple[str, str | int]] | None:
        """Tell which lanes operators have touched since then; None where that isn't known."""

    def holds(self, loaded: Mapping[str, Sequence[str]]) -> Holds:
        """Tell what is held: destinations, and which of the keys that are loaded."""


class Thread(Protocol):
    """How to have the database's thread do something: `shipper.daemon.database_thread`."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run `work` there; return what it returns, or raise what it raises."""


@dataclass(frozen=True, slots=True)
class ExchangeResult:
    """What came of an exchange; `rows` is None for a look that nothing fresh made worth it.

    `commanded` says that an operator has acted: whoever asked has to say what is loaded, and is
    told with the next exchange what of it is held. `touched` are the lanes that were changed, with
    their destinations; `may_be_back` says that any may have been.
    """

    events: list[Event]
    pulse: Pulse
    rows: list[list[Row] | None]
    holds: Holds | None
    commanded: bool = False
    may_be_back: bool = False
    touched: Sequence[tuple[str, str | int]] = ()


@dataclass(slots=True)
class _Talk:
    """One exchange, and how far it has come."""

    work: Work
    questions: Sequence[Question]
    loaded: Mapping[str, Sequence[str]] | None
    fresh: bool
    commanded: bool
    may_be_back: bool = False
    touched: list[tuple[str, str | int]] = field(default_factory=list)
    events: list[Event] | None = None


class Exchange:
    """The way to the database, and the lease that is prolonged in time."""

    def __init__(
        self,
        queue: OutboxWriter,
        looks: OutboxReader,
        thread: Thread,
        *,
        clock: Clock,
        reporter: Reporter,
        rhythm: Rhythm,
    ) -> None:
        self._queue = queue
        self._looks = looks
        self._thread = thread
        self._clock = clock
        self._report = reporter
        self._ttl = rhythm.lease_ttl
        self._changed = rhythm.changed
        self._generation = -1
        self._pulse_at = 0.0
        self._held_back = False
        self._holds_owed = True
        self._look_owed = True  # whether or not the database says that it changed
        self.lease_until = rhythm.lease_taken_at + rhythm.lease_ttl
        self.tries = 0
        """Exchanges tried so far: they grow even while the database can't be reached."""

    def owe_a_look(self) -> None:
        """Look with the next exchange, whether or not the database says that it changed."""
        self._look_owed = True

    def owe_holds(self) -> None:
        """See with the next exchange what is held, whether or not an operator has acted."""
        self._holds_owed = True

    def set_lease(self, ttl: float) -> None:
        """Take the lease for so long from the next time on that it is prolonged, in seconds."""
        self._ttl = ttl

    async def __call__(
        self,
        work: Work,
        questions: Sequence[Question],
        stop: asyncio.Event,
        loaded: Mapping[str, Sequence[str]] | None = None,
    ) -> ExchangeResult:
        """Do the exchange, as often as it takes; once `stop` is set, only a few times more.

        `loaded` are the keys, by destination, of which somebody wants to know what is held.
        While it runs, a daemon waits out whatever its database says: a password or a table that
        is gone may be back in a minute. Raises LeaseLost, and StoreUnavailable while stopping.
        """
        began, failures, tries_at_stop = self._clock.monotonic(), 0, 0
        talk = _Talk(work, questions, loaded, self._look_owed, self._holds_owed)
        self._look_owed = self._holds_owed = False
        while True:
            self.tries += 1
            asked_at = self._clock.monotonic()
            try:
                answer = await self._thread(partial(self._converse, talk))
            except (StoreUnavailable, AccessDenied, SchemaError) as error:
                failures += 1
                tries_at_stop += stop.is_set()
                if tries_at_stop > _TRIES_AT_STOP or isinstance(error, GivenUp):
                    raise StoreUnavailable(error.message) from error
                longest = _RETRY_MAX if isinstance(error, StoreUnavailable) else RETRY_REFUSED_MAX
                retry = min(longest, 0.5 * 2.0 ** min(failures, 10))
                self._report.store_lost(error, retry, asked_at)
                await _wait(retry, stop)
                if self._changed is not None:
                    self._changed()  # it lets go of a removed WAL, which is in the way of saving it
            else:
                now = self._clock.monotonic()
                self._report.turned(now - asked_at, now, self.lease_until)
                if failures:
                    self._report.store_back(now - began)
                    self._look_owed = True
                return answer

    def _converse(self, talk: _Talk) -> ExchangeResult:
        """Talk to the database; runs in its thread. Given again after a failure, it goes on."""
        asked_at = self._clock.monotonic()
        if talk.events is None:
            talk.events = self._queue.turn(replace(talk.work, settled=self._looks.settled))
        if self.lease_until - asked_at < self._ttl * 2 / 3:
            self._queue.renew()
            self.lease_until = asked_at + self._ttl
        pulse = self._pulse(talk, asked_at)
        if pulse.moved:
            # Before anything else is sent: what we have claimed may not be on this server.
            self._queue.renew()
            self.lease_until = asked_at + self._ttl
        talk.fresh = talk.fresh or pulse.fresh
        if pulse.generation not in {-1, self._generation}:
            self._notice(talk, pulse.generation)
        holds = None if talk.loaded is None else self._looks.holds(talk.loaded)
        rows = [
            self._looks.look(question.look) if talk.fresh or not question.only_if_fresh else None
            for question in talk.questions
        ]
        return ExchangeResult(
            talk.events, pulse, rows, holds, talk.commanded, talk.may_be_back, talk.touched
        )

    def _notice(self, talk: _Talk, generation: int) -> None:
        """Take in that operators have acted: which lanes they touched, or that it may be any."""
        moved = generation - self._generation
        named = moved > 0 and moved % NAMED == 0
        if self._generation == -1:
            pass  # the first sweep sees it
        elif named and (touched := self._looks.touched(self._generation)) is not None:
            talk.touched += touched
        else:
            talk.may_be_back = True
        talk.commanded = True
        self._generation = generation

    def _pulse(self, talk: _Talk, now: float) -> Pulse:
        if talk.work and not talk.fresh and now < self._pulse_at:
            return Pulse(fresh=False, generation=-1, held_back=self._held_back)
        pulse = self._looks.pulse()
        self._pulse_at = now + _PULSE_EVERY
        self._held_back = pulse.held_back
        if pulse.damage:
            self._report.damaged(pulse.damage)
        return pulse


async def _wait(seconds: float, stop: asyncio.Event) -> None:
    """Rest for so long, or a moment only once we are to stop."""
    if stop.is_set():
        await asyncio.sleep(_WAIT_AT_STOP)
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
