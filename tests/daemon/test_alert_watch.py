"""What the alarms' watch believes: only what has just been seen."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.config import Settings
from shipper.config.destination import ClientTlsSettings
from shipper.drain.tally import Tally
from shipper.observe.alarms import APART, CALM, LOST_FOR, WORSE_EVERY, Alarms
from shipper.observe.alerts import AlarmWatch
from shipper.observe.health import Health
from shipper.observe.role import Role
from shipper.observe.survey import ASK_EVERY, Survey
from shipper.policy.shares import NOTHING, WHOLE
from shipper.store.db.transactions import writing
from tests.destination.certificates import issued
from tests.destination.test_own_certificate import AUTHORITY, files
from tests.observe.clocks import Hand
from tests.observe.test_survey import insert, settings_for


class _Turning:
    beats = 0


def watch(
    settings: Settings, survey: Survey, clock: Hand, tally: Tally | None = None
) -> AlarmWatch:
    """Return a watch over a drain that turns."""
    tally = tally or Tally(clock.monotonic())
    health = Health(_Turning(), tally, clock)
    return AlarmWatch(settings, {}, tally, health=health, survey=survey, clock=clock)


async def test_all_is_well_only_as_long_as_somebody_sees_that(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Where the survey alone has lost the database, yesterday's figures are no reason to beat."""
    clock = Hand()
    settings = settings_for(sqlite_url, tmp_path)
    survey = Survey(settings, clock)
    watching = watch(settings, survey, clock)

    async def is_well() -> bool:
        clock.now += ASK_EVERY
        await watching.look(Alarms())
        return watching.is_well

    assert await is_well()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    aside = path.rename(path.with_name("aside.db"))
    assert not await is_well()
    aside.rename(path)
    assert await is_well()
    await survey.aclose()


async def test_a_disk_that_stands_still_is_an_alarm(sqlite_url: str, tmp_path: Path) -> None:
    """Nobody is told that the database is lost, and who only reads may even be answered."""
    clock = Hand()
    settings = settings_for(sqlite_url, tmp_path)
    survey, tally, alarms = Survey(settings, clock), Tally(clock.monotonic()), Alarms()
    watching = watch(settings, survey, clock, tally)
    for _ in range(4):
        assert await watching.look(alarms) == []
        clock.now += LOST_FOR / 4
    [notice] = await watching.look(alarms)
    assert (notice.condition.alarm, notice.change) == ("database", "started")
    assert not watching.is_well
    tally.turned(0.001, clock.now, clock.now)
    clock.now += 1.0
    assert await watching.look(alarms) == []
    await survey.aclose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_one_that_does_not_lead_judges_in_silence(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """And sends no heartbeat; once it leads, it goes on from there."""
    clock, shares = Hand(), NOTHING
    settings = settings_for(database_url, tmp_path)
    survey, alarms = Survey(settings, clock, None, Role(lambda: shares)), Alarms()
    tally = Tally(clock.monotonic())
    watching = watch(settings, survey, clock, tally)
    insert(engine, "stray")
    assert await watching.look(alarms) == []
    assert not watching.is_well
    clock.now += 2 * APART
    tally.turned(0.001, clock.now, clock.now)
    assert await watching.look(alarms) == []
    shares = WHOLE
    assert await watching.look(alarms) == []
    with writing(engine) as tx:
        tx.exec_driver_sql("DELETE FROM shipper_outbox")
    clock.now += CALM
    tally.turned(0.001, clock.now, clock.now)
    ended = [(one.condition.alarm, one.change) for one in await watching.look(alarms)]
    assert ("unconfigured", "ended") in ended
    assert {change for _, change in ended} == {"ended"}
    await survey.aclose()


async def test_a_night_in_which_the_machine_slept_is_no_alarm(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Its clock went on and the drain didn't; but what still says nothing after that is one."""
    clock = Hand()
    settings = settings_for(sqlite_url, tmp_path)
    survey, tally, alarms = Survey(settings, clock), Tally(clock.monotonic()), Alarms()
    watching = watch(settings, survey, clock, tally)
    assert await watching.look(alarms) == []
    clock.now += 8 * 3600.0
    for _ in range(4):
        assert await watching.look(alarms) == []
        clock.now += LOST_FOR / 4
    [notice] = await watching.look(alarms)
    assert (notice.condition.alarm, notice.change) == ("database", "started")
    await survey.aclose()


async def test_a_certificate_that_ends_soon_is_an_alarm(sqlite_url: str, tmp_path: Path) -> None:
    """As its file has it when the configuration is applied."""
    clock, settings = Hand(), settings_for(sqlite_url, tmp_path)
    own = files(tmp_path, issued(AUTHORITY, names=()))
    shown = replace(settings.destinations["default"], kind="http", tls=ClientTlsSettings(*own))
    settings = replace(settings, destinations={"default": shown})
    survey = Survey(settings, clock)
    watching, alarms = watch(settings, survey, clock), Alarms()
    told = []
    for days in (15, 13, -1):
        clock.now += WORSE_EVERY
        clock.offset = own.ends() - days * 86400.0 - clock.now
        told.append([(one.condition.alarm, one.change) for one in await watching.look(alarms)])
    assert told == [[], [("certificate", "started")], [("certificate", "worse")]]
    await survey.aclose()
