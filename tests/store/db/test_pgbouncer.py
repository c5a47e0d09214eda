"""A real pgbouncer: in transaction mode shipper works, in statement mode it says what to do."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from shipper.errors import SchemaError
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing
from shipper.store.report.facts import server
from tests import needs
from tests.store.daemons import Daemon, column, write
from tests.store.shipping import until


@contextmanager
def bouncer(url: str, mode: str) -> Iterator[str]:
    """Give the URL of a pgbouncer in a mode; it runs as whoever may use the server's socket."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    where = make_url(url)
    host = str(where.query.get("host") or where.host)
    if program is None or not Path(host).is_dir():
        needs.missing("no pgbouncer, or no server of ours: see .ci/install-runtimes")
    owner = pwd.getpwuid(Path(host).stat().st_uid)
    room = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (room / "ini").write_text(
        f"[databases]\n* = host={host} port={where.port or 5432} user={where.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\nlogfile = {room}/log\npidfile = {room}/pid\n"
    )
    for path in (room, room / "ini"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    user = ["-u", owner.pw_name] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [program, *user, str(room / "ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _listens(port))
        there = where.set(host="127.0.0.1", port=port, query={})
        yield there.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(room, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("mode", "shares"), [("session", False), ("transaction", True)])
def test_a_daemon_ships_through_a_pooler(postgres_url: str, mode: str, shares: bool) -> None:  # noqa: FBT001
    """Of sessions or of transactions."""
    with bouncer(postgres_url, mode) as url:
        engine = open_engine(url)
        facts = server(engine)
        assert (facts.pooled, facts.shares) == (True, shares)
        rows = write(engine, "a", "a", "b")
        daemon = Daemon(engine)
        daemon.deliver(*rows)
        daemon.queue.release()
        assert [column(engine, "status", row) for row in rows] == ["delivered"] * 3
        engine.dispose()


def test_a_pooler_of_statements_is_refused_with_what_to_do(postgres_url: str) -> None:
    """At the first connection: nothing is claimed."""
    with bouncer(postgres_url, "statement") as url:
        engine = open_engine(url)
        with pytest.raises(SchemaError, match="pools statements") as raised, glancing(engine):
            pass
        assert "pool_mode = transaction" in str(raised.value.hint)
        engine.dispose()
