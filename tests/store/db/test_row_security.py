"""Row level security: an outbox whose rows are hidden from us must never look empty.

An owner's tables are hidden from it by FORCE, another role's by ENABLE alone.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from shipper.doctor.database import check_schema
from shipper.doctor.result import CheckLevel
from shipper.errors import AccessDenied
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from shipper.store.drain.queue import Queue
from shipper.store.report.status import destination_report
from shipper.store.schema.damage import refuse_hidden
from shipper.store.upgrade.migrate import upgrade
from tests.store.daemons import NOW, write
from tests.store.shipping import taken

FORCED = "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"


@pytest.fixture
def admin(bare_postgres_url: str) -> Iterator[Engine]:
    """Give an engine of somebody whom no policy binds; the daemon's role goes in the end."""
    url = make_url(bare_postgres_url)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    role = f"daemon_{url.database}"
    run = admin.connect()
    run.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    run.exec_driver_sql(f"GRANT CREATE ON SCHEMA public TO {role}")
    yield admin
    run.exec_driver_sql(f"DROP OWNED BY {role} CASCADE")
    run.exec_driver_sql(f"DROP ROLE {role}")
    run.close()
    admin.dispose()


@pytest.fixture
def daemons(admin: Engine) -> Iterator[Engine]:
    """Give an engine of the daemon's, whose role owns the outbox."""
    role = f"daemon_{admin.url.database}"
    engine = open_engine(admin.url.set(username=role).render_as_string(hide_password=False))
    upgrade(engine)
    yield engine
    engine.dispose()


def _do(admin: Engine, statement: str) -> None:
    with admin.connect() as connection:
        connection.exec_driver_sql(statement)


def _everything(queue: Queue, daemons: Engine) -> None:
    queue.release()
    destination_report(daemons, ["default"], NOW)


@pytest.mark.parametrize(
    "table", ["shipper_outbox", "shipper_lease", "shipper_destination", "shipper_claim"]
)
def test_rows_that_are_hidden_are_an_error_for_everybody(
    admin: Engine, daemons: Engine, table: str
) -> None:
    """Whichever table it is, the command that says what to do names it."""
    write(daemons, "a")
    queue, looks = taken(daemons), Looks(daemons)
    looks.pulse()
    _do(admin, FORCED.format(table))
    with pytest.raises(AccessDenied, match=f"{table} from shipper's role: nothing of them is sent"):
        refuse_hidden(daemons)
    [*_, last] = check_schema(daemons)
    assert (last.level, table in last.text) == (CheckLevel.FAULT, True)
    with pytest.raises(AccessDenied, match=f'policy for table "{table}"'):
        _everything(queue, daemons)
    _do(admin, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    refuse_hidden(daemons)
    assert [row.lane for row in looks.look(Look("pending", "default", 9))] == ["a"]


def test_who_owns_nothing_is_bound_without_force(admin: Engine, daemons: Engine) -> None:
    """A role that was only granted everything."""
    role = f"daemon_{admin.url.database}"
    _do(admin, "ALTER TABLE shipper_outbox OWNER TO CURRENT_USER")
    _do(admin, f"GRANT ALL ON shipper_outbox TO {role}")
    refuse_hidden(daemons)
    _do(admin, "ALTER TABLE shipper_outbox ENABLE ROW LEVEL SECURITY")
    with pytest.raises(AccessDenied, match="hides rows of shipper_outbox"):
        refuse_hidden(daemons)


def test_a_pooler_that_keeps_our_settings_doesnt_make_it_silent(
    admin: Engine, daemons: Engine
) -> None:
    """There the rows are gone without an error; a running daemon tells of it."""
    write(daemons, "a")
    looks = Looks(daemons)
    assert looks.pulse().damage == ()
    _do(admin, FORCED.format("shipper_outbox"))
    with daemons.connect() as connection:
        connection.execute(text("SET row_security = on"))
        connection.commit()
        told = looks._damage_in(connection)
    assert told is not None
    assert "hides rows of shipper_outbox" in told[0]
