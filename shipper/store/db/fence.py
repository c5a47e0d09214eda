"""The statements of a turn, which every database has to provide; `lease.turns` runs them."""

from typing import Protocol


class Fence(Protocol):
    """The statements of a turn; see `lease.turns`, which says what each has to do.

    Their parameters are the fields of `Turn`, `owner`, `ttl`, and what `Dialect.made` found.
    """

    lease: str
    """Reads the row of the lease and locks it: the columns are the fields of `LeaseState`."""
    last: str
    """Reads the last turn: the columns are the fields of `Turn`."""
    take: str
    """Writes token, owner and time of the lease."""
    renew: str
    """Prolongs the lease of a token."""
    drop: str
    """Ends the lease of a token."""
    begin: str | None
    """Writes the first turn of a lease and returns it; None if `take` is enough."""
    advance: str
    """Writes a turn, if the token has the lease and the turn before is the last one."""
    advance_returns: bool
    """Whether `advance` returns a row (server, settled). If not, the number of changed rows shows
    whether it wrote the turn."""
    is_alive: str
    """Whether a daemon has the lease, as a column of its row; for a file the lock shows it."""
    unseen: str
    """For how many seconds the daemon hasn't prolonged its lease, as a column of its row."""
    fold_after: int
    """At least once in this many turns, what they have counted is added up."""
    fold: tuple[str, ...]
    """Adds up what the turns after `after`, up to `turn`, have counted, and deletes them."""
    fold_all: str | None
    """Adds up all that turns have counted; None if a turn changes the counters itself."""
