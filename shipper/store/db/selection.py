"""Which events an operator means: filters that all have to match, as a condition of a statement."""

from dataclasses import dataclass
from typing import Any

from shipper.store.db.dialect import Dialect
from shipper.store.db.snapshot import asked


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters; a filter that is None matches every event. Times are seconds since 1970.

    `since` and `until`, both included, limit when an event was written. `cause` is the first word
    of its last error, up to the colon.
    """

    ids: tuple[int, ...] | None = None
    destination: str | None = None
    status: str | None = None
    key: str | None = None
    cause: str | None = None
    since: float | None = None
    until: float | None = None

    def where(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """Return the condition and its parameters."""
        given: dict[str, tuple[str, Any]] = {}
        if self.ids is not None:
            given["ids"] = (f"id IN {dialect.ids}", dialect.bind_ids(list(self.ids)))
        for name, column in (("destination", "destination"), ("key", "ordering_key")):
            text: str | None = getattr(self, name)
            if text is not None:
                given[name] = (f"{column} = CAST(:{name} AS text)", asked(dialect, text))
        if self.status is not None:
            given["status"] = ("status = :status", self.status)
        if self.cause is not None:
            given["cause"] = (
                f"{dialect.cause} = CAST(:cause AS text)",
                asked(dialect, self.cause),
            )
        for name, sign, moment in (("since", ">=", self.since), ("until", "<=", self.until)):
            if moment is not None:
                bound = dialect.time.format(name)
                given[name] = (f"created_at {sign} {bound}", dialect.bind_time(moment))
        condition = " AND ".join(fragment for fragment, _ in given.values()) or "true"
        return condition, {name: value for name, (_, value) in given.items()}
