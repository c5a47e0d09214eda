"""Counters that SQL by hand has made wrong are counted anew."""

from sqlalchemy import Engine

from shipper.store.report.audit import SMALL, known_to_be_broken, remember
from shipper.store.report.verify import broken_rules
from shipper.store.upgrade.recount import recount
from tests.store.daemons import NOW, Daemon, generation, tamper, write


def test_wrong_counters_are_made_to_equal_the_rows(engine: Engine) -> None:
    """Whichever was changed, also where no counter was kept; a second time there is nothing."""
    rows = [*write(engine, "a", "b", "c"), *write(engine, "d", destination="elsewhere")]
    daemon = Daemon(engine)
    daemon.deliver(*rows[:2])
    daemon.bury(rows[2])
    tamper(engine, f"UPDATE shipper_outbox SET status = 'pending' WHERE id = {rows[2]}")
    tamper(engine, "UPDATE shipper_destination SET delivered = 77, discarded = 5")
    tamper(engine, f"UPDATE shipper_outbox SET status = 'discarded' WHERE id = {rows[3]}")
    assert "counters" in broken_rules(engine)
    before = generation(engine)
    assert recount(engine) == 2
    assert "counters" not in broken_rules(engine)
    assert generation(engine) > before
    assert recount(engine) == 0


def test_what_was_audited_last_is_known_of_a_large_outbox(engine: Engine) -> None:
    """Of a small one it is looked at now, whatever was said before."""
    remember(engine, ["counters", "order"], NOW)
    assert known_to_be_broken(engine, SMALL) == ()
    assert known_to_be_broken(engine, SMALL + 1) == ("counters", "order")
    remember(engine, [], NOW)
    assert known_to_be_broken(engine, SMALL + 1) == ()
