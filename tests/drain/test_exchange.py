"""How long the drain waits for a database that is away, or that refuses it."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, cast
from unittest.mock import Mock

import pytest

from shipper.drain import exchange
from shipper.drain.exchange import Exchange, Runner
from shipper.drain.reporter import REASONS, Reporter
from shipper.drain.wait import Rhythm
from shipper.errors import AccessDenied, SchemaError, ShipperError, StoreUnavailable
from shipper.store.drain.messages import NAMED, Page, Pulse, Work
from shipper.system.steps import Steps, whole
from tests.drain.test_route import Clock

OUTAGES = 20
_RHYTHM = Rhythm(1.0, 1.0, inf, 0.0)
_OF_A_FILE = Rhythm(1.0, 1.0, inf, 0.0, lambda: False)


class Told:
    """A reporter that keeps how long each wait is."""

    def __init__(self) -> None:
        """Begin with none."""
        self.waits: list[float] = []

    def store_lost(self, _error: ShipperError, retry: float, *_: float) -> None:
        """Keep it."""
        self.waits.append(retry)

    def turned(self, *_: float) -> None:
        """Keep nothing."""

    def store_back(self, seconds: float) -> None:
        """Keep nothing."""


@pytest.mark.parametrize(
    ("failure", "rhythm", "longest"),
    [
        (StoreUnavailable, _RHYTHM, 5.0),
        (SchemaError, _RHYTHM, 5.0),
        (AccessDenied, _RHYTHM, 30.0),
        (AccessDenied, _OF_A_FILE, 5.0),
    ],
    ids=["away", "without its tables", "refused", "a file that can't be opened"],
)
async def test_a_database_that_is_back_is_noticed_within_seconds(
    failure: type[ShipperError], rhythm: Rhythm, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was away; a server that refuses us is asked more rarely."""
    told, tries = Told(), iter(range(OUTAGES))

    async def work(_: Callable[[], object]) -> Any:
        if next(tries, None) is not None:
            raise failure("away")
        return "back"

    async def wait(_seconds: float, _stop: asyncio.Event) -> None:
        """Take no time."""

    monkeypatch.setattr(exchange, "_wait", wait)
    unused = cast("Any", None)
    talk = Exchange(
        unused,
        unused,
        cast("Runner", work),
        clock=Clock(),
        reporter=cast("Reporter", told),
        rhythm=rhythm,
    )
    answer: object = await talk(Work(now=0.0), [], asyncio.Event())
    assert answer == "back"
    assert told.waits == sorted(told.waits)
    assert (len(told.waits), told.waits[0], told.waits[-1]) == (OUTAGES, 1.0, longest)


def test_each_reason_of_a_lost_database_is_told_once_and_no_endless_number() -> None:
    """How it was lost isn't why it stays away: a password that was changed meanwhile is."""
    said: list[tuple[str, object]] = []
    reporter = Reporter(
        cast("Any", lambda event, **fields: said.append((event, fields.get("reason")))),
        cast("Any", Mock()),
    )
    away, refused = StoreUnavailable("it shuts down"), AccessDenied("password")
    for error in (away, refused, away, refused):
        reporter.store_lost(error, 1.0, 0.0)
    assert said == [("store.lost", "it shuts down"), ("store.lost", "password")]
    for number in range(20):
        reporter.store_lost(StoreUnavailable(f"failed {number} times"), 1.0, 0.0)
    assert len(said) == REASONS
    reporter.store_back(1.0)
    reporter.store_lost(away, 1.0, 0.0)
    assert said[-2:] == [("store.back", None), ("store.lost", "it shuts down")]


@pytest.mark.parametrize(
    ("moved", "kept", "seen"),
    [
        (NAMED, True, "named"),
        (2 * NAMED, True, "named"),
        (2 * NAMED, False, "any"),  # forgotten between the pulse and the question
        (NAMED + 1, True, "any"),
        (1, True, "any"),
        (-NAMED, True, "any"),  # the database was set back
    ],
)
async def test_what_a_command_may_have_touched_is_never_less_than_it_did(
    moved: int,
    kept: bool,  # noqa: FBT001 - pytest gives it by name
    seen: str,
) -> None:
    """Where that isn't known, or no longer, it may be any lane."""
    looks, began = Mock(), 5 * NAMED
    looks.settled, looks.page.return_value = 0, Page([], 0, is_last=True)
    looks.touched.return_value = [("default", "k1")] if kept else None
    looks.pulse.side_effect = [
        Pulse(fresh=True, generation=generation) for generation in (began, began + moved)
    ]

    async def work(talk: Callable[[], Steps[object]]) -> Any:
        return whole(talk())

    queue = Mock(steps=lambda *_: iter(()), attends=False)
    talk = Exchange(
        queue, looks, cast("Runner", work), clock=Clock(), reporter=Mock(), rhythm=_RHYTHM
    )
    first = await talk(Work(now=0.0), [], asyncio.Event())
    assert not first.may_be_back
    answer = await talk(Work(now=0.0), [], asyncio.Event())
    assert answer.commanded
    assert (answer.may_be_back, bool(answer.touched)) == (seen == "any", seen == "named")
