"""The statements of a turn on SQLite, where a turn is a number in the row of the lease.

The lock of the kernel decides which process ships (`lease.file_lock`), so the lease has no time.
"""

from typing import Final

TOP: Final = (
    "max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox'), 0),"
    " coalesce((SELECT max(id) FROM shipper_outbox), 0))"
)
BOOKS: Final = "shipper_lease WHERE name = 'outbox'"


class SqliteFence:
    """See `Fence` in `db.fence`."""

    advance = (
        "UPDATE shipper_lease SET turn = :number, claim = :claim, delivery = :delivery"
        f" WHERE name = 'outbox' AND token = :token AND turn = :number - 1 AND {TOP} >= :known"
    )
    advance_returns = False
    is_alive = "NULL"
    unseen = "NULL"
    fold_after = 256
    skip_within = 0
    fold_free: str | None = None
    fold_one: str | None = None
    drop_turns: str | None = None
    take_counts: str | None = None
