"""The stand-in API as a server: reads, asks the rules and the faults, keeps the books.

It decides in which order things happen to a request: what a test scripts goes before the faults,
the faults before the API's own answer, and an event is in the books and in the log before its
answer leaves. The API ID never gets into either. Everything here belongs to one event loop.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from shipper.clock import Clock, SystemClock
from shipper.contract.validation import Mode
from shipper.sandbox import wire
from shipper.sandbox.api import EVENTS_PATH, Answer, RequestInfo
from shipper.sandbox.chaos import OUTAGE, Chaos, Fault
from shipper.sandbox.front import Front
from shipper.sandbox.journal import Journal
from shipper.sandbox.ledger import GONE, Ledger, SequenceOf, Summary, Visit, trailing_number
from shipper.sandbox.treatment import Treatment, treat

# A timer may fire a moment early; asking again after less than this would be a busy loop.
_TICK: Final = 0.001

Script = Callable[[RequestInfo], Answer | Fault | None]


class Sandbox:
    """A receiver of events on a real socket, with faults and books.

    `answer_for` may be set to a function that answers a request, or strikes it with a fault, in
    place of everything else; where it returns None things take their course. `chaos` may be set
    at any time; its outages count from then, or from the start. `clock` gives time and chance.
    Without an `api_id` of its own the sandbox takes any. `validation` is what events are checked
    for. It can be started again once stopped.
    """

    def __init__(
        self,
        api_id: str | None = None,
        chaos: Chaos | None = None,
        *,
        validation: Mode = "schema",
        clock: Clock | None = None,
        log: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
        sequence_of: SequenceOf = trailing_number,
    ) -> None:
        self.ledger = Ledger(sequence_of)
        self.answer_for: Script | None = None
        self.url = ""
        self._api_id = api_id
        self._validation: Mode = validation
        self._chaos = chaos or Chaos()
        self._clock = clock or SystemClock()
        self._since = self._clock.monotonic()
        self._log = log
        self._ssl = ssl_context
        self._journal: Journal | None = None
        self._front: Front | None = None
        self._stopping = asyncio.Event()
        self._next_change: asyncio.TimerHandle | None = None
        self._waiters: set[tuple[Callable[[Ledger], bool], asyncio.Event]] = set()

    @property
    def events_url(self) -> str:
        """Return the URL to send events to; valid once started."""
        return self.url + EVENTS_PATH

    @property
    def chaos(self) -> Chaos:
        """Return the faults in force; set it to change them at once, outages included."""
        return self._chaos

    @chaos.setter
    def chaos(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._since = self._clock.monotonic()
        self._follow_outages()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen (port 0 = any that is free) and return the base URL.

        Raises UsageError when the address can't be had or the log can't be written, AccessDenied
        when the port needs more rights than we have.
        """
        assert self._front is None, "it runs already"
        front = Front(self._handle, self._ssl)
        self.url = front.bind(host, port)
        try:
            self._journal = None if self._log is None else Journal(self._log)
            front.open()
        except BaseException:
            await front.close()
            raise
        self._front = front
        self._stopping = asyncio.Event()
        self.chaos = self._chaos
        return self.url

    async def stop(self) -> None:
        """Give the port back and end every request; does nothing when it isn't running."""
        if self._front is None:
            return
        front, self._front = self._front, None
        self._stopping.set()
        self._follow_outages()
        await front.close()
        if self._journal is not None:
            self._journal.close()

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Run for the length of a `with`; gives the base URL, raises what `start` raises."""
        try:
            yield await self.start(host, port)
        finally:
            await self.stop()

    async def until(self, condition: Callable[[Ledger], bool], seconds: float = 10.0) -> None:
        """Wait until the books fulfil a condition; raises TimeoutError after so many seconds."""
        event = asyncio.Event()
        waiter = (condition, event)
        self._waiters.add(waiter)
        try:
            self._tell()
            async with asyncio.timeout(seconds):
                await event.wait()
        finally:
            self._waiters.discard(waiter)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            payload = await request.read()
        except (ConnectionError, web.RequestPayloadError):
            return wire.Broken(GONE)
        info = wire.read(request, payload)
        visit = self.ledger.begin(
            info.key if info.is_event else None,
            info.user if info.is_event else None,
            payload,
            self._clock.monotonic(),
            partial(wire.is_open, request),
        )
        try:
            treatment = self._treatment_of(info)
            if treatment.taken:
                self.ledger.process(visit)
            self._tell()
            return await self._respond(visit, treatment)
        finally:
            self.ledger.end(visit, self._clock.monotonic())
            if self._journal is not None:
                self._journal.write(info, visit, self._clock.wall())
            self._tell()

    def _treatment_of(self, info: RequestInfo) -> Treatment:
        scripted = None if self.answer_for is None else self.answer_for(info)
        if isinstance(scripted, Answer):
            return treat(info, self._api_id, scripted, None)
        fault = scripted or self._fault_for(info)
        return treat(info, self._api_id, None, fault, self._validation)

    def _fault_for(self, info: RequestInfo) -> Fault | None:
        fault = self._chaos.choose(self._elapsed(), self._clock.random())
        return fault if fault is OUTAGE or info.is_ours else None

    async def _respond(self, visit: Visit, treatment: Treatment) -> web.StreamResponse:
        if treatment.answer is None:
            visit.status = treatment.status
        if treatment.delay != 0 and not await self._pause(treatment.delay):
            return wire.Broken(GONE)
        visit.status = treatment.status
        if treatment.answer is None:
            return wire.Broken(str(treatment.status))
        return wire.whole(treatment.answer)

    async def _pause(self, seconds: float | None) -> bool:
        """Wait, and return False if we are stopped meanwhile; cancelled when the client leaves."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return True
        return False

    def _follow_outages(self) -> None:
        """Be there or away as the outages have it, and look again when that changes."""
        if self._next_change is not None:
            self._next_change.cancel()
            self._next_change = None
        if self._front is None:
            return
        elapsed = self._elapsed()
        if self._chaos.is_out(elapsed):
            self._front.vanish()
        else:
            self._front.open()
        wait = self._chaos.until_change(elapsed)
        if wait is not None:
            loop = asyncio.get_running_loop()
            self._next_change = loop.call_later(max(wait, _TICK), self._follow_outages)

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._since

    def _tell(self) -> None:
        for condition, event in self._waiters:
            if condition(self.ledger):
                event.set()


async def run_sandbox(  # noqa: PLR0913 - one for each option
    host: str,
    port: int,
    api_id: str | None,
    chaos: Chaos,
    log: Path | None,
    stop: asyncio.Event,
    *,
    ready: Callable[[Sandbox], None] | None = None,
    validation: Mode = "schema",
) -> Summary:
    """Serve until `stop` is set and return what was seen; prints nothing, handles no signal.

    `ready` is called once it listens, with the sandbox: its `url` says where. Raises UsageError
    and AccessDenied as `Sandbox.start` does.
    """
    sandbox = Sandbox(api_id, chaos, log=log, validation=validation)
    async with sandbox.serve(host, port):
        if ready is not None:
            ready(sandbox)
        await stop.wait()
    return sandbox.ledger.summary()
