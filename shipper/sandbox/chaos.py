"""Choose the fault of a request, and the times when the whole API is unreachable.

Pure: takes time and randomness as arguments.

A spec is a list of items, separated by commas. P is a probability from 0 to 1; the sum of all
probabilities is at most 1. Durations are `2s`, `500ms`, `5m`, `1h`; a bare number means seconds.

    item                    on the wire                                          event processed
    NNN:P  NNN:P:DUR        this status; DUR goes into Retry-After               only if 2xx
    drop:P                  closed after the request was read, no answer         no
    lost:P                  closed as well, but after processing                 yes
    slow:DUR:P              the right answer, DUR later                          yes, on arrival
    hang:P                  the same as slow:1m:P, beyond any sensible timeout   yes, on arrival
    stall:P                 no answer until the client gives up                  no
    reset:P                 TCP RST in the middle of the answer                  yes
    truncate:P              an answer that is shorter than its Content-Length    yes
    garbage:P               bytes that are not HTTP                              no
    html:P                  200 and a login page, as a captive portal does it    no
    redirect:P              302 to a login page                                  no
    outage:DUR@START        no listener for DUR, START after the beginning;
    outage:DUR@START/EVERY  again every EVERY; requests in flight are cut off    no
    ITEM@PATH               an item (no outage) only for requests to this path   as the item
    ITEM@HEADER=VALUE       an item only for requests with this header           as the item

Items for some requests come before items for all. P is then the probability among those requests.
"Processed" means that the sandbox treats the request as usual: it still refuses an invalid event or
a missing API ID, and the fault changes only the answer. `slow` delays the answer and not the
processing: a receiver that processed late would reorder events, even if the sender kept the order.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from shipper.errors import UsageError
from shipper.sandbox.api import RequestInfo

HANG_SECONDS: Final = 60.0
# The sandbox processes these requests as usual; the fault changes only the answer.
_AFTER_PROCESSING: Final = frozenset({"lost", "slow", "reset", "truncate"})
_PLAIN: Final = ("drop", "lost", "stall", "reset", "garbage", "html", "truncate", "redirect")
_WORDS: Final = (*_PLAIN, "hang", "slow", "outage")
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)")
_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STATUS: Final = re.compile(r"[0-9]{3}")
# The sum of ten times 0.1 isn't exactly 1 in binary.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault that the sandbox injects into one request. Times in seconds."""

    kind: str
    status: int | None = None
    retry_after: float | None = None
    delay: float = 0.0

    @property
    def after_processing(self) -> bool:
        """Return whether the sandbox processes the request before the fault changes the answer."""
        accepted = self.status is not None and 200 <= self.status < 300
        return accepted or self.kind in _AFTER_PROCESSING


OUTAGE: Final = InjectedFault("outage")


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without a listener, in seconds from the beginning; `every` repeats it."""

    duration: float
    start: float
    every: float | None = None

    def active(self, elapsed: float) -> bool:
        """Return whether the outage is on, `elapsed` seconds after the beginning."""
        return 0 <= self._phase(elapsed) < self.duration

    def until_change(self, elapsed: float) -> float | None:
        """Return the seconds until the outage begins or ends; None after its last end."""
        phase = self._phase(elapsed)
        if phase < 0:
            return -phase
        if phase < self.duration:
            return self.duration - phase
        return None if self.every is None else self.every - phase

    def _phase(self, elapsed: float) -> float:
        since = elapsed - self.start
        return since if since < 0 or self.every is None else since % self.every


@dataclass(frozen=True, slots=True)
class Aim:
    """The requests that an item is for: those to a path, or those with a header."""

    name: str
    value: str | None = None

    def hits(self, info: RequestInfo) -> bool:
        """Return whether a request is one of them."""
        if self.value is None:
            return info.path == self.name
        return info.headers.get(self.name) == self.value


@dataclass(frozen=True, slots=True)
class Chaos:
    """A parsed spec: faults with the upper bounds of their intervals in [0, 1], and outages.

    `aimed` holds the faults for some requests, each with its own probability.
    """

    faults: tuple[tuple[float, InjectedFault], ...] = ()
    outages: tuple[Outage, ...] = ()
    aimed: tuple[tuple[Aim, float, InjectedFault], ...] = ()

    @classmethod
    def parse(cls, spec: str) -> "Chaos":
        """Parse a spec; an empty spec means no faults.

        Raises UsageError; it names the wrong item and says how to write it.
        """
        faults: list[tuple[float, InjectedFault]] = []
        outages: list[Outage] = []
        aimed: list[tuple[Aim, float, InjectedFault]] = []
        bound = 0.0
        for item in filter(None, (part.strip() for part in spec.split(","))):
            if item.partition(":")[0] == "outage":
                outages.append(_outage(item))
                continue
            what, at, where = item.partition("@")
            probability, fault = _fault(what)
            if at:
                aimed.append((_aim(item, where), probability, fault))
                continue
            bound += probability
            if bound > 1 + _ROUNDING:
                raise _wrong(
                    item, f"brings the sum to {bound:.6g}", "lower the probabilities: 1 in all"
                )
            faults.append((bound, fault))
        return cls(tuple(faults), tuple(outages), tuple(aimed))

    def choose(
        self, elapsed: float, chance: float, info: RequestInfo | None = None
    ) -> InjectedFault | None:
        """Return the fault for a request, or None.

        `elapsed` is the seconds since these faults were set; `chance` is in [0, 1).
        """
        if self.is_out(elapsed):
            return OUTAGE
        for aim, probability, fault in self.aimed:
            if info is not None and aim.hits(info) and chance < probability:
                return fault
        return next((fault for bound, fault in self.faults if chance < bound), None)

    def is_out(self, elapsed: float) -> bool:
        """Return whether an outage is on."""
        return any(outage.active(elapsed) for outage in self.outages)

    def until_change(self, elapsed: float) -> float | None:
        """Return the seconds until an outage begins or ends; None if no change is left."""
        changes = (outage.until_change(elapsed) for outage in self.outages)
        return min((change for change in changes if change is not None), default=None)


def _fault(item: str) -> tuple[float, InjectedFault]:
    word, *rest = item.split(":")
    if _STATUS.fullmatch(word):
        return _status(item, int(word), rest)
    if word == "slow":
        delay, probability = _fields(item, rest, 2, "write slow:DURATION:P, as in slow:2s:0.05")
        return _probability(item, probability), InjectedFault("slow", delay=_duration(item, delay))
    if word not in _WORDS:
        near = get_close_matches(word, _WORDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of NNN (a status), {', '.join(_WORDS)}"
        raise _wrong(item, "is not a known fault", hint)
    (probability,) = _fields(item, rest, 1, f"write {word}:P, as in {word}:0.05")
    fault = InjectedFault("slow", delay=HANG_SECONDS) if word == "hang" else InjectedFault(word)
    return _probability(item, probability), fault


def _status(item: str, status: int, rest: list[str]) -> tuple[float, InjectedFault]:
    if not 200 <= status <= 599:
        raise _wrong(item, "is not a final HTTP status", "take one from 200 to 599")
    if len(rest) == 1:
        return _probability(item, rest[0]), InjectedFault("status", status)
    hint = f"write {status}:P or {status}:P:RETRY_AFTER, as in 429:0.01:2s"
    probability, retry_after = _fields(item, rest, 2, hint)
    return _probability(item, probability), InjectedFault(
        "status", status, _duration(item, retry_after)
    )


def _aim(item: str, where: str) -> Aim:
    if where.startswith("/"):
        return Aim(where)
    name, equals, value = where.partition("=")
    if not name or not equals:
        raise _wrong(item, "names no requests", "write @/PATH or @HEADER=VALUE after the item")
    return Aim(name, value)


def _outage(item: str) -> Outage:
    duration, at, rest = item.partition(":")[2].partition("@")
    start, slash, every = rest.partition("/")
    if not at:
        raise _wrong(item, "has no start time", "write outage:DURATION@START, as in outage:10s@30s")
    outage = Outage(
        _duration(item, duration),
        _duration(item, start),
        _duration(item, every) if slash else None,
    )
    if outage.every is not None and outage.every <= outage.duration:
        raise _wrong(item, "would never end", "the duration after / must be longer than the outage")
    return outage


def _fields(item: str, rest: list[str], count: int, hint: str) -> list[str]:
    if len(rest) != count:
        raise _wrong(item, "has too many or too few parts", hint)
    return rest


def _probability(item: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise _wrong(item, f"has {text!r} as its probability", "write a number from 0 to 1")
    return value


def _duration(item: str, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise _wrong(item, f"has {text!r} as its duration", "write 500ms, 2s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def _wrong(item: str, what: str, hint: str) -> UsageError:
    return UsageError(f"chaos: {item!r} {what}", hint)
