"""Sessions of the daemon on real PostgreSQL servers, on virtual time: who has which, and what each sends.

What runs is `open_session` and its dispatcher, and the servers; given to them are a thread that does
its work at once, a receiver that looks at the outbox whenever a request begins, and an identity,
because a process knows that it lives. So a lease of half a minute is waited for in no time, and what
a seed decides happens between two statements and not beside them.
"""

import asyncio
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import psycopg

from shipper.config import DestinationSettings, Settings
from shipper.config.secret import Secret
from shipper.config.settings import DatabaseSettings, ScheduleSettings, ValidationSettings
from shipper.daemon import acquisition, destinations, session
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.requests import Stop
from shipper.daemon.session import Session, open_session
from shipper.errors import LeaseLost, OutboxChanged, OutboxHeld, StoreUnavailable
from shipper.policy.outcome import Reply
from shipper.store.lease.lease import Owner
from tests.carriers import Carrying
from tests.simulation.daemon import Diary
from tests.simulation.virtual import MachineTime, VirtualClock, VirtualLoop

T = TypeVar("T")
TIMEOUT = 5.0
LEASE = 15.0 + 2 * TIMEOUT
_BEGIN_ANEW = 0.1
_SLOW = 3.0

_LIFE: ContextVar["Life"] = ContextVar("life")


class Life:
    """One process; it may be cut off from its server, and doesn't know that."""

    def __init__(self, crew: "Crew", number: int) -> None:
        self.crew = crew
        self.number = number
        self.stop = Stop()
        self.reaches = asyncio.Event()
        self.reaches.set()
        self.cut_off_at: float | None = None
        self.robbed = False
        """Whether an operator has ended its lease."""
        self.at_work = False
        self.session: Session | None = None
        self.sessions = 0
        self.end = ""
        clock = MachineTime(crew.loop)
        self.clock = VirtualClock(clock, f"{crew.seed} life {number}")

    def cut_off(self) -> None:
        """Let the server's answers not come any more."""
        self.reaches.clear()
        self.cut_off_at = self.crew.loop.time()

    def reach(self) -> None:
        """Let them come again."""
        self.reaches.set()
        self.cut_off_at = None

    async def run(self, url: str) -> None:
        """Ship until stopped, as `shipper run` does: another outbox is another session."""
        _LIFE.set(self)
        crew = self.crew
        diary = Diary(lambda line: crew.note(f"{self.number}: {line}"))
        while not self.end:
            try:
                async with open_session(
                    _settings(url), clock=self.clock, log=diary, stop=self.stop
                ) as opened:
                    self.session = opened
                    self.sessions += 1
                    crew.took(self)
                    await opened.dispatcher.run(self.stop)
                self.end = "stopped"
            except OutboxChanged as error:
                crew.note(f"{self.number} begins anew: {error.message}")
                await asyncio.sleep(_BEGIN_ANEW)
            except OutboxHeld:
                self.end = "held"
            except LeaseLost:
                self.end = "lost"
            except Exception as error:  # noqa: BLE001 - a bug is to be told, with its seed
                self.end = "failed"
                crew.note("".join(traceback.format_exception(error)))
                crew.fault(f"daemon {self.number} failed: {type(error).__name__}: {error}")
            self.at_work = False
        crew.note(f"{self.number} ended: {self.end}")


class _Thread(DatabaseThread):
    """The database's thread without a thread."""

    def __init__(self) -> None:
        self._life = _LIFE.get()
        self.patient = True

    @property
    def is_idle(self) -> bool:
        """Never: all steps of an exchange are done here."""
        return False

    async def run(self, work: Callable[[], T], *, has_begun: bool = False) -> T:
        """Do the work at once, unless the server can't be reached just now."""
        await self._life.reaches.wait()
        # Who waits for a server gets no answer in no time.
        await asyncio.sleep(0.001)
        try:
            result = work()
        except StoreUnavailable:
            raise
        except Exception:
            self._life.crew.answered(self._life)
            raise
        self._life.crew.answered(self._life)
        return result

    def close(self) -> None:
        """End; there is nothing to wait for."""


class _Way(Carrying):
    """The way to a receiver that takes everything."""

    where = "api.example:443"

    def __init__(self, life: Life) -> None:
        self._life = life

    async def send(self, event_id: str, _payload: bytes, _api_id: str) -> Reply:
        """Deliver an event."""
        crew = self._life.crew
        with crew.flight(self._life, event_id):
            if event_id.startswith("slow"):
                with suppress(TimeoutError):
                    await asyncio.wait_for(crew.hurry.wait(), _SLOW)
                crew.received.add(event_id)
            else:
                await asyncio.sleep(crew.dice.uniform(0.0, crew.latency))
                crew.received.add(event_id)
                await asyncio.sleep(crew.dice.uniform(0.0, crew.latency))
        return Reply(202)


class _Owners:
    """Gives each process a machine of its own: nobody is known to be dead."""

    @staticmethod
    def here() -> Owner:
        """Return the process that asks."""
        return replace(Owner.here(), boot=f"machine {_LIFE.get().number}")


class Crew:
    """All processes of a seed, the receiver, and what is found wrong.

    `eye` is a connection to the server that counts now. What is sent is judged by it once a process
    has had an answer from it: before that, nobody can know of it.
    """

    def __init__(
        self, seed: str, loop: VirtualLoop, url: str, eye: Callable[[], psycopg.Connection[Any]]
    ) -> None:
        self.seed = seed
        self.loop = loop
        self.dice = random.Random(f"crew {seed}")
        self.latency = 0.3
        self.judges = True
        self.hurry = asyncio.Event()
        """Until it is set, the receiver takes its time with what is called slow."""
        self.lives: list[Life] = []
        self.received: set[str] = set()
        self.sends = 0
        self.violations: list[str] = []
        self.trace: list[str] = []
        self._url = url
        self._look = eye
        self._eye: psycopg.Connection[Any] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._known: set[int] = set()
        self._last: dict[str, int] = {}
        self._seen: set[str] = set()
        self._flying: dict[str, int] = {}

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.3f} {line}")

    def fault(self, found: str) -> None:
        """Note that a promise was broken."""
        self.note(f"VIOLATION {found}")
        self.violations.append(found)

    async def begin(self) -> Life:
        """Start a process."""
        life = Life(self, len(self.lives) + 1)
        self.lives.append(life)
        self._tasks.append(asyncio.create_task(life.run(self._url)))
        return life

    async def end(self) -> None:
        """Stop all of them."""
        for life in self.lives:
            life.reach()
            life.stop.set()
        await asyncio.gather(*self._tasks)
        taken = {life.number for life in self.lives if life.sessions}
        for life in self.lives:
            if life.end == "lost" and len(taken) == 1:
                self.fault(f"daemon {life.number} was told of a takeover that never was")

    def close(self) -> None:
        """Let go of the server, until it is looked at again."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def moved(self) -> None:
        """Take in that another server counts from now on."""
        self._known.clear()
        self._last.clear()
        self._seen.clear()

    def took(self, life: Life) -> None:
        """Take in that a process has the outbox."""
        self.note(f"{life.number} has the outbox")
        life.at_work = True
        now = self.loop.time()
        for other in self.lives:
            lives = other.cut_off_at is None or now < other.cut_off_at + LEASE - 2 * TIMEOUT
            if other is not life and other.at_work and lives and not other.robbed:
                self.fault(f"daemon {life.number} took the outbox of {other.number}, which lives")

    def answered(self, life: Life) -> None:
        """Take in that the server that counts has answered a process."""
        self._known.add(life.number)

    @contextmanager
    def flight(self, life: Life, event_id: str) -> Iterator[None]:
        """Judge a request, which lasts as long as what is done within."""
        self.sends += 1
        found = self._look_for(event_id) if self.judges else None
        self.note(f"{life.number} sends {event_id}: {found}")
        lane = event_id
        if self.judges and life.number in self._known:
            lane = self._judge(event_id, found)
        if lane in self._flying:
            self.fault(f"{event_id} is sent beside another of {lane}")
        self._flying[lane] = life.number
        try:
            yield
        finally:
            self._flying.pop(lane, None)

    def _look_for(self, event_id: str) -> tuple[Any, ...] | None:
        if self._eye is None:
            self._eye = self._look()
        return self._eye.execute(_SEEN, [event_id]).fetchone()

    def _judge(self, event_id: str, found: tuple[Any, ...] | None) -> str:
        if found is None:
            self.fault(f"{event_id} is sent, and was never on this server")
            return event_id
        row, key, status, is_claimed, ahead = found
        if status != "pending" or not is_claimed:
            self.fault(f"{event_id} is sent: {status}, {'' if is_claimed else 'not '}claimed")
        if ahead is not None:
            self.fault(f"{row} of {key} is sent before {ahead}")
        if row < self._last.get(key, 0) and event_id not in self._seen:
            self.fault(f"{row} of {key} is sent after {self._last[key]}")
        self._seen.add(event_id)
        self._last[key] = max(row, self._last.get(key, 0))
        return str(key)


_SEEN = (
    "SELECT id, coalesce(ordering_key, event_id), status, EXISTS (SELECT FROM shipper_claim,"
    " json_array_elements_text(CAST(ids AS json)) AS one WHERE CAST(one AS bigint) = o.id),"
    " (SELECT min(id) FROM shipper_outbox AS other WHERE other.ordering_key = o.ordering_key"
    " AND other.status = 'pending' AND other.id < o.id)"
    " FROM shipper_outbox AS o WHERE event_id = %s"
)


def _settings(url: str) -> Settings:
    one = DestinationSettings(
        "default", "http://127.0.0.1/default", api_id=Secret("x"), timeout=TIMEOUT, max_in_flight=4
    )
    return Settings(
        DatabaseSettings(url),
        {"default": one},
        ValidationSettings("off"),
        schedule=ScheduleSettings(poll_interval=1.0),
    )


@contextmanager
def in_place() -> Iterator[None]:
    """Give the product our thread, our receiver and our identities."""
    with (
        patch.object(session, "DatabaseThread", _Thread),
        patch.object(acquisition, "Owner", _Owners),
        patch.object(session, "Owner", _Owners),
        patch.object(
            destinations, "Destination", SimpleNamespace(of=lambda _, **_clock: _Way(_LIFE.get()))
        ),
    ):
        yield
