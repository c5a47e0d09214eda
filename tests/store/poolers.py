"""A real pgbouncer between a test and PostgreSQL, and how the messages of the protocol are read."""

import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy import make_url

from tests import needs
from tests.store.shipping import until

Mode = Literal["session", "transaction", "statement"]


@contextmanager
def pooling(url: str, mode: Mode, size: int = 20) -> Iterator[str]:
    """Give the URL of a pgbouncer that has at most so many of the server's processes.

    It runs as the user of the server's socket, and gives first what came back last.
    """
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
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = {size}\n"
        f"logfile = {room}/log\npidfile = {room}/pid\n"
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


def read_startup(line: socket.socket) -> bytes:
    """Return what a client says first, without its length."""
    return _exactly(line, struct.unpack("!i", _exactly(line, 4))[0] - 4)


def read_message(line: socket.socket) -> bytes:
    """Return the next whole message; raises EOFError at the end."""
    head = _exactly(line, 5)
    return head + _exactly(line, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (part := line.recv(size - len(found))):
            raise EOFError
        found += part
    return found
