"""What the database says: right on both, asked seldom, and in nobody's way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads

import pytest
from sqlalchemy import Engine, create_engine, text

from shipper.config import Settings, load
from shipper.observe import survey as module
from shipper.observe.role import Role
from shipper.observe.situation import gather
from shipper.observe.survey import ASK_EVERY, UNCONFIGURED, Audit, Backlog, Figures, Survey
from shipper.observe.troubles import judge
from shipper.policy.shares import NOTHING, WHOLE
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import reading, writing
from shipper.store.report.audit import remember
from shipper.store.report.status import Blocker
from tests.daemon.processes import eventually
from tests.observe.clocks import Hand
from tests.store.daemons import tamper
from tests.store.joined import ELSEWHERE, HERE, joined

EVENT = '{"type":"view","view":{}}'


def settings_for(url: str, directory: Path) -> Settings:
    """Return a configuration with one destination."""
    file = directory / "shipper.toml"
    file.write_text(
        f'[database]\nurl = "{url.replace("+psycopg", "")}"\n'
        '[destinations.default]\nurl = "http://127.0.0.1:1/"\napi_id = "x"\n'
    )
    file.chmod(0o600)
    return load(file, {}, directory)


def insert(engine: Engine, *destinations: str) -> None:
    """Write an event for each."""
    with writing(engine) as tx:
        for name in destinations:
            tx.execute(
                text("INSERT INTO shipper_outbox (payload, destination) VALUES (:payload, :name)"),
                {"payload": EVENT, "name": name},
            )


class Present(Hand):
    """Its wall clock is that of the rows."""

    def __init__(self) -> None:
        super().__init__()
        import time

        self.offset = time.time() - self.now


@pytest.fixture
def clock() -> Present:
    """Give a clock that goes when it is told to."""
    return Present()


@pytest.fixture
async def survey(database_url: str, tmp_path: Path, clock: Present) -> AsyncIterator[Survey]:
    """Give a survey of a fresh outbox."""
    survey = Survey(settings_for(database_url, tmp_path), clock)
    yield survey
    await survey.aclose()


async def seen(survey: Survey) -> Figures:
    """Return figures that are there."""
    figures = await survey.figures()
    assert figures is not None
    return figures


async def test_it_counts_what_is_pending_and_how_long(
    engine: Engine, survey: Survey, clock: Present
) -> None:
    """By destination; one that nobody has written to is there with zeros."""
    assert (await seen(survey)).backlogs == (Backlog("default", 0, 0, 0, 0, 0, 0, None),)
    insert(engine, "default", "default")
    clock.now += 60.0
    [backlog] = (await seen(survey)).backlogs
    assert backlog.pending == 2
    assert backlog.oldest_pending_seconds is not None
    assert 50.0 < backlog.oldest_pending_seconds < 90.0


@pytest.mark.parametrize("step", [30 * 86400.0, 3652 * 86400.0])
async def test_a_clock_that_is_set_forward_makes_no_event_old(
    engine: Engine, survey: Survey, clock: Present, step: float
) -> None:
    """Nobody is woken for it; an event that really waits for so long is told all the same."""
    insert(engine, "default")
    await seen(survey)
    clock.offset += step
    for waited in (600.0, 1200.0, 3000.0):
        clock.now += waited
        [backlog] = (await seen(survey)).backlogs
    assert backlog.oldest_pending_seconds is not None
    assert backlog.oldest_pending_seconds > 3600.0


@pytest.mark.parametrize("step", [30 * 86400.0, 3652 * 86400.0])
async def test_within_the_hour_after_a_step_an_event_is_as_old_as_it_is(
    engine: Engine, survey: Survey, clock: Present, step: float
) -> None:
    """By the time that has passed."""
    insert(engine, "default")
    await seen(survey)
    clock.offset += step
    clock.now += 600.0
    [backlog] = (await seen(survey)).backlogs
    assert backlog.oldest_pending_seconds is not None
    assert 590.0 < backlog.oldest_pending_seconds < 630.0


async def test_a_clock_that_is_set_back_is_no_growth(
    engine: Engine, survey: Survey, clock: Present
) -> None:
    """What was written before would all seem to be of today."""
    insert(engine, "default", "default")
    with writing(engine) as tx:
        moment = "'2001-01-01T00:00:00.000Z'"
        tx.execute(text(f"UPDATE shipper_outbox SET created_at = {moment}"))
    await seen(survey)
    clock.offset -= 3652 * 86400.0 * 3
    clock.now += 700.0
    assert (await seen(survey)).footprint.growth.events == 0


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_each_look_has_its_figures_however_often_the_connection_is_cut(
    engine: Engine, survey: Survey, clock: Present
) -> None:
    """By a server's idle_session_timeout, or what stands between."""
    for pending in range(1, 4):
        insert(engine, "default")
        with writing(engine) as tx:
            tx.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        clock.now += 1000.0
        [backlog] = (await seen(survey)).backlogs
        assert backlog.pending == pending


async def test_what_nobody_has_configured_is_one_destination(
    engine: Engine, survey: Survey
) -> None:
    """Whatever an application writes there, it makes no series of its own."""
    insert(engine, *(f"stray_{number}" for number in range(20)))
    [default, stray] = (await seen(survey)).backlogs
    assert (default.destination, default.pending) == ("default", 0)
    assert (stray.destination, stray.pending) == (UNCONFIGURED, 20)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_link_is_paused_if_any_of_the_daemons_says_so(
    engine: Engine, survey: Survey, clock: Present
) -> None:
    """With the name of that daemon; an operator's hold, and a stray destination, are no pause."""
    insert(engine, "default", "stray")
    joined(engine, 1, "shop", HERE, None)
    joined(engine, 2, "till-2", ELSEWHERE, None)
    tamper(engine, "UPDATE shipper_shard SET token = 1 + shard % 2")
    seen_as = (
        "INSERT INTO shipper_link (token, name, state, reason, since, updated_at, last_error)"
        " VALUES (:token, 'default', :state, :reason, now(), now(), 'what the receiver said')"
    )
    tamper(engine, seen_as, token=1, state="ready", reason=None)
    tamper(engine, seen_as, token=2, state="paused", reason="http-401: HTTP 401")
    told = [backlog.paused for backlog in (await seen(survey)).backlogs]
    assert told == ["http-401: HTTP 401, as process 77 on till-2 sees it", None]
    tamper(engine, "UPDATE shipper_link SET state = 'paused', reason = 'http-401: HTTP 401'")
    clock.now += ASK_EVERY
    assert (await seen(survey)).backlogs[0].paused == "http-401: HTTP 401"
    tamper(engine, "INSERT INTO shipper_destination (name, held) VALUES ('default', 1)")
    clock.now += ASK_EVERY
    assert (await seen(survey)).backlogs[0].paused is None


async def test_the_disk_is_told_where_it_is_ours(survey: Survey, database_url: str) -> None:
    """The file of an SQLite outbox lies beside us; a server's is its own matter."""
    disk = (await seen(survey)).disk
    if database_url.startswith("sqlite"):
        assert disk is not None
        assert disk.file > 4096
        assert disk.free > 0
    else:
        assert disk is None


async def test_once_a_day_it_asks_whether_the_invariants_hold(
    database_url: str, tmp_path: Path, engine: Engine, clock: Present
) -> None:
    """Not at once, and only where somebody wants to hear of it."""
    insert(engine, "default")
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO shipper_destination (name, delivered) VALUES ('default', 7)"))
    settings = settings_for(database_url, tmp_path)
    watched, unwatched = Survey(settings, clock, Audit.first(clock)), Survey(settings, clock)
    assert (await seen(watched)).broken == ()
    clock.now += 1000.0
    assert (await seen(watched)).broken == ("counters",)
    assert (await seen(unwatched)).broken == ()
    with writing(engine) as tx:
        tx.execute(text("UPDATE shipper_destination SET delivered = 0"))
    clock.now += module.AUDIT_EVERY - 1.0
    assert (await seen(watched)).broken == ("counters",)
    clock.now += 60.0
    assert (await seen(watched)).broken == ()
    await watched.aclose()
    await unwatched.aclose()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_the_next_one_that_leads_knows_what_the_last_audit_found(
    database_url: str, tmp_path: Path, engine: Engine, clock: Present
) -> None:
    """Its own is due later, and no alarm ends meanwhile."""
    remember(engine, ["counters"], clock.wall())
    shares, audit = NOTHING, Audit.first(clock)
    settings = settings_for(database_url, tmp_path)
    survey = Survey(settings, clock, audit, Role(lambda: shares))
    assert (await seen(survey)).broken == ("counters",)
    shares = WHOLE
    clock.now += ASK_EVERY
    assert (await seen(survey)).broken == ("counters",)
    await survey.aclose()


async def test_what_was_broken_is_still_so_after_a_reload(
    sqlite_url: str, tmp_path: Path, clock: Present
) -> None:
    """It isn't asked anew for that, and is no reason to say that it's over."""
    settings = settings_for(sqlite_url, tmp_path)
    audit = Audit(clock.now + module.AUDIT_EVERY, ("counters",))
    after = Survey(settings, clock, audit)
    assert (await seen(after)).broken == ("counters",)
    await after.aclose()


_ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",  # noqa: E501
    "postgresql": "SELECT pg_sleep(3600)",
}


async def test_no_stop_waits_for_an_audit(
    database_url: str, tmp_path: Path, clock: Present, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a question takes, it ends when the survey is closed; nothing is left behind."""
    begun, ended = Event(), Event()

    def endless(engine: Engine) -> tuple[str, ...]:
        try:
            with reading(engine) as tx:
                begun.set()
                tx.exec_driver_sql(_ENDLESS[engine.dialect.name])
        finally:
            ended.set()
        return ()

    monkeypatch.setattr(module, "broken_rules", endless)
    survey = Survey(settings_for(database_url, tmp_path), clock, Audit(clock.now))
    asking = asyncio.create_task(survey.figures())
    assert await asyncio.to_thread(begun.wait, 10)
    await survey.aclose()
    assert await asyncio.to_thread(ended.wait, 10)
    await asyncio.gather(asking, return_exceptions=True)
    assert all(thread.daemon for thread in enumerate_threads() if thread.name == "survey")


async def test_it_asks_no_more_often_than_it_should(
    engine: Engine, survey: Survey, clock: Present
) -> None:
    """What was seen is as good as new for ten seconds, however many ask."""
    await seen(survey)
    insert(engine, "default")
    clock.now += ASK_EVERY - 1
    [backlog] = (await seen(survey)).backlogs
    assert backlog.pending == 0
    clock.now += 1
    [backlog] = (await seen(survey)).backlogs
    assert backlog.pending == 1


@pytest.fixture
async def slow(
    sqlite_url: str, tmp_path: Path, clock: Present, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Survey, Callable[[float], None]]]:
    """Give a survey whose database takes so many seconds, by the clock that stands still."""
    takes = [0.0]
    look = module._Observer.look

    def looking(observer: module._Observer) -> Figures:
        clock.now += takes[0]
        return look(observer)

    monkeypatch.setattr(module._Observer, "look", looking)
    survey = Survey(settings_for(sqlite_url, tmp_path), clock)

    def take(seconds: float) -> None:
        takes[0] = seconds

    yield survey, take
    await survey.aclose()


async def test_a_slow_database_is_asked_less_often(
    slow: tuple[Survey, Callable[[float], None]], clock: Present
) -> None:
    """It is busy with us for a twentieth of the time at most."""
    survey, take = slow
    take(5.0)
    first = await seen(survey)
    clock.now += 99.0
    assert await survey.figures() is first
    clock.now += 1.0
    assert await survey.figures() is not first


async def test_a_question_is_not_kept_waiting(
    sqlite_url: str, tmp_path: Path, clock: Present, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database takes its time, what was known before is the answer."""
    import threading

    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    done = threading.Event()
    look = module._Observer.look

    def stuck(observer: module._Observer) -> Figures:
        done.wait(20)
        return look(observer)

    monkeypatch.setattr(module._Observer, "look", stuck)
    survey = Survey(settings_for(sqlite_url, tmp_path), clock)
    assert await survey.figures() is None
    assert await survey.figures() is None
    done.set()

    async def is_known() -> bool:
        return await survey.figures() is not None

    assert await eventually(is_known)
    await survey.aclose()


async def test_a_database_that_is_away_is_no_figures(tmp_path: Path, clock: Present) -> None:
    """Nothing is raised; it is asked again later."""
    survey = Survey(settings_for(f"sqlite:///{tmp_path / 'gone.db'}", tmp_path), clock)
    assert await survey.figures() is None
    clock.now += ASK_EVERY
    assert await survey.figures() is None
    await survey.aclose()


async def test_a_bug_is_raised_to_whoever_asks(
    survey: Survey, clock: Present, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not look like figures; it is asked again later all the same."""

    def broken(_: object) -> Figures:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(module._Observer, "look", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            await survey.figures()
    clock.now += ASK_EVERY
    await seen(survey)


def test_what_isnt_shown_counts_from_when_events_wait(
    postgres_url: str, tmp_path: Path, clock: Present, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pg_read_all_stats nobody tells how long another role's transaction is open.

    The first look tells it, too: who scrapes once, or asks for the status, sees no other.
    """
    found: list[Blocker] = [Blocker(4711, "erp", None)]
    for asked in ("store.report.status", "observe.situation"):
        monkeypatch.setattr(f"shipper.{asked}.commit_blockers", lambda _: found)
    engine, erp = open_engine(postgres_url), create_engine(postgres_url).connect()
    waits = "INSERT INTO shipper_outbox (payload, created_at) VALUES ('{}', now() - interval '%s')"
    with writing(engine) as tx:  # for a receiver, say, and for no transaction
        tx.exec_driver_sql(waits.replace("%s", "9 hours"))
    erp.exec_driver_sql("SELECT pg_current_xact_id()")
    for age in ("40 s", "20 s", "0 s"):
        with writing(engine) as tx:
            tx.exec_driver_sql(waits.replace("%s", age))
    observer = module._Observer(settings_for(postgres_url, tmp_path), clock, None)
    assert 40.0 <= observer.look().held_back_seconds < 100.0
    facts = gather(engine, settings_for(postgres_url, tmp_path), clock.wall())[0]
    facts = replace(facts, is_shipped=True)
    assert "the newest events wait for an open transaction: erp (process 4711)" in [
        trouble.text for trouble in judge(facts)
    ]
    found.append(Blocker(4712, "till", 150.0))
    assert observer.look().held_back_seconds == 150.0
    found.clear()
    assert observer.look().held_back_seconds == 0.0
    erp.close()
    erp.engine.dispose()
    engine.dispose()
    observer.close()
