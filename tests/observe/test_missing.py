"""Which daemons count as missing, from when, and until when."""

from dataclasses import replace

from shipper.observe.alarms import CALM, Alarms, of_missing
from shipper.observe.missing import MISSING_FOR, REMEMBERED, MissingDaemons, overdue
from shipper.policy.shares import EndedDaemon
from shipper.store.report.daemons import RunningDaemon

ENDED = EndedDaemon("till-2", "process 7 on till-2", 3)
THIS = RunningDaemon("shop", "shop", 1, "1", 0.0, 1.0, lease_seconds=35.0)
BACK = replace(THIS, name="till-2", host="till-2", pid=8)


def test_a_daemon_that_systemd_starts_again_is_never_missing() -> None:
    """It is back within a minute, with another process."""
    missing = MissingDaemons()
    missing.note([ENDED], 0.0)
    missing.look([THIS], 0.0)
    assert list(missing.sentences(MISSING_FOR - 1)) == []
    missing.note([ENDED], 5.0)  # the drain names it again with each look
    missing.look([THIS, BACK], 5.0)
    missing.note([ENDED], 10.0)
    missing.look([THIS, BACK], 10.0)
    assert list(missing.sentences(2 * MISSING_FOR)) == []


def test_a_daemon_that_stays_away_is_missing_until_it_is_back() -> None:
    """Or until an operator has been told for long enough."""
    missing = MissingDaemons()
    missing.look([THIS], 0.0)
    missing.note([ENDED], 10.0)
    missing.look([THIS], 10.0)
    [told] = missing.sentences(10.0 + MISSING_FOR)
    assert "process 7 on till-2 ended without a clean stop" in told
    assert "sent 3 events again at most" in told
    missing.look([THIS], REMEMBERED)
    assert list(missing.sentences(REMEMBERED)) != []
    missing.look([THIS], REMEMBERED + 10.0)
    assert list(missing.sentences(REMEMBERED + 10.0)) == []


def test_another_daemon_of_the_same_name_is_not_the_one_that_is_missing() -> None:
    """Two on one machine have its name, unless they are named."""
    missing, other = MissingDaemons(), replace(BACK, pid=9)
    missing.look([THIS, other], 0.0)
    missing.note([ENDED], 1.0)
    missing.look([THIS, other], 1.0)
    assert list(missing.sentences(100.0)) != []
    missing.look([THIS, other, BACK], 100.0)
    assert list(missing.sentences(100.0)) == []


def test_a_lease_that_is_over_for_long_is_told() -> None:
    """The others have taken over long before, if any can."""
    late = replace(BACK, is_missing=True, last_seen_seconds=35.0 + MISSING_FOR)
    assert list(overdue([THIS, late])) == [late.absence]
    assert list(overdue([replace(late, last_seen_seconds=36.0)])) == []


def test_a_daemon_that_no_longer_leads_forgets_all_alarms_but_that() -> None:
    """Without telling that they are over: the next one that leads judges them."""
    alarms = Alarms()
    [missing] = of_missing(["till-2 is missing"])
    other = replace(missing, alarm="link_paused", destination="default")
    assert len(alarms.update([missing, other], 0.0, 0.0)) == 2
    alarms.hand_over()
    notices = alarms.update([], CALM, CALM)
    assert [(n.change, n.condition.alarm) for n in notices] == [("ended", "daemon_missing")]
