"""Which events are claimed, and in which order: after a crash this shows what was sent.

Before an event leaves, its id is on disk in a row of `shipper_claim`. After a crash these rows show
which events may have been received: of each lane, the one that was claimed first and is still
pending. The next event of a lane starts only after its predecessor's outcome is recorded.

The daemon keeps a copy of its own rows in memory, the `ClaimBook`. It must never drop an id from it
while the event is in flight. `queue` has the statements.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from shipper.policy.event import Event

# Ids of one statement; with payloads of at most 1 MiB, this bounds what is read before it is
# counted.
_CHUNK = 128


class ClaimBook:
    """This process's claims that haven't ended: number → ids, in claiming order."""

    def __init__(self) -> None:
        self._ids: dict[int, list[int]] = {}  # as claimed, also those that have ended since
        self._left: Counter[int] = Counter()  # how many of them are still claimed
        self._number: dict[int, int] = {}

    def __contains__(self, row: int) -> bool:
        """Return whether an id is still claimed."""
        return row in self._number

    def add(self, number: int, rows: Iterable[int]) -> None:
        """Add a claim that is on disk."""
        ids = self._ids[number] = list(rows)
        self._left[number] = len(ids)
        self._number.update(dict.fromkeys(ids, number))

    def changes(
        self, recorded: Iterable[int], released: Iterable[int]
    ) -> tuple[list[int], dict[int, str]]:
        """Return the claims that end without these ids, and the rows to rewrite (ids as JSON).

        A claim that only loses recorded ids isn't rewritten: their status shows that they ended.
        """
        freed = {row for row in released if row in self._number}
        gone = freed.union(row for row in recorded if row in self._number)
        lost = Counter(map(self._number.__getitem__, gone))
        over = [number for number, rows in lost.items() if rows == self._left[number]]
        rewrite = {self._number[row] for row in freed}.difference(over)
        return over, {number: dump_ids(self._kept(number, gone)) for number in rewrite}

    def _kept(self, number: int, gone: set[int]) -> Iterator[int]:
        numbers = self._number
        return (row for row in self._ids[number] if numbers.get(row) == number and row not in gone)

    def remove(self, rows: Iterable[int]) -> None:
        """Remove ids, after that is on disk."""
        for row in rows:
            number = self._number.pop(row, None)
            if number is not None:
                self._left[number] -= 1
                if not self._left[number]:
                    del self._left[number], self._ids[number]


def dump_ids(rows: Iterable[int]) -> str:
    """Return ids as `shipper_claim` holds them."""
    return orjson.dumps(list(rows)).decode()


def load_ids(text: str) -> list[int]:
    """Read what `dump_ids` wrote."""
    ids: list[int] = orjson.loads(text)
    return ids


def first_of_each_lane(
    claims: Iterable[tuple[int, str]], pending: Mapping[int, Event]
) -> list[int]:
    """Return the pending event of each lane that was claimed first: it may have been received.

    `claims` are the table's rows (number, ids as JSON) in the order of their numbers. For an id
    that was released and claimed again, only the last claim counts.
    """
    order: dict[int, None] = {}
    for _, ids in claims:
        for row in load_ids(ids):
            order.pop(row, None)
            order[row] = None
    first: dict[tuple[str, str | int], int] = {}
    for row in order:
        if row in pending:
            event = pending[row]
            first.setdefault((event.destination, event.lane), row)
    return list(first.values())


def chunks(rows: Sequence[int]) -> Iterator[list[int]]:
    """Cut ids into as many as one statement takes."""
    return (list(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK))
