"""The frame of every command that changes events: select, show, confirm, change, report.

Such a command says which events it takes, how it asks, what it does and what it prints; the order
of these steps is decided here. It also decides how long to wait for events that a running daemon
has in flight: for as long as a try can take. It must never change an event that a daemon still has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Generic, Protocol, TypeVar

from shipper.cli.input.arguments import StatusName
from shipper.cli.input.choice import chosen, is_read, no_match, refuse_ambiguous
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.config.settings import DestinationSettings
from shipper.errors import OutboxHeld, StoreUnavailable
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.recall import Step, has_claims
from shipper.store.operate.take_outbox import taken
from shipper.store.report.daemons import current_daemon
from shipper.wording.quantities import several

# In seconds: the pause before the daemon's claims are read again, and more than it takes to record
# a try that has ended.
_PAUSE = 0.1
_RECORDING = 5.0


class Counted(Protocol):
    """What a command has found before it asks: at least how many events there are."""

    @property
    def count(self) -> int:
        """Return how many events are selected."""
        ...


Found = TypeVar("Found", bound=Counted)


@dataclass(frozen=True, slots=True)
class EventChange(Generic[Found]):
    """A command that changes events: what it takes, asks, does and prints."""

    statuses: tuple[StatusName, ...]
    """The statuses that an event can have here; another event that is named is an error."""
    find: Callable[[Database, Selection], Found]
    question: Callable[[Found], str]
    act: Callable[[Database, Selection], tuple[int, int]]
    """Change the events; return how many were changed, and how many a daemon still has."""
    report: Callable[[Found, int], None]
    """Print the answer, from what was found and how many events were changed."""
    done: str
    """The word for a changed event: `discarded`."""
    needs_some: bool = False
    """Whether it is an error that ALL without filters finds nothing."""
    dry_run: bool = False

    def run(
        self, context: Context, idents: Sequence[str], filters: Selection, *, yes: bool
    ) -> None:
        """Run the command; raises NotFound, UsageError, and StoreUnavailable for the skipped."""
        refuse_ambiguous(idents, filters)
        changed = left = 0
        with context.engine() as engine:
            selection = chosen(engine, idents, filters, self.statuses)
            found = self.find(engine, selection)
            if not found.count and (self.needs_some or filters != Selection()):
                if context.json and not self.needs_some:
                    self.report(found, 0)
                raise no_match(engine, context, filters, self.statuses)
            if found.count and not self.dry_run:
                context.confirm(self.question(found), yes=yes or is_read(idents))
                changed, left = self.act(engine, selection)
        self.report(found, changed)
        if left:
            raise StoreUnavailable(
                f"{several(left, 'event')} not {self.done}: the running daemon has them in flight",
                "repeat the command, or first: shipper hold --destination NAME",
            )


def beside_a_daemon(engine: Database, context: Context, steps: Iterator[Step]) -> tuple[int, int]:
    """Change pending events in `steps`, and wait in between for what a running daemon has.

    Returns how many events were changed, and how many the daemon still has at the end.
    """
    clock, pause = SystemClock(), Event()
    patience = _longest_try(context.settings().destinations)
    if has_claims(engine) and current_daemon(engine) is None:
        # A daemon that died has left claims. Taking the outbox marks what it may have sent.
        with suppress(OutboxHeld), taken(engine, database_path(context.settings().database.url)):
            pass
    changed, since = 0, clock.monotonic()
    for step in steps:
        changed += step.moved
        if step.claimed:
            if clock.monotonic() - since > patience:
                return changed, step.claimed
            pause.wait(_PAUSE)
        else:
            since = clock.monotonic()
    return changed, 0


def _longest_try(configured: Mapping[str, DestinationSettings]) -> float:
    """Return how long a try at any destination can take, in seconds, until it is recorded."""
    return max((target.timeout for target in configured.values()), default=0.0) + _RECORDING
