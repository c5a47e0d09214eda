"""What the outbox takes on the disk, what it may take, and for how long that will do.

It decides what counts: on PostgreSQL our tables with their indexes, on SQLite a file that holds
nothing but the outbox, its WAL included. In a file that is shared with an application's tables
nobody can tell without reading all of it; there it is counted by rows, and called an estimate.
Reads only, and by indexes. It must never be a reason to drop anything: a budget is for alarms.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shipper.store.db.snapshot import snapshot
from shipper.store.report.facts import Growth, growth, server
from shipper.store.upkeep.sqlite_file import measure
from shipper.wording.quantities import forecast, size

# Nearly full: of the budget, or in days without the API.
NEARLY = 0.8
SCARCE_DAYS, TIGHT_DAYS = 14.0, 1.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the outbox takes, in bytes; `budget` is None where nobody has set one."""

    taken: int
    is_estimate: bool
    growth: Growth
    budget: int | None

    @property
    def share(self) -> float | None:
        """Return how much of the budget is used: 1 is all of it."""
        return None if self.budget is None else self.taken / self.budget

    @property
    def days_left(self) -> float | None:
        """Return how long the budget lasts at the last day's rate with nothing deleted.

        None without a budget, and where nothing came.
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
        """Return whether somebody should have a look."""
        left = self.days_left
        return self.share is not None and (
            self.share >= NEARLY or (left is not None and left < SCARCE_DAYS)
        )

    def __str__(self) -> str:
        """Return it for a person."""
        about = "about " if self.is_estimate else ""
        if self.budget is None or self.share is None:
            return f"the outbox takes {about}{size(self.taken)}"
        told = (
            f"the outbox takes {about}{size(self.taken)} of its budget of {size(self.budget)}"
            f" ({100 * self.share:.0f} %)"
        )
        if self.share >= 1.0 or self.days_left is None:
            return told
        return f"{told}; {forecast(self.days_left)}"


def footprint(engine: Engine, rows: int, now: float, budget: int | None) -> Footprint:
    """Return what the outbox takes; `rows` is how many events lie in it, of whatever status.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    grown = growth(engine, now)
    if engine.dialect.name == "postgresql":
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
