"""What a run leaves behind for the invariants to judge: plain values, from whatever ran.

Times are seconds on one clock that nobody can set, the same for everything in a run. A simulation
can fill in all of it; a campaign against real processes leaves out what only an eye inside sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Lane = str | int
OPERATOR = 0
"""Stands for everybody who changes the outbox and is no daemon."""


@dataclass(frozen=True, slots=True)
class Written:
    """An event whose transaction has committed. `fit` says whether its form lets it be sent."""

    id: int
    event_id: str
    destination: str
    lane: Lane
    body: str
    fit: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """An event as it lies in the outbox at the end."""

    id: int
    event_id: str
    destination: str
    lane: Lane
    body: str
    status: str
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """A change of an event's status or budget; `process` is who made it, 0 an operator."""

    at: float
    process: int
    id: int
    before: str
    after: str
    attempts_before: int
    attempts_after: int


@dataclass(slots=True)
class Request:
    """One try. `answer` is what the sender was told, None if it didn't live to hear it.

    `durable` and `ahead` are what an independent reader saw on disk as the try began: whether the
    event was pending and claimed there, and which pending ones of its lane have smaller ids.
    `probing` says that the sender knew its destination to be down, `beside` how many of its tries
    there were under way, or accepted and not yet recorded.
    `settled` is the place among the endings of all tries; `received` is when the API took it.
    """

    number: int
    process: int
    destination: str
    lane: Lane
    id: int
    event_id: str
    body: str
    began: float
    durable: bool = True
    ahead: tuple[int, ...] = ()
    probing: bool = False
    beside: int = 0
    ended: float | None = None
    settled: int | None = None
    answer: Literal["accepted", "refused", "throttled", "failed"] | None = None
    status: int | None = None
    held: float = 0.0
    """For how many seconds an operator had held its key or its destination when it began."""
    maybe: bool = False
    reached: bool = False
    received: float | None = None
    retry_after: float | None = None


@dataclass(slots=True)
class Process:
    """One life of the daemon. `links` is what it found stored: state and reason by destination."""

    number: int
    began: float
    ended: float | None = None
    end: Literal["", "killed", "stopped", "failed", "lost"] = ""
    stop_asked: float | None = None
    stop_took: float = 0.0
    """Seconds from then to its end, without those that the machine slept through."""
    bug: str | None = None
    """What it ended with, if that is nothing that a person has to mend."""
    cut_off: int = 0
    durable_commits: bool = True
    """Whether what it commits is on disk before it goes on."""
    taken_over: float | None = None
    writes_after: int = 0
    """Transactions of its own that changed something after another process had taken over."""
    links: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    recovered: Mapping[int, bool] | None = None
    """What was pending and had been sent before it took over: whether it counts as received."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a destination is configured."""

    timeout: float
    max_in_flight: int
    max_rate: float
    max_attempts: int
    witness_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Something that must stay within a bound, and how large it once was."""

    what: str
    value: float
    bound: float
