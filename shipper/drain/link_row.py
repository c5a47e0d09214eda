"""How a link is stored with times on the wall clock, and how it is resumed from its row.

It must never make a stored wait longer: the wall clock may have been set since.
"""

from collections.abc import Iterable

from shipper.clock import Clock
from shipper.policy.link import Link
from shipper.policy.outcome import RETRY_AFTER_MAX
from shipper.policy.state import State
from shipper.store.drain.messages import LinkRow


def link_row(destination: str, link: Link, ahead: float) -> LinkRow:
    """Return the row of a link; `ahead` is wall time minus monotonic time, in seconds."""
    failing, due = link.failing, link.next_try
    return LinkRow(
        destination,
        link.state.value,
        link.reason,
        ahead + link.since,
        next_try_at=None if due is None else ahead + due,
        failures=failing.failures,
        last_error=failing.last_error,
        failing_since=None if failing.since is None else ahead + failing.since,
    )


def resume(link: Link, row: LinkRow, clock: Clock) -> None:
    """Resume a link from its row."""
    now, wall = clock.monotonic(), clock.wall()
    next_try = wall if row.next_try_at is None else row.next_try_at
    # If the clock was set back since, the wait would become longer than the original.
    longest = RETRY_AFTER_MAX if row.written_at is None else next_try - row.written_at
    wait = max(0.0, min(next_try - wall, longest, RETRY_AFTER_MAX))
    since = now + min(row.since - wall, 0.0)
    link.resume(State(row.state), row.reason, since=since, until=now + wait)
    failing_since = wall if row.failing_since is None else row.failing_since
    failed_at = now + min(failing_since - wall, 0.0)
    due = None if row.next_try_at is None else now + wait
    link.failing.resume(row.failures, row.last_error, failed_at, due)


class StoredLinks:
    """The rows of the links as they were last written: only a changed row is written again."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[object, ...]] = {}

    def has_changed(self, destination: str, link: Link, ahead: float) -> bool:
        """Return whether the row of a link is worth a write; see `link_row`."""
        failing, due = link.failing, link.next_try
        next_try = None if due is None else ahead + due
        now = _key(link.state.value, link.reason, next_try, failing.failures, failing.last_error)
        return self._written.get(destination) != now

    def update(self, rows: Iterable[LinkRow]) -> None:
        """Record that these rows are written."""
        for row in rows:
            key = _key(row.state, row.reason, row.next_try_at, row.failures, row.last_error)
            self._written[row.destination] = key


def _key(
    state: str, reason: str | None, next_try: float | None, failures: int, error: str | None
) -> tuple[object, ...]:
    """Return the values whose change is worth a write; a time counts in whole seconds."""
    return (state, reason, None if next_try is None else round(next_try), failures, error)
