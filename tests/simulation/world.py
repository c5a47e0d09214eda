"""One run: everything that a scenario says, on one loop; then the judgement."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import connect_sqlite
from shipper.store.report.verify import verify
from tests import invariants
from tests.evidence import Move, Process, Request, Row, Sample, Terms, Written
from tests.simulation.applications import Application
from tests.simulation.daemon import Life, Machine
from tests.simulation.database import fresh_file
from tests.simulation.network import API_ID, ENDLESS_PAUSES, PAUSES, Network, digest
from tests.simulation.operators import Operators
from tests.simulation.scenario import PARTIAL, Scenario, draw, healthy
from tests.simulation.troubles import Troubles
from tests.simulation.virtual import MachineTime, VirtualLoop

HEARTBEAT = 5.0
PATIENCE = 600.0
"""Virtual seconds after which whatever is still pending will never end."""
# So many are needed to look at everything page by page.
MOST_TALKS = 400
# What is asked of the database takes effect with the next turn; one that is under way ends first.
TURN = 0.1


@dataclass(slots=True)
class Result:
    """What came of a seed."""

    seed: int
    violations: list[str]
    trace: list[str]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def fingerprint(self) -> str:
        """Return what is the same if and only if the run was the same."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()


def run(seed: int) -> Result:
    """Run a seed from its beginning to its end."""
    loop = VirtualLoop()
    try:
        with fresh_file() as path:
            world = World(draw(seed), loop, path)
            try:
                with world.machine.in_place():
                    stuck = world.live(loop)
                return world.judge(stuck)
            finally:
                world.close()
    finally:
        loop.close()


def run_quietly(seed: int) -> Result:
    """Run a seed without keeping its trace."""
    result = run(seed)
    if not result.violations:
        result.trace.clear()
    return result


class World:
    """Everything there is in a run."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, path: Path) -> None:
        self.scenario = scenario
        self.loop = loop
        self.time = MachineTime(loop)
        self.path = path
        self.trace: list[str] = []
        self.written: list[Written] = []
        self.samples: list[Sample] = []
        self.counts: Counter[str] = Counter()
        self.healed = self.dried = 0.0
        self.reader: Any = connect_sqlite(path, busy_timeout=0.0)
        self.dice = random.Random(f"world {scenario.seed}")
        self.network = Network(
            loop,
            self.time,
            random.Random(f"network {scenario.seed}"),
            {api.name: api for api in scenario.apis},
            self.reader,
            self.note,
            pauses=ENDLESS_PAUSES if scenario.is_impatient else PAUSES,
        )
        self.machine = Machine(loop, self.time, scenario, path, self.network, self.note)
        self.applications = [
            Application(path, scenario, self.written.extend, self.note)
            for _ in range(len(scenario.applications) + 1)
        ]
        self.operators = Operators(
            path,
            self.time,
            loop.time,
            random.Random(f"operators {scenario.seed}"),
            self.reader,
            self.note,
        )
        self.network.held_for = self.operators.held_for
        self.machine.on_exchange = self._watch
        self._talks, self._busy = 0, (0, 0, 0)
        self.troubles = Troubles(
            scenario, self.machine, self.operators, self.applications[-1], self.counts
        )

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.4f} {text.replace(str(self.path), 'PATH')}")

    # -- the run --------------------------------------------------------------------------------

    def live(self, loop: VirtualLoop) -> list[str]:
        """Let everything happen; return what kept it from coming to an end."""
        try:
            loop.run_until_complete(self.run())
        except Exception as error:  # noqa: BLE001 - the seed has to be reported in any case
            self.machine.ask_to_stop()
            for life in self.machine.alive():
                life.kill()
            return [f"{type(error).__name__}: {error}"]
        return []

    async def run(self) -> None:
        """Let the troubles come, then go; wait until everything has ended."""
        running = asyncio.create_task(self.machine.keep_running())
        writing = [
            asyncio.create_task(application.run(transactions))
            for application, transactions in zip(
                self.applications[:-1], self.scenario.applications, strict=True
            )
        ]
        troubling = asyncio.create_task(self.troubles.run())
        await asyncio.sleep(self.scenario.chaos)
        troubling.cancel()
        await asyncio.gather(troubling, return_exceptions=True)
        self.note("the troubles are over")
        self.network.over = True
        await asyncio.gather(*writing)
        await self.troubles.end()
        self.healed = self.time.monotonic()
        await self._dry()
        self.dried = self.time.monotonic()
        self.machine.over = True
        self.machine.ask_to_stop()
        await running

    async def _dry(self) -> None:
        number = 100_000
        names = [api.name for api in self.scenario.apis]
        deadline = self.loop.time() + PATIENCE
        while self._pending() and self.loop.time() < deadline:
            number += 1
            # A lone event that fails looks like an outage: others have to be accepted.
            for api in self.scenario.apis:
                self.applications[-1].write_at_once(healthy(number, api.name, "later"))
            # If a dead letter holds its key, an operator has to release it.
            self.operators.release_everything(names)
            if self.scenario.is_impatient:
                self.operators.release_throttled()
            await asyncio.sleep(HEARTBEAT)

    def _pending(self) -> bool:
        return bool(self.reader.execute(_PENDING).fetchone())

    def close(self) -> None:
        """Close what is open."""
        self.reader.close()
        for application in self.applications:
            application.close()
        self.operators.close()

    def _watch(self, life: Life) -> None:
        """Look at what a process holds, after each of its talks with the database."""
        if life.session is None:
            return
        bounds = self.scenario.bounds
        for route in life.session.dispatcher.routes.values():
            room = bounds.window + bounds.depth + bounds.page
            self._sample("events loaded", len(route.lanes.loaded.ids), room)
            self._sample("asked for", len(route.ahead.wanted), room)
        # A talk that nothing came before and nothing follows from is one too many.
        busy = (len(self.network.requests), self.network.settled, int(self.loop.time()))
        self._talks = 0 if busy != self._busy else self._talks + 1
        self._busy = busy
        self._sample("talks about nothing in a second", self._talks, MOST_TALKS)

    def _sample(self, what: str, value: float, bound: float) -> None:
        if value > bound:
            self.samples.append(Sample(what, value, bound))

    # -- the judgement --------------------------------------------------------------------------

    def judge(self, found: list[str]) -> Result:
        """Ask every invariant."""
        requests = self.network.requests
        processes = [life.evidence for life in self.machine.lives]
        rows = {row.id: row for row in self._rows()}
        moves = [Move(*row) for row in self.reader.execute(_DIARY)]
        terms = {api.name: self._terms(api) for api in self.scenario.apis}
        self._note_reigns(processes)
        # If an operator let two daemons run on one file, no order is promised.
        split = any(process.taken_over is not None for process in processes)
        ordered = [] if split else requests
        over = {process.number: process.taken_over for process in processes}
        claimed = [r for r in requests if (end := over[r.process]) is None or r.began < end]
        # What a process sent that another had taken the outbox from, nobody can know of; and such a
        # one itself may look too late.
        stray = {r.id for r in requests if (end := over[r.process]) is not None and r.began >= end}
        for process in processes:
            known = {} if process.taken_over is not None else process.recovered or {}
            process.recovered = {row: counts for row, counts in known.items() if row not in stray}
        found = [
            *found,
            *self.machine.intrusions,
            *invariants.nothing_is_lost(self.written, rows),
            *invariants.nothing_is_a_phantom(claimed, self.written, processes),
            *invariants.keys_are_in_order(ordered, self.operators.retried),
            *invariants.one_of_a_key_at_a_time(ordered),
            *invariants.repeats_are_few_and_immediate(ordered, moves, processes, terms),
            *invariants.identity_never_changes(requests, rows),
            *invariants.delivered_means_received(requests, moves, processes),
            *invariants.states_only_go_forward(moves),
            *invariants.outages_cost_nothing(requests, moves, processes, self.written, terms),
            *self._of_partial_outages(requests, rows),
            *invariants.everything_ends(rows),
            *invariants.the_receiver_is_spared(requests, terms, self.operators.released),
            *invariants.everything_is_bounded(self.samples, requests, terms),
            *invariants.clocks_mean_nothing(self._moments(moves), self.healed, self._longest()),
            *invariants.stops_are_clean(processes, requests, terms),
            *invariants.held_is_held(ordered, 2 * self.scenario.disk + TURN),
            *invariants.nothing_leaks(self._texts(), [API_ID]),
        ]
        engine = open_engine(f"sqlite:///{self.path}")
        faults = [one for one in verify(engine) if one.fault]
        # The rows can't know of the two daemons.
        found += [f"verify: {one.message}" for one in faults if not (split and one.rule == "order")]
        engine.dispose()
        counts = Counter(
            {
                "events": len(self.written),
                "requests": len(requests),
                "steps": self.loop.steps,
                "processes": len(processes),
                "virtual seconds": int(self.loop.time()),
                "seconds to dry": int(self.dried - self.healed),
            }
        )
        return Result(self.scenario.seed, found, self.trace, self.counts + counts)

    def _of_partial_outages(self, requests: list[Request], rows: dict[int, Row]) -> list[str]:
        if self.scenario.seed < PARTIAL:
            return []
        shards = [api.shard for api in self.scenario.apis if api.shard is not None]
        sick = {key for shard in shards for key in shard.keys}
        return invariants.partial_outages_cost_nothing(requests, rows, sick)

    def _note_reigns(self, processes: Iterable[Process]) -> None:
        """Tell the processes when another took the outbox, and what they wrote after that."""
        by_number = {process.number: process for process in processes}
        holder: Process | None = None
        for at, who, takes in self.reader.execute("SELECT at, who, takes FROM reign"):
            process = by_number[who]
            if takes and holder is not process:
                if holder is not None and (holder.ended is None or holder.ended > at):
                    holder.taken_over = at
                holder = process
            elif process is not holder:
                process.writes_after += 1

    def _moments(self, moves: Iterable[Move]) -> dict[str, list[float]]:
        """Return, for each destination, when something happened since the troubles were over.

        Only until its last event had ended, and not while it was held by a dead letter's key.
        """
        destinations = {event.id: event.destination for event in self.written}
        last = {destinations[move.id]: move.at for move in moves}
        return {
            name: sorted(
                moment
                for request in self.network.requests
                if request.destination == name
                for moment in (request.began, request.ended)
                if moment is not None and self.healed <= moment <= last.get(name, 0.0)
            )
            for name in self.network.apis
        }

    def _longest(self) -> float:
        """Return the seconds for which nothing may happen while something is pending."""
        asked = 0.0 if self.scenario.is_impatient else max(PAUSES)
        return max(
            api.timeout + max(api.max_delay, api.probe_max_delay) + asked
            for api in self.scenario.apis
        ) + 2 * (self.scenario.idle + HEARTBEAT)

    def _texts(self) -> Iterable[str]:
        """Return what people can read: the log, the reasons, the history, the links."""
        yield from self.trace
        for row in self.reader.execute(_TOLD):
            yield from (text for text in row if text)

    def _rows(self) -> Iterable[Row]:
        for row, event_id, destination, key, payload, status, error in self.reader.execute(_ROWS):
            lane = row if key is None else key
            yield Row(row, event_id, destination, lane, digest(payload), status, error)

    def _terms(self, api: Any) -> Terms:
        proof = self.scenario.bounds.witness_seconds
        return Terms(api.timeout, api.max_in_flight, api.max_rate, api.max_attempts, proof)


_PENDING = "SELECT 1 FROM shipper_outbox WHERE status = 'pending' LIMIT 1"
_ROWS = (
    "SELECT id, event_id, destination, ordering_key, CAST(payload AS BLOB), status, last_error"
    " FROM shipper_outbox ORDER BY id"
)
_TOLD = (
    "SELECT error, response_excerpt FROM shipper_attempt UNION SELECT last_error, NULL"
    " FROM shipper_outbox UNION SELECT reason, NULL FROM shipper_destination"
)
_DIARY = (
    "SELECT at, who, id, before, after, attempts_before, attempts_after FROM diary ORDER BY number"
)
