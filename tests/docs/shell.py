"""A directory in which the documents' lines are run as they stand there."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_DEADLINE = 60.0


class Shell:
    """A directory in which lines are run as they stand, with `shipper` on the PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}
        self.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(self, line: str, expected: int = 0) -> str:
        """Run a line to its end; return what it printed on stdout."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE,
            check=False,
        )
        assert done.returncode == expected, (line, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    @contextmanager
    def running(self, line: str) -> Iterator[IO[bytes]]:
        """Run a line for the length of a `with` and give its stdout; SIGTERM has to end it well."""
        with subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
                process.terminate()
                assert process.wait(_DEADLINE) == 0, line
            finally:
                process.kill()

    @contextmanager
    def receiving(self, line: str, options: str = "") -> Iterator[None]:
        """Send to a sandbox for the length of a `with`, and never to the address in the file."""
        with self.running(f"{line} --port 0 --json {options}") as stdout:
            url = json.loads(stdout.readline())["events_url"]
            self.environ["SHIPPER_DESTINATIONS__DEFAULT__URL"] = url
            yield

    def store_api_id(self) -> None:
        """Put an API ID where the configuration looks for it."""
        file = self.directory / "api_id"
        file.write_text("any-will-do\n")
        file.chmod(0o600)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement on the file that `shipper init` made."""
        connection = sqlite3.connect(self.directory / "shop.db", timeout=5)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def write(self, payload: Mapping[str, object]) -> None:
        """Write an event as an application does."""
        self.sql("INSERT INTO shipper_outbox (payload) VALUES (?)", json.dumps(payload))


def event(user: str) -> dict[str, object]:
    """Return an event that the vendor would take."""
    body = {"type": "product", "product": {"sku": "COAT-42"}}
    context = [{"type": "user", "user": {"id": user}}]
    return {"type": "interact", "interact": body, "context": context}
