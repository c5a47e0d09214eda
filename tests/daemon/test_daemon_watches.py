"""What looks on while a session ships, and what a reload makes: a bug there costs one look."""

import asyncio
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from shipper.clock import SystemClock
from shipper.config import load
from shipper.daemon import file_watch, held_back, signs_of_life, unknown_destinations
from shipper.daemon.destinations import ReadyDestinations
from shipper.daemon.reload import changed
from shipper.daemon.requests import Stop
from shipper.daemon.session import open_session
from shipper.drain.tally import Tally
from shipper.logs import open_log
from shipper.observe.guard import alongside
from shipper.sandbox import InjectedFault
from shipper.store.db.engine import open_engine
from shipper.store.lease.file_lock import FileLock
from shipper.store.report.silence import Noted, noted
from shipper.store.report.status import Blocker
from tests.daemon.harness import Shop, only_postgres, only_sqlite
from tests.daemon.processes import until

PATIENCE = 30.0


async def test_what_watches_files_outlives_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, and what had changed is still said."""
    monkeypatch.setattr(file_watch, "LOOK_EVERY", 0.01)
    written, said, calls = io.StringIO(), asyncio.Event(), list[list[str]]()

    def renew(files: list[str]) -> None:
        calls.append(files)
        if len(calls) < 3:
            raise ValueError("a bug")
        said.set()

    path = tmp_path / "ca.pem"
    path.write_text("another one", "utf-8")
    log = open_log("info", "json", written)
    async with alongside(file_watch.watch_files({path: None}, renew, log)):
        await asyncio.wait_for(said.wait(), PATIENCE)
    assert calls == [[str(path)]] * 3
    assert written.getvalue().count("chore.failed") == 1


async def test_what_looks_for_unknown_destinations_outlives_a_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told once, and looked for again."""
    monkeypatch.setattr(unknown_destinations, "LOOK_EVERY", 0.01)
    written, again = io.StringIO(), asyncio.Event()
    looks = iter(range(3))

    class Broken(unknown_destinations.UnknownDestinations):
        async def look(self, *_: object) -> None:
            if next(looks) == 2:
                again.set()
                await asyncio.Event().wait()
            raise ValueError("a bug")

    nothing: Any = None
    log = open_log("info", "json", written)
    async with alongside(unknown_destinations.watch(nothing, Broken(), log)):
        await asyncio.wait_for(again.wait(), PATIENCE)
    assert written.getvalue().count("chore.failed") == 1


async def test_a_sign_of_life_is_the_drain_s(sqlite_url: str) -> None:
    """That the loop turns is none: of a drain that hangs beside it nothing new is noted."""
    file, tally = Path(sqlite_url.removeprefix("sqlite:///")), Tally(1000.0)
    lock, left = FileLock(file), signs_of_life.SignsOfLife(file, tally)
    lock.acquire()

    async def noted_after(seconds: float, *, lost: bool = False) -> Noted | None:
        if lost:
            tally.lost(seconds, "no room")
        else:
            tally.turned(0.001, seconds, seconds)
        await left.look()
        return noted(file)

    await left.look()
    await left.look()
    assert noted(file) == Noted(1000.0)
    assert await noted_after(1004.0) == Noted(1000.0)  # too soon for another one
    assert await noted_after(1005.0) == Noted(1005.0)
    assert await noted_after(1006.0, lost=True) == Noted(1005.0, 1006.0, "no room")
    assert await noted_after(1007.0) == Noted(1007.0, None, "no room")
    lock.release()


async def test_a_daemon_that_waits_for_what_is_in_flight_gives_signs_of_life(shop: Shop) -> None:
    """It has nothing to ask of its database meanwhile; whoever restarted it would cut that off."""

    class Later(SystemClock):
        ahead = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead

    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=600.0)
    shop.configure(timeout="600s", more='[schedule]\npoll_interval = "10ms"')
    shop.add("u1-1")
    settings, clock, stop = load(shop.config, {}), Later(), Stop()
    log = open_log("info", "json", io.StringIO())
    async with open_session(settings, clock=clock, log=log, stop=stop) as session:
        drain = asyncio.create_task(session.dispatcher.run(stop))
        await shop.sandbox.until(lambda ledger: ledger.summary().requests == 1)
        stop.ask()
        clock.ahead = 500.0
        await until(lambda: session.tally.unanswered_for(clock.monotonic()) < PATIENCE)
        assert session.dispatcher.may_finish
        session.dispatcher.cut_off()
        assert await drain == 1


async def test_a_session_that_waits_for_another_gives_signs_of_life(shop: Shop) -> None:
    """The one before may have something in flight for minutes."""
    settings, clock = load(shop.config, {}), SystemClock()
    log = open_log("info", "json", io.StringIO())
    async with open_session(settings, clock=clock, log=log, stop=Stop()) as session:
        session.tally.answered_at -= 500.0
        await session.prolong()
        assert session.tally.unanswered_for(clock.monotonic()) < PATIENCE


async def test_no_stop_waits_for_a_sign_of_life(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may hang: the thread that writes ends with the process, and no loop joins it."""
    begun, go_on, daemonic = threading.Event(), threading.Event(), list[bool]()

    def hang(*_: object) -> None:
        daemonic.append(threading.current_thread().daemon)
        begun.set()
        go_on.wait()

    monkeypatch.setattr(signs_of_life, "note", hang)
    file, log = Path(sqlite_url.removeprefix("sqlite:///")), open_log("info", "json", io.StringIO())
    async with alongside(
        signs_of_life.leave_signs(signs_of_life.SignsOfLife(file, Tally(1000.0)), log)
    ):
        assert await asyncio.to_thread(begun.wait, PATIENCE)
    go_on.set()
    assert daemonic == [True]


def test_a_transaction_that_stays_open_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And once that it is over; the next one of a busy night only after a while."""
    written, found = io.StringIO(), held_back.HeldBack()
    log = open_log("info", "json", written)

    def told(now: float, seconds: float) -> list[str]:
        before = written.tell()
        found.take([Blocker(4711, "report", seconds)], seconds, now, log)
        return [json.loads(line)["event"] for line in written.getvalue()[before:].splitlines()]

    assert told(1000.0, 20.0) == told(1010.0, 30.0) == []
    assert told(1011.0, 31.0) == ["order.held_back"]
    assert "report (process 4711, open for 31 s)" in written.getvalue()
    assert told(1021.0, 41.0) == told(9999.0, 9019.0) == []
    assert told(10_000.0, 2.0) == ["order.free"]
    assert told(10_010.0, 40.0) == ["order.held_back"]
    assert told(10_050.0, 0.0) == ["order.free"]
    assert told(10_100.0, 50.0) == told(10_600.0, 550.0) == []
    assert told(10_610.0, 560.0) == ["order.held_back"]


@only_postgres
async def test_the_log_says_who_keeps_events_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction of the application's that has written, and goes on."""
    monkeypatch.setattr(held_back, "OPEN_LONG", 0.0)
    monkeypatch.setattr(held_back, "LOOK_EVERY", 0.01)
    settings, clock, written = load(shop.config, {}), SystemClock(), io.StringIO()
    log, engine = open_log("info", "json", written), open_engine(shop.url)
    insert = text('INSERT INTO shipper_outbox (payload) VALUES (\'{"type":"a","a":{}}\')')
    async with open_session(settings, clock=clock, log=log, stop=Stop()) as session:
        watching = held_back.watch(session, held_back.HeldBack(), log)
        async with alongside(watching):
            with engine.connect() as application, engine.begin() as other:
                application.execute(insert)
                other.execute(insert)
                other.commit()
                await until(lambda: '"order.held_back"' in written.getvalue())
                assert '"order.free"' not in written.getvalue()
                application.commit()
                await until(lambda: '"order.free"' in written.getvalue())
    engine.dispose()
    assert written.getvalue().count("order.held_back") == 1


@only_sqlite
async def test_a_reload_that_fails_at_the_end_leaves_nothing_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its couriers are closed, whatever was raised: here the database's thread has ended."""
    settings, clock = load(shop.config, {}), SystemClock()
    log = open_log("info", "json", io.StringIO())
    async with open_session(settings, clock=clock, log=log, stop=Stop()) as session:
        pass
    closed, close = list[str](), ReadyDestinations.aclose

    async def aclose(fresh: ReadyDestinations) -> None:
        closed.extend(fresh.couriers)
        await close(fresh)

    monkeypatch.setattr(ReadyDestinations, "aclose", aclose)
    default = settings.destinations["default"]
    both = {"default": default, "other": replace(default, name="other")}
    with pytest.raises(RuntimeError, match="has ended"):
        await changed(replace(settings, destinations=both), session)
    assert closed == ["other"]
