"""What is done now and then: chores that fail, and the windows in which events are sent."""

import asyncio
import io
import json
import signal
from datetime import UTC, datetime

import pytest

from shipper.config.windows import Windows
from shipper.daemon.schedule import Chore, every, repeat_chore
from shipper.errors import ConfigError
from shipper.logs import open_log
from tests.daemon.harness import Shop, only_sqlite


def wall(text: str) -> float:
    """Return a time, written in UTC, in seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_a_chore_that_fails_is_told_once_and_rung_again() -> None:
    """It ends nothing; what fails for weeks doesn't fill the log, and what fails anew is told."""
    stream = io.StringIO()
    course = [OSError("on fire")] * 50 + [None] + [OSError("on fire"), ValueError("wet")] * 2
    over = asyncio.Event()
    steps = iter(course)

    def chore() -> None:
        try:
            step = next(steps)
        except StopIteration:
            over.set()
            return
        if step is not None:
            raise step

    log = open_log("info", "json", stream)
    rung = asyncio.create_task(repeat_chore(Chore("retention", chore, every(0.0)), log, {}))
    await asyncio.wait_for(over.wait(), 30)
    rung.cancel()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {(line["event"], line["chore"]) for line in lines} == {("chore.failed", "retention")}
    told = [line["reason"] for line in lines]
    assert told == ["OSError: on fire", *["OSError: on fire", "ValueError: wet"] * 2]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23T21:59:59.999", "closed"),
        ("2026-11-23T22:00:00.000", "open"),
        ("2026-11-23T22:00:00.001", "open"),
        ("2026-11-23T23:59:59.999", "open"),
        ("2026-11-24T00:00:00.000", "closed"),
        ("2026-11-28T12:34:56.789", "open"),  # a Saturday
        ("2026-11-29T12:34:56.789", "closed"),
    ],
)
def test_a_window_is_open_in_the_minutes_that_it_names(moment: str, expected: str) -> None:
    """One of several is enough, and a minute is open from its first to its last instant."""
    windows = Windows(["* 22-23 * * *", "* * * * sat"])
    assert windows.is_open(wall(moment)) is (expected == "open")


def test_without_windows_it_is_always_open() -> None:
    """At the beginning of time as much as now."""
    assert Windows([]).is_open(0.0)
    assert Windows([]).is_open(wall("2026-11-23T22:00:00"))


def test_a_window_that_is_no_cron_expression_is_refused() -> None:
    """With the setting's name and an example."""
    with pytest.raises(ConfigError, match=r"schedule\.windows: 'at night'") as raised:
        Windows(["at night"])
    assert raised.value.hint is not None


@only_sqlite
async def test_nothing_is_sent_while_no_window_is_open(shop: Shop) -> None:
    """Until one opens, or a reload says otherwise."""
    month = datetime.now(UTC).month
    another = month % 12 + 1 if datetime.now(UTC).day < 15 else (month + 5) % 12 + 1
    shop.configure(more=f'[schedule]\nwindows = ["* * 1-5 {another} *"]')
    shop.add("u1-1")
    daemon = await shop.started()
    await daemon.told("window.closed", destination="default")
    # It is claimed and could go; a destination of its own tells when the daemon has had a look.
    assert shop.arrived() == []
    shop.configure()
    daemon.signal(signal.SIGHUP)
    await shop.settled()
    await daemon.stop()
    assert shop.sandbox.ledger.summary().requests == 1
    reloaded = daemon.said("config.reloaded")[0]["timestamp"]
    assert daemon.said("delivery.delivered")[0]["timestamp"] > reloaded
