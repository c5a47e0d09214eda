"""Reads the events that a turn is going to claim.

It decides how much one turn reads: it must never hold more payloads than the claim has room for,
and one chunk more. The payload of an event is returned byte for byte.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from shipper.policy.event import Event
from shipper.store.db.dialect import Dialect
from shipper.store.db.statement import Channel, Sent, Statement
from shipper.store.lease.claims import chunks


class Fetch:
    """Reads pending events by their ids; `room` bounds the payloads of one turn, in bytes."""

    def __init__(self, dialect: Dialect, room: int) -> None:
        self._dialect = dialect
        self._room = room
        by_id = f"shipper_outbox{dialect.by_id}"
        # Reading a number costs a third of reading a text; exact to 0.1 ms.
        created_at = dialect.seconds.format("created_at")
        self._events = Statement(
            dialect,
            f"SELECT id, {dialect.event_id} AS event_id, destination,"
            f" {dialect.ordering_key} AS ordering_key, {dialect.payload} AS payload, attempts,"
            f" maybe_received, last_error IS NOT NULL AS failed, manual, {created_at} AS created_at"
            f" FROM {by_id} WHERE id IN {dialect.ids} AND status = 'pending'",
        )

    def send(self, channel: Channel, wanted: Sequence[int]) -> Callable[[], list[Event]]:
        """Ask for the first events; what comes back returns all of them, in the wanted order."""
        rest = chunks(wanted)
        first = next(rest, [])
        return partial(self._take, channel, first, self._ask(channel, first), rest)

    def _ask(self, channel: Channel, ids: list[int]) -> Sent | None:
        return self._events.send(channel, {"ids": self._dialect.bind_ids(ids)}) if ids else None

    def _take(
        self, channel: Channel, chunk: list[int], sent: Sent | None, rest: Iterator[list[int]]
    ) -> list[Event]:
        found: list[Event] = []
        room = self._room
        while sent is not None:
            by_id = {row[0]: row for row in sent.rows()}
            for event in (self._event(*by_id[i]) for i in chunk if i in by_id):
                room -= len(event.payload)
                if room < 0 and found:
                    return found
                found.append(event)
            chunk = next(rest, [])
            sent = self._ask(channel, chunk)
            if sent is not None:
                channel.wait()
        return found

    def _event(self, row: int, event_id: Any, destination: str, key: Any, *rest: Any) -> Event:
        """Make an event of the columns of the statement."""
        payload, attempts, maybe_received, failed, manual, created_at = rest
        return Event(
            id=row,
            event_id=self._dialect.text(event_id),
            destination=destination,
            ordering_key=self._dialect.text(key),
            payload=bytes(payload),
            attempts=attempts,
            maybe_received=bool(maybe_received),
            failed=bool(failed),
            manual=bool(manual),
            created_at=created_at or 0.0,
        )
