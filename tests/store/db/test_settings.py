"""Nothing that a session, a role or a database sets changes what the trigger and we do."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import pq
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.report import facts
from shipper.store.report import status as reports
from shipper.store.report.verify import verify
from shipper.store.upgrade.migrate import upgrade
from tests.store import hostile
from tests.store.daemons import NOW
from tests.store.outboxes import VALID
from tests.store.shipping import accepted, failed, wipe

# All in ASCII: what they become must not hang on the session's encoding.
_EVENTS = [
    json.dumps(json.loads(payload))
    for name, payload in VALID.items()
    if len(payload) < 300 and ("id" in name or "pair" in name or "NUL" in name)
]
_INSERT = (
    "INSERT INTO public.shipper_outbox (payload, event_id) VALUES ($1, $2)"
    " ON CONFLICT (event_id) DO NOTHING RETURNING pg_catalog.encode(pg_catalog.convert_to("
    "coalesce(ordering_key, '(none)') || '|' || coalesce(lane::text, '') || '|' || slot::text"
    " || '|' || event_id || '|' || status, 'UTF8'), 'hex')"
)


def _plain(url: str) -> psycopg.Connection[Any]:
    """Return an application's connection, that nothing of ours has set up."""
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(conninfo, autocommit=True)


def _do(pgconn: pq.abc.PGconn, statement: str, *values: str) -> list[bytes | None]:
    """Run a statement past everything that reads settings; return what its rows begin with."""
    result = pgconn.exec_params(statement.encode(), [value.encode() for value in values])
    if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        raise AssertionError(result.error_message.decode("utf-8", "replace"))
    return [result.get_value(row, 0) for row in range(result.ntuples)]


def _written(pgconn: pq.abc.PGconn, *preparing: str) -> list[list[bytes | None]]:
    """Write the events in a session that is prepared like that; each twice; roll it back."""
    _do(pgconn, "BEGIN")
    try:
        for statement in preparing:
            _do(pgconn, statement)
        return [
            _do(pgconn, _INSERT, payload, f"event-{number}")
            for number, payload in enumerate(_EVENTS)
            for _ in range(2)
        ]
    finally:
        _do(pgconn, "ROLLBACK")


def _settable(pgconn: pq.abc.PGconn, setting: hostile.Setting) -> bool:
    _do(pgconn, "BEGIN")
    result = pgconn.exec_params(
        b"SELECT set_config($1, $2, true)", [setting.name.encode(), setting.value.encode()]
    )
    _do(pgconn, "ROLLBACK")
    return result.status == pq.ExecStatus.TUPLES_OK


def test_no_setting_of_a_session_changes_what_is_written(postgres_url: str) -> None:
    """Each one that a client may set, at each end; the function is read anew each time."""
    wrong, tried = {}, 0
    with _plain(postgres_url) as app:
        engine = open_engine(postgres_url)
        with engine.connect() as connection:
            for statement in hostile.SHADOWS:
                connection.exec_driver_sql(statement)
            connection.commit()
            every = list(hostile.settings(connection, hostile.ASKED_FOR))
        engine.dispose()
        as_ever = _written(app.pgconn)
        assert [len(rows) for rows in as_ever] == [1, 0] * len(_EVENTS)
        for setting in itertools.chain(*every):
            if not _settable(app.pgconn, setting):
                continue
            tried += 1
            try:
                found = _written(
                    app.pgconn,
                    # What has changed is read anew by the session's next call.
                    "ALTER FUNCTION public.shipper_outbox_write() COST 100",
                    f"SELECT set_config('{setting.name}', $s${setting.value}$s$, true)",
                )
            except AssertionError as error:
                wrong[setting] = str(error)
            else:
                if found != as_ever:
                    wrong[setting] = "another row"
    assert wrong == {}
    assert tried > 300


# -- ours ----------------------------------------------------------------------------------------

_WORD = "Łódź-顧客"
# What an application's session asks for, and a role of ours may be set to all the same. A round of
# its own: a parallel worker of PostgreSQL's begins with the role's timeouts and not with ours.
_IMPATIENT = [
    hostile.Setting("statement_timeout", "1ms"),
    hostile.Setting("transaction_timeout", "1ms"),
    hostile.Setting("lock_timeout", "1ms"),
    hostile.Setting("idle_in_transaction_session_timeout", "1ms"),
    # More than a busy machine takes from the login to our own setting.
    hostile.Setting("idle_session_timeout", "500ms"),
    hostile.Setting("default_transaction_read_only", "on"),
]


@pytest.fixture
def of_role(bare_postgres_url: str) -> Iterator[str]:
    """Give the URL of an outbox whose daemon has a role of its own."""
    url = make_url(bare_postgres_url)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    role = f"daemon_{url.database}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"GRANT CREATE ON SCHEMA public TO {role}")
        for statement in hostile.SHADOWS:
            connection.exec_driver_sql(statement)
    daemons = url.set(username=role).render_as_string(hide_password=False)
    engine = open_engine(daemons)
    upgrade(engine)
    engine.dispose()
    yield daemons
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")
    admin.dispose()


def _a_life(url: str) -> dict[str, Any]:
    """Do everything with an outbox that has to do with a value; return what came of it."""
    engine = open_engine(url)
    with engine.begin() as tx:
        tx.execute(
            text("INSERT INTO shipper_outbox (payload, ordering_key) VALUES (:p, :k), (:p, NULL)"),
            {"p": json.dumps({"x": _WORD}, ensure_ascii=False), "k": _WORD},
        )
    looks, queue = Looks(engine), Queue(engine, lease_ttl=30.0)
    queue.acquire(Owner.here())
    fresh = looks.pulse().fresh
    rows = looks.look(Look("pending", "default", 10))
    first, second = queue.turn(Work(now=NOW, wanted=[row.id for row in rows]))
    queue.turn(Work(now=NOW, records=[failed(first, wait=7.25), accepted(second)]))
    [again] = looks.look(Look("lane", "default", 10, lane=_WORD))
    queue.renew()
    with glancing(engine) as tx:
        written = tx.exec_driver_sql("SELECT event_id FROM shipper_attempt").scalar()
    [report] = reports.destination_report(engine, ["default"], NOW)
    found = {
        "fresh": fresh,
        "lanes": [row.lane for row in rows][:1],
        "payloads": [bytes(event.payload).decode() for event in (first, second)],
        "next": again.next_attempt_at,
        "attempt": written == first.event_id,
        "counts": (report.pending, report.delivered),
        "verify": [finding.message for finding in verify(engine) if finding.fault],
        "growth": facts.growth(engine, NOW).events,
        "durable": facts.server(engine).durable is not None,
        "blockers": reports.commit_blockers(engine),
    }
    queue.release()
    wipe(engine)
    engine.dispose()
    return found


def _rounds(every: list[list[hostile.Setting]]) -> Iterator[list[hostile.Setting]]:
    """Yield one hostile value of every setting at once, then the next of each."""
    for number in range(max(map(len, every))):
        yield [values[number % len(values)] for values in every if values]


def test_no_setting_of_a_role_changes_what_we_do(of_role: str, postgres_server: URL) -> None:
    """All at once, and each value once: also what is too short, or reads no letter of ours."""
    url = make_url(of_role)
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    as_ever = _a_life(of_role)
    assert as_ever["next"] == NOW + 7.25
    with admin.connect() as connection:
        every = list(hostile.settings(connection, hostile.ASKED_FOR))
        for values in [*_rounds(every), _IMPATIENT]:
            refused = set()
            for name, value in values:
                # In quotes a list of schemas would be one schema's name.
                quoted = value or "''" if name == "search_path" else f"$s${value}$s$"
                try:
                    connection.exec_driver_sql(f'ALTER ROLE {url.username} SET "{name}" = {quoted}')
                except DBAPIError:
                    refused.add(name)
            assert len(refused) < 40
            assert _a_life(of_role) == as_ever, values
            connection.exec_driver_sql(f"ALTER ROLE {url.username} RESET ALL")
    admin.dispose()
