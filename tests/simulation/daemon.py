"""The machine that the daemon runs on: it starts it, kills it anywhere, stops it, starts it anew.

What runs is `open_session` and its dispatcher, all of them the product's own. Given to them from
here are the way to an API, the database's thread, and bounds small enough to be met. A process
that is killed does nothing more, neither to the database nor to an API; its coroutines are ended
only so that Python can forget them.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shipper.config import DestinationSettings, Settings
from shipper.config.secret import Secret
from shipper.config.settings import (
    DatabaseSettings,
    RetrySettings,
    ScheduleSettings,
    ValidationSettings,
)
from shipper.daemon import (
    acquisition,
    destinations,
    session,
    session_outbox,
    signs_of_life,
    step_runner,
    stop_budget,
)
from shipper.daemon.requests import Stop
from shipper.daemon.session import Session, open_session
from shipper.drain import dispatcher, route
from shipper.errors import LeaseLost, ShipperError
from shipper.logs import EVENTS, Log
from shipper.policy.lanes import Lanes
from shipper.store.db import ready
from shipper.store.db.ready import begin
from shipper.store.drain.queue import Queue
from shipper.store.lease import claims, file_lock
from shipper.store.lease.file_lock import FileLock
from tests.evidence import Process
from tests.simulation.database import DicedSwiftness, Disk, InlineThread
from tests.simulation.network import API_ID, Network, Way
from tests.simulation.scenario import Scenario
from tests.simulation.virtual import MachineTime, VirtualClock, VirtualLoop

# Seconds. A daemon that stops looks at nothing for as long as a try may take.
TAKEN_AGAIN = 20.0

_LIFE: ContextVar["Life"] = ContextVar("life")


def at_once(work: Callable[[], Any], _: str) -> "asyncio.Future[Any]":
    """Do in the loop's thread what the product does aside: a thread of its own has other chances."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done.set_result(work())
    return done


class Diary(Log):
    """A log that keeps its lines; as strict about names and fields as the real one."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.debug = True
        self._note = note

    def _write(self, name: str, level: str, fields: Mapping[str, object]) -> None:
        """Keep a line, without what no seed decides."""
        assert EVENTS[name][1].issuperset(fields), name
        told = {name: value for name, value in fields.items() if name != "event_id"}
        self._note(f"log {name} {told}")


class _Lock(FileLock):
    """A file lock that the process holds until it lets go, or dies; it notes who else has it."""

    def __init__(self, database: Path) -> None:
        super().__init__(database)
        self._life = _LIFE.get()
        self._life.locks.append(self)
        if self._life.mount is not None:
            self.path = self._life.mount / self.path.name
        self.is_whole = False

    def acquire(self) -> None:
        """Take it, and look whether anybody has it whose guard the kernel still keeps."""
        super().acquire()
        machine = self._life.machine
        others = [life for life in machine.lives if life is not self._life]
        if machine.locks_are_seen() and any(lock.is_whole for o in others for lock in o.locks):
            machine.intrusions.append(
                f"process {self._life.evidence.number} has taken an outbox that is held"
            )
        self.is_whole = True

    def release(self) -> None:
        """Let go of it."""
        super().release()
        self.is_whole = False

    def lose_guard(self) -> None:
        """Let go of the lock on the database file, as if the kernel knew no such lock."""
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        self.is_whole = False


class Life:
    """One process: what it holds, and its end."""

    def __init__(self, machine: "Machine", number: int, mount: Path | None = None) -> None:
        self.machine = machine
        self.mount = mount
        """Where it sees other files beside the database than the others do."""
        self.evidence = Process(number, machine.time.monotonic())
        self.clock = VirtualClock(machine.time, f"{machine.scenario.seed} life {number}")
        self.disk = Disk(machine.time.monotonic, number)
        self.tasks: list[asyncio.Task[Any]] = []
        self.locks: list[_Lock] = []
        self.stop = Stop()
        self._stop_asked = 0.0
        self.session: Session | None = None

    def is_down(self, destination: str) -> bool:
        """Return whether it knows a destination to be down."""
        if self.session is None:
            return False
        routes = self.session.dispatcher.routes
        return destination in routes and routes[destination].link.is_down

    @property
    def gone(self) -> bool:
        """Return whether it does nothing more."""
        return self.disk.gone

    def kill(self) -> None:
        """End it at once, as kill -9 does; nothing if it has ended."""
        if not self.gone and self.evidence.ended is None:
            self.end("killed")
            self.machine.note(f"kill {self.evidence.number}")
            self.vanish()

    def vanish(self) -> None:
        """Let go of everything."""
        self.disk.vanish()
        for lock in self.locks:
            lock.release()
        for task in self.tasks:
            task.cancel()

    def end(self, how: Any) -> None:
        """Write down how it ended."""
        if not self.evidence.end:
            self.evidence.end, self.evidence.ended = how, self.machine.time.monotonic()
            self.evidence.stop_took = self.machine.loop.time() - self._stop_asked

    def ask_to_stop(self) -> None:
        """Ask it to end, as SIGTERM does."""
        if self.evidence.stop_asked is None and self.evidence.ended is None:
            self.machine.note(f"stop {self.evidence.number}")
            self.evidence.stop_asked = self.machine.time.monotonic()
            self._stop_asked = self.machine.loop.time()
            self.stop.set()


class Machine:
    """Keeps the daemon running until it is stopped."""

    def __init__(
        self,
        loop: VirtualLoop,
        time: MachineTime,
        scenario: Scenario,
        path: Path,
        network: Network,
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.time = time
        self.scenario = scenario
        self.path = path
        self.network = network
        self.note = note
        self.dice = random.Random(f"machine {scenario.seed}")
        self.lives: list[Life] = []
        self.intrusions: list[str] = []
        self._lock_removed_at = -inf
        self.over = False  # the last one may end
        self.on_begin: Callable[[Life], None] = lambda _: None
        self.on_exchange: Callable[[Life], None] = lambda _: None
        loop.on_task = self._adopt

    @property
    def life(self) -> Life:
        """Return the process that was started last."""
        return self.lives[-1]

    def alive(self) -> list[Life]:
        """Return the processes that run."""
        return [life for life in self.lives if life.evidence.ended is None]

    def ask_to_stop(self) -> None:
        """Ask all that run to end."""
        for life in self.alive():
            life.ask_to_stop()

    async def reload(self, life: Life, dice: random.Random) -> None:
        """Have a process take other settings, as SIGHUP does: some destinations are others then.

        What differs makes no difference to the tries; one may be left out until the next time.
        """
        opened = life.session
        if opened is None or life.stop.is_set() or life.evidence.ended is not None:
            return
        everything = self._settings()
        names = dice.sample(list(everything.destinations), dice.randint(1, len(self.scenario.apis)))
        kept = names if dice.random() < 0.3 else everything.destinations
        another = {
            name: replace(one, transport=dice.choice(("auto", "httpx")))
            for name, one in everything.destinations.items()
            if name in kept
        }
        await self._take(life, opened, replace(everything, destinations=another))
        self.note(f"reload {life.evidence.number}: {sorted(another)}")

    async def restore(self) -> None:
        """Have all processes take the settings that they began with."""
        for life in self.alive():
            if life.session is not None and not life.stop.is_set():
                await self._take(life, life.session, self._settings())

    async def _take(self, life: Life, opened: Session, settings: Settings) -> None:
        token = _LIFE.set(life)
        try:
            fresh = await destinations.ready_destinations(settings, life.clock, opened.inputs)
            links = await opened.links(fresh)
            if life.evidence.ended is None:
                opened.take(fresh, links)
        finally:
            _LIFE.reset(token)

    def remove_lock(self) -> None:
        """Remove the lock file against all advice, where the kernel has no lock on the file itself.

        The next daemon will not see that one runs.
        """
        self.remove_lock_file()
        for life in self.lives:
            for lock in life.locks:
                lock.lose_guard()

    def remove_lock_file(self) -> None:
        """Remove it against all advice; the kernel's lock on the file itself stays."""
        self.note("the lock file is removed")
        self._lock_removed_at = self.loop.time()
        FileLock(self.path).path.unlink(missing_ok=True)

    def locks_are_seen(self) -> bool:
        """Return whether a daemon that starts now has to see that another one runs.

        Without a lock on the file itself, a lock file that was removed has to be taken again first.
        """
        waits = TAKEN_AGAIN if "locks" in self.scenario.kinds else 0.0
        return self.loop.time() - self._lock_removed_at >= waits

    def replace_lock_file(self) -> None:
        """Replace it against all advice; the kernel's lock on the file itself stays."""
        self.remove_lock_file()
        FileLock(self.path).path.touch(0o660)

    def _adopt(self, task: asyncio.Task[Any]) -> None:
        life = _LIFE.get(None)
        if life is not None:
            life.tasks.append(task)

    # -- lives ----------------------------------------------------------------------------------

    async def keep_running(self) -> None:
        """Start the daemon again and again, as a service manager does, until `over`."""
        while not self.over:
            await self.live()
            if self.life.evidence.end != "stopped":
                await asyncio.sleep(self.dice.choice((0.1, 2.0)))

    async def live(self, seconds: float | None = None, *, elsewhere: bool = False) -> Life:
        """Run one process to its end, which is asked for after so many `seconds` of its life.

        `elsewhere` it has the database file, and another file system beside it.
        """
        mount = self.path.parent / "elsewhere"
        if elsewhere:
            mount.mkdir(exist_ok=True)
        life = Life(self, len(self.lives) + 1, mount if elsewhere else None)
        self.lives.append(life)
        self.note(f"start {life.evidence.number}")
        self.on_begin(life)
        token = _LIFE.set(life)
        task = asyncio.create_task(self._run(life))
        _LIFE.reset(token)
        if seconds is not None:
            self.loop.call_later(seconds, life.ask_to_stop)
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*life.tasks, return_exceptions=True)
        return life

    async def _run(self, life: Life) -> None:
        try:
            async with open_session(
                self._settings(), clock=life.clock, log=Diary(self.note), stop=life.stop
            ) as opened:
                life.session = opened
                routes = opened.dispatcher.routes.values()
                life.evidence.durable_commits = life.disk.commits_are_durable()
                life.evidence.recovered = self.network.recovered(life)
                life.evidence.links = {r.name: (r.link.state.value, r.link.reason) for r in routes}
                life.evidence.cut_off = await opened.dispatcher.run(life.stop)
            life.end("stopped")
        except LeaseLost:
            life.end("lost")
        except ShipperError as error:
            self.note(f"fail {life.evidence.number}: {error}")
            life.end("failed")
        except Exception as error:  # noqa: BLE001 - a bug of the product has to be reported, not ours
            life.evidence.bug = None if life.gone else f"{type(error).__name__}: {error}"
            life.end("failed")
        finally:
            life.vanish()
        self.note(f"ended {life.evidence.number} {life.evidence.end} {life.evidence.cut_off}")

    def _settings(self) -> Settings:
        scenario = self.scenario
        destinations = {
            api.name: DestinationSettings(
                api.name,
                f"http://127.0.0.1/{api.name}",
                api_id=Secret(API_ID),
                timeout=api.timeout,
                max_in_flight=api.max_in_flight,
                max_rate=api.max_rate,
                after_dead_letter=api.after_dead_letter,
                retry=RetrySettings(
                    api.min_delay, api.max_delay, api.max_attempts, api.probe_max_delay
                ),
            )
            for api in scenario.apis
        }
        return Settings(
            DatabaseSettings(f"sqlite:///{self.path}"),
            destinations,
            ValidationSettings(scenario.validation),
            schedule=ScheduleSettings(poll_interval=scenario.idle),
        )

    # -- what the product is given ----------------------------------------------------------------

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the product our network, our thread and our bounds for the length of a run."""
        bounds = self.scenario.bounds
        replaced: Sequence[tuple[Any, str, Any]] = (
            (session, "open_engine", lambda url, **_: _LIFE.get().disk.open(url)),
            (session, "DatabaseThread", self._thread),
            (destinations, "Destination", SimpleNamespace(of=self._way)),
            (session, "FileLock", _Lock),
            (step_runner, "Swiftness", lambda _: DicedSwiftness(self.dice)),
            (ready, "begin", self._begin),
            *((module, "aside", at_once) for module in (stop_budget, signs_of_life, acquisition)),
            (session, "Queue", partial(Queue, bytes_per_claim=bounds.bytes_per_claim)),
            (session_outbox, "_POLL_FILE", self.scenario.poll),
            (route, "SCAN_ROWS", bounds.page),
            (route, "Lanes", self._lanes),
            (dispatcher, "CLAIMS_PER_TURN", bounds.claims),
            (claims, "_CHUNK", bounds.chunk),
            ("shipper.policy.blame", "PROOF_SECONDS", bounds.witness_seconds),
            *self._without_guards(),
        )
        with ExitStack() as stack:
            for place, name, value in replaced:
                stack.enter_context(
                    patch(f"{place}.{name}", value)
                    if isinstance(place, str)
                    else patch.object(place, name, value)
                )
            yield

    def _without_guards(self) -> Sequence[tuple[Any, str, Any]]:
        """Return what inputs the kernel one that knows no lock on the file itself, as gVisor does."""
        return [(file_lock, "_guarded", lambda _: None)] if "locks" in self.scenario.kinds else []

    def _lanes(self, _window: int, _depth: int, *, places: int) -> Lanes:
        bounds = self.scenario.bounds
        return Lanes(
            bounds.window,
            bounds.depth,
            places=places,
            bytes_max=bounds.bytes_loaded,
            waiting_max=bounds.waiting,
        )

    def _way(self, settings: DestinationSettings, **_clock: object) -> Way:
        return self.network.way(_LIFE.get(), settings.url.rpartition("/")[2])

    def _thread(self) -> InlineThread:
        life = _LIFE.get()
        return InlineThread(self.loop, life.disk, self._delays, lambda: self.on_exchange(life))

    def _begin(self, *args: Any) -> ready.ReadyTransaction | None:
        """Begin at once, or find now and then that another process has the write lock."""
        return None if self.dice.random() < 0.1 else begin(*args)

    def _delays(self) -> tuple[float, float]:
        slow = 0.001 if self.network.over else self.scenario.disk
        return self.dice.uniform(0.0, slow), self.dice.uniform(0.0, slow)
