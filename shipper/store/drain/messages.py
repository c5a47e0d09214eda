"""The messages between the daemon and its database: plain frozen values, no behaviour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shipper.policy.delivery import Verdict
from shipper.policy.event import Event

NAMED = 1 << 20
"""How much the generation grows with a command that names the lanes it has touched. It grows by one
if the command may have touched any lane."""
NAMED_KEPT = 256
"""For how many commands the outbox keeps which lanes they have touched."""
NAMED_SPAN = NAMED_KEPT * NAMED
"""If the generation has grown by more than this, touched lanes may already be deleted."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of an event's history: a try that failed, or one that ended a run of failures.

    It may also be any try that an operator asked for (`manual`), or a reroute.
    """

    started_at: float
    duration_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    response_excerpt: str | None
    manual: bool


class Record(NamedTuple):
    """What a turn writes about one event. Times are seconds since 1970."""

    event: Event
    verdict: Verdict
    at: float
    next_attempt_at: float | None = None
    status_code: int | None = None
    error: str | None = None
    history: HistoryRow | None = None
    holds_key: bool = False
    """Whether the event holds its key: it died, and `after_dead_letter` is "hold"."""


@dataclass(frozen=True, slots=True)
class LinkRow:
    """The state of a destination as `status` shows it. Times are seconds since 1970."""

    destination: str
    state: str
    reason: str | None
    since: float
    next_try_at: float | None
    written_at: float | None = field(default=None, compare=False)
    """When the row was written; only the database sets it."""
    failures: int = 0
    """Tries that failed since the last accepted one."""
    last_error: str | None = None
    failing_since: float | None = None
    """When the first of these tries ended."""


class SettledIds(NamedTuple):
    """Up to which id the order of commits is settled, and which connection has seen that.

    A new connection of the driver may lead to another database, even if the server never stopped.
    """

    up_to: int = 0
    by: object = None


NOT_SEEN = SettledIds()


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that one transaction of the daemon does."""

    now: float
    records: Sequence[Record] = ()
    released: Sequence[int] = ()
    wanted: Sequence[int] = ()
    homes: Mapping[int, str] = field(default_factory=dict)
    """Destinations of the wanted ids; an event that was rerouted meanwhile isn't claimed."""
    links: Sequence[LinkRow] = ()
    settled: SettledIds = NOT_SEEN
    """Up to which id the order of commits is settled; the next process reads it."""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.records or self.released or self.wanted or self.links)


@dataclass(frozen=True, slots=True)
class Look:
    """A question to the outbox: for a page of a destination, or the beginning of one lane."""

    kind: Literal["maybe_received", "pending", "lane"]
    destination: str
    limit: int
    after: int = 0
    lane: str | int | None = None
    shards: tuple[int, ...] | None = None
    """Only rows of these shards; None for all."""


class PendingRow(NamedTuple):
    """A pending row as a look shows it. `next_attempt_at` is in seconds since 1970.

    `held` is whether its key is held.
    """

    id: int
    lane: str | int
    next_attempt_at: float | None
    held: bool = False
    shard: int = 0
    attempts: int = 0


class Page(NamedTuple):
    """The answer to a look at a destination: all rows that fit it, up to the id `seen`.

    `is_last` says that up to the watermark there are no others.
    """

    rows: list[PendingRow]
    seen: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Holds:
    """What operators and dead letters hold: destinations, and those keys that were asked for."""

    destinations: frozenset[str] = frozenset()
    keys: dict[str, frozenset[str]] = field(default_factory=dict)
    """The held keys by destination; only of the keys that the daemon has loaded."""
    releases: dict[str, int] = field(default_factory=dict)
    """How often an operator has released each destination, or a key of it.

    The count grows also if nothing was held: an operator who releases wants the link to be probed.
    """
    recalls: dict[str, int] = field(default_factory=dict)
    """How often an operator's command has asked for claimed events, by destination."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What has changed since the last look.

    `fresh` says that there may be new events; `generation` grows with every operator's command;
    `held_back` says that an open transaction keeps committed events back (Postgres). `damage` lists
    what is wrong with the tables, one sentence each; None if they weren't checked. `moved` says
    that the connection is a new one, or that another server answered than before.
    """

    fresh: bool
    generation: int
    held_back: bool = False
    damage: tuple[str, ...] | None = None
    moved: bool = False
    epoch: int = -1
    """A number that changes if daemons come or go, or shards move; -1 where they can't."""
