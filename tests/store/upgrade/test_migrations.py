"""The migrations and the tables that the code believes in are the same, on both databases."""

import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from shipper.errors import SchemaError, UsageError
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import create_sqlite_file
from shipper.store.schema import ddl, revisions, tables
from shipper.store.upgrade import migrate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bare(bare_url: str) -> Iterator[Engine]:
    """Give an engine on a database with nothing in it."""
    engine = open_engine(bare_url, create=True)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def _known_xid8(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy warns of a type that it can't name."""
    monkeypatch.setitem(ischema_names, "xid8", type(tables.outbox.c.tx.type))


def _differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda item, name, *_: tables.compared(
                    item, name, engine.dialect.name
                ),
                "version_table": revisions.VERSION_TABLE,
                "compare_type": True,
            },
        )
        return list(compare_metadata(context, tables.metadata))


def _names(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return inspect(connection).get_table_names()


def test_the_head_is_what_the_code_describes(engine: Engine) -> None:
    """Autogenerate finds nothing to change after an upgrade."""
    assert _differences(engine) == []


def test_a_missing_column_would_be_noticed(engine: Engine) -> None:
    """The comparison above has teeth."""
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE shipper_lease ADD COLUMN stray INTEGER")
    assert [difference[0] for difference in _differences(engine)] == ["remove_column"]


def test_every_revision_is_known_without_alembic() -> None:
    """`revisions.REVISIONS` is the history of the migrations."""
    config = Config()
    config.set_main_option("script_location", str(ddl.location()))
    script = ScriptDirectory.from_config(config)
    history = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(history)) == revisions.REVISIONS
    assert script.get_current_head() == revisions.head()


def test_upgrade_and_downgrade_are_a_round_trip(bare: Engine) -> None:
    """What an upgrade made a downgrade takes away, and another upgrade makes again."""
    migrate.upgrade(bare)
    assert revisions.current(bare) == revisions.head()
    migrate.downgrade(bare)
    assert revisions.current(bare) is None
    assert _names(bare) == []
    migrate.upgrade(bare)
    revisions.check(bare)


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    """An upgrade of what is up to date keeps the events and the counters."""
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    assert migrate.upgrade(engine) == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM shipper_outbox")) == 1
        assert connection.scalar(text("SELECT count(*) FROM shipper_lease")) == 1


def test_a_downgrade_refuses_to_drop_undelivered_events(engine: Engine) -> None:
    """Only who says so loses them."""
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    with pytest.raises(UsageError, match="not delivered"):
        migrate.downgrade(engine)
    revisions.check(engine)
    migrate.downgrade(engine, discard_undelivered=True)
    assert _names(engine) == []


def test_the_applications_tables_are_left_alone(bare: Engine) -> None:
    """Neither direction touches what is not ours, and autogenerate doesn't even see it."""
    with bare.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
    migrate.upgrade(bare)
    assert _differences(bare) == []
    migrate.downgrade(bare)
    assert sorted(_names(bare)) == ["alembic_version", "orders"]


def test_no_outbox_is_told_with_the_command_to_run(bare: Engine) -> None:
    """A database without our tables is exit status 78 and one command."""
    with bare.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    with pytest.raises(SchemaError, match="no outbox") as caught:
        revisions.check(bare)
    assert caught.value.hint == "run: shipper db upgrade"
    assert caught.value.exit_status == 78


def test_a_strangers_table_of_our_name_is_refused(bare: Engine) -> None:
    """We neither read nor migrate a shipper_outbox that we did not create."""
    with bare.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shipper_outbox (id INTEGER)")
    for act in (revisions.check, migrate.upgrade):
        with pytest.raises(SchemaError, match="did not create"):
            act(bare)
    assert _names(bare) == ["shipper_outbox"]


def test_a_newer_outbox_is_refused(engine: Engine) -> None:
    """Code that is older than the database keeps its hands off."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {revisions.VERSION_TABLE} SET version_num = '9999'")
    for act in (revisions.check, migrate.upgrade):
        with pytest.raises(SchemaError, match="9999"):
            act(engine)


def test_an_older_outbox_is_told_to_upgrade(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that is newer than the database names the command."""
    monkeypatch.setattr(revisions, "REVISIONS", (*revisions.REVISIONS, "9999"))
    with pytest.raises(SchemaError, match="needs 9999") as caught:
        revisions.check(engine)
    assert caught.value.hint == "run: shipper db upgrade"


def test_a_failed_migration_leaves_nothing_behind(
    bare: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is one transaction, on SQLite too."""
    with bare.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shipper_lease (id INTEGER)")
    with pytest.raises(Exception, match=r"shipper_lease|tables are not what"):
        migrate.upgrade(bare)
    assert _names(bare) == ["shipper_lease"]


def test_a_foreign_file_is_switched_to_wal_with_a_notice(tmp_path: Path) -> None:
    """The application is told, because the journal mode is everybody's; auto_vacuum stays."""
    path = tmp_path / "foreign.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.close()
    engine = open_engine(f"sqlite:///{path}")
    assert revisions.current(engine) is None
    with engine.connect() as reader:
        assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    [notice] = migrate.upgrade(engine)
    assert "WAL" in notice
    with engine.connect() as reader:
        assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert reader.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 0
    engine.dispose()


def test_a_file_of_ours_gives_its_space_back(tmp_path: Path) -> None:
    """Incremental vacuum, in WAL mode, and no notice: nobody else has used the file yet."""
    path = tmp_path / "ours.db"
    create_sqlite_file(path)
    engine = open_engine(f"sqlite:///{path}")
    assert migrate.upgrade(engine) == []
    with engine.connect() as reader:
        assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert reader.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
    engine.dispose()


def test_a_file_in_utf16_is_refused(tmp_path: Path) -> None:
    """Its bytes would not be those that were written."""
    path = tmp_path / "wide.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.close()
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(SchemaError, match="UTF-16le"):
        migrate.upgrade(engine)
    engine.dispose()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_migration_keeps_its_triggers_as_text(dialect: str) -> None:
    """Every statement is whole, and the triggers that the write contract stands on are there."""
    statements = ddl.statements("0001", dialect)
    triggers = [s for s in statements if "CREATE TRIGGER" in s]
    assert len(triggers) == {"sqlite": 7, "postgresql": 2}[dialect]
    assert all("CREATE" in s or "INSERT INTO" in s for s in statements)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory of an unpacked wheel, built from this tree."""
    directory = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [archive] = directory.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory / "unpacked")
    return directory / "unpacked"


def test_the_wheel_carries_the_migrations(wheel: Path) -> None:
    """All files of `migrations/` are in it, and no byte code."""
    inner = wheel / "shipper/_assets/migrations"
    inside = {p.relative_to(inner) for p in inner.rglob("*")}
    outside = {p.relative_to(ROOT / "migrations") for p in (ROOT / "migrations").rglob("*.*")}
    assert {p for p in inside if p.suffix} == {
        p for p in outside if p.suffix in {".py", ".sql", ".mako"}
    }


def test_an_installed_wheel_upgrades_with_its_own_migrations(wheel: Path, tmp_path: Path) -> None:
    """Nothing of the source tree is needed."""
    program = (
        "import sys, shipper;"
        "from shipper.store.upgrade import migrate;"
        "from shipper.store.schema import ddl, revisions;"
        "from shipper.store.db import engine;"
        "e = engine.open_engine('sqlite:///' + sys.argv[1], create=True); migrate.upgrade(e);"
        "print(shipper.__file__, ddl.location(), revisions.current(e))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "w.db")],
        env={**os.environ, "PYTHONPATH": str(wheel)}, cwd=tmp_path, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    package, location, revision = done.stdout.split()
    assert Path(package).is_relative_to(wheel)
    assert Path(location) == wheel / "shipper/_assets/migrations"
    assert revision == revisions.head()
