"""What is left to deliver: the pending events of each destination, and which of them are stuck.

It decides which states of a destination need an operator before its events can be delivered. It
must never keep a connection to the database between two questions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from shipper.clock import Clock
from shipper.config import Settings
from shipper.observe.troubles import state_of
from shipper.policy.state import State
from shipper.store.db.opening import Database
from shipper.store.db.transactions import let_go
from shipper.store.report.progress import behind_held_keys
from shipper.store.report.status import destination_report

STUCK: Final = frozenset({State.OFFLINE, State.PAUSED, State.HELD})
STUCK_WORDS: Final = frozenset(state.value for state in STUCK)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PendingEvents:
    """The pending events of one destination. `held` of them wait behind a held key."""

    destination: str
    pending: int
    held: int
    state: str
    reason: str | None
    explained: str
    """The state of the destination, with the reason."""

    @property
    def is_stuck(self) -> bool:
        """Return whether all of them need an operator before they can be shipped."""
        return self.state in STUCK_WORDS or self.held >= self.pending


class PendingView:
    """What the database says about the events that are left."""

    def __init__(self, engine: Database, settings: Settings, clock: Clock) -> None:
        self.engine = engine
        self.settings = settings
        self.clock = clock

    def ask(self, question: Callable[[Database], T]) -> T:
        """Return the answer to a question; keep no connection open until the next one."""
        try:
            return question(self.engine)
        finally:
            let_go(self.engine)

    def left(self) -> list[PendingEvents]:
        """Return the pending events by destination."""
        behind = behind_held_keys(self.engine)
        reports = destination_report(self.engine, self.settings.destinations, self.clock.wall())
        return [
            PendingEvents(
                r.name,
                r.pending,
                behind.get(r.name, 0),
                r.state,
                r.reason,
                state_of(r, between=", "),
            )
            for r in reports
            if r.pending
        ]
