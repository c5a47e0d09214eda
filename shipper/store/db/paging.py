"""Finding the events that match a condition, a page at a time, without any lock.

The search can take long, and no other process waits for it. A command that changes the events then
checks again whether they match, by id and in a short transaction. It must never hold more ids in
memory than a page.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Engine, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import snapshot

PAGE: Final = 20_000


def newest(engine: Engine, condition: str, values: Mapping[str, Any]) -> int:
    """Return the highest id that matches a condition; 0 if none does."""
    found = _asked(engine, f"SELECT max(id) FROM shipper_outbox WHERE {condition}", values)
    return found[0] or 0


def matching(
    engine: Engine,
    dialect: Dialect,
    condition: str,
    values: Mapping[str, Any],
    last: int | None = None,
) -> Iterator[int]:
    """Yield the ids that match, in order, up to `last`; no transaction is open between two ids.

    Without `last`, events that are written from now on are left out.
    """
    end = newest(engine, condition, values) if last is None else last
    given = {**values, "after_id": 0, "last_id": end}
    fits = f"WHERE {condition} AND id > :after_id AND id <= :last_id"
    # One page in any order: if all matches fit into it, the planner can use its best index.
    some = _asked(engine, f"SELECT id FROM shipper_outbox {fits} LIMIT {PAGE}", given)
    if len(some) < PAGE:
        yield from sorted(some)
        return
    # If there are more, in the order of the table: sorting them for each page takes far longer.
    page = f"SELECT id FROM shipper_outbox{dialect.by_id} {fits} ORDER BY id LIMIT {PAGE}"
    while ids := _asked(engine, page, given):
        yield from ids
        given["after_id"] = ids[-1]


def _asked(engine: Engine, query: str, values: Mapping[str, Any]) -> list[Any]:
    with snapshot(engine) as tx:
        dialect_of(engine).as_long_as_it_takes(tx)
        return list(tx.execute(text(query), values).scalars())
