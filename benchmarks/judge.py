"""Judges by the receiver's log alone whether the daemon kept its promises.

The events of each shopper have to arrive in order, each after the answer to the one before. A
refused event comes again before any other event of that shopper; an accepted event never comes
again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple


class Exchange(NamedTuple):
    """A line of the log; times are in nanoseconds."""

    shopper: int
    sequence: int
    arrived: int
    answered: int
    status: int


@dataclass(slots=True)
class Verdict:
    """What the log shows: how many events of each kind."""

    requests: int = 0
    accepted: int = 0
    missing: int = 0
    """Events that were never accepted."""
    late: int = 0
    """Events that came after a later one of their shopper."""
    gaps: int = 0
    """Events that came before an earlier one had been accepted."""
    overlaps: int = 0
    """Requests that arrived while another one of the shopper was not answered."""
    repeats: int = 0
    """Events that came again although they had been accepted."""

    @property
    def is_flawless(self) -> bool:
        """Return whether every promise was kept."""
        return not (self.missing or self.late or self.gaps or self.overlaps or self.repeats)

    def __str__(self) -> str:
        """Return the text for a table."""
        if self.is_flawless:
            return f"kept ({self.accepted:,} events, {self.requests:,} requests)"
        return (
            f"BROKEN: {self.missing} missing, {self.late} late, {self.gaps} gaps,"
            f" {self.overlaps} overlaps, {self.repeats} repeats"
        )


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what several logs show."""
    return Verdict(*map(sum, zip(*map(astuple, verdicts), strict=True)))


def read(log: Path) -> Iterator[Exchange]:
    """Yield the exchanges of a log, in the order of the answers."""
    with log.open(encoding="ascii") as lines:
        for line in lines:
            yield Exchange(*map(int, line.split()))


def judge(exchanges: Iterable[Exchange], events: int) -> Verdict:
    """Judge a log of `events` events, in the order of arrival; the log can be in any order."""
    verdict = Verdict()
    expected: dict[int, int] = {}
    answered: dict[int, int] = {}
    for exchange in sorted(exchanges, key=lambda each: each.arrived):
        _judge_one(verdict, exchange, expected, answered)
    verdict.missing = events - sum(expected.values())
    return verdict


def _judge_one(
    verdict: Verdict, exchange: Exchange, expected: dict[int, int], answered: dict[int, int]
) -> None:
    shopper, sequence = exchange.shopper, exchange.sequence
    verdict.requests += 1
    verdict.overlaps += exchange.arrived < answered.get(shopper, 0)
    answered[shopper] = max(exchange.answered, answered.get(shopper, 0))
    next_one = expected.get(shopper, 0)
    verdict.repeats += sequence == next_one - 1
    verdict.late += sequence < next_one - 1
    verdict.gaps += sequence > next_one
    if exchange.status == 202 and sequence >= next_one:
        verdict.accepted += 1
        expected[shopper] = sequence + 1
