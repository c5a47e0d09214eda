"""The drain with Python's own SQLite, as on a machine for which there is no wheel of pysqlite3.

All other tests use the newer library of the two. They differ in what the planner chooses, in what a
schema may call, and in who checkpoints.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from shipper.store.db.sqlite.opening import sqlite_library
from tests.needs import missing

ROOT = Path(__file__).parents[2]
PLACES = (
    "tests/store/drain",
    "tests/store/db/test_engine.py",
    "tests/store/db/test_header.py",
    "tests/store/db/test_opening.py",
    "tests/store/db/test_ready.py",
    "tests/store/db/test_unchanged.py",
    "tests/store/db/test_wal_files.py",
)
_WHICH = "from shipper.store.db.sqlite.opening import sqlite_library; print(sqlite_library().name)"


@pytest.fixture
def without_a_wheel(tmp_path: Path) -> Mapping[str, str]:
    """Give an environment in which Python finds no pysqlite3, for its own child processes too."""
    (tmp_path / "pysqlite3").mkdir()
    (tmp_path / "pysqlite3" / "__init__.py").write_text("raise ImportError(__name__)\n")
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**others, "PYTHONPATH": str(tmp_path)}


@pytest.mark.xdist_group("long")  # groups begin first
@pytest.mark.timeout(300)
def test_the_drain_works_with_it_as_well(without_a_wheel: Mapping[str, str]) -> None:
    """What writes in turns, and what a connection does before and after."""
    if sqlite_library().name == "sqlite3":
        missing("the wheel of SQLite is missing, so all tests run with Python's own")
    assert run(without_a_wheel, "-c", _WHICH) == "sqlite3\n"
    passed = run(without_a_wheel, "-m", "pytest", "-q", "-k", "not postgres", *PLACES)
    assert " passed" in passed


def run(environ: Mapping[str, str], *arguments: str) -> str:
    """Run Python in this tree to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
