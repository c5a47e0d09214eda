"""Moving house: nothing is lost between two outboxes, nothing is sent from both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.errors import InvalidEvent, LeaseLost, OutboxHeld
from shipper.store.db.batches import Batches
from shipper.store.db.engine import database_path, open_engine
from shipper.store.db.failures import file_of
from shipper.store.db.selection import Selection
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from shipper.store.lease.file_lock import FileLock
from shipper.store.operate import move
from shipper.store.operate.dead_letters import retry
from shipper.store.operate.move import MovedEvent, MovedIn, move_in, move_out, undelivered
from shipper.store.report.verify import verify
from tests.store.daemons import NOW, VIEW, Daemon, tamper, write
from tests.store.shipping import ask, run, table, taken

PENDING = Selection(status="pending")
DEAD = Selection(status="dead")


def _take_over(engine: Engine) -> None:
    """End whichever process has the outbox, as another does that takes it over."""
    if engine.dialect.name == "postgresql":
        tamper(engine, "DELETE FROM shipper_daemon")
    else:
        tamper(
            engine, "UPDATE shipper_lease SET token = token + 1, acquired_at = CURRENT_TIMESTAMP"
        )


@pytest.fixture
def path(database_url: str) -> Path | None:
    """Give the file, where the outbox is in one."""
    return database_path(database_url)


@pytest.fixture
def house(sqlite_template: Path, tmp_path: Path) -> Iterator[Engine]:
    """Give the old house: an outbox of its own, on SQLite."""
    file = tmp_path / "till.db"
    file.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{file}")
    yield engine
    engine.dispose()


class Box:
    """Keeps what is carried; or breaks, before anything is safe in it."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.events: list[MovedEvent] = []
        self._breaks = breaks

    def __call__(self, pages: Iterator[list[MovedEvent]]) -> None:
        """Keep them."""
        for page in pages:
            self.events += page
        if self._breaks:
            raise OSError("no space left")


def all_of(engine: Engine, selection: Selection = PENDING) -> list[MovedEvent]:
    """Return what would be carried."""
    return [event for page in undelivered(engine, selection) for event in page]


def statuses(engine: Engine) -> list[str]:
    """Return the status of every event."""
    return [row["status"] for row in table(engine, "outbox")]


def test_an_event_arrives_as_it_was(house: Engine, engine: Engine) -> None:
    """Its id, its key, its destination, its payload to the byte, and its place among the others."""
    for number in range(5):
        run(
            house,
            "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
            " VALUES (:payload, :destination, :key, :event_id)",
            payload=f' {{"type" : "view", "view":{{"é":{number}.0}} }}\n',
            destination="other" if number % 2 else "default",
            key=None if number == 3 else f"k{number % 2}",
            event_id=f"order-{5 - number}",
        )
    events = all_of(house)
    assert move_in(engine, events) == MovedIn(5, 0, ("default", "other"))
    names = ("event_id", "destination", "ordering_key", "payload", "status", "maybe_received")
    before, after = (
        [tuple(row[name] for name in names) for row in table(e, "outbox")] for e in (house, engine)
    )
    assert after == before
    assert verify(engine) == []


def test_the_lane_of_a_long_derived_key_stays(house: Engine, engine: Engine) -> None:
    """The outbox takes no such key from outside, but derives it again."""
    key = "u" * 9000
    payload = f'{{"context":[{{"type":"user","user":{{"id":"{key}"}}}}]}}'
    write(house, None, payload=payload)
    [event] = all_of(house)
    assert event.ordering_key == key
    move_in(engine, [event])
    assert [row["ordering_key"] for row in table(engine, "outbox")] == [key]


def test_a_long_key_that_is_not_the_payloads_is_refused(engine: Engine) -> None:
    """Somebody changed the file; the event would come into another lane."""
    event = MovedEvent(1, "e", "default", "k" * 256, NOW, "pending", False, VIEW.encode())
    with pytest.raises(InvalidEvent, match="refuses event 1"):
        move_in(engine, [event])
    assert table(engine, "outbox") == []


def test_an_event_that_is_there_is_not_taken_in_again(house: Engine, engine: Engine) -> None:
    """However often the same file is given; what became of it meanwhile stays."""
    write(house, "a", "b")
    events = all_of(house)
    move_in(engine, events[:1])
    Daemon(engine).deliver(1)
    assert move_in(engine, events) == MovedIn(1, 1, ("default",))
    assert statuses(engine) == ["delivered", "pending"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload": b"{no"},
        {"event_id": "a\nb"},
        {"event_id": "\ud800"},
        {"ordering_key": "a\0b"},
    ],
)
def test_all_of_them_or_none(house: Engine, engine: Engine, wrong: dict[str, object]) -> None:
    """The place of the one that is refused is told, and nothing of it."""
    write(house, "a", "b")
    first, second = all_of(house)
    values = {name: getattr(second, name) for name in MovedEvent.__slots__}
    with pytest.raises(InvalidEvent, match="refuses event 2"):
        move_in(engine, [first, MovedEvent(**(values | wrong))])
    assert table(engine, "outbox") == []


def test_bytes_that_are_no_utf8_survive_between_files(
    sqlite_url: str, house: Engine, postgres_url: str
) -> None:
    """SQLite keeps whatever an application wrote; PostgreSQL can't, and says which one."""
    run(
        house,
        "INSERT INTO shipper_outbox (payload, ordering_key)"
        " VALUES (CAST(:payload AS TEXT), CAST(:key AS TEXT))",
        payload=b'{"type":"\xff"}',
        key=b"\xfe",
    )
    [event] = all_of(house)
    assert event.payload == b'{"type":"\xff"}'
    lite, postgres = open_engine(sqlite_url), open_engine(postgres_url)
    move_in(lite, [event])
    assert all_of(lite)[0].payload == event.payload
    assert all_of(lite)[0].ordering_key == event.ordering_key
    with pytest.raises(InvalidEvent, match="refuses event 1"):
        move_in(postgres, [event])
    lite.dispose()
    postgres.dispose()


def test_what_may_have_been_received_says_so(house: Engine, engine: Engine) -> None:
    """The old house does; in the new one it goes in the order in which it came, as all else."""
    ids = write(house, "a", "a", "b")
    Daemon(house).claim(*ids[:2])
    run(house, "UPDATE shipper_lease SET owner = NULL")
    box = Box()
    assert move_out(house, PENDING, file_of(house), box) == 3
    assert [event.maybe_received for event in box.events] == [True, False, False]
    write(engine, "a", "a")
    move_in(engine, box.events)
    assert [row["maybe_received"] for row in table(engine, "outbox")] == [0] * 5
    looks, daemon = Looks(engine), Daemon(engine)
    looks.pulse()
    order = [row.id for row in looks.look(Look("lane", "default", 9, lane="a"))]
    assert order == [1, 2, 3, 4]
    daemon.deliver(*order)
    assert [found for found in verify(engine) if found.fault] == []


# -- out of hand ------------------------------------------------------------------------------


def test_what_was_taken_over_while_it_was_written_is_never_made_known(
    engine: Engine, path: Path | None
) -> None:
    """To bring a file to the disk may take longer than a lease; somebody else ships by then."""
    write(engine, "a", "b")
    known = False

    def keep(pages: Iterator[list[MovedEvent]]) -> None:
        nonlocal known
        for page in pages:
            if not page:
                _take_over(engine)
        known = True

    with pytest.raises(LeaseLost):
        move_out(engine, PENDING, path, keep)
    assert not known
    assert [row["status"] for row in table(engine, "outbox")] == ["pending"] * 2


def test_what_is_handed_over_is_marked_and_counted(engine: Engine, path: Path | None) -> None:
    """Nothing else changes, and the books balance."""
    ids = write(engine, "a", "b", "c", "a")
    write(engine, "x", destination="other")
    daemon = Daemon(engine)
    daemon.deliver(ids[0])
    daemon.bury(ids[1])
    daemon.queue.release()
    box = Box()
    assert move_out(engine, PENDING, path, box) == 3
    assert [event.id for event in box.events] == [3, 4, 5]
    assert statuses(engine) == ["delivered", "dead", "discarded", "discarded", "discarded"]
    assert {row["last_error"] for row in table(engine, "outbox")[2:]} == {"handed over"}
    counts = ask(engine, "SELECT name, dead, discarded FROM shipper_destination ORDER BY name")
    assert counts == [("default", 1, 2), ("other", 0, 1)]
    assert verify(engine) == []
    assert move_out(engine, PENDING, path, Box()) == 0


def test_dead_letters_go_where_that_is_wanted(engine: Engine, path: Path | None) -> None:
    """A key that one of them held goes on here."""
    ids = write(engine, "a", "a")
    daemon = Daemon(engine)
    daemon.bury(ids[0], holds_key=True)
    daemon.queue.release()
    assert move_out(engine, DEAD, path, Box()) == 1
    assert statuses(engine) == ["discarded", "pending"]
    assert ask(engine, "SELECT * FROM shipper_hold") == []
    assert ask(engine, "SELECT dead, discarded FROM shipper_destination") == [(0, 1)]
    assert verify(engine) == []


def test_nothing_is_marked_before_it_is_safe(engine: Engine, path: Path | None) -> None:
    """What breaks before that, breaks with everything still here; again, and it goes."""
    write(engine, "a", "b")
    with pytest.raises(OSError, match="no space left"):
        move_out(engine, PENDING, path, Box(breaks=True))
    assert statuses(engine) == ["pending", "pending"]
    assert move_out(engine, PENDING, path, Box()) == 2


def test_a_cut_between_two_marks_loses_nothing(
    house: Engine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files together are everything, and the new house takes none of it twice."""
    path = file_of(house)
    monkeypatch.setattr(move, "Batches", lambda *_: Batches(2))
    write(house, *"abcde")
    original, first, second = move._mark, Box(), Box()

    def cut(*arguments: Any) -> int:
        if statuses(house).count("discarded") == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(move, "_mark", cut)
    with pytest.raises(KeyboardInterrupt):
        move_out(house, PENDING, path, first)
    monkeypatch.setattr(move, "_mark", original)
    assert statuses(house) == ["discarded"] * 2 + ["pending"] * 3
    assert move_out(house, PENDING, path, second) == 3
    assert move_in(engine, first.events).new == 5
    assert move_in(engine, second.events) == MovedIn(0, 3, ("default",))
    for either in (house, engine):
        assert not [finding for finding in verify(either) if finding.fault]


def test_what_is_written_meanwhile_stays(engine: Engine, path: Path | None) -> None:
    """It is in no file, so nobody may mark it."""
    write(engine, "a")

    def keep(pages: Iterator[list[MovedEvent]]) -> None:
        for _ in pages:
            pass
        write(engine, "b")

    assert move_out(engine, PENDING, path, keep) == 1
    assert statuses(engine) == ["discarded", "pending"]


def test_a_dead_letter_that_is_retried_meanwhile_goes_too(
    engine: Engine, path: Path | None
) -> None:
    """It is in the file; one that isn't stays here."""
    ids = write(engine, "a", "b")
    daemon = Daemon(engine)
    daemon.bury(*ids)
    daemon.queue.release()

    def keep(pages: Iterator[list[MovedEvent]]) -> None:
        assert [event.id for page in pages for event in page] == [ids[0]]
        retry(engine, Selection(ids=tuple(ids)), NOW)

    assert move_out(engine, Selection(status="dead", key="a"), path, keep) == 1
    assert statuses(engine) == ["discarded", "pending"]
    assert verify(engine) == []


def test_nothing_is_handed_over_while_a_daemon_ships(
    database_url: str, engine: Engine, path: Path | None
) -> None:
    """It might be on its way at this moment."""
    write(engine, "a")
    box = Box()
    if path is None:
        queue = taken(engine)
        run(engine, "UPDATE shipper_daemon SET owner = '{}'")
        with pytest.raises(OutboxHeld):
            move_out(engine, PENDING, path, box)
        run(engine, "UPDATE shipper_daemon SET owner = NULL")
        queue.release()
    else:
        lock = FileLock(path)
        lock.acquire()
        with pytest.raises(OutboxHeld):
            move_out(engine, PENDING, path, box)
        lock.release()
    assert (box.events, statuses(engine)) == ([], ["pending"])


def test_who_was_taken_over_hands_nothing_over(engine: Engine, path: Path | None) -> None:
    """After a long sleep: another may have sent it by now."""
    write(engine, "a")

    def sleeps(pages: Iterator[list[MovedEvent]]) -> None:
        assert sum(map(len, pages)) == 1
        _take_over(engine)

    with pytest.raises(LeaseLost):
        move_out(engine, PENDING, path, sleeps)
    assert statuses(engine) == ["pending"]


def test_many_are_carried_a_page_at_a_time(house: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of id."""
    monkeypatch.setattr(move, "_PAGE", 2)
    ids = write(house, *"abcde")
    pages = [[event.id for event in page] for page in undelivered(house, PENDING)]
    assert pages == [ids[:2], ids[2:4], ids[4:]]
