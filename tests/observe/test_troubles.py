"""What is wrong, the worst first: the one order that everybody shows."""

import random
from dataclasses import replace

import pytest

from shipper.advice import DestinationPlace
from shipper.cli.output.nagios import plugin_line
from shipper.cli.output.trouble_lines import next_try
from shipper.observe.situation import Hours, Room, Situation
from shipper.observe.troubles import Severity, judge
from shipper.store.report.budget import Footprint
from shipper.store.report.facts import Growth
from shipper.store.report.holds import HoldReport
from shipper.store.report.status import Blocker, DestinationReport

GB = 10**9


def report(name: str = "default", **facts: object) -> DestinationReport:
    """Return a destination that is well but for these facts."""
    well: dict[str, object] = {
        "state": "ready", "reason": None, "since": None, "next_try_at": None, "pending": 0,
        "delivered": 7, "dead": 0, "discarded": 0, "purged": 0, "held_keys": 0,
        "oldest_pending_seconds": None,
    }  # fmt: skip
    return DestinationReport(name, **(well | facts))  # type: ignore[arg-type]


def room(free: int, **more: int) -> Room:
    """Return a disk."""
    known = {"wal": 0, "reserved": 16 * 10**6, "reserve": 16 * 10**6, "least": GB} | more
    return Room(free, **known)


def facts(*reports: DestinationReport, **more: object) -> Situation:
    """Return facts; a shipper is running."""
    known: dict[str, object] = {"is_shipped": True} | more
    return Situation(reports, {"default", "other"}, **known)  # type: ignore[arg-type]


EVERYTHING = [
    "the outbox's disk is full",
    "rules of the outbox are broken: counters",
    "9 pending and no daemon is running",
    "other is paused: HTTP 401",
    "default: the oldest event has been pending for 2 hours",
    "the outbox takes 1.0 kB of its budget",
    "the database's WAL takes 100.0 MB",
    "default: 1 dead letter",
    "default: 2 keys held: a and 1 more",
    "held is held",
    "off is offline",
    "default is ready, but the last 2 tries failed: nothing listens at h:1",
    "the newest events wait for an open transaction",
]


def test_the_order_is_the_documented_one() -> None:
    """Whatever order the destinations come in."""
    reports = [
        report(
            pending=9, dead=1, held_keys=2, failures=2, oldest_pending_seconds=7200.0,
            last_error="refused: nothing listens at h:1",
        ),
        report("off", state="offline"),
        report("held", state="held"),
        report("other", state="paused", reason="http-401: HTTP 401"),
    ]  # fmt: skip
    random.Random(1).shuffle(reports)
    known = Situation(
        reports,
        {"default", "other", "held", "off"},
        is_shipped=False,
        taken=Footprint(1000, False, Growth(0, 0), 1000),
        room=room(0, wal=10**8),
        held=[HoldReport("default", "a", "operator", None, None, 3)],
        broken=["counters"],
        blockers=[Blocker(1, "x", 99.0)],
        held_for=99.0,
    )
    found = judge(known)
    assert [t.text[: len(e)] for t, e in zip(found, EVERYTHING, strict=True)] == EVERYTHING
    levels = [trouble.level for trouble in found]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    ("disk", "level"),
    [
        (room(0), Severity.CRITICAL),
        (room(16 * 10**6 - 1), Severity.CRITICAL),
        (room(16 * 10**6), Severity.WARNING),
        (room(GB - 1), Severity.WARNING),
        (room(GB), None),
        (room(GB, reserved=0), None),
        (room(GB, reserved=4 * 10**6), Severity.WARNING),
        (room(15 * 10**6, reserve=0, reserved=0, least=0), Severity.CRITICAL),
        (room(17 * 10**6, reserve=0, reserved=0, least=0), None),
        (room(90 * 10**6, reserve=10**8, reserved=10**8), Severity.WARNING),
        (room(90 * 10**6, reserve=10**8, reserved=0, least=0), Severity.WARNING),
        (room(2 * GB, reserve=10**8, reserved=0), None),
        (room(GB, wal=100 << 20), Severity.WARNING),
        (None, None),
    ],
)
def test_a_disk_is_judged_by_what_the_daemon_needs(
    disk: Room | None, level: Severity | None
) -> None:
    """Its reserve, and what [alerts] wants; PostgreSQL's disk is somebody else's."""
    found = judge(facts(report(), room=disk))
    assert [trouble.level for trouble in found] == ([] if level is None else [level])


@pytest.mark.parametrize("state", ["ready", "ramping"])
def test_a_destination_that_fails_is_no_well_one(state: str) -> None:
    """From the first failure on."""
    failing = report(state=state, failures=1, last_error="refused: nothing listens at h:1")
    [trouble] = judge(facts(failing))
    assert trouble.level is Severity.WARNING
    assert trouble.text == f"default is {state}, but the last try failed: nothing listens at h:1"


def test_a_link_that_is_down_is_told_once() -> None:
    """Its reason, with the host, and not its failures beside it."""
    down = report(state="offline", reason="refused: no", failures=9, last_error="refused: no (h:1)")
    [trouble] = judge(facts(down))
    assert trouble.text == "default is offline: no (h:1)"


@pytest.mark.parametrize(
    ("state", "reason", "last_error", "text", "fix"),
    [
        (
            "offline", "portal: a web page came", "http-422: no (h:1)",
            "default is offline: a web page came; the last try failed: HTTP 422: no (h:1)",
            "shipper dead list",
        ),
        (
            "paused", "everything is refused", "http-500: the API failed (h:1)",
            "default is paused: everything is refused; the last try failed: HTTP 500",
            "shipper dead list",
        ),
        (
            "offline", "timeout: no answer", "refused: nothing listens at h:1",
            "default is offline: no answer; the last try failed: nothing listens",
            "start the API at h:1",
        ),
        ("held", "held by an operator", "refused: no", "default is held by an operator", "release"),
    ],
)  # fmt: skip
def test_what_to_do_fits_what_is_told(
    state: str, reason: str, last_error: str, text: str, fix: str
) -> None:
    """Also where the last try failed of something else than what the link went down for."""
    down = report(state=state, reason=reason, failures=9, last_error=last_error)
    place = DestinationPlace("default", "h:1", "C", "correct its API ID")
    [trouble] = judge(facts(down, places=[place]))
    assert trouble.text.startswith(text)
    assert fix in str(trouble.fix)


def test_an_event_older_than_its_api_wants_is_one_trouble() -> None:
    """Also where [alerts] would let it wait, and where no window is open."""
    closed = Hours("closed until tomorrow", lambda *_: 0.0)
    waits = report(pending=1, oldest_pending_seconds=172_801.0)
    known = facts(waits, late_after={"default": 172_800.0}, hours=closed, oldest=60.0)
    assert [trouble.text for trouble in judge(known)] == [
        "default: the oldest event has been pending for 2 days, longer than its late_after"
    ]
    assert judge(facts(waits, late_after={"other": 1.0}, hours=closed, oldest=60.0)) == []


def test_nothing_is_tried_next_where_nothing_waits() -> None:
    """A link is probed by events; and less than a second is no zero."""
    down = report(state="offline", next_try_at=100.4)
    assert list(next_try(down, 100.0)) == []
    assert list(next_try(replace(down, pending=1), 100.0)) == ["next try due"]
    assert list(next_try(replace(down, pending=1), 98.0)) == ["next try in 2s"]


def test_what_rows_alone_name_cannot_flood_the_answer() -> None:
    """An application may write any number of names."""
    strays = [report(f"d{n}", state="paused", pending=1) for n in range(500)]
    found = judge(facts(*strays))
    assert len(found) < 20
    assert found[-1].text == "and 490 more destinations"


def test_a_former_destination_is_history() -> None:
    """Unless something waits for it."""
    assert judge(facts(report("former", state="paused"))) == []
    [trouble] = judge(facts(report("former", state="paused", pending=1)))
    assert "shipper events reroute" in str(trouble.fix)


def test_many_held_keys_are_named_up_to_three() -> None:
    """And the rest are counted."""
    held = [HoldReport("default", f"k{n}", "operator", None, None, 0) for n in range(5)]
    [trouble] = judge(facts(report(held_keys=15), held=held))
    assert trouble.text == "default: 15 keys held: k0, k1, k2 and 12 more"


def test_a_large_number_can_be_read() -> None:
    """With its thousands apart, as in a table; performance data are for programs."""
    many = report(pending=12345, dead=6661)
    nobody, letters = judge(facts(many, is_shipped=False))
    assert nobody.text == "12,345 pending and no daemon is running"
    assert letters.text == "default: 6,661 dead letters"
    line = plugin_line(facts(report(pending=12345))).text
    assert "OK - 12,345 pending | default_pending=12345;" in line
