"""The notes of a machine's clocks: each boot has its own, and there are not too many."""

import orjson
from sqlalchemy import Engine

from shipper.store.lease import clock_notes
from tests.store.shipping import ask, run

_ROWS = "SELECT count(*) FROM shipper_lease WHERE name LIKE 'clock %'"


def test_each_boot_reads_its_own_notes(engine: Engine) -> None:
    """Whichever machine wrote last."""
    for turn in range(2):
        for boot in ("one", "two"):
            clock_notes.write(engine, boot, {"least": [[turn, boot]]})
    assert clock_notes.read(engine, "one") == {"least": [[1, "one"]]}
    assert clock_notes.read(engine, "two") == {"least": [[1, "two"]]}
    assert clock_notes.read(engine, "three") is None


def test_the_boots_that_wrote_last_are_remembered(engine: Engine) -> None:
    """Also one that began long before the others, and whose clock was set again."""
    for number in range(64):
        clock_notes.write(engine, f"boot-{number}", {"number": number})
    clock_notes.write(engine, "boot-0", {"number": "again"})
    clock_notes.write(engine, "late", {})
    assert ask(engine, _ROWS) == [(64,)]
    assert clock_notes.read(engine, "boot-0") == {"number": "again"}
    assert clock_notes.read(engine, "boot-1") is None
    assert clock_notes.read(engine, "boot-2") == {"number": 2}
    assert clock_notes.read(engine, "late") == {}


def test_a_boot_that_nothing_shows_has_no_notes(engine: Engine) -> None:
    """Another one without a name could be any."""
    clock_notes.write(engine, "", {"least": []})
    assert clock_notes.read(engine, "") is None
    assert ask(engine, _ROWS) == [(0,)]


def test_what_an_earlier_version_wrote_is_read_by_its_own_boot(engine: Engine) -> None:
    """One row was for all machines; what this version writes counts first."""
    row = orjson.dumps({"boot": "one", "notes": {"old": True}}).decode()
    run(engine, "INSERT INTO shipper_lease (name, owner) VALUES ('clock', :row)", row=row)
    assert clock_notes.read(engine, "one") == {"old": True}
    assert clock_notes.read(engine, "two") is None
    clock_notes.write(engine, "one", {"old": False})
    assert clock_notes.read(engine, "one") == {"old": False}
