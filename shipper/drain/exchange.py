"""The exchange with the database: one at a time, in steps.

An exchange writes the work of a turn in one transaction, then looks. Its steps say where it may
wait; the daemon decides in which thread each of them runs. It decides when to try again, when to
prolong the lease, when a pulse is needed, and when shards may have to change hands. It must never
drop work: it repeats the exchange until the work is done, and the store makes sure that nothing is
written twice. A lost lease ends the exchange.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar

from shipper.clock import Clock
from shipper.drain.reporter import Reporter
from shipper.drain.terms import Question
from shipper.drain.wait import Rhythm
from shipper.errors import AccessDenied, DatabaseAbandoned, SchemaError, StoreUnavailable
from shipper.policy.event import Event
from shipper.policy.shares import NOTHING, SHARDS, Shares
from shipper.store.drain.messages import NAMED, Holds, Look, Page, Pulse, SettledIds, Work
from shipper.system.steps import Mark, Steps
from shipper.system.waiting import is_set_within

# A pulse costs as much as sending five events; a busy drain needs a pulse only now and then.
_PULSE_EVERY = 0.01
# Only the passing of time shows that another daemon is dead.
_ATTEND_EVERY = 1.0
# The drain notices within seconds that a database is back. It asks a server that refuses the login
# more rarely, because some servers count the refused logins.
_RETRY_MAX = 5.0
_RETRY_REFUSED_MAX = 30.0
_TRIES_AT_STOP = 3
_WAIT_AT_STOP = 0.5

T = TypeVar("T")


class OutboxWriter(Protocol):
    """The writing side of the outbox: `shipper.store.drain.queue.Queue`."""

    def steps(self, work: Work, follow: Callable[[Any], None]) -> Steps[list[Event]]:
        """Do the work of a turn in one durable transaction; return the events that it claimed.

        On a server, `follow` sends questions together with the COMMIT.
        """

    @property
    def attends(self) -> bool:
        """Whether several daemons can share the outbox."""

    @property
    def shares(self) -> Shares:
        """The shards that this daemon has."""

    def attend(self, gave: frozenset[int], *, stops: bool) -> Shares | None:
        """Give back these shards, take free ones, end dead daemons; return the new shares.

        Nothing of those that it gives back is claimed any more. None: another process changes some.
        A daemon that `stops` takes none, and has to give all.
        """

    def renew(self) -> None:
        """Prolong the lease; fail if the last turn is no longer in the database."""


class OutboxReader(Protocol):
    """The reading side of the outbox: `shipper.store.drain.look.Looks`."""

    @property
    def settled(self) -> SettledIds:
        """The watermark, and the connection that has seen it."""

    @property
    def may_wait(self) -> bool:
        """Whether the next question may wait for something else than the disk."""

    def following(self, *, pulse: bool, questions: Sequence[Look]) -> Callable[[Any], None]:
        """Return what asks for the next pulse and looks together with a turn's COMMIT."""

    def pulse(self) -> Pulse:
        """Return what may have changed since the last pulse."""

    def page(self, question: Look) -> Page:
        """Return pending rows, and how far they were seen."""

    def touched(self, since: int) -> list[tuple[str, str | int]] | None:
        """Return the lanes that operators changed since generation `since`; None if unknown."""

    def holds(self, loaded: Mapping[str, Sequence[str]]) -> Holds:
        """Return which destinations are held, and which of the loaded keys."""


class Runner(Protocol):
    """Runs work in steps, each in the thread that suits it: `shipper.daemon.step_runner`."""

    async def __call__(self, work: Callable[[], Steps[T]]) -> T:
        """Run the steps of `work`; return what they return, or raise what they raise.

        After StoreUnavailable it may call `work` once more: nothing is done twice.
        """


@dataclass(frozen=True, slots=True)
class ExchangeResult:
    """The result of an exchange. `pages` has None for a look that wasn't needed: nothing is new.

    `commanded` says that an operator has acted: the dispatcher asks with the next exchange which of
    its loaded keys are held. `touched` are the lanes that operators have changed, with their
    destinations. `may_be_back` says that any lane may have changed. `shares` are the shards
    that the daemon has now; None if that wasn't asked.
    """

    events: list[Event]
    pulse: Pulse
    pages: list[Page | None]
    holds: Holds | None
    commanded: bool = False
    may_be_back: bool = False
    touched: Sequence[tuple[str, str | int]] = ()
    shares: Shares | None = None


@dataclass(slots=True)
class _OpenExchange:
    """One exchange and how much of it is done."""

    work: Work
    questions: Sequence[Question]
    loaded: Mapping[str, Sequence[str]] | None
    fresh: bool
    commanded: bool
    gave: frozenset[int]
    may_be_back: bool = False
    touched: list[tuple[str, str | int]] = field(default_factory=list)
    events: list[Event] | None = None
    shares: Shares | None = None


class Exchange:
    """Does exchanges with the database, and prolongs the lease in time."""

    def __init__(
        self,
        queue: OutboxWriter,
        looks: OutboxReader,
        run: Runner,
        *,
        clock: Clock,
        reporter: Reporter,
        rhythm: Rhythm,
    ) -> None:
        self._queue = queue
        self._looks = looks
        self._run = run
        self._clock = clock
        self._report = reporter
        self._ttl = rhythm.lease_ttl
        self._changed = rhythm.changed
        self._generation = -1
        self._pulse_at = 0.0
        self._held_back = False
        self._epoch = -1
        self._attend_at = 0.0
        self._shares = NOTHING
        self._holds_owed = True
        self._look_owed = True  # even if the database shows no change
        self.lease_until = rhythm.lease_taken_at + rhythm.lease_ttl
        self.tries = 0
        """How many exchanges were tried: it grows even while the database can't be reached."""

    def owe_a_look(self) -> None:
        """Look with the next exchange, even if the database shows no change."""
        self._look_owed = True

    def owe_holds(self) -> None:
        """Read the holds with the next exchange, even if no operator has acted."""
        self._holds_owed = True

    def set_lease(self, ttl: float) -> None:
        """Prolong the lease by `ttl` seconds from the next time on."""
        self._ttl = ttl

    async def __call__(
        self,
        work: Work,
        questions: Sequence[Question],
        stop: asyncio.Event,
        loaded: Mapping[str, Sequence[str]] | None = None,
        gave: frozenset[int] = frozenset(),
    ) -> ExchangeResult:
        """Do an exchange, and repeat it until it is done; during a stop only a few times.

        `loaded` are the keys, by destination, for which the result says whether they are held. With
        `gave` it gives back shards of which nothing is claimed once the work is done. A
        running daemon waits after every error of its database: a missing password or table may be
        back in a minute. Raises LeaseLost, and StoreUnavailable during a stop.
        """
        began, failures, tries_at_stop = self._clock.monotonic(), 0, 0
        talk = _OpenExchange(work, questions, loaded, self._look_owed, self._holds_owed, gave)
        self._look_owed = self._holds_owed = False
        while True:
            self.tries += 1
            asked_at = self._clock.monotonic()
            try:
                answer = await self._run(partial(self._converse, talk, stops=stop.is_set()))
            except (StoreUnavailable, AccessDenied, SchemaError) as error:
                failures += 1
                tries_at_stop += stop.is_set()
                if tries_at_stop > _TRIES_AT_STOP or isinstance(error, DatabaseAbandoned):
                    raise StoreUnavailable(error.message) from error
                counts = isinstance(error, AccessDenied) and self._changed is None  # not a file
                longest = _RETRY_REFUSED_MAX if counts else _RETRY_MAX
                retry = min(longest, 0.5 * 2.0 ** min(failures, 10))
                self._report.store_lost(error, retry, asked_at)
                await _wait(retry, stop)
                if self._changed is not None:
                    self._changed()  # closes a removed WAL file, so that it can be restored
            else:
                now = self._clock.monotonic()
                self._report.turned(now - asked_at, now, self.lease_until)
                if failures:
                    self._report.store_back(now - began)
                    self._look_owed = True
                return answer

    def _converse(self, talk: _OpenExchange, *, stops: bool) -> Steps[ExchangeResult]:
        """Do the exchange; after a failure, a new call continues it."""
        asked_at = self._clock.monotonic()
        pulses = self._is_pulse_due(talk, asked_at)
        now = [one.look for one in talk.questions if not (pulses or one.only_if_fresh)]
        follow = self._looks.following(pulse=pulses, questions=now)
        if talk.events is None:
            work = replace(talk.work, settled=self._looks.settled)
            talk.events = yield from self._queue.steps(work, follow)
        yield Mark.WAIT if self._looks.may_wait else Mark.AT_ONCE
        ttl = self._ttl  # a reload may change it while the lease is prolonged
        if self.lease_until - asked_at < ttl * 2 / 3:
            yield Mark.WAIT
            self._queue.renew()
            self.lease_until = asked_at + ttl
        pulse = self._pulse(talk, asked_at)
        if pulse.moved:
            # Before anything else is sent: the daemon's claims may be missing on this server.
            yield Mark.WAIT
            self._queue.renew()
            self.lease_until = asked_at + ttl
        if self._queue.attends and self._is_attention_due(talk, pulse, inf if stops else asked_at):
            yield Mark.WAIT
            self._attend(talk, pulse, asked_at, stops=stops)
        talk.fresh = talk.fresh or pulse.fresh
        if pulse.generation not in {-1, self._generation}:
            self._note_commands(talk, pulse.generation)
        holds = None if talk.loaded is None else self._looks.holds(talk.loaded)
        pages = [
            self._looks.page(question.look) if talk.fresh or not question.only_if_fresh else None
            for question in talk.questions
        ]
        more = (talk.commanded, talk.may_be_back, talk.touched, talk.shares)
        return ExchangeResult(talk.events, pulse, pages, holds, *more)

    def _is_attention_due(self, talk: _OpenExchange, pulse: Pulse, now: float) -> bool:
        """Return whether shards may have to change hands; if the daemon is alone, they don't."""
        moved = pulse.epoch not in {-1, self._epoch}
        is_shared = self._shares.daemons > 1 or len(self._shares.held) < SHARDS
        return moved or bool(talk.gave) or (is_shared and now >= self._attend_at)

    def _attend(self, talk: _OpenExchange, pulse: Pulse, now: float, *, stops: bool) -> None:
        shares = self._queue.attend(talk.gave, stops=stops)
        if shares is None:
            return  # the next exchange tries again
        self._shares = shares
        ended = () if talk.shares is None else talk.shares.ended
        talk.shares, talk.gave = shares._replace(ended=ended + shares.ended), frozenset()
        self._attend_at = now + _ATTEND_EVERY
        if pulse.epoch != -1:
            self._epoch = pulse.epoch

    def _note_commands(self, talk: _OpenExchange, generation: int) -> None:
        """Note which lanes operators have changed, or that any lane may have changed."""
        moved = generation - self._generation
        named = moved > 0 and moved % NAMED == 0
        if self._generation == -1:
            pass  # the first sweep sees all changes
        elif named and (touched := self._looks.touched(self._generation)) is not None:
            talk.touched += touched
        else:
            talk.may_be_back = True
        talk.commanded = True
        self._generation = generation

    def _is_pulse_due(self, talk: _OpenExchange, now: float) -> bool:
        return not talk.work or talk.fresh or now >= self._pulse_at

    def _pulse(self, talk: _OpenExchange, now: float) -> Pulse:
        if not self._is_pulse_due(talk, now):
            return Pulse(fresh=False, generation=-1, held_back=self._held_back)
        pulse = self._looks.pulse()
        self._pulse_at = now + _PULSE_EVERY
        self._held_back = pulse.held_back
        if pulse.damage:
            self._report.damaged(pulse.damage)
        return pulse


async def _wait(seconds: float, stop: asyncio.Event) -> None:
    """Wait for `seconds`, or for a moment if the daemon stops."""
    if stop.is_set():
        await asyncio.sleep(_WAIT_AT_STOP)
    else:
        await is_set_within(stop, seconds)
