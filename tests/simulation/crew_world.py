"""One run of several daemons: everything that a scenario says, on one loop; then the judgement.

It decides which invariants a run is asked, and what several daemons together may do: in flight at
most as many as the destination allows (at least one a daemon), and in any second its rate, with one
more for each daemon, as each spaces its own requests.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from shipper.drain import wait
from shipper.policy.shares import SHARDS
from shipper.store.db import transactions
from shipper.store.lease.lease import Owner
from shipper.store.report.verify import verify
from tests import invariants
from tests.evidence import Row, Terms, Written
from tests.simulation.crew import Crew, CrewLoop
from tests.simulation.crew_database import Server, losing_answers
from tests.simulation.crew_network import sea
from tests.simulation.crew_operators import CrewOperators
from tests.simulation.crew_scenario import Insert, Voyage, away, calm, embark, insert, outage
from tests.simulation.crew_troubles import Storm
from tests.simulation.network import digest
from tests.simulation.virtual import EPOCH
from tests.simulation.world import Result

OUTAGE = 1_000_000
"""From this seed on, the receiver is down all the time, and probes are counted."""
CALM = 2_000_000
"""From this seed on, one change of the crew comes after the other."""
AWAY = 3_000_000
"""From this seed on, the database is away for all daemons, longer than a lease."""
PATIENCE = 90.0
HEARTBEAT = 2.0
BALANCED_WITHIN = 30.0


class Space:
    """The clock of the evidence, on which nothing of the daemons depends."""

    def __init__(self, loop: CrewLoop) -> None:
        self.monotonic = loop.time

    def wall(self) -> float:
        """Return what the operators take for the time."""
        return EPOCH + self.monotonic()


def run(seed: int, server: Server) -> Result:
    """Run a seed from its beginning to its end."""
    drawn = {AWAY: away, CALM: calm, OUTAGE: outage, 0: embark}
    voyage = drawn[max(first for first in drawn if first <= seed)](seed)
    loop = CrewLoop()
    server.empty()
    try:
        with losing_answers() as replaced, ExitStack() as stack:
            for name, value in replaced.items():
                stack.enter_context(patch.object(transactions, name, value))
            # Polls cost most of a run, and show nothing.
            stack.enter_context(patch.object(wait, "_POLL_LEAST", 0.2))
            stack.enter_context(patch.object(wait, "_HELD_BACK_LEAST", 0.1))
            # None of their processes is one of this machine; to look costs as much as a poll.
            stack.enter_context(patch.object(Owner, "is_dead", lambda _: False))
            world = CrewWorld(voyage, loop, server)
            return world.judge(world.live())
    finally:
        loop.close()


class CrewWorld:
    """Everything there is in a run."""

    def __init__(self, voyage: Voyage, loop: CrewLoop, server: Server) -> None:
        self.voyage = voyage
        self.loop = loop
        self.server = server
        self.trace: list[str] = []
        self.written: list[Written] = []
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []
        self.healed = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        space = Space(loop)
        apis = {api.name: api for api in voyage.apis}
        self.seas = sea(loop, space, voyage.seed, apis, server.reader, self.note)
        self.seas.crowded = self._count
        self.crew = Crew(loop, voyage, server, self.seas, self.note)
        dice = random.Random(f"operators {voyage.seed}")
        self.operators = CrewOperators(server, space, loop.time, dice, self.note)
        self.seas.held_for = self.operators.held_for
        self.storm = Storm(voyage, self.crew, self.operators, self.counts)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.4f} {text}")

    # -- the run --------------------------------------------------------------------------------

    def live(self) -> list[str]:
        """Let everything happen; return what kept it from coming to an end."""
        try:
            self.loop.run_until_complete(self._run())
        except Exception as error:  # noqa: BLE001 - the seed has to be reported in any case
            return [f"{type(error).__name__}: {error}"]
        finally:
            self.loop.run_until_complete(self._clear())
        return []

    async def _clear(self) -> None:
        """End whatever is left of a run."""
        self.storm.is_over = True
        for sailor in self.crew.alive():
            sailor.kill()
        left = [*self.crew.lives, *self._tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for sailor in self.crew.sailors:
            await asyncio.gather(*sailor.tasks, return_exceptions=True)

    async def _run(self) -> None:
        for _ in range(self.voyage.daemons):
            self.crew.start()
        writing = asyncio.create_task(self._write_all())
        keeping = asyncio.create_task(self.storm.keep_two())
        self._tasks = [writing, keeping]
        await self.storm.rage()
        self.note("the troubles are over")
        self.seas.over = True
        await writing
        self.healed = self.loop.time()
        await self._dry()
        await self._share_out()
        self.storm.is_over = True
        for sailor in self.crew.alive():
            sailor.ask_to_stop()
        await asyncio.gather(*self.crew.lives, return_exceptions=True)

    async def _write_all(self) -> None:
        await asyncio.gather(*(self._write_later(one) for one in self.voyage.inserts))

    async def _write_later(self, one: Insert) -> None:
        await asyncio.sleep(max(0.0, one.at - self.loop.time()))
        if not one.open_for:
            self._write(self.server.reader, one)
            return
        connection = self.server.connect()
        connection.autocommit = False
        written = self._insert(connection, one)
        await asyncio.sleep(one.open_for)
        connection.commit()
        connection.close()
        self.written.append(written)

    def _write(self, connection: Any, one: Insert) -> None:
        self.written.append(self._insert(connection, one))

    def _insert(self, connection: Any, one: Insert) -> Written:
        values = (one.payload, one.destination, one.key, one.event_id)
        (row,) = connection.execute(_INSERT, values).fetchone()
        self.note(f"write {row} of {one.key}")
        body = digest(one.payload.encode())
        lane = row if one.key is None else one.key
        return Written(row, one.event_id, one.destination, lane, body)

    async def _dry(self) -> None:
        number, deadline = 100_000, self.loop.time() + PATIENCE
        while self._pending() and self.loop.time() < deadline:
            # A lone event that fails looks like an outage: others have to be accepted.
            for api in self.voyage.apis:
                number += 1
                self._write(self.server.reader, insert(number, 0.0, api.name, None))
            self.operators.release_everything([])
            await asyncio.sleep(HEARTBEAT)

    def _pending(self) -> bool:
        return self.server.reader.execute(_PENDING).fetchone() is not None

    async def _share_out(self) -> None:
        deadline = self.loop.time() + BALANCED_WITHIN
        while (wrong := self._unfair()) and self.loop.time() < deadline:
            await asyncio.sleep(1.0)
        self.found += wrong
        leads = [one.evidence.number for one in self.crew.alive() if self._leads(one)]
        if len(leads) != 1:
            self.found.append(f"{leads} lead")

    @staticmethod
    def _leads(sailor: Any) -> bool:
        return sailor.dispatcher is not None and sailor.dispatcher.shares.leads

    def _unfair(self) -> list[str]:
        shards = self.server.reader.execute(_SHARES).fetchall()
        alive = [one.token for one in self.crew.alive()]
        held = Counter(dict.fromkeys(alive, 0) | dict(shards))
        if held.keys() != set(alive):
            return [f"shards are shared out to {held}, and {alive} are there"]
        if sum(held.values()) != SHARDS or max(held.values()) - min(held.values()) > 1:
            return [f"shards are shared out as {held}"]
        believed = {one.token: one.dispatcher.shares for one in self.crew.alive() if one.dispatcher}
        wrong = {token: s for token, s in believed.items() if len(s.kept) != held[token]}
        return [f"daemons think that they have {wrong}"] if wrong else []

    def _count(self, name: str, there: Collection[int]) -> None:
        """Look at what is in flight as another try begins."""
        most = max(self.crew.highest[name][0], len(self.crew.alive()))
        if self.seas.under_way[name] > most:
            self.found.append(f"{self.seas.under_way[name]} in flight at {name}, {most} may be")
        self.crew.look_around(there)

    # -- the judgement --------------------------------------------------------------------------

    def judge(self, found: list[str]) -> Result:
        """Ask every invariant."""
        seas, operators = self.seas, self.operators
        seas.keep_diary()
        requests, moves = seas.requests, seas.moves
        processes = [sailor.evidence for sailor in self.crew.sailors]
        rows = {row.id: row for row in self._rows()}
        terms = {api.name: self._terms(api.name, api) for api in self.voyage.apis}
        found = [
            *found,
            *self.found[:5],
            *self.crew.leaders[:5],
            *self.crew.bounds.broken[:5],
            *seas.strays[:5],
            *invariants.nothing_is_lost(self.written, rows),
            *invariants.nothing_is_a_phantom(requests, self.written, processes),
            *invariants.keys_are_in_order(requests, operators.retried),
            *invariants.one_of_a_key_at_a_time(requests),
            *invariants.repeats_are_few_and_immediate(requests, moves, processes, terms),
            *invariants.identity_never_changes(requests, rows),
            *invariants.delivered_means_received(requests, moves, processes),
            *invariants.states_only_go_forward(moves),
            *invariants.outages_cost_nothing(requests, moves, processes, self.written, terms),
            *invariants.everything_ends(rows),
            *invariants.stops_are_clean(processes, requests, terms),
            *invariants.held_is_held(self._unstopped(requests), self.voyage.poll + 1.0),
            *self._pauses(terms),
            *self._rates(),
            *self._probes(),
            *self._ended_alive(),
            *self._left_behind(),
            *(
                f"event {row} was under way when its daemon ended, and that was forgotten"
                for row in seas.forgotten
                if row not in operators.retried
            ),
        ]
        if not found:
            found += [f"verify: {one.message}" for one in verify(self.server.operator) if one.fault]
        counts = Counter(
            {
                "events": len(self.written),
                "requests": len(requests),
                "steps": self.loop.steps,
                "daemons": len(processes),
                "virtual seconds": int(self.loop.time()),
                "repeats": len(requests) - len({r.id for r in requests}),
                **Counter(f"ended: {process.end}" for process in processes),
                **Counter(f"bound: {why}" for why in self.crew.bounds.asked),
            }
        )
        return Result(self.voyage.seed, found, self.trace, self.counts + counts)

    def _unstopped(self, requests: Iterable[Any]) -> list[Any]:
        """Return what was sent by daemons whose way to the operators' word was open."""
        slow = {
            one.evidence.number
            for one in self.crew.sailors
            if one.evidence.number in self.storm.deaf
        }
        return [request for request in requests if request.process not in slow]

    def _pauses(self, terms: dict[str, Terms]) -> list[str]:
        unlimited = {
            name: Terms(t.timeout, t.max_in_flight, 0.0, t.max_attempts, t.witness_seconds)
            for name, t in terms.items()
        }
        return invariants.the_receiver_is_spared(
            self.seas.requests, unlimited, self.operators.released
        )

    def _rates(self) -> list[str]:
        found = []
        for name, (_, rate) in self.crew.highest.items():
            began = [one.began for one in self.seas.requests if one.destination == name]
            daemons = max(1, self.storm.most_alive)
            if rate:
                found += invariants._too_fast(began, rate + daemons)
        return found

    def _probes(self) -> list[str]:
        """Return where a receiver that is down was asked more often than twice as one daemon asks."""
        if "outage" not in self.voyage.kinds:
            return []
        [api] = self.voyage.apis
        [down] = api.weather
        known = [r.began for r in self.seas.requests if r.probing and r.began < down.end]
        begin = min(known, default=down.end) + 2 * api.probe_max_delay
        probes = [at for at in known if at >= begin]
        most = 2 * (down.end - begin) / api.probe_max_delay + len(self.crew.sailors)
        self.counts["probes"] += len(probes)
        return [f"{len(probes)} probes, {most:.1f} may be"] if len(probes) > most else []

    def _ended_alive(self) -> list[str]:
        """Return the daemons that others have ended, though none was worse off than they."""
        return [
            f"daemon {one.evidence.number} was ended, and it could always write when others could"
            for one in self.crew.sailors
            if one.evidence.end == "lost" and one.evidence.number not in self.storm.deaf
        ]

    def _left_behind(self) -> list[str]:
        """Return what daemons have left that all have stopped cleanly."""
        if any(one.evidence.end == "killed" for one in self.crew.sailors[-1:]):
            return []
        left = self.server.reader.execute(_LEFT).fetchone()
        return [f"daemons, shards, claims left behind: {left}"] if any(left or ()) else []

    def _rows(self) -> Iterable[Row]:
        for row, event_id, destination, key, payload, status, error in self.server.reader.execute(
            _ROWS
        ).fetchall():
            lane = row if key is None else key
            yield Row(row, event_id, destination, lane, digest(payload.encode()), status, error)

    def _terms(self, name: str, api: Any) -> Terms:
        places, rate = self.crew.highest[name]
        return Terms(api.timeout, places, rate, api.max_attempts, 60.0)


_INSERT = (
    "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
    " VALUES (%s, %s, %s, %s) RETURNING id"
)
_PENDING = "SELECT 1 FROM shipper_outbox WHERE status = 'pending' LIMIT 1"
_SHARES = "SELECT token, count(*) FROM shipper_shard GROUP BY token"
_LEFT = (
    "SELECT (SELECT count(*) FROM shipper_daemon), (SELECT count(*) FROM shipper_shard WHERE token"
    " IS NOT NULL), (SELECT count(*) FROM shipper_claim)"
)
_ROWS = (
    "SELECT id, event_id, destination, ordering_key, CAST(payload AS text), status, last_error"
    " FROM shipper_outbox ORDER BY id"
)
