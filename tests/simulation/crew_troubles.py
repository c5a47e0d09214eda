"""What happens to daemons and their ways while the troubles last, as the scenario says when.

It must leave at least two daemons at the end that can work, so that everything drains.
"""

import asyncio
from collections import Counter

from tests.simulation.crew import Crew, Sailor
from tests.simulation.crew_operators import CrewOperators
from tests.simulation.crew_scenario import MOST_ALIVE, Trouble, Voyage

_MEANS = {"operators": "_operate"}


class Storm:
    """All troubles of a run."""

    def __init__(
        self, voyage: Voyage, crew: Crew, operators: CrewOperators, counts: Counter[str]
    ) -> None:
        self._voyage = voyage
        self._crew = crew
        self._operators = operators
        self._counts = counts
        self._names = [api.name for api in voyage.apis]
        self.most_alive = voyage.daemons
        self.is_mended = self.is_over = False
        self.deaf: set[int] = set()
        """Who stood still or was cut off at any time: it heard no command meanwhile."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def rage(self) -> None:
        """Make all trouble, then mend what can be mended."""
        loop = self._crew.loop
        for trouble in self._voyage.troubles:
            await asyncio.sleep(max(0.0, trouble.at - loop.time()))
            self._counts[trouble.kind] += 1
            task = asyncio.create_task(self._make(trouble))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.sleep(max(0.0, self._voyage.end - loop.time()))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        for sailor in self._crew.sailors:
            sailor.wire.dies_in = None
            sailor.wire.fails_before = sailor.wire.fails_after = 0
        self.is_mended = True
        self._operators.release_everything([])

    async def keep_two(self) -> None:
        """Start another daemon while there are too few of them, until the run is over."""
        while not self.is_over:
            if len(self._crew.alive()) < (2 if self.is_mended else 1):
                self._start()
            await asyncio.sleep(1.0)

    def _start(self) -> None:
        if len(self._crew.alive()) < MOST_ALIVE:
            self._crew.start()
            self.most_alive = max(self.most_alive, len(self._crew.alive()))

    async def _make(self, trouble: Trouble) -> None:
        alive = [s for s in self._crew.alive() if not s.stop.is_set()]
        if not alive:
            self._start()
            return
        sailor = alive[trouble.which % len(alive)]
        await getattr(self, _MEANS.get(trouble.kind, f"_{trouble.kind}"))(trouble, sailor)

    async def _crash(self, trouble: Trouble, sailor: Sailor) -> None:
        """Kill it now or before one of its next transactions; another comes, or doesn't."""
        if trouble.which % 2:
            sailor.kill()
        else:
            sailor.wire.dies_in = 1 + trouble.which % 9
        if trouble.which % 3:
            await asyncio.sleep(trouble.seconds)
            self._start()

    async def _stop(self, trouble: Trouble, sailor: Sailor) -> None:
        sailor.ask_to_stop()
        if trouble.which % 3:
            await asyncio.sleep(trouble.seconds / 2)
            self._start()

    async def _join(self, _trouble: Trouble, _sailor: Sailor) -> None:
        self._start()

    async def _stall(self, trouble: Trouble, sailor: Sailor) -> None:
        self.deaf.add(sailor.evidence.number)
        sailor.stand_still()
        self._crew.note(f"stall {sailor.evidence.number} for {trouble.seconds:.1f} s")
        await asyncio.sleep(trouble.seconds)
        self._crew.note(f"go on {sailor.evidence.number}")
        sailor.go_on()

    async def _cut(self, trouble: Trouble, sailor: Sailor) -> None:
        self.deaf.add(sailor.evidence.number)
        sailor.wire.is_cut = True
        self._crew.note(f"cut {sailor.evidence.number} for {trouble.seconds:.1f} s")
        await asyncio.sleep(trouble.seconds)
        sailor.wire.is_cut = False

    async def _away(self, trouble: Trouble, _sailor: Sailor) -> None:
        """Take the database away from all: none of them is to be ended for that."""
        alive = self._crew.alive()
        for sailor in alive:
            sailor.wire.is_cut = True
        self._crew.note(f"away for {trouble.seconds:.1f} s")
        await asyncio.sleep(trouble.seconds)
        for sailor in alive:
            sailor.wire.is_cut = False

    async def _store(self, trouble: Trouble, sailor: Sailor) -> None:
        self.deaf.add(sailor.evidence.number)
        if trouble.which % 2:
            sailor.wire.fails_after += 1
        else:
            sailor.wire.fails_before += 1 + trouble.which % 3

    async def _operate(self, _trouble: Trouble, _sailor: Sailor) -> None:
        self._operators.act(self._names)

    async def _reroute(self, _trouble: Trouble, _sailor: Sailor) -> None:
        await self._operators.reroute(self._names)

    async def _reload(self, trouble: Trouble, sailor: Sailor) -> None:
        """Change the limits; each daemon hears of it at another moment."""
        crew = self._crew
        for name, (places, rate) in crew.limits.items():
            fresh = max(1, places * (1 + trouble.which % 3) // 2)
            crew.limits[name] = (fresh, rate)
            crew.highest[name] = (max(crew.highest[name][0], fresh), rate)
        for one in crew.alive():
            crew.reload(one)
            await asyncio.sleep(trouble.seconds / 10)
