"""Outboxes to try the manual's examples on, and an API that answers as a test wants it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import write


class _Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names; 200 is a web page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path[1:]))
        for name, value in (
            ("Location", "http://portal.invalid/login"),
            ("Retry-After", "300"),
            ("Content-Type", "text/html"),
            ("Content-Length", "6"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Place:
    """Makes directories, each with an outbox and a configuration, and answers their events."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._port = port
        self._made = 0

    def home(self, answer: str = "204", *keys: str) -> Home:
        """Return a new outbox with an event for each key, and an API that answers so."""
        directory = self._new()
        directory.mkdir()
        home = Home(directory, "sqlite:///shop.db", f"http://127.0.0.1:{self._port}/{answer}")
        assert home.call("db", "upgrade", "--create").status == 0
        write(home, VIEW, *keys)
        return home

    def copy(self, home: Home) -> Home:
        """Return a copy of an outbox and its configuration, in a directory of its own."""
        text = home.config.read_text()
        copied = Home(shutil.copytree(home.directory, self._new()), "sqlite:///shop.db")
        copied.config.write_text(text)
        return copied

    def _new(self) -> Path:
        self._made += 1
        return self._directory / str(self._made)


@contextmanager
def places(directory: Path) -> Iterator[Place]:
    """Give a place under a directory, with an API for the length of a `with`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield Place(directory, server.server_port)
        finally:
            server.shutdown()
