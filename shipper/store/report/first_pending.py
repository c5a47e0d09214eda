"""Which pending events of a destination come first: one step in the index of pending events.

It decides the order in which that is asked. Ordered by id alone, PostgreSQL may walk the primary
key: it expects to meet a pending event soon, and reads the whole history that lies before the first
one. Only the index of pending events has the order of destination and id.
"""

from shipper.store.db.dialect import Dialect, pick

_OF_NAME = "destination = CAST(:name AS text)"
_IN_ORDER = f"SELECT {{0}} FROM shipper_outbox WHERE status = 'pending' AND {_OF_NAME} ORDER BY id"
_BY_THE_INDEX = (
    "SELECT {0} FROM (SELECT id, destination, ordering_key, created_at, last_error"
    " FROM shipper_outbox WHERE status = 'pending'"
    " AND (destination, id) > (CAST(:name AS text), 0) ORDER BY destination, id LIMIT {1}) AS early"
    f" WHERE {_OF_NAME} ORDER BY id"
)


def first_pending(dialect: Dialect, columns: str, most: str = "1") -> str:
    """Return the query for the first `most` pending events of the destination `name`, by id.

    `columns` can be made of the id, the destination, the key, the time and the last error.
    """
    statement = pick(dialect, sqlite=f"{_IN_ORDER} LIMIT {{1}}", postgresql=_BY_THE_INDEX)
    return statement.format(columns, most)
