"""Which fault strikes a request, and when the whole API is away. Pure: time and chance come in.

A spec is a list of items with commas between. P is a probability from 0 to 1, and all of them
together are at most 1. Durations are `2s`, `500ms`, `5m`, `1h`; a bare number means seconds.

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
    outage:DUR@START        nobody listens for DUR, START after the beginning;
    outage:DUR@START/EVERY  again every EVERY; what is in flight is cut off      no

"Processed" means: answered as usual, so what is invalid or lacks the API ID isn't accepted here
either; only the answer suffers. A slow answer is late, not the processing: a receiver that
processed late would bring events out of order whatever the sender does.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from shipper.errors import UsageError

HANG_SECONDS: Final = 60.0
# Processed like any other request; only the answer suffers.
_AFTER_PROCESSING: Final = frozenset({"lost", "slow", "reset", "truncate"})
_PLAIN: Final = ("drop", "lost", "stall", "reset", "garbage", "html", "truncate", "redirect")
_WORDS: Final = (*_PLAIN, "hang", "slow", "outage")
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)")
_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STATUS: Final = re.compile(r"[0-9]{3}")
# Ten times 0.1 is a little more than 1 in binary.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to treat a request badly. Times in seconds."""

    kind: str
    status: int | None = None
    retry_after: float | None = None
    delay: float = 0.0

    @property
    def after_processing(self) -> bool:
        """Return whether the request is processed as usual before the fault strikes."""
        accepted = self.status is not None and 200 <= self.status < 300
        return accepted or self.kind in _AFTER_PROCESSING


OUTAGE: Final = Fault("outage")


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nobody listens, in seconds from the beginning; `every` makes it return."""

    duration: float
    start: float
    every: float | None = None

    def active(self, elapsed: float) -> bool:
        """Return whether it is on, so many seconds after the beginning."""
        return 0 <= self._phase(elapsed) < self.duration

    def until_change(self, elapsed: float) -> float | None:
        """Return the seconds until it begins or ends; None when it won't any more."""
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
class Chaos:
    """A parsed spec: faults with their upper bounds on a line from 0 to 1, and the outages."""

    faults: tuple[tuple[float, Fault], ...] = ()
    outages: tuple[Outage, ...] = ()

    @classmethod
    def parse(cls, spec: str) -> "Chaos":
        """Read a spec; the empty one means no faults.

        Raises UsageError that names the item in question and says how to write it.
        """
        faults: list[tuple[float, Fault]] = []
        outages: list[Outage] = []
        bound = 0.0
        for item in filter(None, (part.strip() for part in spec.split(","))):
            if item.partition(":")[0] == "outage":
                outages.append(_outage(item))
                continue
            probability, fault = _fault(item)
            bound += probability
            if bound > 1 + _ROUNDING:
                raise _wrong(item, f"adds up to {bound:.6g}", "lower the probabilities to 1 in all")
            faults.append((bound, fault))
        return cls(tuple(faults), tuple(outages))

    def choose(self, elapsed: float, chance: float) -> Fault | None:
        """Return the fault for a request, or None.

        `elapsed` is in seconds since these faults were set, `chance` in [0, 1).
        """
        if self.is_out(elapsed):
            return OUTAGE
        return next((fault for bound, fault in self.faults if chance < bound), None)

    def is_out(self, elapsed: float) -> bool:
        """Return whether an outage is on."""
        return any(outage.active(elapsed) for outage in self.outages)

    def until_change(self, elapsed: float) -> float | None:
        """Return the seconds until an outage begins or ends; None when none will."""
        changes = (outage.until_change(elapsed) for outage in self.outages)
        return min((change for change in changes if change is not None), default=None)


def _fault(item: str) -> tuple[float, Fault]:
    word, *rest = item.split(":")
    if _STATUS.fullmatch(word):
        return _status(item, int(word), rest)
    if word == "slow":
        delay, probability = _fields(item, rest, 2, "write slow:DURATION:P, as in slow:2s:0.05")
        return _probability(item, probability), Fault("slow", delay=_duration(item, delay))
    if word not in _WORDS:
        near = get_close_matches(word, _WORDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of NNN (a status), {', '.join(_WORDS)}"
        raise _wrong(item, "is no fault that we know", hint)
    (probability,) = _fields(item, rest, 1, f"write {word}:P, as in {word}:0.05")
    fault = Fault("slow", delay=HANG_SECONDS) if word == "hang" else Fault(word)
    return _probability(item, probability), fault


def _status(item: str, status: int, rest: list[str]) -> tuple[float, Fault]:
    if not 200 <= status <= 599:
        raise _wrong(item, "is no final HTTP status", "take one from 200 to 599")
    if len(rest) == 1:
        return _probability(item, rest[0]), Fault("status", status)
    hint = f"write {status}:P or {status}:P:RETRY_AFTER, as in 429:0.01:2s"
    probability, retry_after = _fields(item, rest, 2, hint)
    return _probability(item, probability), Fault("status", status, _duration(item, retry_after))


def _outage(item: str) -> Outage:
    duration, at, rest = item.partition(":")[2].partition("@")
    start, slash, every = rest.partition("/")
    if not at:
        raise _wrong(item, "doesn't say when", "write outage:DURATION@START, as in outage:10s@30s")
    outage = Outage(
        _duration(item, duration),
        _duration(item, start),
        _duration(item, every) if slash else None,
    )
    if outage.every is not None and outage.every <= outage.duration:
        raise _wrong(item, "would never end", "make what follows / longer than the outage")
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
        raise _wrong(item, f"has {text!r} for a probability", "write a number from 0 to 1")
    return value


def _duration(item: str, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise _wrong(item, f"has {text!r} for a duration", "write 500ms, 2s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def _wrong(item: str, what: str, hint: str) -> UsageError:
    return UsageError(f"chaos: {item!r} {what}", hint)
