"""A synchronous standby that is away: every COMMIT waits, and somebody says so.

With a standby that has never been, which is as far away as one can be.
"""

import threading
from pathlib import Path

import psycopg
import pytest

from shipper.clock import SystemClock
from shipper.config import Settings, load
from shipper.doctor.database import check_commits, check_daemon, check_transactions
from shipper.doctor.result import CheckLevel
from shipper.errors import StoreUnavailable
from shipper.observe.situation import gather
from shipper.observe.troubles import judge
from shipper.store.db import commits
from shipper.store.db.engine import open_engine
from shipper.store.db.postgres.catalog import TABLES
from shipper.store.report.daemons import running_daemons, shipping
from shipper.store.report.facts import server
from shipper.store.schema.revisions import VERSION_TABLE
from shipper.store.schema.tables import metadata
from tests import standbys
from tests.store.daemons import Daemon, write
from tests.store.lease.members import FakeClock, Member, elsewhere, settle
from tests.store.shipping import run, until


def _settings(directory: Path, url: str) -> Settings:
    config = directory / "shipper.toml"
    config.write_text(
        f'[database]\nurl = "{url}"\n[destinations.default]\nurl = "http://127.0.0.1:9/e"\n'
        'api_id = "x"\n'
    )
    config.chmod(0o600)
    return load(config, {})


@pytest.mark.parametrize("called", ["", "?application_name=billing"])
def test_a_commit_that_waits_for_a_standby_is_told_and_its_daemon_lives(
    alone: standbys.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    """By status and doctor; nobody is advised to end the daemon's own commit."""
    monkeypatch.setattr("shipper.observe.troubles.COMMIT_LONG", 0.0)
    monkeypatch.setattr("shipper.doctor.database.COMMIT_LONG", 0.0)
    monkeypatch.setattr("shipper.doctor.database.OPEN_LONG", 0.0)
    url = f"postgresql://postgres@127.0.0.1:{alone.port}/shop"
    ours, others = open_engine(f"{url}{called}"), open_engine(url)
    daemon, row = Daemon(ours), write(others, "a")
    run(ours, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 hour'")
    alone.administer(
        "ALTER SYSTEM SET synchronous_standby_names = 'berlin'", "SELECT pg_reload_conf()"
    )
    until(lambda: alone.administer("SHOW synchronous_standby_names") == [("berlin",)])
    claiming = threading.Thread(target=lambda: daemon.claim(*row))
    claiming.start()
    until(lambda: commits.waiting(others) is not None)
    now = SystemClock().wall()
    facts, shipper = gather(others, _settings(tmp_path, url), now)
    assert "1 commit waits for a synchronous standby (berlin)" in judge(facts)[0].text
    assert shipper is not None
    assert len(running_daemons(others)) == 1
    [finding] = check_commits(others)
    assert (finding.level, "synchronous_standby_names" in str(finding.fix)) == (
        CheckLevel.FAULT,
        True,
    )
    assert all(found.level is CheckLevel.OK for found in check_transactions(others))
    daemons, *_ = check_daemon(others, _settings(tmp_path, url), now)
    assert daemons.level is CheckLevel.OK
    alone.administer("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    claiming.join(30)
    assert not claiming.is_alive()
    assert commits.waiting(others) is None
    ours.dispose()
    others.dispose()


def test_whoever_else_waits_for_a_standby_is_no_daemon(alone: standbys.Server) -> None:
    """A command or another outbox of shipper's, say, whose name begins as ours does."""
    url = f"postgresql://postgres@127.0.0.1:{alone.port}/shop"
    engine = open_engine(url)
    Daemon(engine)
    run(engine, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 hour'")
    alone.administer("CREATE TABLE stock (n int)", database="shop")
    alone.administer(
        "ALTER SYSTEM SET synchronous_standby_names = 'berlin'", "SELECT pg_reload_conf()"
    )
    until(lambda: alone.administer("SHOW synchronous_standby_names") == [("berlin",)])
    where = f"host=127.0.0.1 port={alone.port} user=postgres dbname=shop application_name=shipper"
    with psycopg.connect(where, autocommit=True) as other:
        storing = threading.Thread(target=lambda: other.execute("INSERT INTO stock VALUES (1)"))
        storing.start()
        until(lambda: commits.waiting(engine) is not None)
        assert shipping(engine) == []
        alone.administer("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        storing.join(30)
    assert not storing.is_alive()
    engine.dispose()


def test_only_the_daemon_whose_commit_waits_lives(alone: standbys.Server) -> None:
    """Not another one that is missing meanwhile: the others take over what that one had."""
    url = f"postgresql://postgres@127.0.0.1:{alone.port}/shop"
    clock, watching = FakeClock(), open_engine(url)
    waits, gone = (Member(url, elsewhere(number), clock) for number in (1, 2))
    settle([waits, gone])
    run(watching, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 hour'")
    assert shipping(watching) == []
    alone.administer(
        "ALTER SYSTEM SET synchronous_standby_names = 'berlin'", "SELECT pg_reload_conf()"
    )
    until(lambda: alone.administer("SHOW synchronous_standby_names") == [("berlin",)])
    renewing = threading.Thread(target=lambda: waits.link("ready"))
    renewing.start()
    until(lambda: commits.waiting(watching) is not None)
    assert [(one.name, one.is_missing) for one in running_daemons(watching)] == [
        ("another 1", False),
        ("another 2", True),
    ]
    alone.administer("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    renewing.join(30)
    assert not renewing.is_alive()
    for engine in (watching, waits.engine, gone.engine):
        engine.dispose()


def test_who_holds_a_lock_is_named(alone: standbys.Server) -> None:
    """An application's transaction keeps a migration, or a daemon, from its tables."""
    where = f"host=127.0.0.1 port={alone.port} user=postgres dbname=shop application_name=erp"
    engine = open_engine(f"postgresql://postgres@127.0.0.1:{alone.port}/shop")
    with psycopg.connect(where) as application:
        application.execute("LOCK TABLE shipper_lease")
        with pytest.raises(StoreUnavailable, match=r"holds the rows \(55P03\): process \d+ \(erp,"):
            run(engine, "SET LOCAL lock_timeout = '10ms'; UPDATE shipper_lease SET ttl = 1")
    engine.dispose()


def test_only_our_own_tables_count(alone: standbys.Server) -> None:
    """Another outbox in the same database, and a carrier called shipper, are somebody else's."""
    engine = open_engine(f"postgresql://postgres@127.0.0.1:{alone.port}/shop")
    before = server(engine).bytes
    alone.administer(
        "CREATE TABLE shipper_rates AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.shipper_outbox AS SELECT repeat('x', 1000) FROM generate_series(1, 99)",
        database="shop",
    )
    assert server(engine).bytes == before > 0
    named = {name for name, table in metadata.tables.items() if table.info.get("only") != "sqlite"}
    assert named | {VERSION_TABLE} == set(TABLES)
    engine.dispose()
