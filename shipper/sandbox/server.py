"""The stand-in API as a server: read a request, choose its answer or fault, record it.

The server decides in which order things happen to a request. An answer from `answer_for` comes
before an injected fault, and a fault before the API's own answer. The ledger and the log have the
event before its answer leaves. The API ID is in neither. Everything belongs to one event loop.
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
from shipper.sandbox.api import RequestInfo, SandboxAnswer, StandIn, VendorApi
from shipper.sandbox.chaos import OUTAGE, Chaos, InjectedFault
from shipper.sandbox.front import Front
from shipper.sandbox.journal import Journal
from shipper.sandbox.ledger import GONE, Ledger, SequenceOf, Summary, Visit, trailing_number
from shipper.sandbox.treatment import Treatment, treat

# A timer can fire a moment early; a shorter wait than this would be a busy loop.
_TICK: Final = 0.001

Script = Callable[[RequestInfo], SandboxAnswer | InjectedFault | None]


class Sandbox:
    """A receiver of events on a real socket, with injected faults and a ledger.

    `answer_for` can be set to a function that chooses the answer or the fault of a request; if it
    returns None, the sandbox chooses as usual. `chaos` can be set at any time; its outages count
    from that time, or from the start of the sandbox. `clock` gives time and randomness. If `api_id`
    is None, the sandbox accepts any API ID. `validation` says what events are checked for. With
    `api`, the sandbox stands in for that API, and not for the vendor's. A stopped sandbox can be
    started again.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that a test can want
        self,
        api_id: str | None = None,
        chaos: Chaos | None = None,
        *,
        validation: Mode = "schema",
        api: StandIn | None = None,
        clock: Clock | None = None,
        log: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
        sequence_of: SequenceOf = trailing_number,
    ) -> None:
        self.ledger = Ledger(sequence_of)
        self.answer_for: Script | None = None
        self.url = ""
        self._api = api or VendorApi(api_id, validation)
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
        """Return the URL to send events to; valid while the sandbox runs."""
        return self.url + self._api.events_path

    @property
    def chaos(self) -> Chaos:
        """Return the current faults; set them to change faults and outages at once."""
        return self._chaos

    @chaos.setter
    def chaos(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._since = self._clock.monotonic()
        self._follow_outages()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen (port 0 = any free port) and return the base URL.

        Raises UsageError if the address can't be used or the log can't be written, AccessDenied if
        this process isn't allowed to use the port.
        """
        assert self._front is None, "the sandbox runs already"
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
        """Release the port and end every request; does nothing if the sandbox isn't running."""
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
        """Run for the length of a `with`; give the base URL. Raises what `start` raises."""
        try:
            yield await self.start(host, port)
        finally:
            await self.stop()

    async def until(self, condition: Callable[[Ledger], bool], seconds: float = 10.0) -> None:
        """Wait until the ledger fulfils a condition. Raises TimeoutError after `seconds`."""
        event = asyncio.Event()
        waiter = (condition, event)
        self._waiters.add(waiter)
        try:
            self._wake_waiters()
            async with asyncio.timeout(seconds):
                await event.wait()
        finally:
            self._waiters.discard(waiter)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            payload = await request.read()
        except (ConnectionError, web.RequestPayloadError):
            return wire.Broken(GONE)
        info = wire.read(request, payload, self._api.key_headers)
        is_event = self._api.is_event(info)
        visit = self.ledger.begin(
            info.key if is_event else None,
            info.user if is_event else None,
            payload,
            self._clock.monotonic(),
            partial(wire.is_open, request),
        )
        try:
            treatment = self._treatment_of(info)
            if treatment.accepted:
                self.ledger.process(visit)
            self._wake_waiters()
            return await self._respond(visit, treatment)
        finally:
            self.ledger.end(visit, self._clock.monotonic())
            if self._journal is not None:
                self._journal.write(info, visit, self._clock.wall())
            self._wake_waiters()

    def _treatment_of(self, info: RequestInfo) -> Treatment:
        scripted = None if self.answer_for is None else self.answer_for(info)
        answer, fault = None, None
        if isinstance(scripted, SandboxAnswer):
            answer = scripted
        else:
            fault = scripted or self._fault_for(info)
        usual = partial(self._api.answer, info, self._clock.wall())
        return treat(usual, answer, fault, is_event=self._api.is_event(info))

    def _fault_for(self, info: RequestInfo) -> InjectedFault | None:
        fault = self._chaos.choose(self._elapsed(), self._clock.random(), info)
        return fault if fault is OUTAGE or self._api.is_ours(info) else None

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
        """Wait; return False if the sandbox stops meanwhile. Cancelled if the client leaves."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return True
        return False

    def _follow_outages(self) -> None:
        """Open or shut the port as the outages say, and set a timer for their next change."""
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

    def _wake_waiters(self) -> None:
        for condition, event in self._waiters:
            if condition(self.ledger):
                event.set()


async def run_sandbox(
    sandbox: Sandbox,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    ready: Callable[[Sandbox], None] | None = None,
) -> Summary:
    """Serve until `stop` is set and return the counts; print nothing, handle no signal.

    `ready` is called with the sandbox when it listens; `url` is its base URL. Raises UsageError and
    AccessDenied as `Sandbox.start` does.
    """
    async with sandbox.serve(host, port):
        if ready is not None:
            ready(sandbox)
        await stop.wait()
    return sandbox.ledger.summary()
