"""Delivery windows mean what crontab(5) says, in a time zone, over the changes of its clocks.

The independent reading is croniter's, with its switch for cron's own rule about days: a field that
begins with `*` restricts nothing. What croniter takes and cron doesn't is left out; so is a range
of one number (`23-23`), which croniter takes for all hours.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.config import Settings
from shipper.config.crontab import Crontab
from shipper.config.windows import Windows
from shipper.errors import ConfigError

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca")
# Nights in which a clock of these zones is changed: by an hour, by half of one, for Ramadan.
CHANGES = (
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"), ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),
    ("Africa/Casablanca", "2026-02-15"), ("Africa/Casablanca", "2026-03-22"),
    ("America/Havana", "2026-03-08"), ("UTC", "2028-02-29"),
)  # fmt: skip


def wall(text: str, zone: str = "UTC", fold: int = 0) -> float:
    """Return a time, as a clock of that zone shows it, in seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def matches(expression: str, local: datetime) -> bool:
    """Return whether a minute is in an expression, as croniter reads it."""
    minute = local.replace(tzinfo=None, fold=0, second=0, microsecond=0)
    after = minute + timedelta(seconds=30)
    reading = croniter(expression, after, ret_type=datetime, implement_cron_bug=True)
    try:
        return bool(reading.get_prev() == minute)
    except CroniterBadDateError:
        return False


def night(zone: str, day: str) -> list[float]:
    """Return every minute around a change: from the evening before to the morning after."""
    midnight = wall(f"{day}T00:00", zone)
    return [midnight + 60.0 * minute for minute in range(-4 * 60, 6 * 60)]


def _field(low: int, high: int, names: str = "") -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    word = number.map(str)
    if names:
        word |= st.sampled_from(names.split()).flatmap(
            lambda name: st.sampled_from([name, name.upper(), name.title()])
        )
    span = st.tuples(number, number).filter(lambda ends: ends[0] < ends[1])
    step = st.integers(1, high - low).map(lambda every: f"/{every}") | st.just("")
    ranges = st.tuples(span.map(lambda ends: f"{ends[0]}-{ends[1]}"), step).map("".join)
    star = st.tuples(st.just("*"), step).map("".join)
    return star | st.lists(word | ranges, min_size=1, max_size=3).map(",".join)


_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_DAYS = "sun mon tue wed thu fri sat"
EXPRESSIONS = st.tuples(
    _field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12, _MONTHS), _field(0, 7, _DAYS)
).map(" ".join)


@settings(max_examples=200)
@given(
    EXPRESSIONS,
    st.integers(915148800, 2145830400),  # 1999 to 2037
    st.sampled_from(ZONES),
)
def test_any_expression_means_what_cron_means(expression: str, moment: int, zone: str) -> None:
    """Of any minute of 38 years, in any of the zones; and the hours around it."""
    windows = Windows([expression], zone)
    for minutes in (0, 1, 59, 60, 61, 1440):
        at = datetime.fromtimestamp(moment + 60 * minutes, ZoneInfo(zone))
        assert windows.is_open(moment + 60 * minutes) is matches(expression, at)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *", "*/15 * * * *", "30 2 * * *", "* 2 * * *", "0-29 1-3 * * *", "59 1 * * *",
        "* 0 * * *", "*/7 */3 * * sun", "15 2 29 * 7", "* 23 * * sat-sun", "10,50 1,2,3 */2 * 0",
    ],
)  # fmt: skip
def test_around_a_change_of_the_clock_a_minute_is_what_the_clock_shows(
    zone: str, day: str, expression: str
) -> None:
    """What is left out is never open, what comes twice is open both times."""
    windows = Windows([expression], zone)
    for moment in night(zone, day):
        local = datetime.fromtimestamp(moment, ZoneInfo(zone))
        assert windows.is_open(moment) is matches(expression, local), local


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHANGES), _field(0, 59), _field(0, 23), st.integers(0, 599))
def test_it_opens_when_it_says(change: tuple[str, str], minute: str, hour: str, at: int) -> None:
    """At the first minute that is open, however the clock is changed before that."""
    zone, day = change
    windows = Windows([f"{minute} {hour} * * *"], zone)
    moments = night(zone, day)[at:]
    first = next((moment for moment in moments if windows.is_open(moment)), None)
    opens = windows.opens_at(moments[0])
    assert opens is not None
    assert opens == first if first is not None else opens > moments[-1]


@pytest.mark.parametrize(
    ("expression", "now", "opens"),
    [
        ("0 0 29 2 *", "2026-11-27", "2028-02-29"),
        ("0 0 29 2 *", "2097-01-01", "2104-02-29"),  # 2100 is no leap year
        ("0 8 * * mon-fri", "2026-11-27T20:00", "2026-11-30T08:00"),
        ("0 0 13 * fri", "2026-11-08T00:00", "2026-11-13"),
        ("0 0 31 12 *", "2026-12-31T00:01", "2027-12-31"),
        ("0 12 * * *", "2026-11-27T12:00:30", "2026-11-27T12:00:30"),
    ],
)
def test_it_may_be_years_until_it_opens(expression: str, now: str, opens: str) -> None:
    """The minute is right, and it isn't counted to."""
    assert Windows([expression]).opens_at(wall(now)) == wall(opens)


def test_of_several_windows_the_next_one_counts() -> None:
    """And one that never opens doesn't, nor is it looked for."""
    windows = Windows(["30 2 31 2 *", "0 9 * * *", "0 7 * * *"], "Europe/Berlin")
    now = wall("2026-11-27T06:00", "Europe/Berlin")
    assert windows.opens_at(now) == wall("2026-11-27T07:00", "Europe/Berlin")
    assert windows.describe(now) == "outside the delivery windows (Europe/Berlin) until 07:00"
    at_ten = wall("2026-11-27T10:00", "Europe/Berlin")
    assert windows.describe(at_ten).endswith(" until 2026-11-28 07:00")
    assert windows.describe(at_ten - 3600.0) == "inside the delivery windows (Europe/Berlin)"
    assert Windows(["30 2 31 2 *"]).opens_at(now) is None
    assert Windows(["30 2 31 2 *"]).describe(now) == "outside the delivery windows (UTC) for ever"


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("* * * * 1-5", "2 3 4 5 6 9 10 11 12 13"),
        ("* * * * mon-fri", "2 3 4 5 6 9 10 11 12 13"),
        ("* * * * 0", "1 8"),
        ("* * * * 7", "1 8"),
        ("* * * * SUN", "1 8"),
        ("* * * * 5-7", "1 6 7 8 13 14"),
        ("* * * * fri-sun", "1 6 7 8 13 14"),
        ("* * * * sun-thu", "1 2 3 4 5 8 9 10 11 12"),
        ("* * * * 0-7", "1 2 3 4 5 6 7 8 9 10 11 12 13 14"),
        ("* * * * 1-7/2", "1 2 4 6 8 9 11 13"),
        ("* * * * */2", "1 3 5 7 8 10 12 14"),
        ("* * * * */7", "1 8"),
        ("* * 3 * mon", "2 3 9"),  # either, as both are restricted
        ("* * 3,4 * 1,3", "2 3 4 9 11"),
        ("* * */2 * mon", "9"),  # both: a field that begins with * restricts nothing
        ("* * 1-14/2 * mon", "1 2 3 5 7 9 11 13"),
        ("* * 10 * */2", "10"),
        ("* * 1,8 nov *", "1 8"),
        ("* * * Jan-Mar,11 sat", "7 14"),
        ("@weekly", "1 8"),
        ("@daily", "1 2 3 4 5 6 7 8 9 10 11 12 13 14"),
        ("@monthly", "1"),
        ("@YEARLY", ""),
    ],
)
def test_the_days_are_those_of_crontab(expression: str, days: str) -> None:
    """In the first two weeks of November 2026, whose 1st is a Sunday, at midnight."""
    schedule = Crontab.parse(expression)
    found = [day for day in range(1, 15) if schedule.matches(datetime(2026, 11, day, tzinfo=UTC))]
    assert found == [int(day) for day in days.split()]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("* 22-6 * * *", "hour: 22-6 runs backwards; write 22-23,0-6"),
        ("* 22-6/2 * * *", "hour: 22-6/2 runs backwards; write 22,0,2,4,6"),
        ("* * * dec-feb *", "month: dec-feb runs backwards; write 12,1-2"),
        ("* * * * sat-mon", "day of week: sat-mon runs backwards; write 6,0-1"),
        ("* * * * 5-0", "day of week: 5-0 runs backwards; write 5-6,0"),
        ("* * * * 7-1", "day of week: 7-1 runs backwards; write 0-1"),
        ("* * * * 7-3/2", "day of week: 7-3/2 runs backwards; write 0-3/2"),
        ("* * * * 7-0/2", "day of week: 7-0/2 runs backwards; write 0"),
        ("5/10 * * * *", "minute: in cron a step follows a range; write 5-59/10"),
        ("60 * * * *", "minute: 60 is not from 0 to 59"),
        ("* 24 * * *", "hour: 24 is not from 0 to 23"),
        ("* * 0 * *", "day of month: 0 is not from 1 to 31"),
        ("* * 1-32 * *", "day of month: 32 is not from 1 to 31"),
        ("* * * 13 *", "month: 13 is not from 1 to 12"),
        ("* * * * 8", "day of week: 8 is not from 0 to 7"),
        ("* * * * monday", "monday is not known; names are three letters: mon"),
        ("* * * january *", "january is not known; names are three letters: jan"),
        ("* * * mon *", "month: mon is neither a number nor a name"),
        ("jan * * * *", "minute: jan is neither a number"),
        ("* * ? * *", "? is not known to cron"),
        ("* * L * *", "L is not known to cron"),
        ("* * 15W * *", "15W is not known to cron"),
        ("* * * * 5#2", "5#2 is not known to cron"),
        ("* * * * 5L", "5L is not known to cron"),
        ("H/15 * * * *", "H/15 is not known to cron"),
        ("0~30 * * * *", "0~30 is not known to cron"),
        ("*/0 * * * *", "the step of */0 is not a number from 1 on"),
        ("*/ * * * *", "the step of */ is not a number"),
        ("1,,2 * * * *", "a comma has no number beside it"),
        ("* * * * mon,", "a comma has no number beside it"),
        ("1- * * * *", "1- is neither a number"),
        ("-1 * * * *", "-1 is neither a number"),
        ("99999999999999999999 * * * *", "is neither a number"),
        ("@reboot", "@reboot names no minute; use one of @yearly"),
        ("@always", "@always names no minute"),
        ("0 0 * * * *", "it has 6 fields and must have 5; remove the seconds (or the year)"),
        ("", "it has 0 fields and must have 5"),
    ],
)
def test_what_cron_refuses_is_refused_with_the_right_spelling(expression: str, said: str) -> None:
    """The field by its name, and what is wrong with it."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its words are looked at
        Crontab.parse(expression)
    assert said in str(raised.value)


@given(st.lists(st.text("0123456789*/,-@?#LWmonjan", max_size=6), max_size=6).map(" ".join))
def test_anything_is_an_expression_or_a_fault(expression: str) -> None:
    """And nothing else is raised."""
    try:
        schedule = Crontab.parse(expression)
    except ValueError:
        return
    assert all((schedule.minutes, schedule.hours, schedule.days, schedule.weekdays))


def test_every_fault_is_told_at_once() -> None:
    """With what was written, and an example."""
    with pytest.raises(ConfigError) as raised:
        Windows(["* * * * *", "60 * * * *", "* * * * 8"])
    assert [problem.partition(": ")[2][:13] for problem in raised.value.problems] == [
        "'60 * * * *' ", "'* * * * 8' i",
    ]  # fmt: skip
    assert "crontab(5)" in str(raised.value.hint)


Load = Callable[..., Settings]
SCHEDULE = '[database]\nurl = "sqlite:////x.db"\n[destinations.default]\nurl = "https://h/"\napi_id_file = "x"\n[schedule]\n'  # noqa: E501


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a way to load a configuration with these lines under [schedule]."""
    from shipper.config import load

    def loaded(*lines: str, environ: dict[str, str] | None = None) -> Settings:
        file = tmp_path / "shipper.toml"
        file.write_text(SCHEDULE + "\n".join(lines))
        return load(file, environ or {})

    return loaded


def test_the_time_zone_is_utc_where_nobody_says_another(load: Load) -> None:
    """As all times of shipper are."""
    assert load().schedule.timezone == "UTC"
    assert load('timezone = "Europe/Berlin"').schedule.timezone == "Europe/Berlin"
    environ = {"SHIPPER_SCHEDULE__TIMEZONE": "Asia/Kolkata"}
    assert load(environ=environ).schedule.timezone == "Asia/Kolkata"


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ('"Europe/Berln"', '; did you mean "Europe/Berlin"?'),
        ('"europe/berlin"', '; did you mean "Europe/Berlin"?'),
        ('"Berlin"', '; did you mean "Europe/Berlin"?'),
        ('"america/new york"', '; did you mean "America/New_York"?'),
        ('"utc"', '; did you mean "UTC"?'),
        ('"Local"', ""),
        ('"GMT+1"', ""),
        ('"UTC+2"', ""),
        ('"PST"', ""),
        ('"Z"', ""),
        ('"Europe"', ""),
        ('""', ""),
        ('"/etc/localtime"', ""),
        ('"../../etc/passwd"', ""),
        ('"right/Europe/Berlin"', ""),
        ('"localtime"', ""),
        (r'"Europe/Berlin\u0000"', '; did you mean "Europe/Berlin"?'),
        ("7", ""),
        ('["UTC"]', ""),
    ],
)
def test_an_unknown_time_zone_is_refused_with_its_line(load: Load, zone: str, meant: str) -> None:
    """And the nearest name, where there is one."""
    with pytest.raises(ConfigError) as raised:
        load(f"timezone = {zone}")
    [problem] = raised.value.problems
    assert "shipper.toml:7: schedule.timezone: must be a time zone" in problem
    assert problem.partition("; did")[2] == meant.removeprefix("; did")


def test_a_window_that_never_opens_is_a_warning_with_its_line(load: Load) -> None:
    """Cron takes it; whoever wrote it meant something else."""
    settings = load('windows = ["30 2 31 2 *", "0 0 29 2 *", "0 0 31 4,6 mon", "61 * * * *"]')
    [warning] = settings.warnings
    assert "shipper.toml:7: schedule.windows: '30 2 31 2 *' matches no minute" in warning


def test_without_a_tz_database_of_the_system_there_is_one(tmp_path: Path) -> None:
    """A small container has none; the package tzdata stands in. Its $TZ, if wrong, is nobody's."""
    import subprocess
    import sys

    code = (
        "from shipper.config.windows import Windows\n"
        "windows = Windows(['0 8 * * *'], 'Europe/Berlin')\n"
        "print(windows.is_open(1795762800.0), windows.opens_at(1795762860.0))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONTZPATH": str(tmp_path), "TZ": "Nowhere/Near"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "True 1795849200\n"


@pytest.mark.parametrize(
    ("begin", "end", "seconds"),
    [
        ("2026-11-23T07:00", "2026-11-23T07:59", 0.0),
        ("2026-11-23T08:00", "2026-11-23T09:00", 3600.0),
        ("2026-11-23T08:59:30", "2026-11-23T12:00", 30.0),
        ("2026-11-23T08:30:15", "2026-11-23T08:30:45", 30.0),
        ("2026-11-20T00:00", "2026-11-23T08:10", 4200.0),
        ("2026-10-01T00:00", "2026-11-23T00:00", 18 * 86400.0),
    ],
)
def test_the_hours_are_counted_in_which_a_window_was_open(
    begin: str, end: str, seconds: float
) -> None:
    """From eight to nine on weekdays; of what lies five weeks back nobody knows."""
    windows = Windows(["* 8 * * mon-fri"])
    counted = windows.open_within(wall(begin), wall(end), 10**9)
    assert counted == seconds if seconds < 86400 else counted >= seconds
    assert Windows([]).open_within(wall(begin), wall(end), 1.0) == wall(end) - wall(begin)


def test_no_more_hours_are_counted_than_are_enough() -> None:
    """A minute more at most."""
    assert Windows(["* * * * *"]).open_within(0.0, 86400.0, 600.0) == 660.0
