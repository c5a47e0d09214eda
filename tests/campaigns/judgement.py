"""The invariants, asked of what a real process has left: the outbox's rows and the receiver's books.

A receiver can't tell one process of the sender's from the next, nor see what is claimed on disk;
what needs that is judged by `Books`, by `aftermath`, and in the simulation.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import Row as SqlRow

from tests import invariants
from tests.daemon.application import payload
from tests.evidence import Request, Row, Written

ROWS = (
    "SELECT id, event_id, destination, ordering_key, CAST(payload AS text) AS body, status,"
    " last_error FROM shipper_outbox"
)


def violations(
    found: Iterable[SqlRow[Any]], requests: Iterable[Request], committed: Collection[str]
) -> Iterator[str]:
    """Yield what was violated; `committed` are the events that applications were told are there."""
    rows = {row.id: _row(row) for row in found}
    ids = {row.event_id: row.id for row in rows.values()}
    yield from (f"{name} was committed and is not there" for name in sorted(committed - ids.keys()))
    told = [_written(name, ids[name]) for name in committed & ids.keys()]
    there = [
        Written(row.id, row.event_id, row.destination, row.lane, row.body) for row in rows.values()
    ]
    tries = [_known(request, ids) for request in requests]
    yield from invariants.nothing_is_lost([*told, *there], rows)
    yield from invariants.nothing_is_a_phantom(tries, there, [])
    yield from invariants.keys_are_in_order(tries, {})
    yield from invariants.identity_never_changes(tries, rows)
    yield from invariants.everything_ends(rows)


def said(texts: Iterable[str], secrets: Collection[str]) -> Iterator[str]:
    """Yield what no process of ours may have printed: a secret, or that it ended with a bug."""
    for text in texts:
        yield from invariants.nothing_leaks([text], secrets)
        if "this is a bug in shipper" in text or "Traceback" in text:
            yield f"it ended with a bug: {text[-1500:]}"


def _row(row: SqlRow[Any]) -> Row:
    lane = row.id if row.ordering_key is None else row.ordering_key
    return Row(row.id, row.event_id, row.destination, lane, row.body, row.status, row.last_error)


def _written(name: str, row: int) -> Written:
    """Return an event as its application has written it: `w0u7-0000012` is number 12 of a user."""
    user, _, number = name.rpartition("-")
    return Written(row, name, "default", user, payload(user, int(number)))


def _known(request: Request, ids: dict[str, int]) -> Request:
    request.id = ids.get(request.event_id, 0)
    return request
