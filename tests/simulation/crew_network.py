"""The ways of several daemons to the receivers, and what an eye beside them sees on disk.

A try begins when its bytes are given to the kernel. From then on it is the receiver's: it goes on
while the daemon that sent it stands still or is dead. The daemon hears the answer when it runs.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from shipper.config.secrets import Secrets
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Reply
from tests.evidence import Move, Process, Request
from tests.simulation.network import Network, Treatment, digest
from tests.simulation.scenario import Api


class Sender(Protocol):
    """The daemon that sends."""

    evidence: Process

    @property
    def token(self) -> int:
        """Return the token under which it writes."""

    def is_down(self, destination: str) -> bool:
        """Return whether it knows a destination to be down."""


@dataclass
class Seas(Network):
    """All ways of all daemons; `reader` looks at the outbox from outside."""

    moves: list[Move] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """What was written by daemons that had been ended."""
    forgotten: list[int] = field(default_factory=list)
    """What was sent again as if no other daemon had ever sent it."""
    _last: dict[int, Request] = field(default_factory=dict)
    under_way: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    """The last number of the diary that was read."""
    crowded: Callable[[str, Collection[int]], None] = lambda _name, _there: None
    space: Context = field(default_factory=Context)
    """Where what the receivers do runs: no daemon's end or standstill touches it."""

    def begin(self, life: Any, api: Api, event_id: str, payload: bytes) -> Request:
        """Write down that a try begins, and what is on disk at that moment."""
        seen = {"token": life.token, "event_id": event_id, "last": self.kept}
        found = self.reader.execute(_SEEN, seen).fetchone()
        row, key, status, claimed, ahead, holder, marked, diary, there = found or _NOTHING
        self._keep(diary or ())
        request = Request(
            number=len(self.requests) + 1,
            process=life.evidence.number,
            destination=api.name,
            lane=row if key is None else key,
            id=row,
            event_id=event_id,
            body=digest(payload),
            began=self.machine.monotonic(),
            durable=status == "pending" and bool(claimed),
            ahead=tuple(ahead or ()),
            probing=life.is_down(api.name),
            held=self.held_for(api.name, row if key is None else key),
        )
        if holder != life.token:
            self.strays.append(f"event {row} was sent by {request.process}, whose shard it isn't")
        if not marked and self._may_be_there(request):
            self.forgotten.append(row)
        self.requests.append(request)
        self._last[row] = request
        self.under_way[api.name] = self.under_way.get(api.name, 0) + 1
        self.crowded(api.name, there)
        self.note(f"send {request.number} by {request.process} of {request.lane}: {row} {ahead}")
        return request

    def _may_be_there(self, request: Request) -> bool:
        """Return whether another daemon's last try of the event may have been received."""
        last = self._last.get(request.id)
        if last is None or last.process == request.process:
            return False
        return last.maybe or last.answer in {None, "accepted"}

    def keep_diary(self) -> None:
        """Read what was changed since the last time."""
        self._keep(self.reader.execute(_DIARY, {"last": self.kept}).fetchone()[0] or ())

    def _keep(self, diary: Iterable[Sequence[Any]]) -> None:
        for number, who, is_one, *change in diary:
            self.kept = number
            self.moves.append(Move(self.machine.monotonic(), who, *change))
            if not is_one:
                self.strays.append(f"process {who} wrote after it was ended: {change}")

    def finish(self, request: Request) -> None:
        """Note that the receiver has nothing more to do with a try."""
        if request.ended is None:
            request.ended = self.machine.monotonic()
            self.under_way[request.destination] -= 1

    def settle(self, request: Request, answer: Reply | Fault, retry_after: float | None) -> None:
        """Record the answer as the sender hears it; the try may have ended before."""
        self.finish(request)
        ended = request.ended
        super().settle(request, answer, retry_after)
        request.ended = ended


class Berth:
    """Stands for a `Destination` of one daemon: the bytes leave as soon as a try begins."""

    where = "api.example:443"

    def __init__(self, seas: Seas, life: Any, api: Api) -> None:
        self._seas = seas
        self._life = life
        self._api = api

    def begin(
        self, event: Event, _secrets: Secrets, done: Callable[[Any], None], _until: float
    ) -> "asyncio.Task[None]":
        """Begin a try."""
        seas, event_id, payload = self._seas, event.event_id, event.payload
        request = seas.begin(self._life, self._api, event_id, payload)
        treatment = seas.treat(self._api, request, payload)
        voyage = _Crossing(seas, self._api, request, treatment)
        return asyncio.create_task(voyage.hear(done))

    async def aclose(self) -> None:
        """Close nothing."""


class _Crossing:
    """One try, on the receiver's side and on the sender's."""

    def __init__(self, seas: Seas, api: Api, request: Request, treatment: Treatment) -> None:
        self._seas, self._api = seas, api
        self._request, self._treatment = request, treatment
        dice, loop = seas.dice, seas.loop
        self._answered: asyncio.Future[None] = loop.create_future()
        upward = 0.0 if treatment.never_sent else api.latency * dice.uniform(0.0, 1.0)
        self._replies = upward + treatment.think < api.timeout
        self._arrival = None
        if not treatment.never_sent and upward < api.timeout:
            self._arrival = loop.call_later(
                upward, seas.arrive, request, treatment, context=seas.space
            )
        over = min(upward + treatment.think, api.timeout)
        loop.call_later(over, self._over, context=seas.space)

    def _over(self) -> None:
        self._seas.finish(self._request)
        if not self._answered.done():
            self._answered.set_result(None)

    async def hear(self, done: Callable[[Any], None]) -> None:
        """Wait for the answer, and hand it on."""
        try:
            await self._answered
        except asyncio.CancelledError:
            # What is on its way may arrive, whatever becomes of the process.
            if self._arrival is not None and self._seas.dice.random() < 0.5:
                self._arrival.cancel()
            self._seas.finish(self._request)
            raise
        answer = self._treatment.answer
        if not self._replies and not isinstance(answer, Fault):
            answer = Fault("timeout", "maybe", f"no answer within {self._api.timeout:g} s")
        self._seas.settle(self._request, answer, self._treatment.retry_after)
        done(answer)


def sea(loop: Any, machine: Any, seed: int, apis: dict[str, Api], reader: Any, note: Any) -> Seas:
    """Return the ways to these receivers."""
    dice = random.Random(f"sea {seed}")
    return Seas(loop, machine, dice, apis, reader, note, pauses=(0.0, 1.0, 3.0))


_NOTHING = (0, None, "missing", False, None, None, 1, None, ())
_ENTRIES = (
    "(SELECT json_agg(json_build_array(number, who, is_one, id, before, after, attempts_before,"
    " attempts_after) ORDER BY number) FROM diary WHERE number > %(last)s)"
)
_SEEN = (
    "SELECT o.id, o.ordering_key, o.status, EXISTS (SELECT 1 FROM shipper_claim AS c WHERE"
    " c.token = %(token)s AND CAST(c.ids AS jsonb) @> to_jsonb(o.id)), (SELECT array_agg(a.id ORDER BY"
    " a.id) FROM shipper_outbox AS a WHERE a.status = 'pending' AND a.destination = o.destination"
    " AND a.ordering_key = o.ordering_key AND a.id < o.id), (SELECT token FROM shipper_shard"
    f" WHERE shard = o.slot & 63), o.maybe_received, {_ENTRIES}, (SELECT array_agg(token) FROM shipper_daemon)"
    " FROM shipper_outbox AS o WHERE o.event_id = %(event_id)s"
)
_DIARY = f"SELECT {_ENTRIES}"
