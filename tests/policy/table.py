"""A model of the outbox: what the database knows of rows, their order and their claims."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shipper.policy.event import Event
from shipper.policy.lanes import Name


@dataclass
class Row:
    """A row of the outbox; `retried` once an operator put it back."""

    id: int
    key: str | None
    payload: bytes
    pending: bool = True
    dead: bool = False
    received: bool = False
    due: float | None = None
    retried: bool = False

    @property
    def lane(self) -> Name:
        """Return the lane's name, as the database shows it."""
        return self.id if self.key is None else self.key

    @property
    def shard(self) -> int:
        """Return the shard that the lane lies in: one of the first four."""
        return (self.id if self.key is None else sum(self.key.encode())) % 4

    @property
    def place(self) -> tuple[bool, int]:
        """Return what a lane is sorted by: what may have been received goes first."""
        return (not self.received, self.id)


@dataclass
class Table:
    """The outbox: every row ever written, and the ids that are claimed on disk."""

    rows: dict[int, Row] = field(default_factory=dict)
    claimed: set[int] = field(default_factory=set)

    def insert(self, key: str | None, size: int) -> Row:
        """Write an event."""
        row = Row(len(self.rows) + 1, key, b"x" * size)
        self.rows[row.id] = row
        return row

    def pending(self, lane: Name | None = None) -> list[Row]:
        """Return what is pending, in order of id, or of one lane in the order it has to go."""
        rows = [row for row in self.rows.values() if row.pending]
        if lane is None:
            return rows
        return sorted((row for row in rows if row.lane == lane), key=lambda row: row.place)

    def claim(self, wanted: Iterable[int], bytes_max: int) -> dict[int, Event]:
        """Claim what is still pending, as far as the bytes reach; at least one."""
        events: dict[int, Event] = {}
        for row in (self.rows[i] for i in wanted if self.rows[i].pending):
            bytes_max -= len(row.payload)
            if bytes_max < 0 and events:
                break
            assert row.id not in self.claimed, "claimed twice"
            failed = row.due is not None
            events[row.id] = Event(
                row.id, f"e{row.id}", "default", row.key, row.payload, failed=failed
            )
        self.claimed.update(events)
        return events
