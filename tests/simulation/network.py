"""What lies behind the courier: the way to an API, and the API, with all that they do to requests.

A request arrives, is answered, and its answer arrives; each can fail. What the daemon is told and
what the receiver knows are written down apart, for the invariants to compare.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any, Protocol, cast

import orjson

from shipper.policy.outcome import Fault, FaultKind, Invalid, Reply
from tests.carriers import Carrying
from tests.evidence import Process, Request
from tests.invariants import REFUSED
from tests.simulation.scenario import Api
from tests.simulation.virtual import EPOCH, MachineTime, VirtualLoop

API_ID = "canary-of-the-simulation"
PAUSES = (0.0, 1.0, 5.0, 20.0)
"""What a receiver may ask for, in seconds."""
ENDLESS_PAUSES = (0.0, 1.0, 3000.0, 3000.0)
"""The same, with what is longer than anybody's patience: it ends because an operator ends it."""
NEVER_SENT = frozenset({"refused", "dns", "unreachable", "tls"})
HINDRANCES = (
    "http-500", "http-502", "http-503", "http-408", "http-599", "refused", "dns", "unreachable",
    "reset", "answer lost", "late", "garbage", "throttled", "portal", "http-425", "http-299",
)  # fmt: skip
"""What happens to a request for no reason; the last of them is an answer like any other."""


def digest(body: bytes) -> str:
    """Return what stands for a body in evidence."""
    return hashlib.blake2b(body, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done with one request: an answer or a fault, and whether the API took the event."""

    answer: Reply | Fault
    taken: bool = False
    never_sent: bool = False
    think: float = 0.0
    retry_after: float | None = None


class Life(Protocol):
    """The process that sends."""

    evidence: Process

    def is_down(self, destination: str) -> bool:
        """Return whether it knows a destination to be down."""


@dataclass
class Network:
    """All ways to all APIs, and the APIs; `reader` is a connection that only looks at the outbox."""

    loop: VirtualLoop
    machine: MachineTime
    dice: random.Random
    apis: dict[str, Api]
    reader: Any
    note: Callable[[str], None]
    requests: list[Request] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    settled: int = 0
    held_for: Callable[[str, object], float] = lambda _name, _lane: 0.0
    pauses: Sequence[float] = PAUSES
    over: bool = False  # the troubles are over: only what events do to themselves is left
    _open: dict[tuple[int, str], list[Request]] = field(default_factory=dict)

    def way(self, life: Life, name: str) -> "Way":
        """Return a way to an API, for one process."""
        return Way(self, life, self.apis[name])

    # -- a request ------------------------------------------------------------------------------

    def begin(self, life: Life, api: Api, event_id: str, payload: bytes) -> Request:
        """Write down that a try begins, and what is on disk at that moment."""
        found = self.reader.execute(_SEEN, (event_id,)).fetchone()
        row, key, status, claimed = found or (0, None, "missing", 0)
        lane = row if key is None else key
        ahead = self.reader.execute(_AHEAD, (api.name, key, row)).fetchall() if key else ()
        request = Request(
            number=len(self.requests) + 1,
            process=life.evidence.number,
            destination=api.name,
            lane=lane,
            id=row,
            event_id=event_id,
            body=digest(payload),
            began=self.machine.monotonic(),
            durable=status == "pending" and bool(claimed),
            ahead=tuple(one for [one] in ahead),
            probing=life.is_down(api.name),
            beside=self._beside(life, api),
            held=self.held_for(api.name, lane),
        )
        self.requests.append(request)
        self._open[request.process, api.name].append(request)
        self.note(f"send {request.number} by {request.process} of {lane}: {row} {request.ahead}")
        return request

    def _beside(self, life: Life, api: Api) -> int:
        """Return how many tries of a process are under way, or accepted and not yet recorded."""
        open_ = self._open.setdefault((life.evidence.number, api.name), [])
        open_[:] = [r for r in open_ if r.answer in {None, "accepted"}]
        told = [r.id for r in open_ if r.answer is not None]
        if told:
            recorded = {row for [row] in self.reader.execute(_RECORDED, (str(told),))}
            open_[:] = [r for r in open_ if r.answer is None or r.id not in recorded]
        return len(open_)

    def arrive(self, request: Request, treatment: Treatment) -> None:
        """Let the API have a request."""
        if treatment.taken:
            self.taken.add(request.event_id)
            request.received = self.machine.monotonic()

    def settle(self, request: Request, answer: Reply | Fault, retry_after: float | None) -> None:
        """Record the answer to the sender."""
        self.settled += 1
        request.ended, request.settled = self.machine.monotonic(), self.settled
        if isinstance(answer, Fault):
            request.answer, request.maybe = "failed", answer.sent == "maybe"
            request.reached = request.maybe
            self.note(f"end {request.number} {answer.kind} {answer.sent}")
            return
        request.status, request.reached = answer.status, True
        if 200 <= answer.status < 300 and not answer.body.startswith(b"<"):
            request.answer = "accepted"
        elif answer.status in REFUSED:
            request.answer = "refused"
        elif retry_after is not None or answer.status == 429:
            request.answer, request.retry_after = "throttled", retry_after
        else:
            request.answer = "failed"
        self.note(f"end {request.number} {answer.status} {request.answer} {retry_after}")

    def recovered(self, life: Life) -> dict[int, bool]:
        """Return what may have been received before a process began, and whether it counts so."""
        last: dict[int, Request] = {}
        for request in self.requests:
            last[request.id] = request
        asked = [
            row
            for row, request in last.items()
            if request.process != life.evidence.number
            and (request.maybe or request.answer in {None, "accepted"})
        ]
        found = self.reader.execute(_RECOVERED, (str(asked),)).fetchall()
        return {row: bool(counts) for row, counts in found}

    # -- what is done with it -------------------------------------------------------------------

    def treat(self, api: Api, request: Request, payload: bytes) -> Treatment:
        """Decide what becomes of a request; every chance is drawn here."""
        kind = self._kind(api, request, payload)
        treatment = self._treatment(api, kind, request)
        think = api.latency * self.dice.uniform(0.2, 2.0)
        if kind in {"blackhole", "late", "timeout"}:
            think = api.timeout
        elif kind == "slow" or (treatment.never_sent and self.dice.random() < 0.2):
            think = api.timeout * self.dice.uniform(0.2, 1.2)
        return replace(treatment, think=think)

    def _kind(self, api: Api, request: Request, payload: bytes) -> str:
        poison = _poison(payload)
        if self.over:
            return poison or "accept"
        now = self.loop.time()
        weather = [one.kind for one in api.weather if one.begin <= now < one.end]
        if weather:
            return weather[-1]
        shard = api.shard
        if shard is not None and request.lane in shard.keys and shard.begin <= now < shard.end:
            return shard.kind
        if self.dice.random() < api.faults:
            return self.dice.choice(HINDRANCES)
        if poison is None and request.event_id in self.taken and api.repeats == "409":
            return "http-409"
        return poison or "accept"

    def _treatment(self, api: Api, kind: str, request: Request) -> Treatment:
        if kind.startswith("http-"):
            return self._status(int(kind[5:]))
        if kind in NEVER_SENT:
            return Treatment(Fault(cast(FaultKind, kind), "no", kind), never_sent=True)
        lost = Fault("closed", "maybe", "the connection was closed before the answer came")
        match kind:
            case "throttled":
                return self._throttle()
            case "portal":
                page = b"<html>log in</html>"
                return Treatment(Reply(200, content_type="text/html; charset=utf-8", body=page))
            case "garbage":
                return Treatment(Fault("garbage", "maybe", "no HTTP"), taken=self._half())
            case "reset":
                return Treatment(lost)
            case "answer lost":
                return Treatment(lost, taken=True)
            case "blackhole":
                late = Fault("timeout", "maybe" if self._half() else "no", "no answer in time")
                return Treatment(late, never_sent=late.sent == "no")
            case "timeout":
                return Treatment(Reply(202), taken=False)
            case _:
                return Treatment(self._acceptance(), taken=True)

    def _half(self) -> bool:
        return self.dice.random() < 0.5

    def _status(self, status: int) -> Treatment:
        # It echoes the request, with the API ID: the daemon must not keep that.
        body = f'{{"error":"no", "you said":"{API_ID}"}}'.encode()
        return Treatment(Reply(status, "application/json", body=body), taken=status < 300)

    def _acceptance(self) -> Reply:
        return self.dice.choice(
            (
                Reply(202),
                Reply(200, "application/json", body=b'{"ok":true}'),
                Reply(204),
                Reply(201, "text/html", body=b"ok"),
            )
        )

    def _throttle(self) -> Treatment:
        seconds = self.dice.choice(self.pauses)
        form = self.dice.choice(("seconds", "date", "nothing", "garbage"))
        if form == "nothing":
            return Treatment(Reply(429))
        status = self.dice.choice((429, 503))
        if form == "garbage":
            nonsense = self.dice.choice(("-1", "soon", "1.5", "1e3", "Fri, 99 Foo 2026"))
            return Treatment(Reply(status if status == 429 else 500, retry_after=nonsense))
        if form == "seconds":
            value = f"{seconds:.0f}"
            return Treatment(Reply(status, retry_after=value), retry_after=seconds)
        # By the API's own clock, which need not be right.
        now = EPOCH + self.loop.time() + 86_400.0 * self.dice.choice((0, -365, 4000))
        date, until = formatdate(now, usegmt=True), formatdate(now + seconds, usegmt=True)
        return Treatment(Reply(status, retry_after=until, date=date), retry_after=seconds)


class Way(Carrying):
    """Stands for `shipper.destination.Destination`: one try a call, and never an exception."""

    where = "api.example:443"

    def __init__(self, network: Network, life: Life, api: Api) -> None:
        self._network = network
        self._life = life
        self._api = api

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Reply | Fault | Invalid:
        """Try once to deliver an event, and return what came of it."""
        network, api = self._network, self._api
        request = network.begin(self._life, api, event_id, payload)
        treatment = network.treat(api, request, payload)
        upward = 0.0 if treatment.never_sent else api.latency * network.dice.uniform(0.0, 1.0)
        under_way = arrived = False
        try:
            answer, under_way = treatment.answer, not treatment.never_sent
            await asyncio.sleep(min(upward, api.timeout))
            if upward < api.timeout:
                arrived = True
                if not treatment.never_sent:
                    network.arrive(request, treatment)
                await asyncio.sleep(min(treatment.think, api.timeout - upward))
            if upward + treatment.think >= api.timeout and not isinstance(answer, Fault):
                answer = Fault("timeout", "maybe", f"no answer within {api.timeout:g} s")
        except asyncio.CancelledError:
            # The bytes may be on their way already.
            if under_way and not arrived and network.dice.random() < 0.5:
                network.arrive(request, treatment)
            request.ended = network.machine.monotonic()
            raise
        network.settle(request, answer, treatment.retry_after)
        return answer


def _poison(payload: bytes) -> str | None:
    event = orjson.loads(payload)
    found = event.get("order") if isinstance(event, dict) else None
    poison = found.get("poison") if isinstance(found, dict) else None
    return str(poison) if poison else None


_SEEN = (
    "SELECT id, ordering_key, status, EXISTS (SELECT 1 FROM shipper_claim, json_each(ids)"
    " WHERE value = shipper_outbox.id) FROM shipper_outbox WHERE event_id = ?"
)
# What was dead in the meantime is an operator's: it begins anew.
_RECOVERED = (
    "SELECT id, maybe_received FROM shipper_outbox WHERE status = 'pending'"
    " AND id IN (SELECT value FROM json_each(?)) AND id NOT IN"
    " (SELECT id FROM diary WHERE before = 'dead')"
)
_RECORDED = (
    "SELECT id FROM shipper_outbox WHERE status <> 'pending'"
    " AND id IN (SELECT value FROM json_each(?))"
)
_AHEAD = (
    "SELECT id FROM shipper_outbox WHERE status = 'pending' AND destination = ?"
    " AND ordering_key = ? AND id < ?"
)
