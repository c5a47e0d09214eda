"""The statements of a turn, which every database has to provide; `lease.turns` runs them."""

from typing import Protocol


class Fence(Protocol):
    """The statements of a turn; see `lease.turns`, which says what each has to do.

    Their parameters are the fields of `Turn`, and what `Dialect.made` found.
    """

    advance: str
    """Writes a turn, if the token is still that of a daemon and the turn before is its last one."""
    advance_returns: bool
    """Whether `advance` returns a row (server, settled). If not, the number of changed rows shows
    whether it wrote the turn."""
    is_alive: str
    """Whether a daemon lives, as a column of its row; for a file the lock shows it."""
    unseen: str
    """For how many seconds the daemon hasn't prolonged its lease, as a column of its row."""
    fold_after: int
    """At least once in this many turns, what they have counted is added up."""
    skip_within: int
    """What a turn has counted can be skipped for so many turns; later it wouldn't be found."""
    fold_free: str | None
    """Adds up what the turns of `token` from `after` to `turn` have counted, and waits for no other
    daemon; returns whether it has skipped something that another transaction has locked. None if a
    turn changes the counters, as for the next three."""
    fold_one: str | None
    """Adds up all that the turns of `token` have counted, and waits for what is locked."""
    drop_turns: str | None
    """Deletes the turns of `token` from `after` to the one before `turn`."""
    take_counts: str | None
    """Takes away and returns all that any daemon's turns have counted: (name, delivered, dead), by
    name."""
