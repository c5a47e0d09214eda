"""What looks on while a session ships, and what a reload makes: a bug there costs one look."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipper.clock import SystemClock
from shipper.config import load
from shipper.daemon import renewal, strays
from shipper.daemon.destinations import Fresh
from shipper.daemon.reload import changed
from shipper.daemon.session import open_session
from shipper.daemon.stops import Stop
from shipper.logs import open_log
from tests.daemon.harness import Shop, only_sqlite

PATIENCE = 30.0


async def test_what_watches_files_outlives_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, and what had changed is still said."""
    monkeypatch.setattr(renewal, "LOOK_EVERY", 0.01)
    written, said, calls = io.StringIO(), asyncio.Event(), list[list[str]]()

    def renew(files: list[str]) -> None:
        calls.append(files)
        if len(calls) < 3:
            raise ValueError("a bug")
        said.set()

    path = tmp_path / "ca.pem"
    path.write_text("another one", "utf-8")
    async with renewal.renewing({path: None}, renew, open_log("info", "json", written)):
        await asyncio.wait_for(said.wait(), PATIENCE)
    assert calls == [[str(path)]] * 3
    assert written.getvalue().count("chore.failed") == 1


async def test_what_looks_for_unknown_destinations_outlives_a_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told once, and looked for again."""
    monkeypatch.setattr(strays, "LOOK_EVERY", 0.01)
    written, again = io.StringIO(), asyncio.Event()
    looks = iter(range(3))

    class Broken(strays.Strays):
        async def look(self, *_: object) -> None:
            if next(looks) == 2:
                again.set()
                await asyncio.Event().wait()
            raise ValueError("a bug")

    nothing: Any = None
    async with strays.watched(nothing, Broken(), open_log("info", "json", written)):
        await asyncio.wait_for(again.wait(), PATIENCE)
    assert written.getvalue().count("chore.failed") == 1


@only_sqlite
async def test_a_reload_that_fails_at_the_end_leaves_nothing_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its couriers are closed, whatever was raised: here the database's thread has ended."""
    settings, clock = load(shop.config, {}), SystemClock()
    log = open_log("info", "json", io.StringIO())
    async with open_session(settings, clock=clock, log=log, stop=Stop()) as session:
        pass
    closed, close = list[str](), Fresh.aclose

    async def aclose(fresh: Fresh) -> None:
        closed.extend(fresh.couriers)
        await close(fresh)

    monkeypatch.setattr(Fresh, "aclose", aclose)
    default = settings.destinations["default"]
    both = {"default": default, "other": replace(default, name="other")}
    with pytest.raises(RuntimeError, match="has ended"):
        await changed(replace(settings, destinations=both), session)
    assert closed == ["other"]
