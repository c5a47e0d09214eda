"""What happens to the machine and its database while the troubles last, each kind by its own dice.

Crashes come between any two steps of any tasks, also while the daemon recovers from the last one;
the database fails at its n-th operation; the rest comes at random moments.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from shipper.daemon import chores
from tests.simulation.applications import Application
from tests.simulation.daemon import TAKEN_AGAIN, Diary, Life, Machine
from tests.simulation.database import CODES, Fault
from tests.simulation.operators import Operators
from tests.simulation.scenario import Scenario, healthy

MOST_KILLS = 5
_ASKED_FOR = 5.0


class Troubles:
    """Everything that goes wrong but the network, which has its own weather."""

    def __init__(
        self,
        scenario: Scenario,
        machine: Machine,
        operators: Operators,
        intruder: Application,
        counts: Counter[str],
    ) -> None:
        self._scenario = scenario
        self._machine = machine
        self._operators = operators
        self._intruder = intruder
        self._counts = counts
        self._dice = random.Random(f"troubles {scenario.seed}")
        self._names = [api.name for api in scenario.apis]
        self._reloads = random.Random(f"reloads of {scenario.seed}")
        self._locks = random.Random(f"lock files of {scenario.seed}")
        self._kills = 0
        self._intrusions = 0
        self._over = False
        self._extra: set[asyncio.Task[Life]] = set()
        machine.on_begin = self._prepare

    async def run(self) -> None:
        """Make trouble until cancelled."""
        kinds: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "stops": (0.2, self._stop),
            "operators": (0.1, self._operate),
            "clock": (0.15, self._jump),
            "suspend": (0.3, self._suspend),
            "twice": (0.3, self._start_twice),
            "takeover": (0.5, self._take_over),
            "rescans": (0.1, self._rescan),
            "windows": (0.2, self._close_windows),
        }
        chaos, dice = self._scenario.chaos, self._dice
        troubles = [
            self._now_and_then(share * chaos, act, dice)
            for kind, (share, act) in kinds.items()
            if kind in self._scenario.kinds
        ]
        if "reloads" in self._scenario.kinds:
            troubles.append(self._now_and_then(0.1 * chaos, self._reload, self._reloads))
        if "locks" in self._scenario.kinds:
            troubles.append(self._now_and_then(0.1 * chaos, self._start_later, self._locks))
        await asyncio.gather(*troubles)

    async def _now_and_then(
        self, mean: float, act: Callable[[], Awaitable[None]], dice: random.Random
    ) -> None:
        while True:
            await asyncio.sleep(dice.uniform(0.0, 2.0 * mean))
            await act()

    async def end(self) -> None:
        """Let the troubles be over: nothing of them is left but what is in the outbox."""
        self._over = True
        for life in self._machine.lives:
            life.disk.faults.clear()
            if life.session is not None:
                chores.open_or_close(life.session.dispatcher, True, Diary(self._machine.note))
        await self._machine.restore()
        while not self._operators.release_everything(self._names):
            await asyncio.sleep(0.1)
        await asyncio.gather(*self._extra)

    # -- at the beginning of a process --------------------------------------------------------

    def _prepare(self, life: Life) -> None:
        if self._over:
            return
        kinds, dice, loop = self._scenario.kinds, self._dice, self._machine.loop
        life.disk.happened = self._failed
        if "crashes" in kinds and self._kills < MOST_KILLS:
            self._kills += 1
            # The exponent is even: as many between 1 and 10 steps as between 100 and 1000.
            loop.at_step(loop.steps + int(10 ** dice.uniform(0.3, 3.3)), lambda: self._kill(life))
        if "store" in kinds:
            for _ in range(dice.randint(1, 4)):
                life.disk.faults.append(self._fault())
        if "intruders" in kinds:
            life.disk.between = self._intrude

    def _fault(self) -> Fault:
        dice = self._dice
        at = int(10 ** dice.uniform(0.3, 3.0))
        times = dice.choice((1, 1, 1, 3, 10, 100))
        return Fault(at, times, dice.choice(list(CODES)), told_late=dice.random() < 0.5)

    def _failed(self, kind: str) -> None:
        self._counts[f"database: {kind}"] += 1

    def _kill(self, life: Life) -> None:
        if not self._over and life.evidence.ended is None:
            self._counts["kill"] += 1
            if life.session is None:
                self._counts["kill while starting"] += 1
            life.kill()

    def _intrude(self) -> None:
        if self._over or self._intrusions >= 20 or self._dice.random() > 0.03:
            return
        self._intrusions += 1
        self._counts["write between two statements"] += 1
        if self._dice.random() < 0.7:
            key = self._dice.choice(("k0", "k1", None))
            event = healthy(10_000 + self._intrusions, self._dice.choice(self._names), key)
            self._intruder.write_at_once(event)
        else:
            self._operators.act(self._names)

    # -- at random moments --------------------------------------------------------------------

    async def _stop(self) -> None:
        self._counts["stop"] += 1
        self._machine.ask_to_stop()

    async def _reload(self) -> None:
        self._counts["reload"] += 1
        await self._machine.reload(self._machine.life, self._reloads)

    async def _operate(self) -> None:
        self._counts["operator"] += 1
        self._operators.act(self._names)

    async def _jump(self) -> None:
        self._counts["clock jump"] += 1
        now = self._machine.time.wall()
        wall = self._dice.choice((0.0, 4.1e9, now - 3600, now + 3600, now - 5, now + 400 * 86400.0))
        self._machine.note(f"the wall clock says {wall:.0f}")
        self._machine.time.jump(wall)

    async def _suspend(self) -> None:
        self._counts["suspend"] += 1
        seconds = 10 ** self._dice.uniform(0.0, 4.0)
        self._machine.note(f"the machine slept for {seconds:.0f} s")
        self._machine.time.suspend(seconds)

    async def _start_twice(self) -> None:
        self._counts["second daemon"] += 1
        manner = self._counts["second daemon"] % 4
        if manner == 2:
            self._machine.remove_lock_file()
        elif manner == 3:
            self._machine.replace_lock_file()
        self._start_another(elsewhere=manner == 0)

    async def _start_later(self) -> None:
        """Remove or replace the lock file; by and by the daemon has to have taken it again."""
        self._counts["lock file"] += 1
        if self._counts["lock file"] % 2:
            self._machine.remove_lock_file()
        else:
            self._machine.replace_lock_file()
        await asyncio.sleep(TAKEN_AGAIN)
        self._start_another()
        await asyncio.sleep(_ASKED_FOR)

    async def _take_over(self) -> None:
        self._counts["takeover"] += 1
        self._machine.remove_lock()
        self._start_another()

    def _start_another(self, *, elsewhere: bool = False) -> None:
        seconds = self._dice.uniform(0.5, 20.0)
        task = asyncio.create_task(self._machine.live(seconds, elsewhere=elsewhere))
        self._extra.add(task)
        task.add_done_callback(self._extra.discard)

    async def _rescan(self) -> None:
        for life in self._machine.alive():
            if life.session is not None:
                self._dice.choice((chores.look, chores.rescan))(life.session.dispatcher)

    async def _close_windows(self) -> None:
        self._counts["window"] += 1
        life = self._machine.life
        if life.session is not None and life.evidence.ended is None:
            log = Diary(self._machine.note)
            chores.open_or_close(life.session.dispatcher, self._dice.random() < 0.5, log)
