"""What a database answers to the drain that is in no table of codes: it waits, and sends nothing.

A process that ended over it would be started anew, and send the same events again and again.
"""

from collections.abc import Sequence

import pytest

from shipper.sandbox import InjectedFault
from tests.daemon.harness import Shop, only_postgres, only_sqlite, several
from tests.daemon.processes import until

EVENTS = several(users=3, each=4)
_SLOW = InjectedFault("slow", delay=0.7)

_THEIRS = "a trigger or constraint of the application on shipper's tables fails: function audit"
_STRANGE = "the database answers with an error unknown to shipper"
# A sequence counts on where the transaction is rolled back.
_COUNT = "CREATE SEQUENCE tries"
_AUDIT = (
    "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM nextval('tries');"
    " RAISE EXCEPTION 'no room for %', NEW.payload USING ERRCODE = '{}'; END $$"
)
_AFTER = "CREATE {} AFTER UPDATE ON shipper_outbox {} FOR EACH ROW EXECUTE FUNCTION audit()"
_DROP = "DROP FUNCTION audit CASCADE"
_CHECKED = (
    "CREATE FUNCTION checked(status text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM nextval('tries'); RETURN status <> 'delivered'; END $$"
)
_AT_ONCE, _AT_COMMIT = ("TRIGGER audit", ""), ("CONSTRAINT TRIGGER audit", "INITIALLY DEFERRED")


def _tries(shop: Shop) -> int:
    return int(shop.rows("SELECT last_value FROM tries")[0][0])


async def _fails_until(shop: Shop, made: Sequence[str], dropped: str, told: str) -> None:
    """Let every event go exactly once, though what is in flight can't be recorded for a while."""
    shop.sandbox.answer_for = lambda _: _SLOW
    shop.add(*EVENTS)
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    for statement in made:
        shop.execute(statement)
    lost = await daemon.told("store.lost")
    assert lost["reason"].startswith(told), lost
    shop.add("u9-1")
    if not shop.is_sqlite:
        await until(lambda: _tries(shop) >= 2)
        seen = shop.sandbox.ledger.summary().requests
        await until(lambda: _tries(shop) >= 3)
        assert shop.sandbox.ledger.summary().requests == seen
    assert "u9-1" not in shop.arrived()
    shop.sandbox.answer_for = None
    shop.execute(dropped)
    await shop.settled()
    await daemon.told("store.back")
    await daemon.stop()
    assert len(daemon.said("store.lost")) == 1
    assert "no room" not in daemon.stderr  # it quotes a row
    assert sorted(shop.arrived()) == sorted([*EVENTS, "u9-1"])
    assert shop.counts() == {"delivered": len(EVENTS) + 1}
    shop.assert_flawless(repeats=0)
    await shop.assert_verified()


@only_postgres
@pytest.mark.parametrize(
    ("state", "when", "told"),
    [
        ("P0001", _AT_ONCE, f"{_THEIRS} (P0001)"),
        ("P0001", _AT_COMMIT, f"{_THEIRS} (P0001)"),
        ("55000", _AT_ONCE, f"{_THEIRS} (55000)"),
    ],
)
async def test_a_trigger_that_raises_makes_nothing_go_twice(
    shop: Shop, state: str, when: tuple[str, str], told: str
) -> None:
    """Whatever its code, at once or at the commit: the function is named, and none of its words."""
    made = [_COUNT, _AUDIT.format(state), _AFTER.format(*when)]
    await _fails_until(shop, made, _DROP, told)


@only_postgres
async def test_a_failure_in_no_table_of_codes_makes_nothing_go_twice(shop: Shop) -> None:
    """A constraint that the application has put on our own table, for one."""
    check = "ALTER TABLE shipper_outbox ADD CONSTRAINT theirs CHECK (checked(status))"
    dropped = "ALTER TABLE shipper_outbox DROP CONSTRAINT theirs"
    told = f"{_STRANGE} (23514 CheckViolation, constraint theirs, table shipper_outbox)"
    await _fails_until(shop, [_COUNT, _CHECKED, check], dropped, told)


@only_sqlite
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("no room", "a trigger of the application on shipper's tables in shop.db fails"),
        ("shipper_audit: no room", f"{_STRANGE} (SQLITE_CONSTRAINT"),
    ],
)
async def test_a_trigger_in_a_file_makes_nothing_go_twice(
    shop: Shop, words: str, told: str
) -> None:
    """Also one whose words look like ours."""
    made = (
        "CREATE TRIGGER audit AFTER UPDATE ON shipper_outbox WHEN NEW.status = 'delivered'"
        f" BEGIN SELECT RAISE(ABORT, '{words}'); END"
    )
    await _fails_until(shop, [made.replace(": ", r"\: ")], "DROP TRIGGER audit", told)


async def test_a_start_waits_for_a_trigger_that_fails_what_it_has_to_recover(shop: Shop) -> None:
    """With what it waits for in the log, for as long as it takes: 78 would be the end of it."""
    shop.sandbox.answer_for = lambda _: _SLOW
    shop.add(*EVENTS)
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    daemon.kill()
    fails = (
        "CREATE TRIGGER audit BEFORE UPDATE ON shipper_outbox BEGIN SELECT RAISE(ABORT, 'no room');"
        " END"
    )
    made = [fails] if shop.is_sqlite else [_COUNT, _AUDIT.format("P0001"), _AFTER.format(*_AT_ONCE)]
    for statement in made:
        shop.execute(statement)
    shop.sandbox.answer_for = None
    daemon = shop.start()
    waits = await daemon.told("daemon.waiting")
    assert waits["reason"].startswith("a trigger ")
    assert "seconds" not in waits
    shop.execute("DROP TRIGGER audit" if shop.is_sqlite else _DROP)
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=3)
    await shop.assert_verified()
