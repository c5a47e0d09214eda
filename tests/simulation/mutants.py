"""The design with one bug planted in it: what the simulation has to catch, or it is worth nothing.

Each plants its bug in the product for the length of a run, as small as a slip of the pen would
be. `test_mutants.py` has the seed that catches each; `python -m tests.simulation --mutants` looks
for them anew.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any
from unittest.mock import patch

from shipper.daemon import step_runner
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.step_runner import StepRunner
from shipper.drain import courier
from shipper.drain.dispatcher import Dispatcher
from shipper.drain.exchange import Exchange, ExchangeResult
from shipper.drain.flights import Flights
from shipper.drain.lookahead import Lookahead
from shipper.drain.route import Route
from shipper.drain.routes import Routes
from shipper.errors import StoreUnavailable
from shipper.policy import blame, delivery, outcome, partial_outage
from shipper.policy.blame import Contrast, Try
from shipper.policy.delivery import Blame, RetryPolicy, Status, Verdict
from shipper.policy.event import Event
from shipper.policy.lanes import Lanes
from shipper.policy.lanes.failed import Failed
from shipper.policy.lanes.lane import Lane
from shipper.policy.lanes.overlooked import Overlooked
from shipper.policy.lanes.phase import IDLE, IN_FLIGHT
from shipper.policy.link import Link
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.pace import Pace
from shipper.policy.partial_outage import Crowd
from shipper.store.db.sqlite import opening
from shipper.store.db.transactions import writing
from shipper.store.drain import record as recording
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Pulse
from shipper.store.drain.queue import Queue
from shipper.store.lease import claims, file_lock, recovery
from shipper.store.lease.claims import ClaimBook
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.sole import Sole
from shipper.system.steps import Mark, Steps
from tests.planting import Plants

mutant = MUTANTS = Plants()
planted = MUTANTS.planted


# -- the way of an event --------------------------------------------------------------------------


@mutant
def marked_before_the_answer() -> Any:
    """A timeout after the bytes had left counts as delivered."""
    original = outcome.classify

    def classify(answer: Any, *others: Any) -> Outcome:
        found = original(answer, *others)
        if found.maybe_received:
            return Outcome(Kind.ACCEPTED, cause="accepted", status_code=202)
        return found

    return patch.object(courier, "classify", classify)


@mutant
def sent_before_the_claim_is_committed() -> Any:
    """What is asked for is sent at once; the claim is written with the next turn."""
    return patch.object(Queue, "_claim", lambda *_: None)


@mutant
def claim_without_fsync() -> Any:
    """Commits are on disk some time later."""

    def _set_up_sqlite(connection: Any) -> None:
        original(connection)
        connection.execute("PRAGMA synchronous = NORMAL")

    original = opening._set_up_sqlite
    return patch.object(opening, "_set_up_sqlite", _set_up_sqlite)


@mutant
def claim_forgotten_with_the_first_of_it() -> Any:
    """A claim ends when the first of its events does, though others are in flight."""

    def changes(self: ClaimBook, recorded: Any, released: Any) -> Any:
        over, kept = original(self, recorded, released)
        some = {self._number[row] for row in recorded if row in self._number}
        return sorted(some.union(over)), {n: ids for n, ids in kept.items() if n not in some}

    original = ClaimBook.changes
    return patch.object(ClaimBook, "changes", changes)


@mutant
def state_is_a_cursor() -> Any:
    """The scan remembers how far it came and never goes back, not even for a lane."""

    def take_page(self: Lanes, lane: Any, page: Any, limit: int, now: float) -> list[int]:
        seen = self.__dict__.setdefault("cursor", {})
        fresh = [candidate for candidate in page if candidate.id > seen.get(lane.name, 0)]
        if fresh:
            seen[lane.name] = fresh[-1].id
        return original(self, lane, fresh, limit, now)

    original = Lanes.take_page
    return patch.object(Lanes, "take_page", take_page)


@mutant
def two_of_a_key_in_flight() -> Any:
    """A lane stands in the ready line again as soon as its head is under way."""

    def start(self: Lanes, *, probing: bool) -> Any:
        lane = original(self, probing=probing)
        if lane is None or len(lane.queue) < 2:
            return lane
        # What is claimed still keeps the lane of the first from being forgotten when that ends.
        first = Lane(lane.name, IN_FLIGHT, [lane.queue.pop(0)], claiming=1, again=lane.again)
        lane.phase, lane.again = IDLE, False
        self._place(lane)
        return first

    original = Lanes.start
    return patch.object(Lanes, "start", start)


@mutant
def place_freed_before_it_is_recorded() -> Any:
    """A place in flight is free as soon as the answer is there."""
    return patch.object(Flights, "in_flight", property(lambda self: len(self.under_way)))


@mutant
def next_of_the_key_while_the_commit_is_pending() -> Any:
    """The drain goes on as soon as COMMIT is handed to the database's thread."""

    async def call(self: StepRunner, work: Any) -> Any:
        [talk] = work.args
        if (
            talk.questions
            or talk.loaded is not None
            or talk.work.wanted
            or not self._thread.is_idle
        ):
            return await original(self, work)
        progress = step_runner._Progress(work())
        self._step(progress)
        if progress.mark is not Mark.COMMIT:
            return await original(self, work)
        rest = partial(self._step_until, progress, None)
        pending.append(asyncio.ensure_future(self._thread.run(rest, has_begun=True)))
        return ExchangeResult([], Pulse(fresh=False, generation=-1), [], None)

    pending: list[Any] = []
    original = StepRunner.__call__
    return patch.object(StepRunner, "__call__", call)


@mutant
def next_of_the_key_before_the_record() -> Any:
    """The next of a lane starts with the answer to its predecessor."""

    def _end(self: Flights, lane: Any, result: Any, blame: Blame) -> None:
        original(self, lane, result, blame)
        ended = self._ended[-1]
        if ended.record.verdict.status is Status.DELIVERED and len(lane.queue) > 1:
            self._lanes.finish(lane)
            early.add(id(ended))

    def recorded(self: Route, ended: Any) -> None:
        if id(ended) in early:
            early.discard(id(ended))
            self.flights.unrecorded -= 1
        else:
            original_recorded(self, ended)

    early: set[int] = set()
    original, original_recorded = Flights._end, Route.recorded
    stack = ExitStack()
    stack.enter_context(patch.object(Flights, "_end", _end))
    stack.enter_context(patch.object(Route, "recorded", recorded))
    return stack


@mutant
def an_answer_goes_to_the_try_that_began_last() -> Any:
    """All tries call the same function back: that of the last of them."""

    def begin(self: Any, event: Event, done: Any, **when: float) -> Any:
        self.__dict__["last"] = done
        return original(self, event, lambda result: self.last(result), **when)

    original = courier.Courier.begin
    return patch.object(courier.Courier, "begin", begin)


@mutant
def a_try_reports_its_answer_twice() -> Any:
    """Once with its answer, and once more with the end of its connection."""

    def begin(self: Any, event: Event, done: Any, **when: float) -> Any:
        def twice(result: Any) -> None:
            done(result)
            done(result)

        return original(self, event, twice, **when)

    original = courier.Courier.begin
    return patch.object(courier.Courier, "begin", begin)


@mutant
def what_was_answered_stays_under_way() -> Any:
    """The place of a try that failed isn't given back."""

    def _answered(self: Flights, lane: Any, number: int, result: Any) -> None:
        one = self.under_way[number]
        original(self, lane, number, result)
        if result.outcome.kind is Kind.TRANSIENT:
            self.under_way[number] = one

    original = Flights._answered
    return patch.object(Flights, "_answered", _answered)


@mutant
def idempotency_key_of_the_try() -> Any:
    """Each try has a key of its own."""

    def begin(self: Any, event: Event, done: Any, **when: float) -> Any:
        number = next(numbers)
        return original(self, event._replace(event_id=f"{event.event_id}.{number}"), done, **when)

    numbers = iter(range(10**9))
    original = courier.Courier.begin
    return patch.object(courier.Courier, "begin", begin)


@mutant
def record_dropped_when_the_database_fails() -> Any:
    """What can't be written is forgotten."""

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        try:
            return (yield from original(self, work, follow))
        except StoreUnavailable:
            return []

    original = Queue.steps
    return patch.object(Queue, "steps", steps)


@mutant
def the_dead_are_deleted() -> Any:
    """A dead letter's row goes away."""

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        events = yield from original(self, work, follow)
        yield Mark.WAIT
        with writing(self._engine) as tx:
            tx.exec_driver_sql("DELETE FROM shipper_outbox WHERE status = 'dead'")
        return events

    original = Queue.steps
    return patch.object(Queue, "steps", steps)


@mutant
def a_failure_costs_two() -> Any:
    """What is charged once is counted twice."""

    def postponed(attempts: int, wait: float, *, charged: bool = False, **more: Any) -> Verdict:
        return original(attempts + charged, wait, charged=charged, **more)

    original = delivery.postponed
    return patch.object(delivery, "postponed", postponed)


@mutant
def done_twice_when_the_answer_is_lost() -> Any:
    """A commit whose answer was lost is done again, and what it has recorded is counted again."""

    def steps(self: Queue, work: Any, follow: Any) -> Steps[list[Event]]:
        yield Mark.WAIT
        with writing(self._engine) as tx:
            self._turn = self._tenure.hold(tx, self._turn)
        return (yield from original(self, work, follow))

    original = Queue.steps
    stack = ExitStack()
    stack.enter_context(patch.object(Queue, "steps", steps))
    stack.enter_context(patch.object(recording, "_written", lambda _, __, records, ___: records))
    return stack


@mutant
def stale_lease_accepted() -> Any:
    """Who was taken over goes on writing."""

    def _advance(self: Queue, channel: Any, turn: Any, by: Any) -> Any:
        last = Sole()._last(channel.tx)
        turn = turn._replace(number=last.number + 1, token=last.token)
        return original(self, channel, turn, by)

    original = Queue._advance
    return patch.object(Queue, "_advance", _advance)


@mutant
def the_lock_file_is_the_only_lock() -> Any:
    """Who removes it lets a second daemon in."""
    return patch.object(file_lock, "_guarded", lambda _: None)


@mutant
def the_other_lock_is_on_the_lock_file() -> Any:
    """Both locks are gone when the file is, or when another one hides it."""

    def acquire(self: FileLock) -> None:
        database, self._database = self._database, self.path
        try:
            original(self)
        finally:
            self._database = database

    original = FileLock.acquire
    return patch.object(FileLock, "acquire", acquire)


@mutant
def a_lock_file_is_known_by_its_name() -> Any:
    """Whatever lies in its place is taken for the one that is locked."""
    return patch.object(FileLock, "is_lost", lambda self: not self.path.exists())


@mutant
def a_lock_file_is_taken_once() -> Any:
    """The daemon never looks whether it is still there."""
    return patch.object(FileLock, "is_lost", lambda _: False)


@mutant
def a_disk_that_is_full_at_the_start_is_a_bug() -> Any:
    """How long to wait for the database is looked up by the exact class of its error."""

    def insist(self: Any, work: Any, patience: Any, *others: Any) -> Any:
        def strict() -> Any:
            try:
                return work()
            except tuple(patience) as failure:
                _ = patience[type(failure)]
                raise

        return original(self, strict, patience, *others)

    original = DatabaseThread.insist
    return patch.object(DatabaseThread, "insist", insist)


# -- after a crash --------------------------------------------------------------------------------


@mutant
def nothing_may_have_been_received() -> Any:
    """After a crash, claims are forgotten without a look at them."""
    return patch.object(recovery, "first_of_each_lane", lambda claims, pending: [])


@mutant
def maybe_received_goes_by_its_id() -> Any:
    """What may have been received waits behind a retried dead letter of a smaller id."""

    def page(self: Looks, question: Any) -> Any:
        found = original(self, question)
        is_first = question.kind == "maybe_received"
        rows = [] if is_first else sorted(found.rows, key=lambda row: row.id)
        return found._replace(rows=rows)

    original = Looks.page
    return patch.object(Looks, "page", page)


@mutant
def last_claimed_counts_as_sent() -> Any:
    """After a crash, of each lane the event that was claimed last is taken for the one in flight."""

    def first_of_each_lane(found: Any, pending: Any) -> list[int]:
        backwards = [
            (number, claims.dump_ids(reversed(claims.load_ids(ids)))) for number, ids in found
        ]
        return original(list(reversed(backwards)), pending)

    original = claims.first_of_each_lane
    return patch.object(recovery, "first_of_each_lane", first_of_each_lane)


@mutant
def gap_in_a_claim_is_sent_first() -> Any:
    """What follows an event that there was no room for is claimed all the same."""

    def take_claims(self: Lookahead, asked: Any, claimed: Any) -> None:
        for row, lane in asked:
            if row in claimed:
                self.lanes._lanes[lane].gap = False
                self.lanes.load(claimed[row])
            else:
                self.lanes.missed(lane, row)

    return patch.object(Lookahead, "take_claims", take_claims)


# -- whose fault it is ----------------------------------------------------------------------------


@mutant
def outage_burns_attempts() -> Any:
    """Whatever fails is charged to its event, whether or not anything works."""
    charged = {Kind.TRANSIENT, Kind.MISCONFIGURED}

    def _fail(self: Link, attempt: Try, found: Outcome, *more: Any) -> Blame:
        original(self, attempt, found, *more)
        return Blame.EVENT if found.kind in charged else Blame.NEITHER

    original = Link._fail
    return patch.object(Link, "_fail", _fail)


@mutant
def refused_credentials_bury() -> Any:
    """401 and 403 are taken for an answer about the event."""
    found = outcome._REFUSED | {401, 403}
    return patch.multiple(
        outcome, _REFUSED=found, _MISCONFIGURED=outcome._MISCONFIGURED - {401, 403}
    )


@mutant
def retry_after_ignored() -> Any:
    """A pause that the destination asks for is as long as any other."""

    def _throttle(self: Link, found: Outcome, *more: Any) -> None:
        original(self, found._replace(retry_after=None), *more)

    original = Link._throttle
    return patch.object(Link, "_throttle", _throttle)


@mutant
def portal_is_an_answer() -> Any:
    """A web page with status 200 is taken for the API's word."""
    return patch.object(outcome, "_is_portal", lambda reply: False)


@mutant
def everything_refused_kills_everything() -> Any:
    """However many are refused in a row, each is its own fault."""
    return patch.object(blame, "LANES_REFUSED_TO_PAUSE", 10**6)


@mutant
def refusals_forgotten_by_a_restart() -> Any:
    """A new process doesn't know that everything is refused."""

    def resume(self: Link, *values: Any, **times: Any) -> None:
        original(self, *values, **times)
        self.contrast.refuses_all = False

    original = Link.resume
    return patch.object(Link, "resume", resume)


@mutant
def probes_are_always_the_same_event() -> Any:
    """While the link is down, the lane that failed goes first again."""

    def retry(self: Lanes, lane: Any, head: Event, *, first: bool) -> None:
        original(self, lane, head, first=True)

    original = Lanes.retry
    return patch.object(Lanes, "retry", retry)


@mutant
def a_link_that_is_down_sends_all() -> Any:
    """Whatever the link's state, as many go out as are allowed when it is ready."""

    def allowance(self: Link, now: float, in_flight: int) -> int:
        due = self.next_try_at is None or now >= self.next_try_at
        return max(0, self.max_in_flight - in_flight) if due and not self.held else 0

    return patch.object(Link, "allowance", allowance)


@mutant
def a_partial_outage_is_charged() -> Any:
    """However many fail at the same time, each is its own fault."""
    return patch.object(Crowd, "spares", lambda self, found, now: False)


@mutant
def a_firewall_is_a_partial_outage() -> Any:
    """If many requests get an answer about themselves, they are spared too."""

    def failed(self: Crowd, lane: Any, found: Outcome, now: float) -> None:
        original(self, lane, found._replace(kind=Kind.TRANSIENT), now)

    original = Crowd.failed
    stack = ExitStack()
    stack.enter_context(patch.object(partial_outage, "is_definite", lambda found: False))
    stack.enter_context(patch.object(Crowd, "failed", failed))
    return stack


@mutant
def one_refused_request_pauses_the_link() -> Any:
    """The first 403 is believed, whatever was accepted a moment ago."""
    return patch.object(Contrast, "_is_suspicion", lambda self, *_: False)


@mutant
def late_failures_speak_against_the_link() -> Any:
    """What has failed counts, although others that were begun later have been accepted."""

    def failed(self: Contrast, attempt: Try, *values: Any, **more: Any) -> Any:
        late = attempt._replace(number=max(attempt.number, self._accepted + 1))
        return original(self, late, *values, **more)

    original = Contrast.failed
    return patch.object(Contrast, "failed", failed)


@mutant
def what_was_overlooked_is_forgotten() -> Any:
    """What follows a head that waits and isn't remembered is taken for the beginning of its lane."""
    return patch.object(Overlooked, "__contains__", lambda self, lane: False)


@mutant
def who_is_not_remembered_fails_for_the_first_time() -> Any:
    """With a lane it is forgotten when its event failed first."""
    return patch.object(Failed, "streak_of", lambda self, event: None)


@mutant
def what_a_command_names_is_not_looked_at() -> Any:
    """The daemon notices a command, and fetches none of the lanes that it has touched."""
    return patch.object(Lanes, "refetch", lambda self, name: None)


@mutant
def budget_is_endless() -> Any:
    """What is charged is never enough."""

    def verdict_of(*values: Any, **more: Any) -> Verdict:
        policy = replace(more.pop("policy"), max_attempts=10**9)
        return original(*values, policy=policy, **more)

    original = delivery.verdict_of
    return patch.object(delivery, "verdict_of", verdict_of)


# -- operators, clocks, the end -------------------------------------------------------------------


@mutant
def retry_overtakes_what_is_in_flight() -> Any:
    """A retried dead letter doesn't wait for its key's event in flight."""

    def takes(self: Lanes, candidate: Any, now: float, **more: Any) -> bool:
        lane = self._lanes.get(candidate.lane)
        if lane is not None and candidate.id < lane.last_id and lane.phase is IN_FLIGHT:
            del self._lanes[candidate.lane]
        return original(self, candidate, now, **more)

    original = Lanes.takes
    return patch.object(Lanes, "takes", takes)


@mutant
def holds_are_not_seen() -> Any:
    """The daemon doesn't notice an operator's command."""

    def _apply_holds(self: Dispatcher, holds: Any, now: float, **_: Any) -> None:
        return None

    return patch.object(Dispatcher, "_apply_holds", _apply_holds)


@mutant
def a_release_waits_for_the_end_of_a_pause() -> Any:
    """What the destination asked for counts more than an operator's word."""
    return patch.object(Link, "release", Link.probe_at_once)


@mutant
def waits_by_the_wall_clock() -> Any:
    """When the clock was set back, an event waits until it is right again."""

    def due_in(
        self: RetryPolicy, next_attempt_at: float | None, _attempts: int, wall: float
    ) -> float:
        return max(0.0, (next_attempt_at or wall) - wall)

    return patch.object(RetryPolicy, "due_in", due_in)


@mutant
def stops_at_once() -> Any:
    """What is in flight when the daemon stops is cut off, and its claim forgotten."""

    async def _wind_down(self: Dispatcher) -> int:
        self._stop.set()
        for one in self.routes.values():
            one.lanes.unload_all()
            one.lanes.loaded.released += [
                lane.head.id for lane in one.lanes._lanes.values() if lane.queue
            ]
        await self._converse([])
        return self._routes.under_way()

    return patch.object(Dispatcher, "_wind_down", _wind_down)


@mutant
def goes_on_sending_while_it_stops() -> Any:
    """A stop is noticed only when there is nothing to do."""

    async def _wind_down(self: Dispatcher) -> int:
        for _ in range(3):
            for one in self.routes.values():
                one.start(inf)
            cut_off = await original(self)
        return cut_off

    original = Dispatcher._wind_down
    return patch.object(Dispatcher, "_wind_down", _wind_down)


@mutant
def pace_is_not_kept() -> Any:
    """max_rate is read and not obeyed."""
    return patch.object(Pace, "wait", lambda self, now: 0.0)


@mutant
def probe_waits_for_no_pace() -> Any:
    """The tick turns in circles while the probe's time has come and the pace's hasn't."""

    def next_event(self: Route, now: float) -> float | None:
        found = original(self, now)
        probe = self.link.next_probe() if self.lanes.startable() and self.open else None
        return found if probe is None or found is None else min(found, probe)

    original = Route.next_event
    return patch.object(Route, "next_event", next_event)


@mutant
def the_answer_is_kept_with_the_secret_in_it() -> Any:
    """What a receiver echoes of the API ID ends up in the history."""
    return patch.object(courier, "masked", lambda answer, *_: answer)


@mutant
def a_route_begins_beside_the_one_that_it_replaces() -> Any:
    """What is in flight at the old one isn't waited for."""

    def _changed(self: Routes) -> None:
        self._at_work = [*self._leaving.values(), *self.named.values()]

    return patch.object(Routes, "_changed", _changed)


@mutant
def a_route_that_leaves_records_nothing() -> Any:
    """It is forgotten as soon as another has its name, with what it has in flight."""
    return patch.object(Route, "has_left", lambda self: True)


@mutant
def a_new_route_knows_of_no_holds() -> Any:
    """What is held is read when an operator acts, and not when a destination is replaced."""
    return patch.object(Exchange, "owe_holds", lambda self: None)


@mutant
def what_stays_loaded_forgets_its_failures() -> Any:
    """An event that waits and stays loaded is tried again as if it were new."""

    def postpone(self: Lanes, lane: Any, due: float, *, stays: Any = None, **more: Any) -> bool:
        return original(self, lane, due, stays=stays and lane.head, **more)

    original = Lanes.postpone
    return patch.object(Lanes, "postpone", postpone)


@mutant
def what_stays_loaded_loses_its_claim() -> Any:
    """The claims of a lane that waits are released, though its events stay loaded."""

    def postpone(self: Lanes, lane: Any, due: float, **more: Any) -> bool:
        stays = original(self, lane, due, **more)
        if stays:
            self.loaded.released += [event.id for event in lane.queue]
        return stays

    original = Lanes.postpone
    return patch.object(Lanes, "postpone", postpone)
