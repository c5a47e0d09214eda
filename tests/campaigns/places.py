"""Where a campaign from the command line works: a fresh database, a directory, both gone after."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from tests.conftest import _administer, _bundled_server, _migrate, _name

SCALE = float(os.environ.get("SHIPPER_TEST_CAMPAIGN", "1"))
"""By how much the campaigns of a test run are larger or smaller than usual."""


def scaled(number: int) -> int:
    """Return how many of something a test run tries: at least one."""
    return max(1, round(number * SCALE))


@contextmanager
def directory() -> Iterator[Path]:
    """Give a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="shipper-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def database(kind: str, where: Path) -> Iterator[str]:
    """Give the URL of a database with an empty outbox: a file, or one on a PostgreSQL server."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url = f"sqlite:///{where / 'shop.db'}"
        else:
            url = stack.enter_context(_postgres())
        _migrate(url, create=kind == "sqlite")
        yield url


@contextmanager
def _postgres() -> Iterator[str]:
    given = os.environ.get("SHIPPER_TEST_PG_URL")
    with ExitStack() as stack:
        if given:
            server: URL = make_url(given).set(drivername="postgresql+psycopg")
        else:
            where = tempfile.mkdtemp(prefix="shipper-pg-")
            stack.callback(shutil.rmtree, where, ignore_errors=True)
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("XDG_RUNTIME_DIR", where)
            server = stack.enter_context(contextmanager(_bundled_server)(Path(where)))
        name = _name("campaign")
        _administer(server, f"CREATE DATABASE {name}")
        stack.callback(_administer, server, f"DROP DATABASE {name} WITH (FORCE)")
        yield server.set(database=name).render_as_string(hide_password=False)
