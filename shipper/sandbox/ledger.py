"""Count what the receiver saw: repeats, order, overlaps, identity. Takes times as arguments; pure.

The ledger decides whether the sender kept its promises, as far as a receiver can see. It must
never miss a broken promise. The words:

- *processed*: the receiver accepted the event (even if the sender never read the answer).
- *repeat*: an idempotency key that was processed before. A repeat is *immediate* if no other event
  of that user was processed in between, otherwise *late*. Exact for the last 1,000,000 keys.
- *order violation*: the first arrival of an event with a number smaller than one that was processed
  already, of the same user and series. A gap isn't a violation: a dead letter leaves one.
  `sequence_of(key, payload)` returns (series, number), or None if the order isn't checked.
- *overlap*: a request that arrived while another request of the same user was in flight on an open
  connection. A request whose sender has closed the connection isn't in flight any more.
- *identity violation*: the same key with other bytes.
- *ambiguous*: an answer that the sender didn't get complete. The sender is allowed to repeat it.
"""

import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, TypeVar

KEYS_KEPT: Final = 1_000_000
VISITS_KEPT: Final = 10_000
# The connection ended, or the sandbox stopped, before the answer left.
GONE: Final = "gone"
AMBIGUOUS: Final = frozenset(
    {"drop", "lost", "stall", "reset", "truncate", "garbage", "outage", GONE}
)

SequenceOf = Callable[[str, bytes], tuple[str, int] | None]
_NUMBERED: Final = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

K = TypeVar("K")
V = TypeVar("V")


def trailing_number(key: str, payload: bytes) -> tuple[str, int] | None:
    """Return the part of a key before its trailing number, and that number.

    `u17-000042` is number 42 of the series `u17-`. A UUID has no number, even if it ends in digits.
    """
    del payload
    match = _NUMBERED.fullmatch(key)
    if match is None or _UUID.fullmatch(key):
        return None
    return match[1], int(match[2])


@dataclass(slots=True, eq=False)
class Visit:
    """One request, from the time it was read whole until its answer left. Times in seconds.

    `status` is the HTTP status of a complete answer, or the name of the fault.
    """

    seq: int
    key: str | None
    user: str | None
    position: tuple[str, int] | None
    sha: str
    began: float
    in_flight: int
    status: int | str = GONE
    processed: bool = False
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts so far. `answers` counts the requests per status or fault."""

    requests: int
    accepted: int
    distinct: int
    unkeyed: int
    users: int
    repeats: int
    immediate_repeats: int
    late_repeats: int
    order_violations: int
    overlaps: int
    identity_violations: int
    ambiguous: int
    answers: dict[str, int]

    @property
    def flawless(self) -> bool:
        """Return whether the sender kept every promise that a receiver can check."""
        broken = self.order_violations, self.late_repeats, self.overlaps, self.identity_violations
        return not any(broken)


class Recent(Generic[K, V]):
    """A mapping that keeps at least the last `size` used entries, and at most twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None if the key is unknown or forgotten."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Store a value; its key is now the last one used."""
        if len(self._young) >= self._size and key not in self._young:
            self._young, self._old = {}, self._young
        self._young[key] = value


@dataclass(slots=True)
class _User:
    last_key: str | None = None
    order_violations: int = 0


class Ledger:
    """The counts of one sandbox. `visits` holds the last 10,000 processed requests, in order."""

    def __init__(
        self, sequence_of: SequenceOf = trailing_number, keys_kept: int = KEYS_KEPT
    ) -> None:
        self.visits: deque[Visit] = deque(maxlen=VISITS_KEPT)
        self._sequence_of = sequence_of
        self._keys: Recent[str, str] = Recent(keys_kept)
        self._users: Recent[str, _User] = Recent(keys_kept)
        self._highest: Recent[tuple[str, str], int] = Recent(keys_kept)
        self._flights: dict[str, dict[Visit, Callable[[], bool]]] = {}
        self._counts: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def begin(
        self,
        key: str | None,
        user: str | None,
        payload: bytes,
        now: float,
        is_open: Callable[[], bool],
    ) -> Visit:
        """Record a request that was read whole; `is_open` says whether its connection is open."""
        self._counts["requests"] += 1
        others = {} if user is None else self._flights.setdefault(user, {})
        visit = Visit(
            seq=self._counts["requests"],
            key=key,
            user=user,
            position=None if key is None else self._sequence_of(key, payload),
            sha=sha256(payload).hexdigest()[:16],
            began=now,
            in_flight=1 + sum(other_is_open() for other_is_open in others.values()),
        )
        others[visit] = is_open
        self._counts["overlaps"] += visit.in_flight > 1
        return visit

    def process(self, visit: Visit) -> None:
        """Record that the event was accepted: a second arrival now counts as a repeat."""
        visit.processed = True
        self.visits.append(visit)
        self._counts["accepted"] += 1
        user = self._user(visit.user)
        if visit.key is None:
            self._counts["unkeyed"] += 1
        elif (first_sha := self._keys.get(visit.key)) is None:
            self._keys.put(visit.key, visit.sha)
            self._counts["distinct"] += 1
            self._check_order(visit, user)
        else:
            self._repeat(visit, user, first_sha)
        user.last_key = visit.key

    def end(self, visit: Visit, now: float) -> None:
        """Record that the answer leaves now, or that there is none; `visit.status` says which."""
        visit.ended = now
        self._answers[str(visit.status)] += 1
        self._counts["ambiguous"] += visit.status in AMBIGUOUS
        if visit.user is not None:
            others = self._flights[visit.user]
            del others[visit]
            if not others:
                del self._flights[visit.user]

    def order_violations_of(self, user: str) -> int:
        """Return how many of this user's events arrived out of order."""
        known = self._users.get(user)
        return 0 if known is None else known.order_violations

    def summary(self) -> Summary:
        """Return the counts so far."""
        count = self._counts
        return Summary(
            requests=count["requests"],
            accepted=count["accepted"],
            distinct=count["distinct"],
            unkeyed=count["unkeyed"],
            users=count["users"],
            repeats=count["immediate_repeats"] + count["late_repeats"],
            immediate_repeats=count["immediate_repeats"],
            late_repeats=count["late_repeats"],
            order_violations=count["order_violations"],
            overlaps=count["overlaps"],
            identity_violations=count["identity_violations"],
            ambiguous=count["ambiguous"],
            answers=dict(self._answers),
        )

    def _user(self, name: str | None) -> _User:
        # An event without a user isn't ordered against others.
        if name is None:
            return _User()
        user = self._users.get(name)
        if user is None:
            user = _User()
            self._users.put(name, user)
            self._counts["users"] += 1
        return user

    def _check_order(self, visit: Visit, user: _User) -> None:
        if visit.user is None or visit.position is None:
            return
        series, number = visit.position
        highest = self._highest.get((visit.user, series))
        if highest is None or number > highest:
            self._highest.put((visit.user, series), number)
        elif number < highest:
            user.order_violations += 1
            self._counts["order_violations"] += 1

    def _repeat(self, visit: Visit, user: _User, first_sha: str) -> None:
        immediate = visit.user is None or user.last_key == visit.key
        self._counts["immediate_repeats" if immediate else "late_repeats"] += 1
        self._counts["identity_violations"] += visit.sha != first_sha
