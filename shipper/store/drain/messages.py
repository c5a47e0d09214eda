"""What the daemon and its database tell each other: plain frozen values, no behaviour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shipper.policy.delivery import Verdict
from shipper.policy.event import Event

NAMED = 1 << 20
"""By so much the generation grows with a command that says which lanes it has touched. By one where
it may have been any."""
NAMED_KEPT = 256
"""Of so many commands it is kept which lanes they have touched."""
NAMED_SPAN = NAMED_KEPT * NAMED
"""By so much the generation has grown once what was touched may be forgotten."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the history: one try that failed, was asked for, or ended a run of failures."""

    started_at: float
    duration_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    response_excerpt: str | None
    manual: bool


class Record(NamedTuple):
    """What is to be written about one event. Times are seconds since 1970."""

    event: Event
    verdict: Verdict
    at: float
    next_attempt_at: float | None = None
    status_code: int | None = None
    error: str | None = None
    attempt: Attempt | None = None
    holds_key: bool = False
    """Whether its lane is held from now on, because it died and the destination says so."""


@dataclass(frozen=True, slots=True)
class LinkRow:
    """The state of a destination as `status` shows it. Times are seconds since 1970."""

    destination: str
    state: str
    reason: str | None
    since: float
    next_try_at: float | None
    written_at: float | None = field(default=None, compare=False)
    """When the row was written; the database's to say."""
    failures: int = 0
    """Tries that failed in a row since the last one that was accepted."""
    last_error: str | None = None
    failing_since: float | None = None
    """When the first of them ended."""


class Settled(NamedTuple):
    """Up to which id the order of commits is known, and by which of the driver's connections.

    Behind another one may be another database, also where the server never stopped.
    """

    up_to: int = 0
    by: object = None


NOT_SEEN = Settled()


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that one transaction of the daemon does."""

    now: float
    records: Sequence[Record] = ()
    released: Sequence[int] = ()
    wanted: Sequence[int] = ()
    homes: Mapping[int, str] = field(default_factory=dict)
    """Where those asked for should go; one that was sent elsewhere isn't claimed."""
    links: Sequence[LinkRow] = ()
    settled: Settled = NOT_SEEN
    """How far the order of commits is known, for the process that comes after us."""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.records or self.released or self.wanted or self.links)


@dataclass(frozen=True, slots=True)
class Look:
    """A question to the outbox: a page of a destination, or the beginning of one lane."""

    kind: Literal["maybe_received", "pending", "lane"]
    destination: str
    limit: int
    after: int = 0
    lane: str | int | None = None


class Row(NamedTuple):
    """A pending row as a look shows it. `next_attempt_at` is in seconds since 1970.

    `held` is whether its key is held.
    """

    id: int
    lane: str | int
    next_attempt_at: float | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Holds:
    """What operators and dead heads hold: whole destinations, and of the keys those asked for."""

    destinations: frozenset[str] = frozenset()
    keys: dict[str, frozenset[str]] = field(default_factory=dict)
    """By destination, of the keys that are loaded; of others each row says so."""
    releases: dict[str, int] = field(default_factory=dict)
    """How often an operator has let a destination, or a key of it, go on; none of it is left out.

    It grows also where nothing was held: whoever says "go on" wants the link to be probed.
    """
    recalls: dict[str, int] = field(default_factory=dict)
    """How often an operator has asked for what is claimed, to send it elsewhere."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What has changed since the last look.

    `fresh` says that events may have come; `generation` grows with every operator's command;
    `held_back` says that an open transaction keeps committed events back (Postgres). `damage` is
    what somebody has done to the tables, one sentence each; None where it wasn't looked for.
    `moved` says that it was asked by a new connection, or of another server than before.
    """

    fresh: bool
    generation: int
    held_back: bool = False
    damage: tuple[str, ...] | None = None
    moved: bool = False
