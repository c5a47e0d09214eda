"""Finding the events that somebody means, a page at a time, without any lock.

However few of many fit, to look for them may take as long as it takes: nobody waits for it. Who
changes them asks again, by id and in its own short transaction, whether they still fit. It must
never hold more ids in memory than a page.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Engine, text

from shipper.store.db.dialect import Dialect
from shipper.store.db.snapshot import snapshot

PAGE: Final = 20_000
_AS_LONG_AS_IT_TAKES: Final = "SET LOCAL statement_timeout = 0"


def newest(engine: Engine, condition: str, values: Mapping[str, Any]) -> int:
    """Return the highest id that fits a condition, 0 where none does."""
    found = _asked(engine, f"SELECT max(id) FROM shipper_outbox WHERE {condition}", values)
    return found[0] or 0


def matching(
    engine: Engine,
    dialect: Dialect,
    condition: str,
    values: Mapping[str, Any],
    last: int | None = None,
) -> Iterator[int]:
    """Yield the ids that fit, in order, up to `last`; between two nothing is open.

    What is written from now on isn't meant, where `last` isn't given.
    """
    end = newest(engine, condition, values) if last is None else last
    given = {**values, "after_id": 0, "last_id": end}
    fits = f"WHERE {condition} AND id > :after_id AND id <= :last_id"
    # A page of them in any order: if that is all, whichever index finds them has found them once.
    some = _asked(engine, f"SELECT id FROM shipper_outbox {fits} LIMIT {PAGE}", given)
    if len(some) < PAGE:
        yield from sorted(some)
        return
    # Many: in the order of the table, because to sort them anew for each page takes far longer.
    page = f"SELECT id FROM shipper_outbox{dialect.by_id} {fits} ORDER BY id LIMIT {PAGE}"
    while ids := _asked(engine, page, given):
        yield from ids
        given["after_id"] = ids[-1]


def _asked(engine: Engine, query: str, values: Mapping[str, Any]) -> list[Any]:
    with snapshot(engine) as tx:
        if engine.dialect.name == "postgresql":
            tx.exec_driver_sql(_AS_LONG_AS_IT_TAKES)
        return list(tx.execute(text(query), values).scalars())
