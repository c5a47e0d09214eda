"""Carrying out what changes events that wait, beside a running daemon.

It decides how long to wait for what the daemon has in flight just then: as long as a try may take.
It must never change what a daemon still has.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import Event

from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.config.settings import DestinationSettings
from shipper.errors import OutboxHeld, StoreUnavailable
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database
from shipper.store.operate.recall import Step, has_claims
from shipper.store.operate.take_outbox import taken
from shipper.store.report.status import current_shipper
from shipper.wording.quantities import several

# Seconds: between two looks at what a daemon still has; more than a try takes to be recorded.
_REST = 0.1
_MORE_THAN_A_TRY = 5.0


def carry_out(engine: Database, context: Context, steps: Iterator[Step]) -> tuple[int, int]:
    """Go on with `steps`; return how many events were changed, and how many a daemon still has."""
    clock, nobody = SystemClock(), Event()
    patience = _patience(context.settings().destinations)
    if has_claims(engine) and current_shipper(engine) is None:
        # A daemon that died has left them: what it may have sent is marked by this.
        with suppress(OutboxHeld), taken(engine, database_path(context.settings().database.url)):
            pass
    changed, since = 0, clock.monotonic()
    for step in steps:
        changed += step.moved
        if step.claimed:
            if clock.monotonic() - since > patience:
                return changed, step.claimed
            nobody.wait(_REST)
        else:
            since = clock.monotonic()
    return changed, 0


def unfinished(left: int, done: str) -> StoreUnavailable:
    """Return what to raise where a daemon still has so many that so weren't `done`."""
    return StoreUnavailable(
        f"{several(left, 'event')} not {done}: the running daemon has them in flight",
        "say it again, or first: shipper hold --destination NAME",
    )


def _patience(configured: Mapping[str, DestinationSettings]) -> float:
    longest = max((target.timeout for target in configured.values()), default=0.0)
    return longest + _MORE_THAN_A_TRY
