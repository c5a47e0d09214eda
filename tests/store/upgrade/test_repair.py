"""What tools do to our tables: it is noticed, told, and `db upgrade` mends it."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from shipper.errors import OutboxChanged, SchemaError
from shipper.policy.event import Event
from shipper.policy.shares import ALL_SHARDS
from shipper.store.db.dialect import POSTGRES
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing, reading
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Pulse, Record
from shipper.store.lease import clock_notes
from shipper.store.lease.lease import Owner
from shipper.store.report.verify import verify
from shipper.store.schema.damage import damage
from shipper.store.upgrade.migrate import fix
from tests.store.daemons import column, tamper, write
from tests.store.outboxes import event
from tests.store.shipping import (
    accepted,
    ask,
    claim,
    failed,
    record,
    refused,
    run,
    settled,
    taken,
)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    """Give a PostgreSQL outbox; for what only it can do."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


def _damage(engine: Engine) -> list[str]:
    with reading(engine) as tx:
        return damage(tx)


def _faults(engine: Engine) -> list[str]:
    return [finding.message for finding in verify(engine) if finding.fault]


def _empty(engine: Engine) -> None:
    """Do what an application's own tests do between two of them."""
    if engine.dialect.name == "postgresql":
        run(engine, "TRUNCATE shipper_outbox RESTART IDENTITY")
    else:
        run(engine, "DELETE FROM shipper_outbox")
        run(engine, "DELETE FROM sqlite_sequence")


def test_nothing_is_wrong_with_a_new_outbox_and_nothing_is_mended(engine: Engine) -> None:
    """Nor with one that was used."""
    queue = taken(engine)
    write(engine, "a", None)
    record(queue, *map(accepted, claim(queue, 1, 2)))
    clock_notes.write(engine, "boot", {})
    assert _damage(engine) == []
    assert fix(engine) == []


# -- ids that begin anew --------------------------------------------------------------------------


def test_a_table_that_was_emptied_is_noticed_with_the_next_pulse(engine: Engine) -> None:
    """Also where new events lie in it by then; whoever begins anew sees them, behind the fence."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(engine, *"abc")
    settled(looks)
    record(queue, *map(accepted, claim(queue, *ids)))
    _empty(engine)
    write(engine, "d")
    with pytest.raises(OutboxChanged, match="emptied"):
        looks.pulse()
    looks, queue = Looks(engine), taken(engine)
    settled(looks)
    assert [row.lane for row in looks.look(Look("pending", "default", 10))] == ["d"]
    tenure = "daemon" if engine.dialect.name == "postgresql" else "lease"
    [(owner,)] = ask(engine, f"SELECT owner FROM shipper_{tenure}")
    assert Owner.read(owner) == Owner.here()


@pytest.mark.parametrize("outcome", [accepted, failed, refused])
def test_what_was_sent_of_another_table_is_noted_for_no_event(
    engine: Engine, outcome: Callable[[Event], Record]
) -> None:
    """The new event of the same id was never sent: to mark it would lose it."""
    queue = taken(engine)
    write(engine, "a")
    sent = claim(queue, 1)
    _empty(engine)
    assert write(engine, *"bcd") == [1, 2, 3]  # by now its ids are as high as any that we know
    with suppress(OutboxChanged):
        record(queue, *map(outcome, sent))
    untouched = "status = 'pending' AND attempts = 0 AND last_error IS NULL"
    assert ask(engine, f"SELECT count(*) FROM shipper_outbox WHERE {untouched}") == [(3,)]
    assert _faults(engine) == []


@pytest.mark.parametrize(
    "act",
    [
        "TRUNCATE shipper_outbox RESTART IDENTITY",
        "ALTER TABLE shipper_outbox ALTER COLUMN id RESTART",
        "DELETE FROM shipper_outbox; SELECT setval('shipper_outbox_id_seq', 1, false)",
        (
            "ALTER TABLE shipper_outbox RENAME TO was; CREATE TABLE shipper_outbox"
            " (LIKE was INCLUDING ALL)"
        ),
    ],
)
def test_every_way_to_begin_ids_anew_is_noticed(postgres: Engine, act: str) -> None:
    """And a later daemon trusts no order that was known before."""
    queue, looks = taken(postgres), Looks(postgres)
    ids = write(postgres, *"abc")
    settled(looks)
    record(queue, *map(accepted, claim(queue, *ids)))
    run(postgres, "UPDATE shipper_turn SET settled = 3")
    run(postgres, act)
    with pytest.raises(OutboxChanged):
        looks.pulse()
    run(postgres, "DELETE FROM shipper_outbox")
    taken(postgres)
    looks = Looks(postgres)
    looks.pulse()
    [(top,)] = ask(postgres, f"SELECT settled FROM {POSTGRES.books}")
    assert looks.settled.up_to == top < 3 or "RENAME" not in act


def test_a_vacuum_or_a_new_index_is_no_other_outbox(postgres: Engine) -> None:
    """The rows are the same, whatever file they lie in."""
    queue, looks = taken(postgres), Looks(postgres)
    write(postgres, "a")
    settled(looks)
    with postgres.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in ("VACUUM FULL shipper_outbox", "REINDEX TABLE shipper_outbox",
                          "CLUSTER shipper_outbox USING shipper_outbox_pkey",
                          "TRUNCATE shipper_attempt RESTART IDENTITY"):  # fmt: skip
            connection.exec_driver_sql(statement)
    looks.pulse()
    record(queue, *map(accepted, claim(queue, 1)))


def test_a_lease_that_was_deleted_is_told_and_made_anew(engine: Engine) -> None:
    """As by whoever empties every table that there is."""
    queue, looks = taken(engine), Looks(engine)
    write(engine, "a")
    run(engine, "DELETE FROM shipper_lease")
    if engine.dialect.name == "postgresql":
        run(engine, "DELETE FROM shipper_daemon")  # the row that a turn locks
    for act in (looks.pulse, lambda: claim(queue, 1), lambda: taken(engine)):
        with pytest.raises(SchemaError, match="the table shipper_lease was emptied") as caught:
            act()
        assert caught.value.hint == "run: shipper db upgrade"
    assert "the table shipper_lease is empty" in _damage(engine)
    assert "the table shipper_lease was empty" in fix(engine)
    assert _damage(engine) == []
    record(taken(engine), *map(accepted, claim(taken(engine), 1)[:0]))


def test_shards_that_were_deleted_are_told_and_made_again(postgres: Engine) -> None:
    """A daemon makes its own; `db upgrade` can't know them, so the daemon begins again."""
    queue = taken(postgres)
    [row] = write(postgres, "a")
    claim(queue, row)
    run(postgres, "DELETE FROM shipper_shard WHERE shard > 0")
    assert _damage(postgres) == ["the table shipper_shard lacks rows"]
    queue.attend(frozenset())
    assert queue.shares.held == ALL_SHARDS
    assert (_damage(postgres), _faults(postgres)) == ([], [])
    run(postgres, "DELETE FROM shipper_shard")
    assert fix(postgres) == ["the table shipper_shard was empty"]
    with pytest.raises(OutboxChanged, match="were corrected"):
        queue.renew()
    assert column(postgres, "maybe_received", row) == 0
    assert taken(postgres).shares.held == ALL_SHARDS
    assert column(postgres, "maybe_received", row) == 1
    assert (_damage(postgres), _faults(postgres)) == ([], [])


# -- triggers and indexes -------------------------------------------------------------------------


def _triggers(engine: Engine) -> list[str]:
    if engine.dialect.name == "sqlite":
        rows = ask(engine, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    else:
        rows = ask(
            engine,
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
            " AND tgrelid = CAST('shipper_outbox' AS regclass)",
        )
    return [name for (name,) in rows]


def test_every_trigger_that_is_dropped_is_missed_and_made_again(engine: Engine) -> None:
    """SQLite's in the order in which they were."""
    before = _triggers(engine)
    on = " ON shipper_outbox" if engine.dialect.name == "postgresql" else ""
    for name in before:
        run(engine, f"DROP TRIGGER {name}{on}")
        assert _damage(engine) == [f"the trigger {name} is missing"] == _faults(engine)
        assert fix(engine) == [f"the trigger {name} is missing"]
        assert sorted(_triggers(engine)) == sorted(before)
        assert _damage(engine) == []
    if engine.dialect.name == "sqlite":
        assert _triggers(engine) == before
    write(engine, None, payload=event("u1"))
    assert ask(engine, "SELECT ordering_key FROM shipper_outbox") == [("u1",)]


def test_every_index_that_is_dropped_is_missed_and_made_again(engine: Engine) -> None:
    """Without it a look would read everything, or not be allowed at all."""
    names = [f"shipper_outbox_{name}" for name in ("pending", "maybe", "dead", "delivered")]
    for name in names:
        run(engine, f"DROP INDEX {name}")
    assert _damage(engine) == [f"the index {name} is missing" for name in names]
    assert len(fix(engine)) == 4
    assert _damage(engine) == []


@pytest.mark.parametrize("how", ["DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL",
                                 "ENABLE REPLICA TRIGGER shipper_outbox_write"])  # fmt: skip
def test_triggers_that_dont_fire_for_all_are_told_and_mended(postgres: Engine, how: str) -> None:
    """pg_restore --disable-triggers leaves them so."""
    run(postgres, f"ALTER TABLE shipper_outbox {how}")
    assert "shipper_outbox_write is disabled" in _damage(postgres)[0]
    assert fix(postgres)
    assert _damage(postgres) == []


def test_what_is_loaded_as_a_replica_has_its_key_and_lane(postgres: Engine) -> None:
    """Logical replication, pglogical and data loads set that role."""
    with postgres.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")
        tx.exec_driver_sql(f"INSERT INTO shipper_outbox (payload) VALUES ('{event('u1')}')")
    assert ask(postgres, "SELECT ordering_key, lane IS NULL, slot IS NULL FROM shipper_outbox") == [
        ("u1", False, False)
    ]


def test_a_look_tells_of_damage_once(engine: Engine) -> None:
    """At the first pulse, and when something has changed."""
    looks = Looks(engine)
    write(engine, "a")
    run(engine, "DROP INDEX shipper_outbox_dead")
    told = ("the index shipper_outbox_dead is missing",)
    assert looks.pulse().damage == told
    found = [_changed(engine, looks).damage for _ in range(40)]
    assert set(found) == {None}
    fix(engine)
    assert () in [_changed(engine, looks).damage for _ in range(40)]


def _changed(engine: Engine, looks: Looks) -> Pulse:
    write(engine, "a")
    return looks.pulse()


# -- rows -----------------------------------------------------------------------------------------


def _past_the_triggers(engine: Engine, *payloads: str) -> None:
    if engine.dialect.name == "sqlite":
        made = ask(engine, "SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
        for name in _triggers(engine):
            run(engine, f"DROP TRIGGER {name}")
        for payload in payloads:
            run(engine, "INSERT INTO shipper_outbox (payload, event_id) VALUES (:p, '')", p=payload)
            run(engine, "UPDATE shipper_outbox SET event_id = NULL WHERE event_id = ''")
        with glancing(engine) as tx:
            for (statement,) in made:
                tx.exec_driver_sql(statement)
        return
    run(engine, "ALTER TABLE shipper_outbox DISABLE TRIGGER ALL")
    for payload in payloads:
        run(engine, "INSERT INTO shipper_outbox (payload, slot, event_id)"
                    " VALUES (CAST(:p AS json), 0, NULL)", p=payload)  # fmt: skip
    run(engine, "ALTER TABLE shipper_outbox ENABLE TRIGGER ALL")
    fix(engine)


def test_pending_events_that_were_loaded_without_triggers_get_their_keys(engine: Engine) -> None:
    """And an id of their own; what ended stays as it is."""
    _past_the_triggers(engine, event("u1"), "{}", event("u2"))
    if engine.dialect.name == "sqlite":
        assert any("written past the triggers" in told for told in fix(engine))
    rows = ask(engine, "SELECT ordering_key, destination, event_id FROM shipper_outbox ORDER BY id")
    assert [row[0] for row in rows] == ["u1", None, "u2"]
    assert {row[1] for row in rows} == {"default"}
    assert all(len(row[2]) == 36 for row in rows)
    queue = taken(engine)
    record(queue, *map(accepted, claim(queue, 1, 2, 3)))
    assert _faults(engine) == []
    assert fix(engine) == []


def test_counters_are_recounted(engine: Engine) -> None:
    """After an application has deleted what it should not."""
    queue = taken(engine)
    ids = write(engine, *"abcd")
    record(queue, *map(accepted, claim(queue, *ids)))
    run(engine, "DELETE FROM shipper_outbox WHERE id < 3")
    assert _faults(engine) != []
    assert fix(engine) == ["destinations had counters that were off: 1"]
    assert ask(engine, "SELECT delivered FROM shipper_destination") == [(2,)]
    assert _faults(engine) == []


def test_an_outbox_that_was_emptied_is_told_and_its_books_are_right_again(engine: Engine) -> None:
    """With what was purged before, which had other ids."""
    queue = taken(engine)
    record(queue, *map(accepted, claim(queue, *write(engine, *"abcd"))))
    run(engine, "UPDATE shipper_destination SET purged = 7")
    _empty(engine)
    assert _damage(engine) == [
        "shipper_outbox is empty, but 4 events are counted as ended: which tool emptied it?"
    ]
    assert len(fix(engine)) == 2
    assert _damage(engine) == _faults(engine) == []
    write(engine, "e")
    assert _faults(engine) == []


def test_a_sequence_that_is_behind_the_rows_is_told_and_set(postgres: Engine) -> None:
    """Logical replication copies rows and no sequence: every INSERT would fail there."""
    run(
        postgres,
        "INSERT INTO shipper_outbox (id, payload) OVERRIDING SYSTEM VALUE VALUES (41, '{}')",
    )
    [told] = _damage(postgres)
    assert "is at 0, and there is a row 41" in told
    assert fix(postgres) == [told]
    assert write(postgres, "a") == [42]
    looks = settled(Looks(postgres))
    assert [row.id for row in looks.look(Look("pending", "default", 10))] == [41, 42]


def test_a_table_without_its_identity_gets_one(postgres: Engine) -> None:
    """As after a copy by CREATE TABLE AS."""
    write(postgres, *"ab")
    run(postgres, "ALTER TABLE shipper_outbox ALTER COLUMN id DROP IDENTITY")
    assert _damage(postgres) == ["no sequence gives the ids of shipper_outbox"]
    fix(postgres)
    assert write(postgres, "c") == [3]
    assert _damage(postgres) == []


def test_an_event_that_was_made_pending_by_hand_has_not_ended(engine: Engine) -> None:
    """Its time and its number go; counters and states are right again, and it is sent."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    record(queue, accepted(event))
    tamper(engine, "UPDATE shipper_outbox SET status = 'pending'")
    assert {finding.rule for finding in verify(engine) if finding.fault} >= {"counters", "states"}
    assert "pending events had the mark of an end: 1" in fix(engine)
    assert [finding.message for finding in verify(engine) if finding.fault] == []
