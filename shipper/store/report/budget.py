"""How much of the disk the outbox takes, how large its budget is, and how long the rest lasts.

For `status`, `doctor` and the alarms. It decides what counts: on PostgreSQL shipper's tables with
their indexes; on SQLite the file with its WAL, if the file contains only the outbox. In a file with
an application's tables, only reading all of it would show the outbox's share; so there the share is
counted by rows, and called an estimate. Reads only, and by indexes.

A budget is for alarms: it must never be a reason to drop an event.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.report.facts import Growth, growth, server
from shipper.store.upkeep.sqlite_file import measure
from shipper.wording.quantities import forecast, size

# Nearly full: of the budget, or in days without the API.
NEARLY = 0.8
SCARCE_DAYS, TIGHT_DAYS = 14.0, 1.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the outbox takes, in bytes; `budget` is None if the configuration sets none."""

    taken: int
    is_estimate: bool
    growth: Growth
    budget: int | None

    @property
    def share(self) -> float | None:
        """Return the used share of the budget: 1 is all of it."""
        return None if self.budget is None else self.taken / self.budget

    @property
    def days_left(self) -> float | None:
        """Return how long the budget lasts at the last day's rate with nothing deleted.

        None without a budget, and if nothing was written.
        """
        if self.budget is None or not self.growth.bytes_a_day:
            return None
        return max(0, self.budget - self.taken) / self.growth.bytes_a_day

    @property
    def is_over(self) -> bool:
        """Return whether the budget is used up, or will be within a day offline."""
        left = self.days_left
        return self.share is not None and (
            self.share >= 1.0 or (left is not None and left < TIGHT_DAYS)
        )

    @property
    def is_scarce(self) -> bool:
        """Return whether the operator should be warned."""
        left = self.days_left
        return self.share is not None and (
            self.share >= NEARLY or (left is not None and left < SCARCE_DAYS)
        )

    def __str__(self) -> str:
        """Return the footprint as a sentence."""
        about = "about " if self.is_estimate else ""
        if self.budget is None or self.share is None:
            return f"the outbox takes {about}{size(self.taken)}"
        sentence = (
            f"the outbox takes {about}{size(self.taken)} of its budget of {size(self.budget)}"
            f" ({100 * self.share:.0f} %)"
        )
        if self.share >= 1.0 or self.days_left is None:
            return sentence
        return f"{sentence}; {forecast(self.days_left)}"


def footprint(engine: Engine, rows: int, now: float, budget: int | None) -> Footprint:
    """Return what the outbox takes; `rows` is its number of events, of any status.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    grown = growth(engine, now)
    if not dialect_of(engine).is_file:
        return Footprint(server(engine).bytes, False, grown, budget)
    with snapshot(engine) as tx:
        shared = bool(tx.execute(_FOREIGN_TABLE).scalar())
    if shared:
        return Footprint(rows * grown.bytes_each, True, grown, budget)
    found = measure(engine)
    return Footprint(found.file - found.free + found.wal, False, grown, budget)


# -- statements ---------------------------------------------------------------------------------

_FOREIGN_TABLE = text(
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table'"
    " AND substr(name, 1, 8) <> 'shipper_' AND substr(name, 1, 7) <> 'sqlite_')"
)
