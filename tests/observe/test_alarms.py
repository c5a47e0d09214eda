"""What is an alarm, and what is told of one."""

from dataclasses import replace

import pytest

from shipper.config import AlertSettings
from shipper.observe.alarms import (
    APART,
    CALM,
    LOST_FOR,
    MISSING_FOR,
    REMIND_EVERY,
    WORSE_EVERY,
    Alarms,
    Condition,
    Known,
    conditions,
)
from shipper.observe.role import Role
from shipper.observe.survey import UNCONFIGURED, Backlog, Disk, Figures
from shipper.observe.troubles import COMMIT_LONG, NAMED, OPEN_LONG
from shipper.policy.shares import NOTHING as NOTHING_HELD
from shipper.policy.state import State
from shipper.store.report.budget import Footprint
from shipper.store.report.daemons import RunningDaemon
from shipper.store.report.facts import Growth

WALL = 1_800_000_000.0
NOTHING = Footprint(0, False, Growth(0, 0), None)
PAUSED = Condition("link_paused", "default", "the link default is paused: http-401: HTTP 401")


def told(alarms: Alarms, now: float, *wrong: Condition) -> list[str]:
    """Return the changes that are to be told at a time."""
    return [notice.change for notice in alarms.update(wrong, now, WALL + now)]


def figures(
    pending: int = 0,
    oldest: float | None = None,
    dead: int = 0,
    disk: Disk | None = None,
    taken: Footprint = NOTHING,
) -> Figures:
    """Return a look at an outbox with one destination."""
    backlog = Backlog("default", pending, 0, dead, 0, 0, 0, oldest)
    return Figures((backlog,), 0.0, taken, disk)


def known(
    links: dict[str, tuple[State, str | None]] | None = None,
    seen: Figures | None = None,
    unanswered_for: float = 0.0,
) -> Known:
    """Return what is known, all well but for what is given."""
    return Known(links or {"default": (State.READY, None)}, seen or figures(), unanswered_for)


def wrong(what: Known, settings: AlertSettings | None = None) -> list[tuple[str, str]]:
    """Return the alarms and their texts."""
    return [(c.alarm, c.text) for c in conditions(what, settings or AlertSettings())]


# -- what is told ----------------------------------------------------------------------------------


def test_an_alarm_is_told_when_it_begins_and_when_it_is_over() -> None:
    """Once each, however often somebody looks."""
    alarms = Alarms()
    assert told(alarms, 0.0, PAUSED) == ["started"]
    for now in range(5, 3600, 5):
        assert told(alarms, now, PAUSED) == []
    assert told(alarms, 3600.0) == []
    assert told(alarms, 3595.0 + CALM) == ["ended"]
    assert told(alarms, 9000.0) == []


def test_what_comes_and_goes_is_one_alarm() -> None:
    """It is over only when it has been away for a while."""
    alarms = Alarms()
    changes = [
        change
        for now in range(0, 3600, 60)
        for change in told(alarms, now, *([PAUSED] if now % 120 else []))
    ]
    assert changes == ["started"]


def test_somebody_is_reminded_once_a_day() -> None:
    """For as long as it goes on."""
    alarms = Alarms()
    hours = {now: told(alarms, now * 3600.0, PAUSED) for now in range(73)}
    assert {now: changes for now, changes in hours.items() if changes} == {
        0: ["started"], 24: ["reminder"], 48: ["reminder"], 72: ["reminder"],
    }  # fmt: skip
    assert REMIND_EVERY == 24 * 3600


def test_what_gets_worse_is_news_once_an_hour() -> None:
    """More dead letters than somebody was told of; fewer are none."""
    alarms = Alarms()

    def dead(count: int) -> Condition:
        return Condition("dead_letters", "default", f"{count}", level=count)

    assert told(alarms, 0.0, dead(1)) == ["started"]
    assert told(alarms, 60.0, dead(5)) == []
    assert told(alarms, WORSE_EVERY, dead(9)) == ["worse"]
    assert told(alarms, 2 * WORSE_EVERY, dead(9)) == []
    assert told(alarms, 3 * WORSE_EVERY, dead(2)) == []


def test_what_got_better_can_get_worse_again() -> None:
    """Also without being as bad as it was at first."""
    alarms = Alarms()
    dead = [Condition("dead_letters", "default", f"{count}", level=count) for count in (10, 1, 9)]
    assert told(alarms, 0.0, dead[0]) == ["started"]
    assert told(alarms, 60.0, dead[1]) == []
    assert told(alarms, WORSE_EVERY, dead[2]) == ["worse"]


def test_alarms_of_two_destinations_are_two() -> None:
    """Each with a beginning and an end of its own."""
    alarms, other = Alarms(), Condition("link_paused", "second", "…")
    assert told(alarms, 0.0, PAUSED) == ["started"]
    assert told(alarms, 10.0, PAUSED, other) == ["started"]
    [ended] = alarms.update([PAUSED], 10.0 + CALM, WALL)
    assert ended.change == "ended"
    assert ended.condition == other
    assert ended.since == WALL + 10.0


# -- several daemons -------------------------------------------------------------------------------

LEADS = Role(lease=35.0)
FOLLOWS = Role(lambda: NOTHING_HELD, 35.0)


def sent(alarms: Alarms, now: float, role: Role, *wrong: Condition) -> list[tuple[str, str]]:
    """Return the alarms that a daemon in this role sends, and their changes."""
    notices = alarms.due(alarms.update(wrong, now, WALL + now), now, role)
    return [(notice.condition.alarm, notice.change) for notice in notices]


def test_the_next_one_that_leads_begins_no_alarm_anew_and_ends_it() -> None:
    """The one before has sent that it began."""
    alarms = Alarms()
    assert sent(alarms, 0.0, FOLLOWS, PAUSED) == []
    assert sent(alarms, 600.0, FOLLOWS, PAUSED) == []
    assert sent(alarms, 605.0, LEADS, PAUSED) == []
    assert sent(alarms, 605.0 + CALM, LEADS) == [("link_paused", "ended")]


def test_what_changes_while_no_daemon_leads_is_sent_by_the_next_one() -> None:
    """Each change once, however often it looks then; older ones aren't sent a second time."""
    alarms, lost = Alarms(), Condition("budget", None, "…")
    assert sent(alarms, 0.0, FOLLOWS, PAUSED) == []
    now = 200.0 + CALM
    assert sent(alarms, 200.0, FOLLOWS, lost) == []
    assert sent(alarms, now, FOLLOWS, lost) == []  # the link's alarm ends
    dead = Condition("dead_letters", "default", "…", level=1)
    assert sent(alarms, now + LEADS.lease + APART, LEADS, lost, dead) == [
        ("link_paused", "ended"),
        ("dead_letters", "started"),
    ]
    assert sent(alarms, now + LEADS.lease + APART + 5.0, LEADS, lost, dead) == []


# -- what is wrong ---------------------------------------------------------------------------------


def test_nothing_is_wrong_with_an_outage() -> None:
    """An API that is down is what an outbox is for; when it lasts, the oldest event tells."""
    links: dict[str, tuple[State, str | None]] = {
        "default": (State.OFFLINE, "refused"),
        "second": (State.THROTTLED, "HTTP 429"),
    }
    assert wrong(known(links, figures(pending=5, oldest=3600.0))) == []


def test_a_paused_link_is_an_alarm_at_once() -> None:
    """With the reason that the link gives."""
    links: dict[str, tuple[State, str | None]] = {"default": (State.PAUSED, "http-401: HTTP 401")}
    assert wrong(known(links)) == [(PAUSED.alarm, PAUSED.text)]


def test_a_link_that_only_another_daemon_sees_paused_is_an_alarm() -> None:
    """With which one says so; an own view is told as all daemons together tell it, once."""
    seen = figures()
    theirs = replace(seen.backlogs[0], paused="http-401: HTTP 401, as till-2 sees it")
    seen = replace(seen, backlogs=(theirs,))
    told = f"{PAUSED.text}, as till-2 sees it"
    assert wrong(known(seen=seen)) == [(PAUSED.alarm, told)]
    links: dict[str, tuple[State, str | None]] = {"default": (State.PAUSED, "http-401: HTTP 401")}
    assert wrong(known(links, seen)) == [(PAUSED.alarm, told)]


def test_daemons_that_are_missing_are_one_alarm() -> None:
    """Only once their leases have been over for a minute: systemd starts one anew within that."""
    there = RunningDaemon("shop", "shop", 1, "1", 0.0, 1.0, lease_seconds=35.0)
    late = 35.0 + MISSING_FOR
    silent = replace(there, name="till-2", is_missing=True, last_seen_seconds=late)
    gone = replace(silent, name="till-3", is_gone=True)
    early = replace(gone, last_seen_seconds=late - 1.0)
    seen = replace(figures(), daemons=(there, silent, gone, early))
    assert wrong(known(seen=seen)) == [("daemon_missing", f"{silent.absence}; {gone.absence}")]
    assert wrong(known(seen=replace(seen, daemons=(there, early)))) == []
    seen = replace(seen, daemons=(gone,) * (NAMED + 2))
    [condition] = conditions(known(seen=seen), AlertSettings())
    assert condition.level == NAMED + 2
    assert condition.text.endswith("; and 2 more")


def test_an_event_older_than_its_api_wants_is_an_alarm_of_its_own() -> None:
    """Beside that of [alerts], at any hour, and only for the destination that says so."""
    seen = figures(pending=7, oldest=172_801.0)
    closed = replace(known(seen=seen), open_for=lambda *_: 0.0, late_after={"default": 172_800.0})
    assert wrong(closed) == [
        (
            "late",
            "default: the oldest of 7 pending events has waited 2d1s, longer than its late_after",
        ),
    ]
    assert wrong(replace(closed, late_after={"other": 1.0})) == []
    assert wrong(replace(closed, late_after={"default": 172_801.0})) == []


def test_an_event_that_waits_too_long_is_an_alarm() -> None:
    """Unless nobody wants to know."""
    what = known(seen=figures(pending=7, oldest=3601.4))
    assert wrong(what) == [
        ("oldest_pending", "default: the oldest of 7 pending events has waited 1h1s"),
    ]
    assert wrong(what, AlertSettings(oldest_pending=None)) == []


def test_dead_letters_are_an_alarm_by_their_number() -> None:
    """So that more of them are news."""
    [condition] = conditions(known(seen=figures(dead=3)), AlertSettings())
    assert (condition.alarm, condition.level) == ("dead_letters", 3)
    assert condition.text == "default: dead letters: 3"


def test_a_database_is_lost_only_when_it_stays_away() -> None:
    """For less than a minute it is nobody's matter."""
    assert wrong(known(unanswered_for=LOST_FOR - 1)) == []
    told = [("database", "the database has not answered for 1m")]
    assert wrong(known(unanswered_for=LOST_FOR)) == told


def test_commits_that_wait_are_an_alarm_and_no_lost_database() -> None:
    """By the bound that status has: a standby that is there answers within milliseconds."""
    seen = replace(figures(), commit_seconds=COMMIT_LONG)
    assert wrong(known(seen=seen)) == []
    seen = replace(figures(), commit_seconds=90.0)
    text = "commits wait for a synchronous standby, the first for 1m30s: nothing is sent meanwhile"
    assert wrong(known(seen=seen, unanswered_for=2 * LOST_FOR)) == [("commits", text)]


def test_a_transaction_that_stays_open_is_an_alarm() -> None:
    """By the bound that status has."""
    seen = replace(figures(), held_back_seconds=OPEN_LONG)
    assert wrong(known(seen=seen)) == []
    seen = replace(figures(), held_back_seconds=7200.0)
    text = "the newest events wait for a transaction that has been open for 2h"
    assert wrong(known(seen=seen)) == [("held_back", text)]


def test_events_for_nobody_are_an_alarm() -> None:
    """No link is there that could be paused. What applications call them is not told."""
    stray = Backlog(UNCONFIGURED, 3, 0, 0, 0, 0, 0, 1.0)
    text = "3 events pending for destinations that aren't configured"
    assert wrong(known(seen=replace(figures(), backlogs=(stray,)))) == [("unconfigured", text)]
    over = replace(stray, pending=0, oldest_pending_seconds=None)
    assert wrong(known(seen=replace(figures(), backlogs=(over,)))) == []


@pytest.mark.parametrize(
    ("free", "days_left", "text"),
    [
        (2e9, None, None),
        (2e9, 1.5, None),
        (0.9e9, None, "the outbox's disk is filling up: 0.9 GB free"),
        (2e9, 0.5, "without the API, the outbox's disk would be full in 12 hours: 2.0 GB free"),
    ],
)
def test_the_disk_is_an_alarm_when_little_is_left_or_a_day(
    free: float, days_left: float | None, text: str | None
) -> None:
    """By its room, or by what the last day took of it; never where the bound is 0."""
    what = known(seen=figures(disk=Disk(1, 1, int(free), days_left, 0)))
    assert [found for _, found in wrong(what)] == ([] if text is None else [text])
    assert wrong(what, AlertSettings(disk_free=0)) == []


@pytest.mark.parametrize(
    ("taken", "a_day", "told"),
    [(70, 0, None), (85, 0, "(85 %)"), (50, 60, "full in 20 hours at today's rate offline")],
)
def test_a_budget_is_an_alarm_when_it_is_nearly_used_up_or_in_a_day(
    taken: int, a_day: int, told: str | None
) -> None:
    """And never where nobody has set one."""
    found = wrong(known(seen=figures(taken=Footprint(taken, False, Growth(a_day, 1), 100))))
    assert [text.endswith(told or "") for _, text in found] == ([] if told is None else [True])
    unbounded = Footprint(taken, False, Growth(a_day, 1), None)
    assert wrong(known(seen=figures(taken=unbounded))) == []


def test_a_broken_invariant_is_an_alarm() -> None:
    """With the rule's name, and what tells the rest."""
    seen = replace(figures(), broken=("counters", "order"))
    told = "rules of the outbox are broken: counters, order; see: shipper verify"
    assert wrong(known(seen=seen)) == [("invariants", told)]


def test_without_figures_only_the_rest_is_known() -> None:
    """The database hasn't been asked yet."""
    assert conditions(Known({"default": (State.READY, None)}, None, 0.0), AlertSettings()) == []


@pytest.mark.parametrize(("hours", "is_late"), [(0.0, False), (1.0, False), (1.1, True)])
def test_only_open_hours_make_an_event_late(hours: float, *, is_late: bool) -> None:
    """A night without a delivery window is no alarm; one that waits through the day is."""
    seen = figures(pending=1, oldest=36_000.0)
    what = Known({}, seen, 0.0, lambda _age, _enough: hours * 3600.0)
    assert [alarm for alarm, _ in wrong(what)] == (["oldest_pending"] if is_late else [])


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (14.01, None),
        (13.9, "erp: the certificate that shipper shows expires in 14 days"),
        (3.0, "erp: the certificate that shipper shows expires in 3 days"),
        (0.0, "erp: the certificate that shipper shows has expired"),
        (-400.0, "erp: the certificate that shipper shows has expired"),
    ],
)
def test_a_certificate_that_is_to_be_renewed(days: float, text: str | None) -> None:
    """An alarm at 14 days, while there is time; and when it has ended, it got worse."""
    what = replace(known(), certificates={"erp": days * 86400.0})
    assert wrong(what) == ([] if text is None else [("certificate", text)])
    levels = [condition.level for condition in conditions(what, AlertSettings())]
    assert levels == ([] if text is None else [int(days <= 0)])
