"""What a command loads before it answers: monitoring runs `status` every minute, for years.

A list of modules, and no time: what isn't loaded takes none. The daemon is the opposite case: it
loads at its start what it needs later, because the package can be replaced while it runs.
"""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

import shipper
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import LinkRow
from shipper.store.operate.dead_letters import discard
from shipper.store.operate.hold import hold_destination, hold_key
from shipper.store.report.audit import SMALL
from tests.cli.command_line import DEADLINE, Home
from tests.store.daemons import NOW, Daemon, write

_HEAVY = ("aiohttp", "alembic", "apscheduler", "httpx", "structlog")
# What draws, sends, schedules, migrates or serves; and the driver of the other database.
_PACKAGES = (
    *_HEAVY,
    "h11", "httptools", "jsonschema", "jsonschema_rs", "prometheus_client", "psycopg", "rich",
    "uvloop", "http.client", "sqlalchemy.ext", "sqlalchemy.orm", "urllib.request",
)  # fmt: skip
_ROOMS = (
    "shipper.daemon", "shipper.demo", "shipper.destination", "shipper.drain", "shipper.logs",
    "shipper.port", "shipper.sandbox", "shipper.store.drain.record", "shipper.store.report.verify",
    "shipper.store.schema.tables", "shipper.store.upgrade",
)  # fmt: skip

# Of a package that the daemon may load later: when a reload asks for it.
_AT_A_RELOAD = {
    "shipper.contract.ajv",
    "shipper.destination.httpx_transport",
    "shipper.destination.transport",
    "shipper.observe.metrics",
    "shipper.port.server",
}
_FOR_A_TERMINAL = {"shipper.cli.output.table"}


@pytest.fixture
def large(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an outbox that isn't checked at each look."""
    engine = open_engine(sqlite_url)
    with writing(engine) as tx:
        tx.execute(
            text("INSERT INTO shipper_destination (name, delivered) VALUES ('default', :rows)"),
            {"rows": SMALL + 1},
        )
    engine.dispose()
    return Home(tmp_path, sqlite_url)


@pytest.fixture
def full(tmp_path: Path, engine: Engine, database_url: str) -> Home:
    """Give a directory with a large outbox on each database, with rows of all kinds.

    Events of each status, one that waits for its next try, one that an operator holds; destinations
    that ship, that wait after a failure, and that an operator holds.
    """
    daemon = Daemon(engine, "default", "down", "held")
    state = LinkRow("down", "paused", "http-503", NOW, NOW + 60.0)
    error = "http-503: HTTP 503"
    daemon.links(replace(state, failures=3, last_error=error, failing_since=NOW))
    write(engine, "sent", "dead", "gone", "late", "stuck", "next")
    daemon.deliver(1)
    daemon.bury(2, holds_key=True)
    daemon.bury(3)
    daemon.postpone(4, attempts=2, wait=60.0)
    assert discard(engine, Selection(ids=(3,)), NOW) == 1
    hold_key(engine, "default", "stuck", NOW)
    hold_destination(engine, "held", NOW)
    with writing(engine) as tx:
        # Counted elsewhere, so that a look at so few events is a look at a large outbox.
        tx.execute(
            text("UPDATE shipper_destination SET delivered = :rows WHERE name = 'down'"),
            {"rows": SMALL + 1},
        )
    daemon.queue.release()
    return Home(tmp_path, database_url)


def loaded(home: Home, arguments: str) -> set[str]:
    """Return the modules that a process has loaded when its command has ended."""
    program = (
        "import atexit, sys; from shipper.cli import main;"
        f" sys.argv = ['shipper', *{arguments.split()}];"
        " atexit.register(lambda: print(*sys.modules));"
        " main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home.directory,
        env=home.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode in {0, 1, 2}, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", ["--help", "version", "status", "dead --help", "stauts"])
def test_a_light_command_imports_nothing_heavy(
    tmp_path: Path, sqlite_url: str, arguments: str
) -> None:
    """Help, version and status don't pay for what only the daemon or a migration needs."""
    assert not loaded(Home(tmp_path, sqlite_url), arguments).intersection(_HEAVY)


STATUS = ("status", "status --json", "status --nagios")
READING = ("verify", "dead list", "events list", "events show 1", "hold --list")


@pytest.mark.parametrize("arguments", STATUS)
def test_status_loads_nothing_that_it_does_not_use(large: Home, arguments: str) -> None:
    """Whatever the size of the outbox; a program that reads its answer needs no tables drawn."""
    assert not loaded(large, arguments).intersection(_PACKAGES + _ROOMS)


@pytest.mark.parametrize("arguments", READING)
def test_a_command_that_reads_loads_no_heavy_package(large: Home, arguments: str) -> None:
    """Each of them needs more of our own code than `status`, and no other package."""
    assert not loaded(large, arguments).intersection(_PACKAGES)


@pytest.mark.parametrize("arguments", [*STATUS, *READING, "events show 2", "events list --json"])
def test_rows_of_all_kinds_load_nothing_more(full: Home, arguments: str) -> None:
    """The same on each database: it's the driver of Postgres that is loaded, and no more."""
    unused = _PACKAGES + _ROOMS if arguments in STATUS else _PACKAGES
    driver = {"psycopg"} if "postgresql" in full.config.read_text() else set()
    assert not loaded(full, arguments).intersection(unused) - driver


def test_a_running_daemon_needs_no_file_of_the_package_later() -> None:
    """Only a reload may load more: the files can be another version's by then."""
    program = "import sys; import shipper.cli.commands.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    there = done.stdout.split()
    root = Path(shipper.__file__).parents[1]
    later = {
        target
        for name in there
        if name.startswith("shipper")
        for target in imported_by_functions(root, name)
        if target.startswith("shipper") and target not in there
    }
    assert later == _AT_A_RELOAD | _FOR_A_TERMINAL


def imported_by_functions(root: Path, name: str) -> set[str]:
    """Return the modules that functions of a module import."""
    path = root.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    functions = (
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {
        str(node.module)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
    }
