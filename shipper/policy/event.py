"""An event as the application wrote it and the daemon sends it. It must never be rewritten."""

from typing import NamedTuple


class Event(NamedTuple):
    """One claimed row of the outbox.

    `maybe_received` says that a try ended without an answer: the receiver may have the event.
    `failed` says that the last try failed; `manual` says that an operator asked for the next try.
    `created_at` is in seconds since 1970; 0 if it isn't known.
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
        """Return the ids: the payload must not appear in a log or an error."""
        return f"Event(id={self.id}, event_id={self.event_id!r})"

    @property
    def lane(self) -> str | int:
        """Return the name of the lane: the key, or the row's id if the event has no key."""
        return self.id if self.ordering_key is None else self.ordering_key
