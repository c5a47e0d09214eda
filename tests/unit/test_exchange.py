"""How long the drain waits for a database that is away, or that refuses it."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, cast

import pytest

from shipper.dispatcher import exchange
from shipper.dispatcher.exchange import Exchange, Thread
from shipper.dispatcher.reporter import Reporter
from shipper.dispatcher.rest import Rhythm
from shipper.errors import AccessDenied, ShipperError, StoreUnavailable
from shipper.store.work import Work
from tests.unit.test_route import Clock

OUTAGES = 20


class Told:
    """A reporter that keeps how long each wait is."""

    def __init__(self) -> None:
        """Begin with none."""
        self.waits: list[float] = []

    def store_lost(self, _error: ShipperError, retry: float, *_: float, **__: bool) -> None:
        """Keep it."""
        self.waits.append(retry)

    def turned(self, *_: float) -> None:
        """Keep nothing."""

    def store_back(self, seconds: float) -> None:
        """Keep nothing."""


@pytest.mark.parametrize(
    ("failure", "longest"), [(StoreUnavailable, 5.0), (AccessDenied, 30.0)], ids=["away", "refused"]
)
async def test_a_server_that_is_back_is_noticed_within_seconds(
    failure: type[ShipperError], longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was away; one that refuses us is asked more rarely."""
    told, tries = Told(), iter(range(OUTAGES))

    async def work(_: Callable[[], object]) -> Any:
        if next(tries, None) is not None:
            raise failure("away")
        return "back"

    async def rest(_seconds: float, _stop: asyncio.Event) -> None:
        """Take no time."""

    monkeypatch.setattr(exchange, "_rest", rest)
    rhythm = Rhythm(1.0, 1.0, inf, 0.0)
    nobody = cast("Any", None)
    talk = Exchange(
        nobody,
        nobody,
        cast("Thread", work),
        clock=Clock(),
        reporter=cast("Reporter", told),
        rhythm=rhythm,
    )
    answer: object = await talk(Work(now=0.0), [], asyncio.Event())
    assert answer == "back"
    assert told.waits == sorted(told.waits)
    assert (len(told.waits), told.waits[0], told.waits[-1]) == (OUTAGES, 1.0, longest)
