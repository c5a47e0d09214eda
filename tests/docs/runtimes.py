"""The languages that the README shows a writer in, as an application would use them.

`.ci/install-runtimes` installs what is missing. A test whose language isn't there is skipped
(see `needs`).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sqlalchemy import URL, make_url

from tests import needs

_DEADLINE = 60.0
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def run(command: Sequence[str], *, stdin: str = "", **environ: str) -> str:
    """Run a program to its end and return what it printed; fails unless it ends with 0."""
    done = subprocess.run(
        [_found(command[0]), *command[1:]],
        input=stdin.encode(),
        capture_output=True,
        env={**os.environ, **environ},
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def _found(program: str) -> str:
    return shutil.which(program) or _missing(f"{program} is not installed")


def _missing(reason: str) -> NoReturn:
    needs.missing(f"{reason}: run .ci/install-runtimes")


def sqlite_shell(path: Path, script: str) -> str:
    """Run a script in the sqlite3 shell; its first failure ends it."""
    return run(["sqlite3", "-bail", str(path)], stdin=script)


def psql(url: str, script: str) -> str:
    """Run a script in psql, without anybody's ~/.psqlrc; its first failure ends it."""
    options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", libpq_url(url)]
    return run(["psql", *options], stdin=script)


def php(extension: str, script: str, **environ: str) -> str:
    """Run PHP code that needs an extension."""
    if extension not in run(["php", "-m"]).split():
        _missing(f"PHP's extension {extension} is not installed")
    return run(["php"], stdin=f"<?php\n{script}", **environ)


def node(module: str, script: str, **environ: str) -> str:
    """Run CommonJS code that needs a module."""
    modules = _CACHE / "shipper" / "node" / "node_modules"
    if not (modules / module).is_dir():
        _missing(f"{module} is not installed for node")
    return run(["node", "-"], stdin=script, NODE_PATH=str(modules), **environ)


def python(script: str, **environ: str) -> str:
    """Run Python code with this interpreter."""
    return run([sys.executable, "-"], stdin=script, **environ)


def libpq_url(url: str) -> str:
    """Return the URL of a PostgreSQL database as everybody but SQLAlchemy writes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def pdo_dsn(url: str) -> dict[str, str]:
    """Return what PDO wants to know of a PostgreSQL database, as variables of the environment."""
    parsed = make_url(url)
    fields = {"host": _host(parsed), "port": parsed.port, "dbname": parsed.database}
    dsn = ";".join(f"{name}={value}" for name, value in fields.items() if value)
    user, password = parsed.username or "", parsed.password or ""
    return {"DSN": f"pgsql:{dsn}", "DB_USER": user, "DB_PASSWORD": password}


def _host(url: URL) -> str | None:
    directory = url.query.get("host")
    return url.host or (directory if isinstance(directory, str) else None)
