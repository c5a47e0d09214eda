"""That another daemon has other settings is logged on both, once for each change."""

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shipper.config import Settings, load
from shipper.daemon import other_daemons
from shipper.daemon.other_daemons import OtherDaemons
from shipper.errors import StoreUnavailable
from shipper.logs import open_log
from shipper.observe.guard import alongside
from shipper.policy.shares import ALL_SHARDS, WHOLE, Shares
from shipper.store.db.engine import open_engine
from shipper.store.report.daemon_rows import JoinedDaemon
from tests.daemon.processes import until
from tests.store.joined import ELSEWHERE, HERE, joined

Told = Callable[[str, dict[str, str]], list[dict[str, Any]]]


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    """Give the configuration of this daemon."""
    path = tmp_path / "shipper.toml"
    path.write_text(
        '[database]\nurl = "postgresql:///shop"\n'
        '[destinations.default]\nurl = "https://h/"\napi_id = "x"\n'
    )
    return load(path, {})


def settings(rate: float, *more: str) -> str:
    """Return what a daemon with this rate, and with more destinations, writes."""
    named = {name: {"max_rate": rate} for name in ("default", *more)}
    return json.dumps({"destinations": named})


def watching() -> Told:
    """Return what looks once, at daemons by their names, and returns what it has logged."""
    written, watch = io.StringIO(), OtherDaemons()
    log = open_log("info", "json", written)

    def told(mine: str, others: dict[str, str]) -> list[dict[str, Any]]:
        written.truncate(0)
        written.seek(0)
        rows = [
            JoinedDaemon(n, name, ELSEWHERE, 35.0, None, 0.0, False, 1, text)
            for n, (name, text) in enumerate(others.items())
        ]
        watch.take(mine, rows, log)
        return [json.loads(line) for line in written.getvalue().splitlines()]

    return told


def test_a_difference_is_logged_once() -> None:
    """With the other daemon, the setting and what to do."""
    told = watching()
    [line] = told(settings(1), {"till-2": settings(2)})
    assert (line["event"], line["level"]) == ("daemon.differs", "warning")
    assert line["name"] == "process 77 on till-2"
    assert line["settings"] == ["destinations.default.max_rate"]
    assert "systemctl reload shipper" in line["hint"]
    assert told(settings(1), {"till-2": settings(2)}) == []
    assert told(settings(1), {"till-2": settings(3)}) == [], "it is the same setting"


def test_each_change_is_logged() -> None:
    """Also one that comes back, and of each daemon."""
    told = watching()
    assert len(told(settings(1), {"till-2": settings(2), "till-3": settings(3)})) == 2
    [line] = told(settings(1), {"till-2": settings(2, "erp"), "till-3": settings(3)})
    assert line["settings"] == ["destinations.default.max_rate", "destinations.erp (only there)"]
    assert "events of a destination wait" in line["hint"]
    assert told(settings(1), {"till-2": settings(1), "till-3": settings(1)}) == []
    assert len(told(settings(1), {"till-2": settings(2)})) == 1


def test_a_reload_is_looked_at_too() -> None:
    """What this daemon has now is what counts."""
    told = watching()
    assert told(settings(1), {"till-2": settings(1)}) == []
    assert len(told(settings(2), {"till-2": settings(1)})) == 1
    assert told(settings(1), {"till-2": settings(1)}) == []


def test_where_all_agree_nothing_is_said() -> None:
    """Nor of a daemon that wrote nothing, or is gone."""
    told = watching()
    assert told(settings(1), {"till-2": settings(1), "older": ""}) == []
    assert told(settings(1), {}) == []


async def test_it_looks_at_the_rows_of_the_outbox(
    postgres_url: str, configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, in the thread of the database; a lost database is not its business."""
    monkeypatch.setattr(other_daemons, "LOOK_EVERY", 0.01)
    engine = open_engine(postgres_url)
    joined(engine, 11, "first", HERE, "{}")
    written, looks = io.StringIO(), asyncio.Queue[int]()

    async def run(step: Callable[[], Any]) -> Any:
        looks.put_nowait(1)
        if looks.qsize() == 1:
            raise StoreUnavailable("away")
        return await asyncio.to_thread(step)

    upkeep = SimpleNamespace(database=engine, run=run)
    dispatcher = SimpleNamespace(shares=Shares(ALL_SHARDS, 2))
    session: Any = SimpleNamespace(upkeep=upkeep, settings=configured, dispatcher=dispatcher)
    log = open_log("info", "json", written)
    joined(engine, 12, "second", ELSEWHERE, '{"validation.mode": "off"}')
    async with alongside(other_daemons.watch(session, OtherDaemons(), log)):
        await until(lambda: bool(written.getvalue()) and looks.qsize() > 3)
    engine.dispose()
    [line] = [json.loads(line) for line in written.getvalue().splitlines()]
    assert line["name"] == "second (process 77 on till-2)"
    assert line["settings"] == ["validation.mode"]


async def test_while_it_is_alone_it_asks_nobody(
    postgres_url: str, configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it knew of the others is of the past."""
    monkeypatch.setattr(other_daemons, "LOOK_EVERY", 0.01)
    engine, found, looks = open_engine(postgres_url), OtherDaemons({7: ["x"]}), asyncio.Queue[int]()

    class Alone:
        @property
        def shares(self) -> Shares:
            looks.put_nowait(1)
            return WHOLE

    upkeep = SimpleNamespace(database=engine)  # nothing runs there
    session: Any = SimpleNamespace(upkeep=upkeep, settings=configured, dispatcher=Alone())
    log = open_log("info", "json", io.StringIO())
    async with alongside(other_daemons.watch(session, found, log)):
        await until(lambda: looks.qsize() > 2)
    engine.dispose()
    assert found.logged == {}


async def test_on_sqlite_it_never_looks(sqlite_url: str, configured: Settings) -> None:
    """A daemon is alone there, and has nothing to compare."""
    engine = open_engine(sqlite_url)
    session: Any = SimpleNamespace(upkeep=SimpleNamespace(database=engine), settings=configured)
    await other_daemons.watch(session, OtherDaemons(), open_log("info", "json", io.StringIO()))
    engine.dispose()
