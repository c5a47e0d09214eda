"""What an application wrote, as the daemon carries it. Immutable: never rewritten."""

from typing import NamedTuple


class Event(NamedTuple):
    """One claimed row of the outbox.

    `maybe_received` says that a try ended without an answer, so the receiver may have it;
    `failed` that its last try failed, `manual` that an operator asked for the next one.
    `created_at` is in seconds since 1970; 0 where nobody knows.
    """

    id: int
    event_id: str
    destination: str
    ordering_key: str | None
    payload: bytes
    attempts: int = 0
    maybe_received: bool = False
    failed: bool = False
    manual: bool = False
    created_at: float = 0.0

    def __repr__(self) -> str:
        """Return what may be shown of it: the payload may not."""
        return f"Event(id={self.id}, event_id={self.event_id!r})"

    @property
    def lane(self) -> str | int:
        """Return the name of the lane: the key, or the row's own id where there is none."""
        return self.id if self.ordering_key is None else self.ordering_key
