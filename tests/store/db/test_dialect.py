"""What a database has to give, and that nothing else in `store` knows which databases there are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.errors import ConfigError
from shipper.store.db.dialect import DIALECTS, POSTGRES, SQLITE, Dialect, named, pick
from shipper.store.db.engine import open_engine
from shipper.store.db.fence import Fence

PACKAGE = Path(__file__).parents[3] / "shipper"
DATABASES = PACKAGE / "store" / "db"
FOLDERS = ("sqlite", "postgres")
# `outbox` and `config` are below `store`: an application imports the one without the other.
KNOWS_NAMES = {"outbox.py", "config/urls.py"}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_database_gives_all_that_is_asked_of_it(name: str) -> None:
    """Each member of the two protocols, and no more than them."""
    dialect = DIALECTS[name]
    assert public(type(dialect)) == public(Dialect)
    assert public(type(dialect.fence)) == public(Fence)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "oracle", "mssql"])
def test_a_database_that_shipper_cannot_use_is_refused(scheme: str) -> None:
    """In one place, with the forms of those that it can use, and without the URL."""
    with pytest.raises(ConfigError) as caught:
        open_engine(f"{scheme}://root:hush@host/db")
    assert "database.url: must be SQLite or PostgreSQL" in str(caught.value)
    assert caught.value.hint == f"write {SQLITE.url_form} or {POSTGRES.url_form}"
    assert "hush" not in repr(caught.value)


def test_a_choice_is_never_made_for_a_database_that_has_none() -> None:
    """A third database is told where a statement is missing, and never gets another's."""
    assert pick(named("sqlite"), sqlite=1, postgresql=2) == 1
    assert pick(named("postgres"), sqlite=1, postgresql=2) == 2
    with pytest.raises(LookupError, match="written for sqlite, and not for PostgreSQL"):
        pick(POSTGRES, sqlite=1)


def test_no_module_compares_the_names_of_databases() -> None:
    """A property or a method of the dialect tells the difference."""
    compares = re.compile(
        r"""dialect\.name\s*(?:==|!=|in\b)|(?:==|!=)\s*["'](?:sqlite|postgresql)"""
    )
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in KNOWS_NAMES
        for line in path.read_text("utf-8").splitlines()
        if compares.search(line) or re.search(r"\bis (?:not )?(?:SQLITE|POSTGRES)\b", line)
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folder_of_a_database_needs_nothing_of_the_rest(folder: str) -> None:
    """So `db` knows the folders, and no folder knows `db` or another one."""
    for path in (DATABASES / folder).glob("*.py"):
        ours = [name for name in imported(path) if name.startswith("shipper.store")]
        assert all(name.startswith(f"shipper.store.db.{folder}") for name in ours), path


def public(of: type) -> set[str]:
    """Return the names that a class has for others."""
    names = {*vars(of), *getattr(of, "__annotations__", {})}
    return {name for name in names if not name.startswith("_")}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
