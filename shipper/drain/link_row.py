"""How a link is written down, with its times on the wall clock, and taken up again.

It must never make a wait longer than it was: the wall clock may have been set since.
"""

from collections.abc import Iterable

from shipper.clock import Clock
from shipper.policy.link import Link
from shipper.policy.outcome import RETRY_AFTER_MAX
from shipper.policy.state import State
from shipper.store.drain.messages import LinkRow


def link_row(destination: str, link: Link, ahead: float) -> LinkRow:
    """Return a link as it is stored; `ahead` is what the wall clock shows more than ours."""
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
    """Take a link up as it was stored."""
    now, wall = clock.monotonic(), clock.wall()
    next_try = wall if row.next_try_at is None else row.next_try_at
    # By a clock that was set back since, it would be longer than it ever was.
    longest = RETRY_AFTER_MAX if row.written_at is None else next_try - row.written_at
    wait = max(0.0, min(next_try - wall, longest, RETRY_AFTER_MAX))
    since = now + min(row.since - wall, 0.0)
    link.resume(State(row.state), row.reason, since=since, until=now + wait)
    failing_since = wall if row.failing_since is None else row.failing_since
    failed_at = now + min(failing_since - wall, 0.0)
    due = None if row.next_try_at is None else now + wait
    link.failing.resume(row.failures, row.last_error, failed_at, due)


class StoredLinks:
    """How the links were written down last: only what has changed is worth a write."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[object, ...]] = {}

    def changed(self, rows: Iterable[LinkRow]) -> list[LinkRow]:
        """Return those that are another by now."""
        return [row for row in rows if self._keys.get(row.destination) != _key(row)]

    def update(self, rows: Iterable[LinkRow]) -> None:
        """Take in that these are written."""
        self._keys.update((row.destination, _key(row)) for row in rows)


def _key(link: LinkRow) -> tuple[object, ...]:
    """Return what of a link is worth a write when it changes (times within the same second)."""
    next_try = None if link.next_try_at is None else round(link.next_try_at)
    return (link.state, link.reason, next_try, link.failures, link.last_error)
